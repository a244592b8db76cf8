r"""Two calibration errors of f-DPO on a language model that writes freely, over divergence and beta.

The worlds, users, rewards and training are those of `free_f_dpo_frontier`, and all pairs are pairs of
held-out draws of the reference, each order with its probability as weight. With g = f'(pi/pi_ref) the optimum
of f-DPO satisfies beta (g(y) - g(y')) = r(y) - r(y'). So two errors can be foretold:

* of preferences: a trained writer implies the preference sigma(beta (g(y) - g(y'))), and its binned error
  against the users' own probability is 0 at the optimum of every divergence, at every beta.
* of the authors' code (`calibration.pair_error`): the probability per token of the chosen text against
  whether it exceeds that of the rejected one. It is no calibration of anything that people do, but draws
  predict it as well: put the target's log-probabilities in the place of the writer's.

So no divergence is better calibrated than another in preferences, and what the usual number shows is how far
the policy has gone: the error grows as beta falls.

A divergence with `, sum` behind its name has the reward whose optimum is a tilt by a sum, which the writer
reaches. Under the saturating reward of the others no writer of this size is at its optimum. It learns at
least what a sum can say, so the error of its preferences is at most that of the best tilt by a sum (`reach`),
which is largest with the forward KL: training need not be short for that, log(c - r) is farther from a sum
than r.

The checks: the authors' error within 0.02 of the prediction; where the optimum is a tilt by a sum the error
of preferences is at most 0.03 for each divergence and beta; for the saturating reward it is at most that of
the best tilt by a sum; the authors' error is larger at the smallest beta than at the largest; and at equal
beta f''(1) divergences differ in it by at most 0.03. The forward KL under the saturating reward is in the
table and in the third check only.

The planted defects: f-DPO takes the link of the forward KL for that of the reverse KL; labels rounded to the
likelier winner; a prediction with a beta a third too small; pairs without their weights; and a beta of f-DPO
that is not passed on.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from distalign.bridge.generation import tilts
from distalign.bridge.generation.learning import group_batch
from distalign.bridge.studies.free import reach
from distalign.bridge.studies.free.measure import DRAWS, of_a_sum, saturating, train_f_dpo
from distalign.bridge.studies.free.world import world
from distalign.calibration import binned_calibration_error, pair_error
from distalign.divergences import divergence as named
from distalign.objectives import f_dpo
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, where
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.types import Array

COMPARED = 96
"""Held-out draws of a prompt whose pairs are compared."""
OF_A_SUM = ", sum"
PREDICTED, PREFERENCES, DIVERGENCES = 0.02, 0.03, 0.03
DEFECTS = (
    Defect(
        "f-DPO takes the link of the forward KL for that of the reverse KL",
        f_dpo,
        argument("divergence", lambda f: "forward_kl" if f == "reverse_kl" else f),
        where(divergence={"reverse_kl", "reverse_kl, sum"}, beta=0.7),
    ),
    Defect(
        "labels rounded to the likelier winner",
        group_batch,
        argument("win", lambda p: (p > 0.5).to(p.dtype)),
        where(divergence={"reverse_kl", "reverse_kl, sum"}, beta=2.0),
    ),
    Defect(
        "the prediction with a beta a third too small",
        tilts.f_dpo,
        argument("beta", lambda x: x / 1.5),
        where(divergence="reverse_kl", beta=0.7),
    ),
    Defect(
        "pairs without their weights in the authors' error",
        pair_error,
        lambda right: lambda batch, bins=10: right(replace(batch, weights=None), bins),
        where(divergence="reverse_kl"),
    ),
    Defect(
        "f-DPO's beta not passed on: one half whatever is asked",
        f_dpo,
        argument("beta", lambda x: 0.5),
        where(beta=2.0),
    ),
)


def cells(
    policy: str, seeds: int, divergences: list[str], betas: list[float], steps: int, prompts: int = 4
) -> list[dict[str, Any]]:
    """One cell for each seed, divergence and strength beta f''(1)."""
    return [
        {"policy": policy, "seed": seed, "divergence": f, "beta": beta, "steps": steps, "prompts": prompts}
        for seed, f, beta in itertools.product(range(seeds), divergences, betas)
    ]


def run(
    rng: np.random.Generator,
    *,
    policy: str,
    seed: int,
    divergence: str,
    beta: float,
    steps: int,
    prompts: int,
) -> dict[str, Any]:
    """Both errors of the trained writer, and of its target and the reference, for each prompt."""
    here, f = world(policy, seed, prompts, DRAWS), named(divergence.removesuffix(OF_A_SUM))
    strength = beta / f.curvature
    reward = of_a_sum(here, f, strength) if divergence.endswith(OF_A_SUM) else saturating(here)
    held = reward(here.draws)
    target = tilts.f_dpo(held, strength, f).require()
    nearest = reach.best_sum_of_pairs(here.score(1)(here.draws)[None], held, beta=strength, f=f)
    train_f_dpo(here, reward, f, strength, updates=steps, rng=rng)
    log_rho = here.writer.log_prob(here.draws) - here.reference
    rows = []
    for s in range(prompts):
        draws = slice(COMPARED)
        win = tilts.win_matrix(held[None, s : s + 1, draws], [1.0], [1.0])[0]
        reference, tokens = here.reference[s, draws], here.draws.lengths[s, draws]
        rows.append(
            {
                "prompt": s,
                "predicted": _authors(target.log_ratio[s, draws], reference, tokens, win),
                "authors": _authors(log_rho[s, draws], reference, tokens, win),
                "untrained": _authors(np.zeros(COMPARED), reference, tokens, win),
                "preferences": _of_preferences(strength * f.link(log_rho[s, draws]), win),
                "reach": _of_preferences(strength * f.link(nearest.log_ratio[s, draws]), win),
                "of_target": _of_preferences(strength * f.link(target.log_ratio[s, draws]), win),
            }
        )
    return dict(pd.DataFrame(rows))


def _authors(log_ratio: Array, reference: Array, tokens: NDArray[np.int64], win: Array) -> float:
    """`pair_error` on all ordered pairs of texts of one prompt."""
    first, second = np.nonzero(~np.eye(len(win), dtype=bool))
    scores, given, length = (torch.as_tensor(x) for x in (log_ratio + reference, reference, tokens))
    return pair_error(
        PreferenceLogProbs(
            chosen=scores[first],
            rejected=scores[second],
            ref_chosen=given[first],
            ref_rejected=given[second],
            weights=torch.as_tensor(win[first, second]),
            chosen_tokens=length[first],
            rejected_tokens=length[second],
        )
    )


def _of_preferences(implied: Array, win: Array) -> float:
    """Binned error of the preferences that implied rewards make against the users' own."""
    first, second = np.nonzero(~np.eye(len(win), dtype=bool))
    confidence = 1 / (1 + np.exp(implied[second] - implied[first]))
    return float(binned_calibration_error(confidence, win[first, second], np.ones(len(first))))


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The authors' error with its interval over prompts and seeds, and all others, by divergence and beta."""
    by = ["divergence", "beta"]
    other = ["predicted", "untrained", "preferences", "reach", "of_target"]
    return summarise(rows, by, "authors").merge(
        pd.DataFrame(rows.groupby(by, as_index=False)[other].mean()), on=by
    )


