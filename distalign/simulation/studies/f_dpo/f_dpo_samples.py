r"""What a pair buys by f-DPO and by policy gradient: the same policy, and texts that only one of them draws.

The claim. The abstract of f-DPO calls it a more efficient, supervised way to a policy, and more efficient in
divergence than PPO. Two roads lead from n labelled pairs to a policy: f-DPO; or a Bradley-Terry reward fitted
to the pairs, and policy gradient with the exact f-penalty (`distalign.policy_gradient.rlhf`, leave-one-out
baselines, M = 8 texts an update). On a table, where every law can be reached, what they buy is this, all of
it ours (`distalign.theory.f_dpo.sampled_texts`):

* In labelled pairs neither saves anything: both roads end at the same policy, on every sample.
* Policy gradient draws texts in addition. Its estimator has no noise left at the optimum, so at a fixed rate
  it falls to the optimum exponentially, with an exact exponent; the texts after which it misses no more than
  n pairs do grow like log n. A response of probability p costs at least -1 / log(1 - p) texts a factor e.
* Stopped before, it spends more divergence than its reward needs; f-DPO does not.
* In a class that does not hold the optimum neither is true: policy gradient at a fixed rate stays at a
  distance of the order of the rate, and where it ends has more value than f-DPO's policy.

So "more efficient" holds in computation only, and in a class large enough. Not tested: rewards used on
prompts that nobody labelled, rewards that are not fitted to the pairs, PPO's clipping.

The run. Ends: random problems of four responses, the minimiser of `f_dpo` on a sample, and stochastic policy
gradient on the fit of that sample until its gains are equal. Pairs: values missed by n pairs. Near: mean
excess after so many updates from a small displacement. Reference: policy gradient from the reference on the
fits of n pairs. Class: random rewards of six responses, two features; and policy gradient there at a fixed
rate, from the optimum on.

The checks. Identities: both roads' policies; the least divergence is what f-DPO spends; and, in standard
errors, the values missed by n pairs, the excess near the optimum, and the excess that stays in a class too
small, to first order in the rate. The last for two divergences: the forward KL's f' = 1 - 1/u explodes where
a response becomes rare; it strayed up to twenty times further on some problems of a pilot, and is left to the
table. Bounds: a tenfold n costs at most log 10 / -log decay updates, and one for rounding up; policy gradient
needs fewer texts than there are pairs; the least texts a factor e. Separations: divergence spent by policy
gradient stopped after five updates, and value in the class too small.

The planted defects: beta 10 % too large in policy gradient or in f-DPO; a baseline that holds the text
itself, or none; half a win added to every pair before the fit; the reward with the wrong sign; least
divergences of another reward; and each prediction off by a factor.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from distalign.divergences import divergence as named
from distalign.objectives import f_dpo
from distalign.policies import LogLinear, Tabular
from distalign.policy_gradient import mean_of_others, rlhf
from distalign.populations import Law, Population, win_matrix
from distalign.simulation.defects import Defect, argument, no_cell, result, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.bradley_terry import bradley_terry_rewards
from distalign.solvers.kkt import regularised_policy
from distalign.solvers.matched_reward import policy_at_reward
from distalign.theory.f_dpo import sampled_texts as theory
from distalign.theory.f_dpo.asymptotics import reward_covariance
from distalign.theory.f_dpo.coverage import regret_constant
from distalign.types import Array

BETAS = {"reverse_kl": 0.5, "forward_kl": 0.5, "jensen_shannon": 1.0}
STEADY = ("reverse_kl", "jensen_shannon")  # f' that stays moderate where a response becomes rare
RESPONSES, TEXTS, INSTANCE = 4, 8, 0
SLOWER = 4  # times below the rate of the fastest decay
EQUAL, MOST = 1e-9, 6000  # spread of the gains at which policy gradient has ended, and the most updates
BLOCK, STILL = 250, 1e-11  # updates between two looks, and a move of the parameters that is none
SIZES_OF_ENDS = (300, 3000)  # n, with very different errors
FACTOR, SMALL = 1.0, 1e-4  # e-folds that are followed near the optimum, and size of the displacement there
UNFINISHED, LATEST = 5, 400  # updates after which it is stopped, and the most from the reference
CLASS_RESPONSES, FEATURES = 6, 2
CLASS_RATE, CONDITION = 0.05, 2.0  # rate times the largest curvature; the most of that over the least
ROUNDS, LEAST_CURVATURE = 30, 0.001  # of Newton's method
BURNT, AVERAGED = 60, 240  # updates
ERRORS = 4.0  # standard errors


def _scaled(factor: float) -> Any:
    return result(lambda value: factor * value)


DEFECTS = (
    Defect(
        "beta 10 % too large in policy gradient",
        rlhf,
        argument("beta", lambda b: 1.1 * b),
        where(part={"ends", "near"}, divergence="forward_kl", texts={None, 2}),
    ),
    Defect(
        "beta 10 % too large in f-DPO",
        f_dpo,
        argument("beta", lambda b: 1.1 * b),
        where(part="ends", divergence="jensen_shannon"),
    ),
    Defect(
        "half a win added to every pair",
        bradley_terry_rewards,
        argument("wins", lambda wins: wins + 0.5),
        where(part="ends", divergence="forward_kl"),
    ),
    Defect(
        "a baseline that holds the text itself",
        mean_of_others,
        lambda right: lambda values: values.mean(1, keepdim=True),
        where(part="near", divergence="reverse_kl"),
    ),
    Defect(
        "no baseline",
        mean_of_others,
        result(lambda mean: 0 * mean),
        where(part="near", divergence="forward_kl"),
    ),
    Defect(
        "the reward with the wrong sign",
        rlhf,
        argument("reward", lambda reward: -reward),
        where(part={"reference", "class"}, divergence="reverse_kl", size={None, 1000}),
    ),
    Defect(
        "least divergences of 10 % more reward",
        policy_at_reward,
        argument("target", lambda reward: 1.1 * reward),
        where(part="stopped"),
    ),
    Defect("the value that pairs miss 10 % too large", regret_constant, _scaled(1.1), where(part="pairs")),
    Defect(
        "the rate 10 % too large near the optimum",
        theory.mean_excess,
        argument("rate", lambda rate: 1.1 * rate),
        where(part="near"),
    ),
    Defect("the decay squared once more", theory.decay, result(lambda decay: decay**2), no_cell),
    Defect("the least texts 10 % too many", theory.least_texts, _scaled(1.1), where(part="near")),
    Defect(
        "half of the stationary excess",
        theory.stationary_excess,
        _scaled(0.5),
        where(part="stays", divergence="reverse_kl"),
    ),
)


def cells(
    sizes: list[int],
    ends: int,
    pairs: int,
    near: int,
    replicates: int,
    chains: int,
    problems: int,
    followed: int,
) -> list[dict[str, Any]]:
    """One cell per part and divergence, and per n from the reference.

    Args:
        sizes: n, of fits that policy gradient starts on.
        ends: samples of each size on which both roads are followed to the end.
        pairs: replicates of the value that pairs miss.
        near: random problems of the excess near the optimum.
        replicates: runs of policy gradient per problem or size.
        chains: runs of policy gradient per reward in a class too small.
        problems: random rewards in that class.
        followed: rewards of which policy gradient is run there.
    """
    parts = [
        {"part": "ends", "instances": ends},
        {"part": "pairs", "size": max(sizes), "instances": pairs},
        *({"part": "near", "texts": m, "instances": near, "replicates": replicates} for m in (2, TEXTS)),
        *({"part": "reference", "size": n, "instances": replicates} for n in sizes),
        {"part": "stopped", "size": min(sizes), "instances": 2 * replicates},
        {"part": "class", "instances": problems},
        {"part": "stays", "instances": followed, "replicates": chains},
    ]
    return [{**part, "divergence": f} for f in BETAS for part in parts]


def run(
    rng: np.random.Generator,
    *,
    part: str,
    divergence: str,
    instances: int,
    size: int = 0,
    texts: int = TEXTS,
    replicates: int = 0,
) -> dict[str, Any]:
    """Rows of one part."""
    if part == "ends":
        return _ends(rng, divergence, instances)
    if part == "pairs":
        return _pairs(rng, divergence, size, instances)
    if part == "near":
        return _near(rng, divergence, texts, instances, replicates)
    if part == "reference":
        return _from_reference(rng, divergence, size, instances)
    if part == "stopped":
        return _stopped(rng, divergence, size, instances)
    if part == "class":
        return _too_small(rng, divergence, instances)
    return _fixed_rate(rng, divergence, instances, replicates)


def _problem(rng: np.random.Generator, responses: int = RESPONSES) -> tuple[Array, Array]:
    """Rewards and a reference."""
    return (
        rng.uniform(-1, 1, responses),
        0.8 * rng.dirichlet(np.full(responses, 2.0)) + 0.2 / responses,
    )


@cache
def problem() -> tuple[Array, Array]:
    """The one problem of the parts that vary n."""
    return _problem(np.random.default_rng(INSTANCE))


def _optimum(reward: Array, ref: Array, f: str) -> tuple[Array, Array]:
    """The optimum (K,) of a reward, and u f''(u) there."""
    policy = regularised_policy(reward, ref, BETAS[f], f).policy
    return policy, np.broadcast_to(named(f).weight(np.log(policy / ref)), policy.shape)


def _rate(policy: Array, weight: Array, f: str, texts: int) -> float:
    """A quarter of the rate at which the mean excess falls fastest."""
    rates = np.geomspace(0.2, 50, 12)
    decays = [theory.decay(policy, weight, BETAS[f], rate, texts) for rate in rates]
    return float(rates[int(np.argmin(decays))] / SLOWER)


class _Ascent:
    """Policy gradient of many problems at once, a row each, on texts that each policy draws.

    Args:
        reward: (R, K).
        ref: (K,) or (R, K).
        f: the divergence.
        theta: (R, d) where it starts.
        features: (R, K, d), or None where the logits themselves are the parameters.
    """

    def __init__(
        self, reward: Array, ref: Array, f: str, theta: Array, features: Array | None = None
    ) -> None:
        self.reward, self.f, self.theta, self.features = reward, f, theta, features
        self.log_ref = np.log(np.broadcast_to(ref, reward.shape))

    @property
    def log_policy(self) -> Array:
        """(R, K) log-probabilities."""
        tilt = self.theta if self.features is None else np.einsum("rkd,rd->rk", self.features, self.theta)
        logits = self.log_ref + tilt
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)

    def update(self, rng: np.random.Generator, rate: float | Array, texts: int) -> None:
        """One step along the estimated gradient."""
        log_policy = self.log_policy
        policy = np.exp(log_policy)
        cut = policy.cumsum(1)[:, None, :-1]
        drawn = (cut < rng.random((len(policy), texts, 1))).sum(2)
        reward, ratio = (
            torch.from_numpy(np.take_along_axis(x, drawn, 1))
            for x in (self.reward, log_policy - self.log_ref)
        )
        found = rlhf(reward, ratio, beta=BETAS[self.f], divergence=self.f).advantages.numpy()
        places = np.arange(len(policy))[:, None] * policy.shape[1] + drawn
        credit = np.bincount(places.ravel(), found.ravel(), policy.size).reshape(policy.shape) / texts
        gradient = credit - credit.sum(1, keepdims=True) * policy
        if self.features is not None:
            gradient = np.einsum("rkd,rk->rd", self.features, gradient)
        self.theta = self.theta + rate * gradient


def _gain(reward: Array, policy: Array, ref: Array, f: str) -> Array:
    """(..., K) r - beta f'(pi / ref), constant at the optimum."""
    return reward - BETAS[f] * named(f).link(np.log(policy / ref))


