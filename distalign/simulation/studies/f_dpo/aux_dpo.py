"""AuxDPO ends where the regression of the reward on the features does, however often pairs are shown.

The claim. In a class that does not hold the reward DPO's limit depends on how often pairs are shown and may
reverse preferences; AuxDPO adds auxiliary variables to DPO's loss, to move towards RLHF (Gopalan, Chowdhury
and Banerjee, arXiv 2510.20413, abstract). Their text was not seen: that the variables are rewards in the null
space of the policy's weighted scores is what two public summaries say. For log-linear classes the rest is
ours (`distalign.theory.f_dpo.auxiliary`): its limit is the regression of the reward on the features under the
reference, a natural-gradient step of length 1/beta, which is RLHF to first order in 1/beta and not beyond;
and what it costs, since on samples it fits a reward for each response. The penalties that take the place of
the null space for language models are not here.

The run. Classes of a few prompts, responses and features with random rewards, under several laws of the
pairs; the three responses of `dpo_misspecified`, through multiples of the share of discordant pairs at which
DPO reverses; strong pulls to the reference; and samples of a class that does hold the reward.

The two roads. The package's DPO in the enlarged class, fitted by Newton's method from answers alone, the null
space by singular values; theory's regression from the reward, RLHF's first-order condition, and covariances.

The checks, fixed beforehand. Identities: AuxDPO's parameter is the regression, its rewards are the true ones,
and the parameter's range over laws of the pairs is 0 to 1e-6, where DPO's is at least 0.1 somewhere; above
the threshold DPO and AuxDPO have opposite signs on every instance; the distance to RLHF is of second order
with its constant, to 2 %. Separations, above the threshold: AuxDPO has more reward than DPO on average, and
its parameter is nearer to RLHF's on most instances. Growth: n times the variance of both parameters is that
of theory, to 4.5 standard errors of the mean of a squared normal variable. A bound: where the class holds the
reward DPO's covariance is at most AuxDPO's in every direction.

The planted defects: the null space without the weights of the reference; features 10 % too large in the
enlarged class; no auxiliary variables; DPO without the weights of the law; answers 5 % noisier; the distance
to RLHF with the reward in place of its residual; beta 10 % too large in AuxDPO's covariance.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.objectives import dpo
from distalign.policies import LogLinear, with_auxiliary
from distalign.populations import Law, win_matrix
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.studies.f_dpo.dpo_misspecified import draw, with_share
from distalign.simulation.verdict import Check, bound, differs, growth, identity, separation
from distalign.theory.f_dpo import asymptotics, misspecified
from distalign.theory.f_dpo import auxiliary as theory
from distalign.types import Array

BETA, STRONG, SIZE, ERRORS, MOVED, ALIKE, TRIALS = 0.5, 1000.0, 10**6, 4.5, 0.1, 0.02, 3


def cells(
    multiples: list[float], responses: list[int], instances: int, replicates: int
) -> list[dict[str, Any]]:
    """Random classes; three responses at multiples of the threshold; strong pulls; samples."""
    share = [{"part": "share", "multiple": m, "instances": instances} for m in multiples]
    samples = [{"part": "samples", "responses": k, "replicates": replicates} for k in responses]
    others = {"classes": instances // 5, "strong": instances // 3, "price": instances}
    return [*({"part": p, "instances": n} for p, n in others.items()), *share, *samples]


def run(rng: np.random.Generator, *, part: str, **arguments: Any) -> dict[str, Any]:
    """The rows of one part."""
    if part == "samples":
        return dict(_samples(rng, **arguments))
    instances = {"classes": _of_classes, "strong": _of_strong, "price": _of_price}
    if part == "share":
        rows = [_of_share(rng, arguments["multiple"]) for _ in range(arguments["instances"])]
    else:
        rows = [instances[part](rng) for _ in range(arguments["instances"])]
    return {"instance": np.arange(len(rows)), **dict(pd.DataFrame(rows))}


def _answers(reward: Array, frequencies: Array) -> Law:
    """Exact laws of Bradley-Terry answers, one for each of R tables (R, S, K, K) of frequencies of the pairs.

    Frequencies are symmetric; there are S prompts of K responses.
    """
    s, k = reward.shape
    prompt, i, j = (index.ravel() for index in np.indices((s, k, k)))
    distinct = i != j
    win = np.stack([win_matrix(r[None], [1.0], 1.0) for r in reward])
    mass = (frequencies * win).reshape(len(frequencies), -1)[:, distinct]
    return Law((prompt * k + i)[distinct], (prompt * k + j)[distinct], mass / mass.sum(1, keepdims=True))


def _fitted(policy: LogLinear, law: Law, beta: float) -> Array:
    """(R, d) DPO's parameters in a class; NaN where Newton's method has no certificate."""
    found = fit(policy, partial(dpo, beta=beta), law, tolerance=1e-12 * (1 + beta))
    return np.where(found.converged[:, None], found.theta, np.nan)


def _of_classes(rng: np.random.Generator) -> dict[str, Any]:
    """Several laws of the pairs on one class: AuxDPO against the regression, and ranges of both methods."""
    s, k, d = int(rng.integers(1, 4)), int(rng.integers(4, 7)), int(rng.integers(1, 3))
    reward, features = rng.normal(size=(s, k)), rng.normal(size=(s, k, d))
    reference, prompts = rng.dirichlet(np.full(k, 3.0), size=s), rng.dirichlet(np.full(s, 5.0))
    policy = LogLinear(features, reference)
    enlarged = with_auxiliary(policy, beta=BETA, prompts=prompts)
    predicted = theory.natural_step(reward, features, reference, prompts, BETA)
    frequencies = rng.gamma(0.5, size=(TRIALS, s, k, k)) + 0.02
    law = _answers(reward, frequencies + frequencies.transpose(0, 1, 3, 2))
    theta, plain = _fitted(enlarged, law, BETA), _fitted(policy, law, BETA)
    fitted = BETA * np.einsum("skd,rd->rsk", enlarged.features.numpy(), theta)
    return {
        "gap": np.abs(theta[:, :d] - predicted).max(),
        "reward_error": np.ptp(fitted - reward, axis=-1).max(),
        "range": np.ptp(theta[:, :d], axis=0).max(),
        "dpo_range": np.ptp(plain, axis=0).max(),
    }


def _of_share(rng: np.random.Generator, multiple: float) -> dict[str, Any]:
    """Three responses and one feature: parameters and rewards at a share of discordant pairs."""
    reward, feature, reference, pairs = draw(rng)
    threshold = misspecified.reversal_share(reward, feature, pairs)
    law = _answers(reward[None], with_share(reward, feature, pairs, multiple * threshold)[None, None])
    policy = LogLinear(feature[:, None], reference)
    theta = {
        "dpo": float(_fitted(policy, law, BETA)[0, 0]),
        "aux": float(_fitted(with_auxiliary(policy, beta=BETA), law, BETA)[0, 0]),
        "rlhf": misspecified.rlhf_parameter(reward, feature, reference, BETA),
    }
    predicted = theory.natural_step(reward[None], feature[None, :, None], reference[None], np.ones(1), BETA)
    gains = {
        f"{name}_gain": float((misspecified.tilted(t, feature, reference) - reference) @ reward)
        for name, t in theta.items()
    }
    return {**theta, **gains, "gap": abs(theta["aux"] - float(predicted[0]))}


def _of_strong(rng: np.random.Generator) -> dict[str, Any]:
    """beta^2 times AuxDPO's distance to RLHF, less its limit, in units of what could make it up."""
    k = 5
    reward, feature, reference = rng.normal(size=k), rng.normal(size=k), rng.dirichlet(np.full(k, 3.0))
    law, policy = _uniform(reward), LogLinear(feature[:, None], reference)
    auxiliary = float(_fitted(with_auxiliary(policy, beta=STRONG), law, STRONG)[0, 0])
    rlhf = misspecified.rlhf_parameter(reward, feature, reference, STRONG)
    x, r = feature - reference @ feature, reward - reference @ reward
    unit = abs(float(reference @ (x * r))) * np.sqrt(reference @ r**2) / float(reference @ x**2)
    limit = theory.distance_to_rlhf(reward, feature, reference)
    return {"distance": (STRONG**2 * (rlhf - auxiliary) - limit) / unit}


