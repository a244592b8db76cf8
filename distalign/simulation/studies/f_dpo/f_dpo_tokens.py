"""Only for the KL does f-DPO split over tokens: else f' of a response is not the sum of f' over its tokens.

This is ours; the paper has no such statement. A language of two tokens and two positions is small enough
for exact answers at three levels:

* `sequence`: argmax E r - beta D_f of whole responses, which is what f-DPO ends at.
* `tokens`: the optimum of the token-level problem, E r - beta E sum_t D_f(pi(.|s_t) || ref(.|s_t)). By
  backward induction the value of a state is nu(s) + beta C(s) with the correction C(s) = E_{a ~ pi}[f'(u) -
  f(u)/u]. This correction also stands in public code by others (talium0713/f-divergence-dpo-supplement).
* `summed`: what the loss ends at whose link is sum_t f'(u_t), the tempting shortcut. It is the backward
  induction on nu alone.

For the reverse KL (f' = log u, C = 0) the three are one policy. For the others they differ, and the
shortcut solves neither problem: its regret in both is measured. `sequence` is a fit of
`distalign.objectives.f_dpo` on the languages that are fitted, which share a reference, and
`distalign.solvers.kkt` on all; `summed` comes from the induction and from a fit of the summed loss.

The checks ask that the shortcut has regret in both problems for every divergence but the reverse KL, first of
all for alpha:0.1, which is so near to it that the regret is less than that of a beta 10 % off; that no regret
is below 0, so that every optimum is one; that for the reverse KL all levels agree; and that each fit is what
its own road predicts.

The planted defects: beta 10 % too large in the loss; the reverse KL's link in the loss, whatever divergence
is asked for; C(s) with the wrong sign; and multipliers of the solver 5 % too large.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from torch.nn.functional import logsigmoid

from distalign.divergences import divergence
from distalign.objectives import f_dpo
from distalign.policies import Tabular
from distalign.populations import Law, win_matrix
from distalign.preferences import PreferenceLogProbs
from distalign.simulation.defects import Defect, argument, result, where
from distalign.simulation.fit import fit
from distalign.simulation.rates import summarise
from distalign.simulation.verdict import Check, bound, identity, separation
from distalign.solvers.kkt import RegularisedOptimum, regularised_policy

DIVERGENCES = (
    "reverse_kl",
    "alpha:0.1",
    "alpha:0.3",
    "forward_kl",
    "jensen_shannon",
    "squared_hellinger",
    "jeffreys",
)
OTHERS = DIVERGENCES[1:]
TOKENS = 2
RESPONSES = TOKENS**2
SAME = 1e-9  # largest total variation of two roads to one policy, and largest regret of an optimum


def cells(betas: list[float], languages: int, fits: int) -> list[dict[str, Any]]:
    """One cell per divergence and strength; the first `fits` languages are fitted, too."""
    return [
        {"divergence": f, "beta": beta, "languages": languages, "fits": fits}
        for f in DIVERGENCES
        for beta in betas
    ]


def run(
    rng: np.random.Generator, *, divergence: str, beta: float, languages: int, fits: int
) -> dict[str, Any]:
    """Distances between the three levels on random languages.

    Also the regret of two levels in the sequence problem, and of two in the token-level problem.
    """
    reward = rng.normal(size=(languages, RESPONSES))
    ref = 0.8 * rng.dirichlet(np.ones(RESPONSES), languages) + 0.2 / RESPONSES
    ref[:fits] = ref[0]
    sequence = regularised_policy(reward, ref, beta, divergence).policy
    tokens, summed = (_induction(reward, ref, beta, divergence, corrected) for corrected in (True, False))
    sequence_fit, summed_fit = _fitted(reward[:fits], ref[0], beta, divergence)
    of_fit, of_summed, of_tokens, of_sequence = (
        _value(policy, reward[: len(policy)], ref[: len(policy)], beta, divergence)
        for policy in (sequence_fit, summed, tokens, sequence)
    )
    by_token = {
        level: _token_value(policy, reward, ref, beta, divergence)
        for level, policy in (("sequence", sequence), ("tokens", tokens), ("summed", summed))
    }
    return {
        "language": np.arange(languages),
        "summed_distance": _tv(summed, sequence),
        "tokens_distance": _tv(tokens, sequence),
        "tokens_regret": of_sequence - of_tokens,
        "summed_regret": of_sequence - of_summed,
        "summed_regret_to_fit": _padded(of_fit - of_summed[:fits], languages),
        **{f"{level}_token_regret": by_token["tokens"] - by_token[level] for level in ("sequence", "summed")},
        "sequence_fit": _padded(_tv(sequence_fit, sequence[:fits]), languages),
        "summed_fit": _padded(_tv(summed_fit, summed[:fits]), languages),
    }


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """`values` followed by NaN up to length `size`: only the first languages are fitted."""
    return np.concatenate([values, np.full(size - len(values), np.nan)])


def _tv(p: np.ndarray, q: np.ndarray) -> Any:
    """Total variation of policies over responses."""
    return 0.5 * np.abs(p - q).sum(-1)


def _value(policy: np.ndarray, reward: np.ndarray, ref: np.ndarray, beta: float, name: str) -> np.ndarray:
    """(N,) the sequence problem's objective."""
    return (policy * reward).sum(1) - beta * (ref * divergence(name).f(policy / ref)).sum(1)


