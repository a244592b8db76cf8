r"""Users without a ranking: who approaches the law of preferred texts, on a model that writes freely.

The claim. RDRO and DDRO are consistent for p+, the law of preferred texts, whatever the preferences (arXiv
2604.04410 and 2505.07558); DPO is not. What each method needs to get there on a model that shares its
weights between all texts it could write, where DPO stops, and how often DDRO runs away, is ours.

The users prefer y to y' with chance sigma(3 [s(y) - s(y') + a(y) c(y') - c(y) a(y')]) for three scores of
the tokens: the last two terms turn in a circle, so no ranking of texts explains them (`cyclic` is the share
of triples of draws in which y beats y', y' beats y'' and y'' beats y).

The prediction, made on draws of the reference before anything is trained: p+ is the tilt w(y) = 2 mean_j
P(y > y_j) of the reference, and DPO ends at the tilt by exp(r / beta), r the Bradley-Terry projection of
all comparisons, at a distance KL(p+ || DPO) from p+ that the draws give. That distance is one of beta first
of all: the projection matches every win rate, cyclic or not, so at beta near 2.5 it would be a few
thousandths of a nat (`nearest` in the table). DPO is inconsistent because nobody who trains it knows that
beta.

What the writer can reach. The scores of the claim's users are bounded, by tanh, so no optimum rests on a few
texts. Then DPO's optimum is no tilt by a sum over tokens, which is what a small writer learns
(`distalign.bridge.studies.free.reach`): after 160 updates it is 0.40 nats from p+, where its optimum is 0.30
and the best tilt by the scores 0.53. RDRO ends as far from p+ as the best tilt by the scores does (0.02), so
what is left there is reach, too. The column `reach` has these distances. `DPO, sums` has users of scores
without a bound and a third of the sharpness; DPO's optimum is near a tilt by a sum, and there the plateau is
checked.

The run. Size 0 is the population problem: fresh groups of draws, each once, soft labels. Size n is the
statistical one: n pairs of each prompt with one hard label each, a fifth of them kept apart; each method
stops where its own loss of those is lowest. A prompt of a seed is a cluster. Unstabilised DDRO is run, too;
its run has failed where a loss was infinite.

With soft labels the gradient of RDRO and of DDRO vanishes text by text at p+: with q the win rate of a
text, q (1 + alpha) sigma(u) - q + (1 - q) (1 - alpha) sigma(u) is 0 at e^u = 2 q for alpha = 1/2. So their
noise dies out where they arrive. SFT pushes every text up with q, always, so that its noise stays, and
after equally many updates it must lie further from p+, although all three have the same optimum.

What was found first. With 128 labels of each prompt RDRO, DDRO and SFT stop before their first step: nothing
lowers the loss of the pairs kept apart; DPO goes on and ends further from p+ than the reference. After fifty
updates on the population RDRO has gone from 0.10 to 0.03 nats, DDRO to 0.04 and SFT to 0.08. DDRO stabilised
at an epsilon of 0.05 ran away on the population, too (0.14 and more): there its force is twenty times that of
another loss.

The checks:

- separations on the population: DPO is further from p+ than RDRO, and so is SFT; RDRO and DDRO are nearer
  p+ than the reference is;
- growth: where the scores are not bounded (`DPO, sums`) DPO's mean distance from p+ on the population is the
  predicted one, to 20 %;
- separations: RDRO and DDRO end further from p+ with the fewest labels than on the population;
- a share: unstabilised DDRO fails more often than stabilised DDRO, by three quarters of all runs at least;
- an identity: both roads agree for every prompt, 1 being the end of an interval at the level of all cells.

The planted defects: RDRO that takes the rejected for the chosen; a group in which each text loses as often
as it should win; DPO with a beta 20 % too small; unstabilised DDRO that is stabilised; and fresh texts that
are written by the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from distalign.bridge.generation.estimates import distances
from distalign.bridge.generation.labelled import labelled, train_on_labels
from distalign.bridge.generation.learning import group_batch, train_on_groups
from distalign.bridge.generation.tilts import Tilt, bradley_terry_reward, p_plus, rlhf
from distalign.bridge.generation.token_scores import Score
from distalign.bridge.generation.writer import Texts
from distalign.bridge.studies.free import reach
from distalign.bridge.studies.free.world import World, world
from distalign.bridge.studies.mistakes import fresh_texts_of_the_reference, sides_exchanged
from distalign.checks import InputError
from distalign.divergences import divergence
from distalign.objectives import ddro, dpo, rdro, sft
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, differs, growth, identity, separation
from distalign.types import Array

PRIOR, BETA, FORCE, SHARPNESS = 0.5, 1.0, 0.2, 3.0
BETAS = np.linspace(1.0, 4.0, 31)  # of which the table shows the one that would bring DPO nearest to p+
RATIOS = ("RDRO", "DDRO")
UNSTABLE, SUMS = "DDRO, not stabilised", "DPO, sums"
LOSSES = {
    "RDRO": partial(rdro, alpha=PRIOR),
    "DDRO": partial(ddro, prior=PRIOR, stabiliser="linear_ratio", epsilon=FORCE),
    "SFT": sft,
    "DPO": partial(dpo, beta=BETA),
    UNSTABLE: partial(ddro, prior=PRIOR, stabiliser="none"),
    SUMS: partial(dpo, beta=BETA),
}
GENTLE, ARRIVED = 1.0, 160  # sharpness of users of scores without a bound, and updates that bring DPO there
# DDRO's takes half of it: beyond its wall the stabiliser pushes 1 / FORCE times as hard as another loss does
PACE, CHECKS_OF_A_RUN = 1.5, 20
PLATEAU_TOLERANCE, FAILING = 0.2, 0.75
DEFECTS = (
    Defect(
        "RDRO takes the rejected for the chosen",
        rdro,
        argument("batch", sides_exchanged),
        where(method="RDRO", size=0),
    ),
    Defect(
        "each text of a group loses as often as it should win",
        group_batch,
        argument("win", lambda p: p.transpose(1, 2)),
        where(method="DDRO", size=0),
    ),
    Defect("DPO's beta 20 % too small", dpo, argument("beta", lambda b: 0.8 * b), where(method=SUMS, size=0)),
    Defect(
        "unstabilised DDRO is stabilised",
        ddro,
        argument("stabiliser", lambda name: "linear_ratio"),
        where(method=UNSTABLE, size=0),
    ),
    fresh_texts_of_the_reference(where(method="DPO", size=0)),
)


def cells(
    policy: str,
    seeds: int,
    sizes: list[int],
    steps: int,
    prompts: int = 4,
    group: int = 32,
    draws: int = 512,
) -> list[dict[str, Any]]:
    """One cell per seed, number of labelled pairs a prompt (0 is the population) and method."""
    return [
        {
            "policy": policy,
            "seed": seed,
            "size": n,
            "method": method,
            "steps": max(steps, ARRIVED) if method == SUMS else steps,
            "prompts": prompts,
            "group": group,
            "draws": draws,
        }
        for n in sizes
        for seed in range(seeds)
        for method in LOSSES
        if n == 0 or method != SUMS
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    size: int,
    method: str,
    steps: int,
    prompts: int,
    group: int,
    draws: int,
) -> dict[str, Any]:
    """One row a prompt: KL(p+ || model) predicted and measured, what is spent, and how far the roads are
    apart.
    """
    here = world(policy, seed, prompts, draws)
    scores = tuple(here.score(i) for i in range(3))
    users = Users(scores, bounded=method != SUMS)
    win = users.win_matrix(here.draws)
    target, reward = p_plus(win).require(), bradley_terry_reward(win)
    stop, failed = trained(here, method, users.win_matrix, rng, size=size, steps=steps, group=group)
    found = here.measured(rng)
    rates = users.win_rates(found.texts, here.draws)
    sums = np.stack([score(here.draws) for score in scores])
    return {
        "prompt": np.arange(prompts),
        "size": np.full(prompts, float(size) if size else np.inf),
        "error": distances(target, found.log_rho).kl,
        "predicted": _plateau(target, reward, BETA) if method in ("DPO", SUMS) else np.zeros(prompts),
        "reach": distances(target, _reached(method, sums, target, win).log_ratio).kl,
        "nearest": np.min([_plateau(target, reward, b) for b in BETAS], axis=0),
        "start": target.kl(),
        "slope": distances(target, found.log_rho).slope,
        "kl": found.kl(),
        "roads": found.apart(win.mean(2), rates),
        "stop": np.full(prompts, stop),
        "failed": np.full(prompts, float(failed)),
        "cyclic": _cyclic(win),
    }


def trained(
    here: World, method: str, preferences: Any, rng: np.random.Generator, *, size: int, steps: int, group: int
) -> tuple[int, bool]:
    """Train the writer on the population (size 0) or on labels; the update at which it stopped, and whether
    the run failed.
    """
    objective, pace = LOSSES[method], PACE / (2 if method.startswith("DDRO") else 1)
    if size:
        texts, reference = here.pool(2 * size, rng)
        labels = labelled(texts, reference, lambda part: preferences(texts[:, part]), rng)
        run_on_labels = train_on_labels(
            here.writer,
            objective,
            labels,
            rng,
            batch=group // 2,
            steps=steps,
            every=max(steps // CHECKS_OF_A_RUN, 1),
            pace=pace,
        )
        return run_on_labels.update, run_on_labels.failed
    texts, reference = here.pool(group * steps, rng)
    try:
        train_on_groups(
            here.writer,
            objective,
            texts,
            reference,
            lambda part: preferences(texts[:, part]),
            group=group,
            pace=pace,
        )
    except InputError:
        here.writer.reset()
        return 0, True
    return steps, False


@dataclass(frozen=True)
class Users:
    """Users whose preferences turn in a circle.

    Attributes:
        scores: s, a and c of texts.
        bounded: whether tanh bounds them, so that no optimum rests on a few texts far out.
    """

    scores: tuple[Score, ...]
    bounded: bool

    def win_matrix(self, texts: Texts) -> Array:
        """(S, K, K) P(y_i preferred to y_j) among texts of the same prompts."""
        return self._chance(self._read(texts), self._read(texts))

    def win_rates(self, texts: Texts, others: Texts) -> Array:
        """(S, K) mean chance of a text to be preferred to other texts of its prompt."""
        return self._chance(self._read(texts), self._read(others)).mean(2)

    def _read(self, texts: Texts) -> list[Array]:
        each = [score(texts) for score in self.scores]
        return [np.tanh(x) for x in each] if self.bounded else each

    def _chance(self, mine: list[Array], others: list[Array]) -> Array:
        (s, a, c), (s2, a2, c2) = mine, others
        turn = a[:, :, None] * c2[:, None, :] - c[:, :, None] * a2[:, None, :]
        return expit((SHARPNESS if self.bounded else GENTLE) * (s[:, :, None] - s2[:, None, :] + turn))


def _reached(method: str, sums: Array, target: Tilt, win: Array) -> Tilt:
    """The best tilt by the scores for DPO, or for the methods whose optimum is p+."""
    if not method.startswith("DPO"):
        return reach.best_sum(sums, lambda ratio: -float((target.weights * ratio).sum(1).mean()))
    few, f = win[:, : reach.COMPARED, : reach.COMPARED], divergence("reverse_kl")
    return reach.best_sum(
        sums, lambda ratio: reach.pair_loss(ratio[:, : reach.COMPARED], few, beta=BETA, f=f), start=1.0
    )


def _plateau(target: Tilt, reward: Array, beta: float) -> Array:
    """(S,) KL(p+ || DPO's optimum)."""
    return distances(target, rlhf(reward, beta).log_ratio).kl


def _cyclic(win: Array) -> Array:
    """(S,) share of cyclic triples: in a tournament of N texts with d_i wins, 1 - sum d (d - 1) / 2 over all
    triples.
    """
    n = win.shape[1]
    wins = (win > 0.5).sum(2).astype(float)
    return 1 - (wins * (wins - 1) / 2).sum(1) / (n * (n - 1) * (n - 2) / 6)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over prompts and seeds per method and size, with what was predicted and how runs ended."""
    by = ["method", "size"]
    columns = ("predicted", "reach", "nearest", "start", "slope", "kl", "stop", "failed", "cyclic")
    return summarise(rows, by).merge(
        rows.groupby(by, as_index=False).agg(**{c: (c, "mean") for c in columns}), on=by
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """DPO beside RDRO, and its plateau; the others approach p+; who fails; both roads."""
    by = {
        q: rows.pivot(index=["size", "seed", "prompt"], columns="method", values=q)
        for q in ("error", "start")
    }
    population, fewest = by["error"].loc[np.inf], by["error"].loc[rows["size"].min()]
    start = by["start"].loc[np.inf]
    plateau = rows[rows.method == SUMS]
    failed = rows.groupby(["size", "seed", "method"]).failed.first().unstack()
    return [
        separation("population: KL to p+, DPO minus RDRO, nats", population.DPO - population.RDRO),
        growth(
            "scores without a bound: mean KL from p+ to DPO = that to the projection's tilt",
            plateau.error.mean(),
            plateau.predicted.mean(),
            PLATEAU_TOLERANCE,
        ),
        separation("population: KL to p+, SFT minus RDRO, nats", population.SFT - population.RDRO),
        *(
            separation(f"population, {name}: KL to p+, reference minus model", start[name] - population[name])
            for name in RATIOS
        ),
        *(
            separation(
                f"{name}: KL to p+ with the fewest labels minus that on the population",
                fewest[name] - population[name],
            )
            for name in RATIOS
        ),
        differs(
            "share of failed runs, DDRO not stabilised minus stabilised",
            (failed[UNSTABLE] - failed.DDRO).mean(),
            FAILING,
        ),
        identity("both roads agree, in lengths of their interval", rows.roads, 1.0),
    ]