def _value(policy: Array, reward: Array, ref: Array, f: str) -> Array:
    """(...) E r - beta D_f."""
    return (policy * reward).sum(-1) - BETAS[f] * _spent(policy, ref, f)


def _spent(policy: Array, ref: Array, f: str) -> Array:
    """(...) D_f(pi || ref)."""
    return (ref * named(f).f(policy / ref)).sum(-1)


def _missed(policy: Array, best: Array, ref: Array, f: str) -> Array:
    """(...) value of the optimum `best` less that of a policy: beta times a Bregman divergence of f."""
    d = named(f)
    u, v = policy / ref, best / ref
    return BETAS[f] * (ref * (d.f(u) - d.f(v) - d.link(np.log(v)) * (u - v))).sum(-1)


def _fits(
    rng: np.random.Generator, reward: Array, ref: Array, size: int, replicates: int
) -> tuple[Any, Array]:
    """Samples of pairs, and the Bradley-Terry rewards of those that have a fit."""
    sample = Population(win_matrix(reward[None], [1.0], 1.0), ref).sample_pairs(
        size, rng, replicates=replicates
    )
    fits = bradley_terry_rewards(sample.weights.reshape(replicates, len(ref), len(ref)))
    return sample, np.where(fits.solved[:, None], fits.reward, np.nan)