def _token_value(
    policy: np.ndarray, reward: np.ndarray, ref: np.ndarray, beta: float, name: str
) -> np.ndarray:
    """(N,) the token-level problem's objective."""
    f, p, q = divergence(name), policy.reshape(-1, TOKENS, TOKENS), ref.reshape(-1, TOKENS, TOKENS)
    (p1, p2), (q1, q2) = ((x.sum(2), x / x.sum(2, keepdims=True)) for x in (p, q))
    cost = (q1 * f.f(p1 / q1)).sum(1) + (p1 * (q2 * f.f(p2 / q2)).sum(2)).sum(1)
    return (policy * reward).sum(1) - beta * cost


def _induction(reward: np.ndarray, ref: np.ndarray, beta: float, name: str, corrected: bool) -> np.ndarray:
    """(N, 4) policy over responses from the best policy of each state, last token first.

    `corrected` adds beta C(s) to the value of a state; without it this is what the summed link ends at.
    """
    ref = ref.reshape(-1, TOKENS, TOKENS)
    second = regularised_policy(reward.reshape(ref.shape), ref / ref.sum(2, keepdims=True), beta, name)
    # The multiplier of the second step is nu(s); the value of the state is nu(s) + beta C(s).
    state = second.multiplier + (beta * _correction(name, second) if corrected else 0)
    first = regularised_policy(state, ref.sum(2), beta, name)
    return (first.policy[:, :, None] * second.policy).reshape(len(ref), RESPONSES)


def _correction(name: str, optimum: RegularisedOptimum) -> np.ndarray:
    """C(s) = E_{a ~ pi}[f'(u) - f(u)/u] of every state, without the last axis of the optimum."""
    f, u = divergence(name), np.exp(optimum.log_ratio)
    return (optimum.policy * (f.link(optimum.log_ratio) - f.f(u) / u)).sum(-1)


