"""What anonymous answers miss of the average reward, and what a second answer of each annotator gives back.

The claim. Shirali et al. (arXiv 2502.16320, abstract; theorems not read): where users differ the average
reward is what one policy should follow; learning it takes information about annotators; a little of it gives
an improvement of first order, and full feedback of every user type a consistent estimate. (That no direct
loss is both consistent and sample-efficient then is not tested: what they call so was not seen.) The
expansions, the correction and all constants are ours (`distalign.theory.distortion.annotators`, with the
derivation).

DPO's implicit reward over all policies is the Bradley-Terry fit (claim `rlhf_is_borda`), so the arms are
fits: of anonymous answers; of probabilities corrected by the agreement of two answers of one annotator to the
same pair; and of each type's answers, averaged with the types' shares. With differences d of an annotator, of
mean D, variance V and third moment M, the first misses D by -tanh(D/2) V/2, the second by
-(1 - 3 sigma'(D)) M/3, which is of the order s^3 if annotators differ by s, and s^4 where they differ
symmetrically.

The run. Limits: random populations of four responses, symmetric and skewed, with random weights of pairs,
whose annotators differ by s from 0.01 to 0.4 of one direction; the exact limits of both fits. Samples: one
population, n annotators for each pair who answer twice; the root mean square error of the rewards. Twins: a
uniform crowd and a divided one with the same win probability of the one pair and average rewards of opposite
sign, which no anonymous answers tell apart.

The checks, of biases by their projection on the prediction. Growth: what is left after the correction and
what anonymous answers miss, extrapolated from s = 0.01 and 0.02 to 0, to 2 % (read at s = 0.02 itself, as was
asked first, a pilot was 5.4 % off, which is the next order). For symmetric tastes the mean corrected bias
falls by at least 2^3.8 when s is halved. Both fits of the largest n have the mean error of their limits, to 2
and 3 %; the types' fit errs like n^-1/2; and the correction has the smaller error at the largest n. Twins:
equal answers to 1e-12, opposite means, and agreement that differs.

The planted defects: the correction with the opposite sign, or 2 % too large; either constant 10 % too large;
the second answer given by another annotator; users who answer 5 % noisier; types averaged with equal shares;
and twins of a weak minority, or who agree alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from distalign.populations import BradleyTerryUsers
from distalign.populations._arrays import Integers
from distalign.populations.repeated_answers import answer_law, repeated_wins, sample_repeated
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, differs, growth, identity, separation
from distalign.solvers.choice.annotators import corrected_reward, corrected_win
from distalign.solvers.choice.reward import reward_mle
from distalign.theory.distortion.annotators import anonymous_bias, corrected_bias, fitted_bias
from distalign.types import Array

RESPONSES, TEMPERATURE = 4, 4.0
SMALL, HALVED = (0.01, 0.02), (0.05, 0.1)  # s of the constants; those of the order for symmetric tastes
ARMS = ("anonymous", "corrected", "types")
LEAST, ERRORS = 10_000, 4.0  # annotators for each pair from which the types err like n^-1/2, and how nearly


def _average(rewards: Array, shares: Array) -> Array:
    """The average of the types' rewards."""
    return shares @ rewards


def _crowd(differences: Array, shares: Array) -> BradleyTerryUsers:
    """Two responses; types with these differences of rewards, in logits."""
    scale = 10.0
    utilities = 0.5 + np.outer(differences / scale, [0.5, -0.5])
    return BradleyTerryUsers(utilities, shares, scale)