def _ends(rng: np.random.Generator, f: str, instances: int) -> dict[str, Any]:
    """Where both roads end on samples of one random problem."""
    found = []
    for size in SIZES_OF_ENDS:
        reward, ref = _problem(rng)
        sample, fits = _fits(rng, reward, ref, size, instances)
        minimiser = fit(Tabular(ref), partial(f_dpo, beta=BETAS[f], divergence=f), sample, tolerance=1e-12)
        solved = np.isfinite(fits[:, 0])
        best, weight = _optimum(reward, ref, f)
        ascent = _Ascent(fits[solved], ref, f, np.zeros((solved.sum(), RESPONSES)))
        rate, updates, still = 2 * _rate(best, weight, f, TEXTS), 0, 0
        while still < 2 and updates < MOST:
            before = ascent.theta
            for _ in range(BLOCK):
                ascent.update(rng, rate, TEXTS)
            updates += BLOCK
            spread = np.ptp(_gain(fits[solved], np.exp(ascent.log_policy), ref, f), axis=1).max()
            moved = np.abs(ascent.theta - before).max()
            still = 2 if spread <= EQUAL else still + 1 if moved < STILL else 0
        both = minimiser.probs[solved, 0] - np.exp(ascent.log_policy)
        found.append(
            pd.DataFrame(
                {
                    "size": size,
                    "distance": np.abs(both).sum(1) / 2,
                    "error": np.abs(minimiser.probs[solved, 0] - best).sum(1) / 2,
                    "updates": updates,
                }
            )
        )
    return dict(pd.concat(found, ignore_index=True))