def _fitted(reward: np.ndarray, ref: np.ndarray, beta: float, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Minimisers of f-DPO and of the summed loss on the exact law of comparisons, for rewards (R, 4).

    NaN without a certificate.
    """
    win = np.stack([win_matrix(r[None], [1.0], 1.0) for r in reward]) * np.outer(ref, ref)
    i, j = np.nonzero(~np.eye(RESPONSES, dtype=bool))
    law = Law(i, j, win[:, i, j])
    summed = partial(_summed_loss, chosen=law.chosen, rejected=law.rejected, beta=beta, name=name)
    minimisers = [
        fit(Tabular(ref), loss, law) for loss in (partial(f_dpo, beta=beta, divergence=name), summed)
    ]
    return tuple(np.where(m.converged[:, None], m.probs[:, 0], np.nan) for m in minimisers)  # type: ignore[return-value]


def _summed_loss(
    batch: PreferenceLogProbs, *, chosen: np.ndarray, rejected: np.ndarray, beta: float, name: str
) -> Tensor:
    """softplus(-beta [sum_t f'(u_t) of the chosen - the same of the rejected]).

    The pairs hold every response, so the token probabilities can be read off the batch.
    """
    place = [int(np.flatnonzero(chosen == y)[0]) for y in range(RESPONSES)]
    policy, ref = _by_token(batch.chosen[place]), _by_token(batch.ref_chosen[place])
    link = divergence(name).link
    score = (link(policy[0] - ref[0])[:, None] + link(policy[1] - ref[1])).flatten()
    return -(batch.chosen_frequencies * logsigmoid(beta * (score[chosen] - score[rejected]))).sum()


def _by_token(log_probs: Tensor) -> tuple[Tensor, Tensor]:
    """(2,) log-probabilities of the first token and (2, 2) of the second given the first.

    They are read off the (4,) log-probabilities of responses.
    """
    joint = log_probs.reshape(TOKENS, TOKENS)
    first = joint.logsumexp(1)
    return first, joint - first[:, None]


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean distance and regret of the shortcut with intervals, per divergence and strength. Beside them
    stand distance and regret of the token-level optimum.
    """
    by = ["divergence", "beta"]
    summary = summarise(rows, by, "summed_distance")
    for column in ("summed_regret", "summed_token_regret"):
        means = summarise(rows, by, column)[[*by, "mean", "low", "high"]]
        summary = summary.merge(means, on=by, suffixes=("", column.removeprefix("summed")))
    means_and_fits = rows.groupby(by, as_index=False).agg(
        tokens_distance=("tokens_distance", "mean"),
        tokens_regret=("tokens_regret", "mean"),
        sequence_fit=("sequence_fit", "max"),
        summed_fit=("summed_fit", "max"),
        fits=("summed_fit", "count"),
    )
    return summary.merge(means_and_fits, on=by)


def checks(rows: pd.DataFrame) -> list[Check]:
    """Regret of the shortcut for all but the KL, what each level is, and the KL, where they agree."""
    fits = rows[rows.language < rows.fits]
    reverse_kl = rows[rows.divergence == "reverse_kl"]
    regrets = rows[
        ["tokens_regret", "summed_regret", "sequence_token_regret", "summed_token_regret"]
    ].to_numpy()
    return [
        *(
            separation(
                f"{f}: regret of the summed link, {level} level",
                of_level.loc[of_level.divergence == f, column] - SAME,
            )
            for level, column, of_level in (
                ("sequence", "summed_regret_to_fit", fits),
                ("token", "summed_token_regret", rows),
            )
            for f in OTHERS
        ),
        bound("every optimum is one: no regret below 0", -regrets, SAME, slack=0.0),
        identity(
            "reverse KL: all levels agree",
            reverse_kl[["summed_distance", "tokens_distance"]].to_numpy(),
            SAME,
        ),
        identity("f-DPO's fit = sequence optimum", fits.sequence_fit, 1e-6),
        identity("fit of the summed loss = induction without C(s)", fits.summed_fit, 1e-6),
    ]


def _multiplied(optimum: RegularisedOptimum) -> RegularisedOptimum:
    """An optimum whose multiplier is 5 % too large."""
    return replace(optimum, multiplier=1.05 * optimum.multiplier)


DEFECTS = (
    Defect(
        "beta 10 % too large in the loss",
        f_dpo,
        argument("beta", lambda b: 1.1 * b),
        where(divergence="alpha:0.1"),
    ),
    Defect(
        "the reverse KL's link in the loss, whatever divergence is asked for",
        f_dpo,
        argument("divergence", lambda name: "reverse_kl"),
        lambda arguments: arguments["divergence"] != "reverse_kl",
    ),
    Defect(
        "C(s) with the wrong sign",
        _correction,
        result(lambda correction: -correction),
        lambda arguments: arguments["divergence"] != "reverse_kl",
    ),
    Defect(
        "multipliers 5 % too large", regularised_policy, result(_multiplied), where(divergence="reverse_kl")
    ),
)