def _scaled(correction: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A wrong `corrected_win` that corrects so many times as much."""

    def wrong(right: Callable[..., Any]) -> Callable[..., Any]:
        return lambda win, twice: np.clip(win + correction * (right(win, twice) - win), 0, 1)

    return wrong


def _strangers(law: tuple[Array, Array]) -> tuple[Array, Array]:
    """The law of answers where the second answer of a pair is another annotator's."""
    pairs, shares = law
    p = (shares[..., 0] + shares[..., 1] / 2).sum(1, keepdims=True)
    types = shares.sum(2, keepdims=True)
    return pairs, np.stack([p**2, 2 * p * (1 - p), (1 - p) ** 2], axis=2) * types


def _milder(differences: Array) -> Array:
    """Tastes of which the strongest dislike is halved, and more than halved where it is the only one."""
    return np.where(differences < -1, 0.1 * differences, differences)


DEFECTS = (
    Defect("the correction has the opposite sign", corrected_win, _scaled(-1.0), where(part="samples")),
    Defect("the correction 2 % too large", corrected_win, _scaled(1.02), where(part="limit")),
    Defect(
        "the anonymous bias 10 % too large", anonymous_bias, result(lambda x: 1.1 * x), where(part="limit")
    ),
    Defect(
        "the corrected bias 10 % too large", corrected_bias, result(lambda x: 1.1 * x), where(part="limit")
    ),
    Defect("the second answer is another annotator's", answer_law, result(_strangers), where(part="samples")),
    Defect(
        "users 5 % noisier where they are asked",
        answer_law,
        argument("users", lambda u: BradleyTerryUsers(u.utilities, u.weights, 0.95 * u.bt_temperature)),
        where(part="samples"),
    ),
    Defect(
        "types averaged with equal shares",
        _average,
        argument("shares", lambda w: np.full(len(w), 1 / len(w))),
        where(part="samples"),
    ),
    Defect("a minority of half its strength", _crowd, argument("differences", _milder), where(part="twins")),
    Defect(
        "second answers that always agree alike", repeated_wins, result(np.zeros_like), where(part="twins")
    ),
)


def cells(
    instances: int, differences: list[float], sizes: list[int], replicates: int, twins: int
) -> list[dict[str, Any]]:
    """Limits by shape, samples by n, and twins.

    Args:
        instances: random populations of each shape.
        differences: s; they hold `SMALL` and `HALVED`.
        sizes: n, annotators for each pair.
        replicates: samples of each size.
        twins: pairs of crowds.
    """
    return [
        *(
            {"part": "limit", "shape": shape, "differences": differences, "instances": instances}
            for shape in ("symmetric", "skewed")
        ),
        *({"part": "samples", "size": n, "instances": replicates} for n in sizes),
        {"part": "twins", "instances": twins},
    ]


def run(
    rng: np.random.Generator,
    *,
    part: str,
    instances: int,
    shape: str = "",
    differences: list[float] | None = None,
    size: int = 0,
) -> dict[str, Any]:
    """Rows of one part."""
    if part == "limit":
        found = [_limits(rng, shape, differences or []) for _ in range(instances)]
        return {column: [x for one in found for x in one[column]] for column in found[0]}
    if part == "samples":
        return _samples(rng, size, instances)
    return _twins(rng, instances)


def _limits(rng: np.random.Generator, shape: str, differences: list[float]) -> dict[str, list[Any]]:
    """Projections of both biases on their predictions, and their sizes, on one population for all s."""
    mean, pairs = rng.uniform(0.35, 0.65, RESPONSES), rng.uniform(0.2, 1, (RESPONSES, RESPONSES))
    pairs = np.triu(pairs, 1) + np.triu(pairs, 1).T
    if shape == "symmetric":
        half = rng.uniform(-1, 1, (2, RESPONSES))
        direction, shares = np.concatenate([half, -half]), np.array([0.2, 0.3, 0.2, 0.3])
    else:
        direction, shares = rng.uniform(-1, 1, (3, RESPONSES)), np.array([0.1, 0.3, 0.6])
    direction = (direction - shares @ direction) / np.ptp(direction)
    found: dict[str, list[Any]] = {"difference": [], "arm": [], "projection": [], "bias": []}
    for s in differences:
        users = BradleyTerryUsers(mean + s * direction, shares, TEMPERATURE)
        reward = _centred(TEMPERATURE * users.average_utility)
        second, third = (_moments(users, k) for k in (2, 3))
        gaps = reward[:, None] - reward
        fits = (
            ("anonymous", reward_mle(users.win, pairs), anonymous_bias(gaps, second)),
            (
                "corrected",
                corrected_reward(users.win, repeated_wins(users), pairs),
                corrected_bias(gaps, third),
            ),
        )
        for arm, fit, expected in fits:
            bias, predicted = fit.reward - reward, fitted_bias(expected, reward, pairs)
            scale = predicted @ predicted
            found["difference"].append(s)
            found["arm"].append(arm)
            found["projection"].append(float(bias @ predicted / scale) if scale > 0 else np.nan)
            found["bias"].append(_size(bias))
    return found


def _moments(users: BradleyTerryUsers, order: int) -> Array:
    """(m, m) central moments over types of the differences of their rewards."""
    rewards = users.bt_temperature * (users.utilities - users.average_utility)
    return np.einsum("k,kxy->xy", users.weights, (rewards[:, :, None] - rewards[:, None]) ** order)


def population() -> BradleyTerryUsers:
    """Three types, four responses: any fixed population would do."""
    tastes = np.array([[0.3, -0.3, 0.2, -0.1], [-0.3, 0.2, 0.1, -0.3], [0.0, 0.1, -0.3, 0.2]])
    return BradleyTerryUsers(
        0.5 + np.array([-0.15, -0.05, 0.05, 0.2]) + tastes, np.array([0.3, 0.3, 0.4]), TEMPERATURE
    )


def _samples(rng: np.random.Generator, size: int, replicates: int) -> dict[str, Any]:
    """Errors of the three arms on the same answers, and those of their limits."""
    users = population()
    reward = _centred(TEMPERATURE * users.average_utility)
    pairs, counts = sample_repeated(users, size, rng, replicates=replicates)
    limits = {
        "anonymous": _size(reward_mle(users.win, _uniform()).reward - reward),
        "corrected": _size(corrected_reward(users.win, repeated_wins(users), _uniform()).reward - reward),
        "types": 0.0,
    }
    errors = [
        _size(_centred(fitted) - reward) for one in counts for fitted in _arms(pairs, one.astype(float))
    ]
    return {
        "arm": list(ARMS) * replicates,
        "replicate": np.repeat(np.arange(replicates), len(ARMS)).tolist(),
        "error": errors,
        "limit": [limits[arm] for arm in ARMS] * replicates,
    }


def _arms(pairs: Integers, counts: Array) -> tuple[Array, Array, Array]:
    """Rewards of the three arms from (P, T, 3) counts."""
    win, twice = _matrices(pairs, counts.sum(1))
    by_type = [reward_mle(_matrices(pairs, mine)[0], _uniform()).reward for mine in counts.swapaxes(0, 1)]
    return (
        reward_mle(win, _uniform()).reward,
        corrected_reward(win, twice, _uniform()).reward,
        _average(np.array(by_type), counts.sum((0, 2)) / counts.sum()),
    )


def _matrices(pairs: Integers, counts: Array) -> tuple[Array, Array]:
    """Win matrix, and shares of users who said x twice, from (P, 3) counts."""
    shares = counts / counts.sum(1, keepdims=True)
    win, twice = np.full((RESPONSES, RESPONSES), 0.5), np.full((RESPONSES, RESPONSES), 0.25)
    x, y = pairs.T
    win[x, y] = shares[:, 0] + shares[:, 1] / 2
    win[y, x] = 1 - win[x, y]
    twice[x, y], twice[y, x] = shares[:, 0], shares[:, 2]
    return win, twice


def _twins(rng: np.random.Generator, number: int) -> dict[str, Any]:
    """Crowds that answer alike: all of one reward difference, or a minority of strong taste among others."""
    found: dict[str, list[float]] = {"answers": [], "means": [], "agreement": []}
    for _ in range(number):
        share, strong = rng.uniform(0.6, 0.8), -rng.uniform(4.0, 8.0)
        least = logit((0.5 - (1 - share) * expit(strong)) / share)  # from here on x wins
        mild = (least + (1 - share) * -strong / share) / 2  # up to here y is better on average
        won = share * expit(mild) + (1 - share) * expit(strong)
        divided = _crowd(np.array([mild, strong]), np.array([share, 1 - share]))
        uniform = _crowd(np.array([logit(won)]), np.array([1.0]))
        means = [float(-np.diff(crowd.average_utility)[0]) for crowd in (divided, uniform)]
        found["answers"].append(float(divided.win[0, 1] - uniform.win[0, 1]))
        found["means"].append(means[0] * means[1])
        found["agreement"].append(float(repeated_wins(divided)[0, 1] - repeated_wins(uniform)[0, 1]))
    return found


def _uniform() -> Array:
    return np.ones((RESPONSES, RESPONSES)) - np.eye(RESPONSES)


def _centred(reward: Array) -> Array:
    return reward - reward.mean()


def _size(error: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(error**2)))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean error by arm and n with its interval and its limit, and the biases by shape, arm and s."""
    samples = summarise(rows.loc[rows.part == "samples"], ["arm", "size", "limit"])
    limits = summarise(rows.loc[rows.part == "limit"], ["shape", "arm", "difference"], "bias")
    return pd.concat([samples.assign(part="samples"), limits.assign(part="limit")], ignore_index=True)


def _at_zero(rows: pd.DataFrame) -> Array:
    """Projections extrapolated to s = 0 from the two smallest s, of which one is half of the other."""
    half, whole = (rows.loc[rows.difference == s, "projection"].to_numpy() for s in SMALL)
    return 2 * half - whole


def checks(rows: pd.DataFrame) -> list[Check]:
    """The constants and orders of both biases, the arms at large n, and crowds that answer alike."""
    limit, samples, twins = (rows.loc[rows.part == part] for part in ("limit", "samples", "twins"))
    left = _at_zero(limit.loc[(limit.arm == "corrected") & (limit["shape"] == "skewed")])
    missed = _at_zero(limit.loc[limit.arm == "anonymous"])
    even = limit.loc[(limit.arm == "corrected") & (limit["shape"] == "symmetric")]
    half, whole = (even.loc[even.difference == s, "bias"].mean() for s in HALVED)
    largest = samples.loc[samples["size"] == samples["size"].max()]
    anonymous, corrected = (largest.loc[largest.arm == arm] for arm in ("anonymous", "corrected"))
    types = samples.loc[(samples.arm == "types") & (samples["size"] >= LEAST)]
    scaled = (types.error * np.sqrt(types["size"])).groupby(types["size"]).agg(["mean", "sem"])
    return [
        growth(
            "bias after the correction = -(1 - 3 sigma'(D)) M/3 as s -> 0, skewed tastes", left, 1.0, 0.02
        ),
        growth("bias of anonymous answers = -tanh(D/2) V/2 as s -> 0", missed, 1.0, 0.02),
        bound("bias after the correction, symmetric tastes: s^3.8 or faster", half, whole / 2**3.8),
        growth(
            "anonymous answers at the largest n: mean error = that of the limit",
            [anonymous.error.mean()],
            [anonymous.limit.mean()],
            0.02,
        ),
        growth(
            "corrected at the largest n: mean error = that of the limit",
            [corrected.error.mean()],
            [corrected.limit.mean()],
            0.03,
        ),
        separation(
            "error at the largest n, anonymous minus corrected",
            anonymous.error.to_numpy() - corrected.error.to_numpy(),
        ),
        identity(
            f"error of the average over types times sqrt(n): largest n minus n = {LEAST}, in standard errors",
            [(scaled["mean"].iloc[-1] - scaled["mean"].iloc[0]) / np.hypot(*scaled["sem"].iloc[[0, -1]])],
            ERRORS,
        ),
        identity("twins: difference of their anonymous answers", twins.answers, 1e-12),
        bound("twins: product of their mean rewards < 0", 1 + twins.means, 1.0, slack=0.0),
        differs("twins: difference of how often a user says x twice", twins.agreement, 0.02),
    ]