def _pairs(rng: np.random.Generator, f: str, size: int, instances: int) -> dict[str, Any]:
    """n times the value that f-DPO on n pairs misses, over its limit."""
    reward, ref = problem()
    best, weight = _optimum(reward, ref, f)
    _, fits = _fits(rng, reward, ref, size, instances)
    law = Population(win_matrix(reward[None], [1.0], 1.0), ref).pairs()
    limit = regret_constant(
        best, weight, BETAS[f], reward_covariance(law.weights.reshape(RESPONSES, RESPONSES))
    )
    policy = regularised_policy(fits[np.isfinite(fits[:, 0])], ref, BETAS[f], f).policy
    return {"missed": size * _missed(policy, best, ref, f), "limit": limit}


def _near(rng: np.random.Generator, f: str, texts: int, instances: int, replicates: int) -> dict[str, Any]:
    """Mean excess of runs from a small displacement over its prediction, one row a problem."""
    rows = []
    for _ in range(instances):
        reward, ref = _problem(rng)
        best, weight = _optimum(reward, ref, f)
        rate = _rate(best, weight, f, texts)
        updates = int(np.ceil(-FACTOR / np.log(theory.decay(best, weight, BETAS[f], rate, texts))))
        start = rng.normal(size=RESPONSES)
        start = SMALL * (start - start.mean())
        ascent = _Ascent(
            np.tile(reward, (replicates, 1)),
            ref,
            f,
            np.tile(np.log(best / ref) + start, (replicates, 1)),
        )
        for _ in range(updates):
            ascent.update(rng, rate, texts)
        missed = _missed(np.exp(ascent.log_policy), best, ref, f)
        setting = best, weight, BETAS[f], rate, texts
        rows.append(
            {
                "ratio": missed.mean() / theory.mean_excess(start, *setting, updates),
                "error_of_ratio": missed.std(ddof=1)
                / np.sqrt(replicates)
                / theory.mean_excess(start, *setting, updates),
                "updates": updates,
                "price": -texts / np.log(theory.decay(best, weight, BETAS[f], SLOWER * rate, texts)),
                "least": theory.least_texts(best),
            }
        )
    return dict(pd.DataFrame(rows))


