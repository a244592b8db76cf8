"""In a class that does not hold the reward, how often pairs are shown decides where DPO ends, even its sign.

The claim. DPO fits the reward that a policy class implies; where the true reward is not among them its
solution depends on the law of the pairs, may reverse preferences, and may lose reward (Gopalan, Chowdhury
and Banerjee, arXiv 2510.20413, abstract; their theorems were not read, and their remedy, AuxDPO, is in
`aux_dpo`). Three responses and one feature show all of it. The formulas are elementary and ours
(`distalign.theory.f_dpo.misspecified`): the share of discordant pairs at which DPO's parameter is exactly 0,
and that for pairs drawn from the reference and small rewards DPO and RLHF agree to first order.

The run. Random rewards, features, references and pair frequencies of three responses, such that the one
feature agrees with the reward on some pairs and not on others; Bradley-Terry answers, by their exact law.
The share of discordant pairs goes through multiples of the predicted threshold.

The two roads. The package's DPO, fitted in `LogLinear` from answers alone; theory's roots from the reward.
RLHF fits a reward to the same answers, and maximises E r - beta KL in the same class.

The checks, fixed beforehand but for the size of the small rewards. Identities: DPO's fit is the root of its
first-order condition; it is 0 at the threshold; it is positive below and negative above it, on every
instance; in a class that holds the reward it does not depend on the pairs; RLHF's reward does not either;
for small rewards and pairs from the reference both parameters agree within a hundredth of the size of the
reward. Bounds: RLHF never has less reward than the reference; DPO's reward, where its parameter has the
wrong sign and reward rises with the parameter all the way back to the reference, is below that of the
reference.

The planted defects: DPO's beta 10 % too large, or its chosen and rejected responses exchanged; answers 5 %
noisier; the threshold 5 % too large; and RLHF's parameter with the wrong sign.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from distalign.objectives import dpo
from distalign.policies import LogLinear
from distalign.populations import Law, win_matrix
from distalign.simulation.defects import Defect, argument, result
from distalign.simulation.fit import fit
from distalign.simulation.verdict import Check, bound, identity
from distalign.solvers.choice.reward import reward_mle
from distalign.theory.f_dpo import misspecified as theory

RESPONSES, BETA, SMALL = 3, 0.5, 1e-4  # SMALL: size of the rewards for which DPO and RLHF are compared


def _exchanged(right: Any) -> Any:
    """DPO of a developer who takes the rejected response for the chosen one."""

    def wrong(batch: Any, *, beta: float) -> Any:
        swapped = replace(
            batch,
            chosen=batch.rejected,
            rejected=batch.chosen,
            ref_chosen=batch.ref_rejected,
            ref_rejected=batch.ref_chosen,
        )
        return right(swapped, beta=beta)

    return wrong


DEFECTS = (
    Defect("DPO's beta 10 % too large", dpo, argument("beta", lambda b: 1.1 * b)),
    Defect("DPO's chosen and rejected responses exchanged", dpo, _exchanged),
    Defect(
        "answers 5 % noisier than the rewards say", win_matrix, argument("bt_temperature", lambda t: 0.95 * t)
    ),
    Defect("the threshold 5 % too large", theory.reversal_share, result(lambda s: 1.05 * s)),
    Defect("RLHF's parameter with the wrong sign", theory.rlhf_parameter, result(lambda t: -t)),
)


def cells(multiples: list[float], instances: int) -> list[dict[str, Any]]:
    """One cell per multiple of the threshold, and one each for realisable and for small rewards."""
    parts = [{"part": "share", "multiple": m} for m in multiples]
    return [{**part, "instances": instances} for part in [*parts, {"part": "realisable"}, {"part": "small"}]]


def run(rng: np.random.Generator, *, part: str, instances: int, multiple: float = 1.0) -> dict[str, Any]:
    """Parameters and rewards of each random instance."""
    rows = [_instance(rng, part, multiple) for _ in range(instances)]
    return {"instance": np.arange(instances), **{name: [row[name] for row in rows] for name in rows[0]}}


def _instance(rng: np.random.Generator, part: str, multiple: float) -> dict[str, Any]:
    reward, feature, reference, pairs = draw(rng)
    if part == "realisable":
        reward = BETA * rng.normal(scale=2) * feature
    elif part == "small":
        reward, pairs = SMALL * reward, np.outer(reference, reference)
    threshold = theory.reversal_share(reward, feature, pairs) if part == "share" else np.nan
    if part == "share":
        pairs = with_share(reward, feature, pairs, multiple * threshold)
    win = win_matrix(reward[None], [1.0], 1.0)
    theta = _fit(win, feature, reference, pairs)
    learned = reward_mle(win, pairs).reward
    rlhf = theory.rlhf_parameter(learned, feature, reference, BETA)
    path = [_covariance(t, reward, feature, reference) for t in np.linspace(theta, 0, 50)]
    gains = [(theory.tilted(t, feature, reference) - reference) @ reward for t in (theta, rlhf)]
    return {
        "theta": theta,
        "predicted": theory.dpo_parameter(reward, feature, pairs, BETA),
        "rlhf": rlhf,
        "threshold": threshold,
        "reward_error": np.abs(learned - learned.mean() - reward + reward.mean()).max(),
        "gain": gains[0],
        "rlhf_gain": gains[1],
        "rising": min(path) > 0,
    }


def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Reward, feature, reference and pair frequencies, drawn until the instance is one of the claim.

    There are pairs of both kinds, reward rises with the parameter at the reference, and the threshold leaves
    room above it.
    """
    while True:
        reward, feature = rng.normal(size=RESPONSES), rng.normal(size=RESPONSES)
        reference = 0.8 * rng.dirichlet(np.ones(RESPONSES)) + 0.2 / RESPONSES
        pairs = rng.random((RESPONSES, RESPONSES)) + 0.2
        pairs = pairs + pairs.T
        np.fill_diagonal(pairs, 0)
        signs = np.subtract.outer(reward, reward) * np.subtract.outer(feature, feature)
        both = (signs < 0).any() and (signs > 0).any()
        rising = _covariance(0.0, reward, feature, reference) > 0.05
        if both and rising and theory.reversal_share(reward, feature, pairs) < 0.8:
            return reward, feature, reference, pairs