def _of_price(rng: np.random.Generator) -> dict[str, Any]:
    """The least eigenvalue of AuxDPO's covariance in units of DPO's, where the class holds the reward."""
    k, d = int(rng.integers(4, 8)), int(rng.integers(1, 3))
    features, reference = rng.normal(size=(k, d)), rng.dirichlet(np.full(k, 3.0))
    plain, auxiliary = _covariances(features, reference, rng.normal(size=d))
    root = np.linalg.inv(np.linalg.cholesky(plain))
    return {"price": float(np.linalg.eigvalsh(root @ auxiliary @ root.T)[0])}


def _uniform(reward: Array) -> Law:
    """Answers on one prompt whose pairs are all as frequent."""
    return _answers(reward[None], np.ones((1, 1, len(reward), len(reward))))


def _covariances(features: Array, reference: Array, theta: Array) -> tuple[Array, Array]:
    """n Cov of DPO's and of AuxDPO's parameter where the reward is beta <theta, psi>; pairs are uniform."""
    law, pairs = _uniform(BETA * features @ theta), np.zeros((len(features), len(features)))
    pairs[law.chosen, law.rejected] = law.weights[0]
    fitted = asymptotics.reward_covariance(pairs)
    return (
        theory.dpo_covariance(features, pairs, BETA),
        theory.auxiliary_covariance(features, reference, fitted, BETA),
    )