def _from_reference(rng: np.random.Generator, f: str, size: int, replicates: int) -> dict[str, Any]:
    """Mean excess over the fits' optima by update, until it is what n pairs miss."""
    reward, ref = problem()
    ascent, ends = _started(rng, f, size, replicates)
    best, weight = _optimum(reward, ref, f)
    rate = _rate(best, weight, f, TEXTS)
    missed, excess = _missed(ends, best, ref, f).mean(), []
    while not excess or (excess[-1] > missed and len(excess) <= LATEST):
        excess.append(_missed(np.exp(ascent.log_policy), ends, ref, f).mean())
        ascent.update(rng, rate, TEXTS)
    return {"update": np.arange(len(excess)), "excess": excess, "missed": missed, "rate": rate}


def _stopped(rng: np.random.Generator, f: str, size: int, replicates: int) -> dict[str, Any]:
    """Log of the divergence spent over the least of the same reward: stopped early, and by f-DPO."""
    reward, ref = problem()
    ascent, ends = _started(rng, f, size, replicates)
    rate = _rate(*_optimum(reward, ref, f), f, TEXTS)
    for _ in range(UNFINISHED):
        ascent.update(rng, rate, TEXTS)
    stopped = np.exp(ascent.log_policy)
    return {
        "beyond": _beyond(stopped, ascent.reward, ref, f),
        "beyond_f_dpo": _beyond(ends, ascent.reward, ref, f),
    }


def _started(rng: np.random.Generator, f: str, size: int, replicates: int) -> tuple[_Ascent, Array]:
    """Policy gradient at the reference, on the fits of n pairs; and the optima of these fits."""
    reward, ref = problem()
    _, fits = _fits(rng, reward, ref, size, replicates)
    fits = fits[np.isfinite(fits[:, 0])]
    return _Ascent(fits, ref, f, np.zeros(fits.shape)), regularised_policy(fits, ref, BETAS[f], f).policy


def _beyond(policy: Array, reward: Array, ref: Array, f: str) -> Array:
    """(R,) log of D_f over the least with which a policy has the same reward; NaN where none is gained."""
    reached, found = (policy * reward).sum(1), np.full(len(policy), np.nan)
    gains = reached > reward @ ref + 1e-3
    _, least = policy_at_reward(reward[gains], ref, reached[gains], f)
    found[gains] = np.log(_spent(policy[gains], ref, f) / _spent(least.policy, ref, f))
    return found


def _too_small(rng: np.random.Generator, f: str, instances: int) -> dict[str, Any]:
    """Value lost by both roads on random rewards in one class that does not hold the optimum."""
    ref, features = small_class()
    rewards = rng.uniform(-1, 1, (instances, CLASS_RESPONSES))
    laws = [Population(win_matrix(r[None, None], [1.0], 1.0), ref).pairs(distinct=True) for r in rewards]
    answers = Law(laws[0].chosen, laws[0].rejected, np.stack([law.weights for law in laws]))
    supervised = fit(LogLinear(features[None], ref), partial(f_dpo, beta=BETAS[f], divergence=f), answers)
    best = regularised_policy(rewards, ref, BETAS[f], f).policy
    ends = np.array([_class_optimum(reward, f)[1] for reward in rewards])
    return {
        "lost": _missed(ends, best, ref, f),
        "lost_f_dpo": np.where(supervised.converged, _missed(supervised.probs[:, 0], best, ref, f), np.nan),
    }