def _covariance(theta: float, reward: np.ndarray, feature: np.ndarray, reference: np.ndarray) -> float:
    p = theory.tilted(theta, feature, reference)
    return float(p @ (reward * (feature - p @ feature)))


def with_share(reward: np.ndarray, feature: np.ndarray, pairs: np.ndarray, share: float) -> np.ndarray:
    """Pair frequencies of sum 1 whose discordant pairs have this share in all."""
    discordant = np.subtract.outer(reward, reward) * np.subtract.outer(feature, feature) < 0
    of_both = pairs * discordant / pairs[discordant].sum(), pairs * ~discordant / pairs[~discordant].sum()
    return share * of_both[0] + (1 - share) * of_both[1]


def _fit(win: np.ndarray, feature: np.ndarray, reference: np.ndarray, pairs: np.ndarray) -> float:
    """DPO's parameter by the package's objective, from the exact law of the answers; NaN if not certified."""
    chosen, rejected = np.nonzero(~np.eye(RESPONSES, dtype=bool))
    law = Law(chosen, rejected, (pairs * win)[chosen, rejected])
    found = fit(LogLinear(feature[:, None], reference), partial(dpo, beta=BETA), law, tolerance=1e-12)
    return float(found.theta[0]) if found.converged else float("nan")


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Parameters and gains over the reference by part and multiple of the threshold: mean and range."""
    rows = rows.assign(multiple=rows.multiple.fillna(0.0))
    return rows.groupby(["part", "multiple"], as_index=False, sort=True).agg(
        mean=("gain", "mean"),
        low=("gain", "min"),
        high=("gain", "max"),
        rlhf_mean=("rlhf_gain", "mean"),
        rlhf_low=("rlhf_gain", "min"),
        rlhf_high=("rlhf_gain", "max"),
        negative=("theta", lambda t: float((t < 0).mean())),
        instances=("instance", "size"),
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Roots, the threshold and the signs around it, what does not depend on the pairs, and rewards."""
    shares, realisable, small = (rows[rows.part == p] for p in ("share", "realisable", "small"))
    below, above = shares[shares.multiple < 1], shares[shares.multiple > 1]
    lost = above[above.rising.astype(bool)]
    return [
        identity("DPO's parameter = root of its first-order condition", rows.theta - rows.predicted, 1e-7),
        identity("DPO's parameter at the threshold = 0", shares.theta[shares.multiple == 1], 1e-7),
        identity(
            "DPO's sign: positive below the threshold, negative above: exceptions",
            [*(below.theta <= 0).astype(int), *(above.theta >= 0).astype(int)],
            0.0,
        ),
        identity(
            "reward in the class: RLHF and DPO have one parameter for all pairs",
            realisable.theta - realisable.rlhf,
            1e-6,
        ),
        identity("RLHF's reward does not depend on the pairs", rows.reward_error, 1e-7),
        identity(
            "pairs from the reference, small rewards: DPO = RLHF, in units of the reward",
            (small.theta - small.rlhf) / SMALL,
            0.01,
        ),
        bound("RLHF never has less reward than the reference", 1 - rows.rlhf_gain, 1.0, slack=1e-12),
        bound("above the threshold DPO has less reward than the reference", 1 + lost.gain, 1.0, slack=0.0),
    ]
