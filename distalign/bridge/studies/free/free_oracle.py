r"""Predictions and measurements from draws equal their exact values on a model whose texts can be enumerated.

The tiny writer with four words and six tokens can write 1,093 texts to a prompt. The scorer gives the
probability of each, so every expectation is a finite sum, and every population optimum is computed on the
exact law instead of draws: those of Bradley-Terry users by their closed forms, the others by the solvers of
the package with the reference's own probabilities. The second model, what a run might end at, has weights
between those of the reference and of another random one. Nothing is trained here.

The parts, each a kind of cell:

* `reward`: N draws of the exact law; expected reward and KL of the optima that a reward makes (RLHF, f-DPO
  with two divergences, KLDPO, the best law of a KL ball) by `bridge.generation.tilts`.
* `preference`: the same of those that a win matrix makes (IPO, DPO where Bradley-Terry is false, p+, NLHF).
* `roads`: the second model by both roads of `bridge.generation.estimates`, and their intervals.
* `sampler`: texts that the models draw themselves, scored by the scorer, against the enumerated law.
* `refusal`: RLHF and f-DPO (Jensen-Shannon) at falling beta. A prediction must be refused where the exact
  law leaves an effective size N / E w^2 below 10 for some prompt because of a text that was drawn, and must
  not be where it leaves more than 90 for all. The link of Jensen-Shannon is bounded, so its optimum at a
  small beta has an atom on the best text however rare. Where that text was not drawn nothing in the draws
  tells of it, and no rule on draws can refuse: `unseen` in the table is the share of those predictions that
  pass. That is what `predict` warns of.

The bias of these estimators is O(1/N). From the mean errors e at N and 2 N the extrapolated one,
2 e(2 N) - e(N), is free of it, and must be 0 within four standard errors over replicates. The rate uses one
number a replicate: the root mean square of the errors of all estimators, each in units of its own at the
smallest N. An interval of level 0.99 may miss in at most five of 100 replicates, and in ten where the heavy
tail of rho skews it (KL); of the few replicates of the sampler in at most one of five.

The planted defects: RLHF with a beta 8 % too large; NLHF in units of P instead of 2 P - 1; the arguments of a
KL exchanged; half the squared log-ratio as an estimate of a KL; ratios clipped at 2; a slope without weights;
intervals at the level that they may miss; draws at temperature 1.1; the end-of-text token left out of scores;
positions one too large after a shared prompt; and a refusal that takes the weights of all prompts together.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from distalign.bridge.generation import estimates, tilts
from distalign.bridge.generation.token_scores import standardised, token_score, utility
from distalign.bridge.generation.writer import Texts, Writer, sampled, tiny_writer
from distalign.checks import InputError
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.verdict import Check, bound, identity, rate
from distalign.solvers.choice.games import regularised_nlhf
from distalign.solvers.choice.kl_linear import kl_linear_maximisation
from distalign.solvers.choice.reward import reward_mle
from distalign.solvers.kkt import regularised_policy
from distalign.theory.f_dpo.closed_forms import reverse_kl_optimum
from distalign.training.data.packing import Layout
from distalign.training.model.scorer import Scorer
from distalign.types import Array

WORDS, LONGEST, END, PROMPTS = 4, 6, 0, 3
# Rewards in logits are SPREAD times a utility in [0, 1]. Strengths leave effective sizes of about N/2; the
# forward KL and Jensen-Shannon need a larger one for it, a small one puts an atom on the best text.
SPREAD, BETA, FLAT, LAMBDA, BUDGET, TAU = 3.0, 1.2, 3.5, 0.4, 0.2, 1.0
SHARES, SHARPNESS = (0.5, 0.3, 0.2), (2.0, 4.0, 6.0)
STRENGTHS = (2.0, 1.0, 0.5, 0.3, 0.2, 0.1)
# The second model: the share of the way to another seed's weights.
MOVED = 0.3
ERRORS, MISSES, SKEWED, OF_FEW = 4.0, 0.05, 0.1, 0.2
FEW, MANY = 10.0, 90.0
# Replicates of each part, in units of those asked for: what is cheap is repeated more often.
PARTS = {"reward": 4.0, "preference": 0.5, "roads": 4.0, "sampler": 0.4, "refusal": 1.0}


def _positions_late(right: Callable[..., Layout]) -> Callable[..., Layout]:
    def wrong(self: Scorer, rows: Any) -> Layout:
        laid = right(self, rows)
        if laid.positions is None or laid.segments is None:
            return laid
        return replace(laid, positions=laid.positions + (laid.segments > 0))

    return wrong


DEFECTS = (
    Defect(
        "RLHF with a beta 8 % too large",
        tilts.rlhf,
        argument("beta", lambda x: 1.08 * x),
        where(part="reward"),
    ),
    Defect(
        "NLHF in units of P instead of 2 P - 1",
        tilts.nlhf,
        argument("strength", lambda x: 2 * x),
        where(part="preference"),
    ),
    Defect(
        "the arguments of the KL exchanged",
        tilts.Tilt.kl,
        lambda right: lambda self: -self.log_ratio.mean(1),
        where(part="reward"),
    ),
    Defect(
        "half the squared log-ratio as the KL of the reweighted road",
        estimates.Reweighted.kl_terms,
        lambda right: lambda self: self.log_rho**2 / 2,
        where(part="roads"),
    ),
    Defect(
        "ratios clipped at 2 in the reweighted road",
        estimates.Reweighted.mean,
        lambda right: (
            lambda self, values: right(estimates.Reweighted(np.minimum(self.log_rho, np.log(2))), values)
        ),
        where(part="roads"),
    ),
    Defect(
        "half the squared log-ratio as the KL of the fresh road",
        estimates.Fresh.kl,
        lambda right: lambda self: (self.log_ratio**2).mean(1) / 2,
        where(part="roads"),
    ),
    Defect(
        "intervals at the level that they may miss",
        estimates._check,
        argument("level", lambda level: 1 - level),
        where(part="roads"),
    ),
    Defect(
        "draws at temperature 1.1",
        sampled,
        argument("temperature", lambda x: 1.1 * x),
        where(part="sampler"),
    ),
    Defect(
        "the end-of-text token left out of scores",
        Layout.sums,
        lambda right: lambda self, values: right(self, values * (self.targets != END)),
        where(part="sampler"),
    ),
    Defect(
        "positions of texts one too large after a shared prompt",
        Scorer.layout,
        _positions_late,
        where(part="sampler"),
    ),
    Defect(
        "a refusal that takes the weights of all prompts together",
        tilts.Tilt.refusals,
        lambda right: (
            lambda self: right(
                tilts.Tilt(self.method, self.log_weights.reshape(1, -1) - np.log(len(self.log_weights)))
            )
        ),
        where(part="refusal"),
    ),
)


def cells(policy: str, seeds: int, sizes: list[int], replicates: int, draws: int) -> list[dict[str, Any]]:
    """One cell for each seed and part.

    `sizes` are numbers of draws, of which the last is the double of the last but one, and `draws` is that of
    the parts that have one number.

    Raises:
        InputError: another policy than the tiny one, whose texts nobody can enumerate.
    """
    if policy != "tiny":
        raise InputError(
            f"policy {policy!r} can write more texts than anyone can enumerate: leave free_oracle out"
        )
    return [
        {
            "policy": policy,
            "part": part,
            "seed": seed,
            "sizes": sizes if part in ("reward", "preference", "roads") else [draws],
            "replicates": max(1, round(often * replicates)),
        }
        for seed in range(seeds)
        for part, often in PARTS.items()
    ]


class World:
    """Two models with all their texts, a reward and three types of users.

    Attributes:
        writer: at the reference.
        texts: (S, K) all texts, the same to each prompt.
        log_q, log_p: (S, K) log-probabilities of the reference and of the second model.
        utilities: (3, S, K) of each type.
        reward: (S, K) of the first type, in logits.
        q, p: (S, K) probabilities of both models, of sum 1 beyond single precision.
    """

    def __init__(self, seed: int) -> None:
        """Score every text under both models."""
        self.writer = tiny_writer(seed, prompts=PROMPTS, words=WORDS, longest=LONGEST, share_prompt=True)
        self.texts = all_texts()
        self.log_q = self.writer.log_prob(self.texts)
        self.second = tiny_writer(seed, prompts=PROMPTS, words=WORDS, longest=LONGEST, share_prompt=True)
        move(self.second, tiny_writer(seed + 1000, words=WORDS, longest=LONGEST), MOVED)
        self.log_p = self.second.log_prob(self.texts)
        self.utilities = np.stack(
            [utility(standardised(token_score(3 * seed + k), self.texts)(self.texts)) for k in range(3)]
        )

        self.reward = SPREAD * self.utilities[0]
        self.q, self.p = (law / law.sum(1, keepdims=True) for law in np.exp([self.log_q, self.log_p]))

    @cached_property
    def of_rewards(self) -> dict[str, Array]:
        """(S, K) the exact optima that the reward of the first type makes."""
        r, q = self.reward, self.q
        ball = [kl_linear_maximisation(x, np.log(y), BUDGET).log_policy for x, y in zip(r, q, strict=True)]
        return {
            "RLHF": reverse_kl_optimum(r, q, BETA),
            "f-DPO, forward KL": regularised_policy(r, q, FLAT, "forward_kl").policy,
            "f-DPO, Jensen-Shannon": regularised_policy(r, q, FLAT, "jensen_shannon").policy,
            "KLDPO": reverse_kl_optimum(r, q, BETA * (1 + TAU) / TAU),
            "KL ball": np.exp(ball),
        }

    @cached_property
    def of_strengths(self) -> dict[tuple[str, float], Array]:
        """(S, K) optima of the reward of the first type under two divergences at falling strengths."""
        every = itertools.product(("reverse_kl", "jensen_shannon"), STRENGTHS)
        return {(f, b): regularised_policy(self.reward, self.q, b, f).policy for f, b in every}

    @cached_property
    def of_preferences(self) -> dict[str, Array]:
        """(S, K) the exact optima that the preferences of all types make."""
        q = self.q
        several = zip(SHARES, SHARPNESS, self.utilities, strict=True)
        win = np.sum([s / (1 + np.exp(b * (u[:, None, :] - u[:, :, None]))) for s, b, u in several], axis=0)
        wins = np.einsum("sij,sj->si", win, q)
        rewards = np.stack([reward_mle(m, law).reward for m, law in zip(win, q, strict=True)])
        games = [regularised_nlhf(m, np.log(law), LAMBDA).log_policy for m, law in zip(win, q, strict=True)]
        return {
            "IPO": reverse_kl_optimum(wins, q, LAMBDA),
            "DPO without Bradley-Terry": reverse_kl_optimum(rewards, q, BETA),
            "p+": 2 * q * wins,
            "NLHF": np.exp(games),
        }

    @cached_property
    def of_roads(self) -> dict[str, Array]:
        """(S,) exact values of the second model, by the names of the rows."""
        log_rho, target = np.log(self.p / self.q), reverse_kl_optimum(self.reward, self.q, BETA)
        given = np.log(target / self.q)
        lines = [np.polyfit(x, y, 1, w=np.sqrt(w)) for x, y, w in zip(given, log_rho, target, strict=True)]
        return {
            "mean rho": np.ones(len(target)),
            "reward": (self.p * self.reward).sum(1),
            "KL": (self.p * log_rho).sum(1),
            "KL to the target": (target * np.log(target / self.p)).sum(1),
            "slope": np.array(lines)[:, 0],
            "total variation": np.abs(target - self.p).sum(1) / 2,
        }


def all_texts() -> Texts:
    """(S, K) every text of at most LONGEST tokens; those that end by themselves end with END."""
    words = range(1, WORDS)
    listed = [
        (*body, *end, *(-1,) * (LONGEST - length - len(end)))
        for length in range(LONGEST + 1)
        for body in itertools.product(words, repeat=length)
        for end in (((END,),) if length < LONGEST else ((),))
    ]
    return Texts(np.broadcast_to(np.array(listed), (PROMPTS, len(listed), LONGEST)))


@torch.no_grad()
def move(writer: Writer, towards: Writer, share: float) -> None:
    """Move the weights of a writer a share of the way to those of another."""
    for mine, other in zip(writer.parameters, towards.parameters, strict=True):
        mine.add_(share * (other - mine))


def run(
    rng: np.random.Generator, *, policy: str, part: str, seed: int, sizes: list[int], replicates: int
) -> dict[str, Any]:
    """One row for each size, replicate and estimator: its mean error over prompts, or whether it failed."""
    world = World(seed)
    make = {
        "reward": _rewards,
        "preference": _preferences,
        "roads": _roads,
        "sampler": _sampler,
        "refusal": _refusals,
    }[part]
    rows = []
    for size, replicate in itertools.product(sizes, range(replicates)):
        rows += [{"size": size, "replicate": replicate, **row} for row in make(world, size, rng)]
    return dict(pd.DataFrame(rows))


def _draws(law: Array, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(S, N) indices of texts, independent draws from each row of a law."""
    return np.stack([np.searchsorted(row.cumsum()[:-1], rng.random(size)) for row in law])