def _fixed_rate(rng: np.random.Generator, f: str, instances: int, chains: int) -> dict[str, Any]:
    """Mean value by which policy gradient at a fixed rate stays below the best of that class."""
    ref, features = small_class()
    rows: list[dict[str, float]] = []
    while len(rows) < instances:
        reward = 0.5 * (features @ rng.normal(size=FEATURES) + rng.uniform(-1, 1, CLASS_RESPONSES))
        theta, policy, curvature = _class_optimum(reward, f)
        slow, fast = np.linalg.eigvalsh(curvature)[[0, -1]]
        if fast > CONDITION * slow:
            continue
        best, rate = _optimum(reward, ref, f)[0], CLASS_RATE / fast
        wide = [np.broadcast_to(x, (chains, *x.shape)) for x in (reward, theta, features)]
        ascent, total = _Ascent(wide[0], ref, f, wide[1], wide[2]), np.zeros(chains)
        for update in range(BURNT + AVERAGED):
            ascent.update(rng, rate, TEXTS)
            if update >= BURNT:
                total += _missed(np.exp(ascent.log_policy), best, ref, f) / AVERAGED
        gain = _gain(reward, policy, ref, f)
        total = total if np.isfinite(total).all() else np.full(chains, np.nan)  # a response was lost
        stays = total - _missed(policy, best, ref, f)
        rows.append(
            {
                "stays": stays.mean(),
                "error_of_stays": stays.std(ddof=1) / np.sqrt(chains),
                "predicted": theory.stationary_excess(features, policy, gain, curvature, rate, TEXTS),
            }
        )
    return dict(pd.DataFrame(rows))


@cache
def small_class() -> tuple[Array, Array]:
    """Reference and features of the class that is too small: uncorrelated and of variance 1 there."""
    rng = np.random.default_rng(INSTANCE)
    ref, features = _problem(rng, CLASS_RESPONSES)[1], rng.normal(size=(CLASS_RESPONSES, FEATURES))
    features -= ref @ features
    root = np.linalg.cholesky(features.T @ (ref[:, None] * features))
    return ref, np.asarray(np.linalg.solve(root, features.T).T, float)


def _class_optimum(reward: Array, f: str) -> tuple[Array, Array, Array]:
    """theta, policy and curvature where the expectation of `rlhf` over all pairs of texts vanishes: uphill
    from the reference by Newton's method.
    """
    ref, features = small_class()
    texts = np.indices((len(ref), len(ref))).reshape(2, -1).T

    def at(theta: Array) -> tuple[Array, float]:
        policy = np.exp(np.log(ref) + features @ theta)
        policy /= policy.sum()
        return policy, float(_value(policy, reward, ref, f))

    theta = np.zeros(FEATURES)
    policy, value = at(theta)
    curvature = np.eye(FEATURES)
    for _ in range(ROUNDS):
        ratio = np.log(policy / ref)
        drawn = (torch.from_numpy(x[texts]) for x in (reward, ratio))
        found = rlhf(*drawn, beta=BETAS[f], divergence=f).advantages.numpy()
        credit = policy[texts].prod(1)[:, None] * found / 2
        gradient = np.einsum("pk,pkd->d", credit, features[texts])
        weight = np.broadcast_to(named(f).weight(ratio), ref.shape)
        curvature = theory.class_curvature(features, policy, _gain(reward, policy, ref, f), weight, BETAS[f])
        values, vectors = np.linalg.eigh(curvature)
        step = vectors @ (vectors.T @ gradient / np.maximum(np.abs(values), LEAST_CURVATURE))
        if np.abs(step).max() < 1e-8:
            break
        step *= min(1.0, 1.0 / np.abs(step).max())
        while at(theta + step)[1] < value and np.abs(step).max() > 1e-8:
            step = step / 2
        theta = theta + step
        policy, value = at(theta)
    return theta, policy, curvature


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Both roads' numbers, by part, divergence and n: mean and 99 % interval, beside what theory says."""
    frames = []
    for part, quantity, by, predicted in (
        ("ends", "distance", ["size"], None),
        ("ends", "error", ["size"], None),
        ("pairs", "missed", ["size"], "limit"),
        ("near", "ratio", ["texts"], None),
        ("stopped", "beyond", ["size"], None),
        ("stopped", "beyond_f_dpo", ["size"], None),
        ("class", "lost", [], None),
        ("class", "lost_f_dpo", [], None),
        ("stays", "stays", [], "predicted"),
    ):
        mine = rows.loc[rows.part == part]
        found = summarise(mine, ["divergence", *by], quantity)
        if predicted:
            found["predicted"] = mine.groupby("divergence")[predicted].mean().loc[found.divergence].to_numpy()
        frames.append(found.assign(part=part, quantity=quantity))
    curves = rows.loc[rows.part == "reference"]
    largest = curves.loc[curves["size"] == curves["size"].max()]
    kept = largest[["part", "divergence", "size", "update"]]
    path = kept.assign(mean=largest.excess, quantity="excess", texts=TEXTS * largest["update"])
    needed = _needed(rows)
    needed = needed.assign(part="reference", quantity="needed", texts=TEXTS * needed["update"])
    listed = pd.concat([*frames, path, needed.assign(mean=needed["update"])], ignore_index=True)
    columns = [
        "part",
        "quantity",
        "divergence",
        "size",
        "texts",
        "update",
        "mean",
        "low",
        "high",
        "predicted",
    ]
    return pd.DataFrame(listed, columns=[*columns, "missed", "replicates", "excluded"])