@cache
def _held(responses: int) -> tuple[Array, Array, Array]:
    """One feature, the reference and a parameter of a class that holds its reward; fixed seed."""
    rng = np.random.default_rng(responses)
    return rng.normal(size=(responses, 1)), rng.dirichlet(np.full(responses, 3.0)), np.array([1.5])


def _samples(rng: np.random.Generator, responses: int, replicates: int) -> pd.DataFrame:
    """n times the squared error of both parameters on the same samples."""
    features, reference, theta = _held(responses)
    law = _uniform(BETA * features @ theta)
    counts = rng.multinomial(SIZE, law.weights[0] / law.weights[0].sum(), size=replicates)
    sample, policy = Law(law.chosen, law.rejected, counts / SIZE), LogLinear(features, reference)
    tables = []
    for method, of in {"DPO": policy, "AuxDPO": with_auxiliary(policy, beta=BETA)}.items():
        error = SIZE * (_fitted(of, sample, BETA)[:, 0] - theta[0]) ** 2
        tables.append(pd.DataFrame({"method": method, "replicate": np.arange(replicates), "error": error}))
    return pd.concat(tables, ignore_index=True)


def _predicted(method: str, responses: int) -> float:
    """n times the variance of the parameter."""
    plain, auxiliary = _covariances(*_held(responses))
    return float((plain if method == "DPO" else auxiliary)[0, 0])


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Gains over the reference by multiple of the threshold; n times variances by number of responses."""
    share = rows.loc[rows.part == "share"].rename(columns={"instance": "replicate"})
    parts = []
    for name, method in {"dpo": "DPO", "aux": "AuxDPO", "rlhf": "RLHF"}.items():
        gain = f"{name}_gain"
        lost = share.groupby("multiple")[gain].agg(lambda g: float((g < 0).mean())).to_numpy()
        parts.append(summarise(share, ["multiple"], gain).assign(part="share", method=method, lost=lost))
    samples = summarise(rows.loc[rows.part == "samples"], ["method", "responses"])
    predicted = [_predicted(m, int(k)) for m, k in zip(samples.method, samples.responses, strict=True)]
    return pd.concat([*parts, samples.assign(part="samples", predicted=predicted)], ignore_index=True)


def checks(rows: pd.DataFrame) -> list[Check]:
    """AuxDPO's limit, what moves with the pairs, signs and rewards, RLHF, and what it costs."""
    share = rows.loc[rows.part == "share"]
    above = share.loc[share.multiple > 1]
    means = summarise(rows.loc[rows.part == "samples"], ["method", "responses"])
    predicted = [_predicted(m, int(k)) for m, k in zip(means.method, means.responses, strict=True)]
    tolerance = ERRORS * float(np.sqrt(2 / means.replicates.min()))
    return [
        identity("AuxDPO's parameter = regression of the reward", rows.gap.dropna(), 1e-7),
        identity("AuxDPO's rewards = the true ones", rows.reward_error.dropna(), 1e-6),
        identity("range of AuxDPO's parameter over laws of the pairs", rows.range.dropna(), 1e-6),
        differs("range of DPO's parameter over laws of the pairs", rows.dpo_range.dropna(), MOVED),
        identity(
            "above the threshold DPO < 0 < AuxDPO: exceptions",
            1 - ((above.dpo < 0) & (above.aux > 0)).astype(int),
            0.0,
        ),
        identity("distance to RLHF, second order: off its constant", rows.distance.dropna(), ALIKE),
        separation("above the threshold: reward, AuxDPO minus DPO", above.aux_gain - above.dpo_gain),
        separation(
            "above the threshold: share in which AuxDPO is nearer to RLHF than DPO, less one half",
            ((above.aux - above.rlhf).abs() < (above.dpo - above.rlhf).abs()).astype(float) - 0.5,
        ),
        growth("n Var of either parameter = its constant", means["mean"], predicted, tolerance),
        bound("reward in the class: DPO's covariance <= AuxDPO's", 1.0, rows.price.dropna()),
    ]