def checks(rows: pd.DataFrame) -> list[Check]:
    """Errors as predicted; calibrated preferences; what moves the authors' error and what does not."""
    means = pd.DataFrame(rows.groupby(["divergence", "beta"], as_index=False).mean(numeric_only=True))
    arrived = means.loc[means.divergence != "forward_kl"]
    sums = means.divergence.str.endswith(OF_A_SUM)
    saturated = arrived.loc[~arrived.divergence.str.endswith(OF_A_SUM)]
    across = saturated.pivot(index="beta", columns="divergence", values="authors")
    wide = rows.pivot_table(index=["seed", "prompt"], columns="beta", values="authors")
    return [
        identity(
            "authors' error of the writer minus that of its predicted optimum",
            arrived.authors - arrived.predicted,
            PREDICTED,
        ),
        identity(
            "optimum a tilt by a sum: error of the implied preferences",
            means.preferences[sums],
            PREFERENCES,
        ),
        bound(
            "saturating reward: error of the implied preferences at most that of the best tilt by a sum",
            means.preferences[~sums],
            means.reach[~sums],
        ),
        separation(
            "authors' error at the smallest beta minus that at the largest",
            wide[min(wide.columns)] - wide[max(wide.columns)],
        ),
        identity(
            "authors' error between divergences of one beta f''(1): largest minus smallest",
            across.max(axis=1) - across.min(axis=1),
            DIVERGENCES,
        ),
    ]