def _needed(rows: pd.DataFrame) -> pd.DataFrame:
    """Updates after which policy gradient misses no more than n pairs do, and at most how many more than
    with the next smaller n theory allows, by divergence and n.
    """
    curves = rows.loc[rows.part == "reference"]
    by = curves.groupby(["divergence", "size"], as_index=False)
    found = by.agg({"update": "max", "missed": "first", "rate": "first"})
    decays = {
        f: theory.decay(*_optimum(*problem(), f), BETAS[f], rate, TEXTS)
        for f, rate in zip(found.divergence, found.rate, strict=True)
    }
    steps = np.log(found["size"] / found.groupby("divergence")["size"].shift())
    return found.assign(predicted=steps / -np.log(found.divergence.map(decays)))


def checks(rows: pd.DataFrame) -> list[Check]:
    """One policy by both roads, what else policy gradient pays, and where a class is too small."""
    ends, pairs, near, stopped, small, stays = (
        rows.loc[rows.part == part] for part in ("ends", "pairs", "near", "stopped", "class", "stays")
    )
    missed = (pairs.missed / pairs.limit).groupby(pairs.divergence).agg(["mean", "sem"])
    kept = near.groupby(["divergence", "texts"])
    errors = kept.error_of_ratio.apply(lambda x: np.sqrt((x**2).sum()) / len(x))
    needed = _needed(rows)
    later = needed.dropna(subset="predicted")
    more = needed.groupby("divergence")["update"].diff().loc[later.index]
    return [
        identity(
            "f-DPO on n pairs = policy gradient on their fit, at its end: total variation",
            ends.distance,
            1e-6,
        ),
        identity(
            "value that n pairs miss = its limit, in standard errors",
            (missed["mean"] - 1) / missed["sem"],
            ERRORS,
        ),
        identity(
            "mean excess near the optimum = the recursion of second moments, in standard errors",
            (kept.ratio.mean() - 1) / errors,
            ERRORS,
        ),
        identity("f-DPO spends the least divergence of its reward", stopped.beyond_f_dpo, 1e-6),
        bound(
            "updates for the next larger n: at most log(n'/n) / -log decay, and one",
            more,
            later.predicted + 1,
        ),
        bound(
            "texts until policy gradient misses no more than n pairs: at most n",
            TEXTS * needed["update"],
            needed["size"],
        ),
        bound("texts a factor e at least -1 / log(1 - p) of the rarest response", near.least, near.price),
        identity(
            "class too small: excess that stays at a fixed rate = rate times noise / 4, in standard errors",
            [_excess_in_errors(stays.loc[stays.divergence == f]) for f in STEADY],
            ERRORS,
        ),
        *(
            separation(
                f"{f}: log of the divergence that policy gradient spends after {UNFINISHED} updates over the "
                "least with its reward",
                stopped.beyond[stopped.divergence == f],
            )
            for f in BETAS
        ),
        separation(
            "class too small: log of the value lost by f-DPO minus by policy gradient",
            np.log(small.lost_f_dpo / small.lost),
        ),
    ]


def _excess_in_errors(rows: pd.DataFrame) -> float:
    """By how many standard errors the mean ratio of what stays to its prediction differs from 1."""
    ratio, error = rows.stays / rows.predicted, rows.error_of_stays / rows.predicted
    return float((ratio.mean() - 1) * len(rows) / np.sqrt((error**2).sum()))