def _unweighted(right: Any) -> Any:
    """The enlarged class of a developer who forgets that responses have the weights of the reference."""

    def wrong(policy: LogLinear, *, beta: float, prompts: Any = None) -> LogLinear:
        flat = torch.full_like(policy.log_reference, 1 / policy.log_reference.shape[-1])
        return LogLinear(
            right(LogLinear(policy.features, flat), beta=beta).features, policy.log_reference.exp()
        )

    return wrong


def _larger(enlarged: LogLinear) -> LogLinear:
    """The enlarged class with its features, auxiliary ones included, 10 % too large."""
    return LogLinear(1.1 * enlarged.features, enlarged.log_reference.exp())


def _with_reward(right: Any) -> Any:
    """The limit of a developer who forgets to take the regression off the reward."""

    def wrong(reward: Array, feature: Array, reference: Array) -> float:
        x, r = feature - reference @ feature, reward - reference @ reward
        return float(reference @ (x * r)) * float(reference @ (r * x**2)) / float(reference @ x**2) ** 2

    return wrong


def _without_weights(right: Any) -> Any:
    """DPO of a developer who counts every kind of comparison once."""
    return lambda batch, *, beta: right(replace(batch, weights=None), beta=beta)


def _none(right: Any) -> Any:
    """The class of a developer who adds the scores themselves, which are in it already."""

    def wrong(policy: LogLinear, *, beta: float, prompts: Any = None) -> LogLinear:
        return policy

    return wrong


_LIMITS = where(part={"classes", "share"})
DEFECTS = (
    Defect("the null space without the weights of the reference", with_auxiliary, _unweighted, _LIMITS),
    Defect("features 10 % too large", with_auxiliary, result(_larger), where(part={"classes", "samples"})),
    Defect("no auxiliary variables", with_auxiliary, _none, where(part={"classes", "share"})),
    Defect("DPO without the weights of the law", dpo, _without_weights, where(part="classes")),
    Defect(
        "answers 5 % noisier than the rewards say",
        win_matrix,
        argument("bt_temperature", lambda t: 0.95 * t),
        where(part="classes"),
    ),
    Defect(
        "the distance to RLHF with the reward in place of its residual",
        theory.distance_to_rlhf,
        _with_reward,
        where(part="strong"),
    ),
    Defect(
        "beta 10 % too large in AuxDPO's covariance",
        theory.auxiliary_covariance,
        argument("beta", lambda b: 1.1 * b),
        where(part="price"),
    ),
)