def _rewards(world: World, size: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    i = _draws(world.q, size, rng)
    reward = np.take_along_axis(world.reward, i, 1)
    found = {
        "RLHF": tilts.rlhf(reward, BETA),
        "f-DPO, forward KL": tilts.f_dpo(reward, FLAT, "forward_kl"),
        "f-DPO, Jensen-Shannon": tilts.f_dpo(reward, FLAT, "jensen_shannon"),
        "KLDPO": tilts.kldpo(reward, BETA, TAU),
        "KL ball": tilts.kl_ball(reward, BUDGET),
    }
    return _predicted(world, world.of_rewards, found, reward)


def _preferences(world: World, size: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    i = _draws(world.q, size, rng)
    reward = np.take_along_axis(world.reward, i, 1)
    win = tilts.win_matrix(np.take_along_axis(world.utilities, i[None], 2), SHARES, SHARPNESS)
    found = {
        "IPO": tilts.ipo(win, LAMBDA),
        "DPO without Bradley-Terry": tilts.rlhf(tilts.bradley_terry_reward(win), BETA),
        "p+": tilts.p_plus(win),
        "NLHF": tilts.nlhf(win, strength=LAMBDA),
    }
    return _predicted(world, world.of_preferences, found, reward)


def _predicted(
    world: World, exact: dict[str, Array], found: dict[str, tilts.Tilt], reward: Array
) -> list[dict[str, Any]]:
    """Errors of expected reward and KL of each tilt."""
    rows = []
    for name, law in exact.items():
        rows.append(
            _row("prediction", f"{name}: reward", found[name].mean(reward), (law * world.reward).sum(1))
        )
        rows.append(_row("prediction", f"{name}: KL", found[name].kl(), (law * np.log(law / world.q)).sum(1)))
    return rows


def _roads(world: World, size: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    log_rho = np.log(world.p / world.q)
    i, j = _draws(world.q, size, rng), _draws(world.p, size, rng)
    reward, own = (np.take_along_axis(world.reward, k, 1) for k in (i, j))
    model = estimates.Reweighted(np.take_along_axis(log_rho, i, 1))
    fresh = estimates.Fresh(np.take_along_axis(log_rho, j, 1))
    far = estimates.distances(tilts.rlhf(reward, BETA), model.log_rho)
    found = {
        "mean rho": model.mean_rho(),
        "reward": model.mean(reward),
        "KL": model.kl(),
        "KL to the target": far.kl,
        "slope": far.slope,
        "total variation": far.total_variation,
    }
    passed = {
        "roads, reward": estimates.roads(model.terms(reward), own),
        "roads, KL": estimates.roads(model.kl_terms(), fresh.log_ratio),
    }
    exact = world.of_roads
    return [
        *(_row("reweighted", name, value, exact[name]) for name, value in found.items()),
        _row("fresh", "reward", fresh.mean(own), exact["reward"]),
        _row("fresh", "KL", fresh.kl(), exact["KL"]),
        *({"road": "interval", "name": k, "error": float(not c.passed)} for k, c in passed.items()),
    ]


def _sampler(world: World, size: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    i, j = world.writer.draw(size, generator), world.second.draw(size, generator)
    log_q = world.writer.log_prob(i)
    log_rho = world.second.log_prob(i) - log_q
    fresh = world.second.log_prob(j) - world.writer.log_prob(j)
    passed = {
        "normalisation": estimates.Reweighted(log_rho).normalisation(),
        "overlap": estimates.overlap(log_rho, fresh),
    }
    mass = np.abs(np.exp(np.stack([world.log_q, world.log_p])).sum(2) - 1).max()
    return [
        {"road": "mass", "name": "all texts", "error": float(mass)},
        _row("drawn", "log-probability", log_q.mean(1), (world.q * np.log(world.q)).sum(1)),
        *({"road": "sampler", "name": k, "error": float(not c.passed)} for k, c in passed.items()),
    ]


def _refusals(world: World, size: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    drawn = _draws(world.q, size, rng)
    reward = np.take_along_axis(world.reward, drawn, 1)
    rows = []
    for (f, beta), law in world.of_strengths.items():
        square = law**2 / world.q
        left, heaviest = size / square.sum(1), square.argmax(1)
        seen = any(text in mine for text, mine, few in zip(heaviest, drawn, left < FEW, strict=True) if few)
        rows.append(
            {
                "road": "refusal",
                "name": f"{f}, {beta:g}",
                "exact": float(left.min()),
                "seen": float(seen),
                "error": float(bool(tilts.f_dpo(reward, beta, f).refusals())),
            }
        )
    return rows


def _row(road: str, name: str, found: Array, exact: Array) -> dict[str, Any]:
    return {
        "road": road,
        "name": name,
        "exact": float(exact.mean()),
        "error": float((found - exact).mean()),
        "square": float(((found - exact) ** 2).mean()),
    }


def _extrapolated(rows: pd.DataFrame, road: str) -> Array:
    """2 e(2N) - e(N) of each estimator of a road, in standard errors."""
    mine = rows.loc[rows.road == road]
    small, large = sorted(mine["size"].unique())[-2:]
    found = mine.groupby(["name", "size"]).error.agg(["mean", "var", "count"])
    half, whole = found.xs(small, level="size"), found.xs(large, level="size")
    error = np.sqrt(4 * whole["var"] / whole["count"] + half["var"] / half["count"])
    return ((2 * whole["mean"] - half["mean"]) / error).to_numpy()


def _one_a_replicate(rows: pd.DataFrame, road: str) -> pd.DataFrame:
    """Root mean square error of all estimators of a road in each replicate, in units of the smallest N."""
    mine = rows.loc[(rows.road == road) & (rows["name"] != "KL ball: KL")]  # that one is a given
    smallest = mine.loc[mine["size"] == mine["size"].min()].groupby("name").square.mean()
    scaled = mine.assign(square=mine.square / mine.name.map(smallest))
    every = scaled.groupby(["seed", "size", "replicate"], as_index=False).square.mean()
    return every.assign(error=np.sqrt(every.square))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Exact value, mean error and root mean square error of each estimator and number of draws; then, for the
    strengths at which the exact law leaves too small an effective size because of a text that was not drawn,
    the share of predictions that pass.
    """
    measured = rows.loc[rows.road.isin(["prediction", "reweighted", "fresh"])]
    errors = (
        measured.groupby(["road", "name", "size"], as_index=False)
        .agg(exact=("exact", "mean"), bias=("error", "mean"), error=("square", "mean"))
        .assign(error=lambda t: np.sqrt(t.error))
    )
    lost = rows.loc[(rows.road == "refusal") & (rows.exact < FEW) & (rows.seen == 0)]
    unseen = lost.assign(passed=1 - lost.error).groupby(["name", "size"], as_index=False)
    return pd.concat(
        [errors, unseen.agg(exact=("exact", "mean"), unseen=("passed", "mean")).assign(road="refusal")],
        ignore_index=True,
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Estimators are exact in the limit, errors fall as N^-1/2, intervals cover, refusals are right."""
    missed = rows.loc[rows.road.isin(["interval", "sampler"])]
    shares = missed.groupby(["road", "name"], as_index=False).error.mean().to_dict("records")
    refused, drawn = rows.loc[rows.road == "refusal"], rows.loc[rows.road == "drawn"]
    missed_one = np.where(refused.exact > MANY, refused.error, 0)
    wrong = np.where((refused.exact < FEW) & (refused.seen == 1), 1 - refused.error, missed_one)
    words = {"prediction": "predictions", "reweighted": "reweighted road", "fresh": "fresh road"}
    return [
        *(
            identity(f"{text}: extrapolated error in standard errors", _extrapolated(rows, road), ERRORS)
            for road, text in words.items()
        ),
        *(
            rate(f"{text}: error against the number of draws", _one_a_replicate(rows, road), guarantee=-0.5)
            for road, text in words.items()
        ),
        *(
            bound(
                f"{m['road']}, {m['name']}: share of replicates in which it misses",
                m["error"],
                _limit(m["road"], m["name"]),
            )
            for m in shares
        ),
        identity(
            "sampler: log-probability of its draws minus the exact mean, in standard errors",
            drawn.error.mean() / drawn.error.sem(),
            ERRORS,
        ),
        identity("probability of all texts minus 1", rows.loc[rows.road == "mass"].error, 1e-4),
        identity("refusals that the exact law contradicts, texts not drawn apart", wrong, 0.0),
    ]


def _limit(road: str, name: str) -> float:
    if road == "sampler":
        return OF_FEW
    return SKEWED if name == "roads, KL" else MISSES
