"""Preference data made from scored draws: pairs, soft pairs, thumbs, and the best of n against the worst.

The rows are those that `distalign train` reads. Draws of one prompt are compared with each other, so pairs
are pairs of independent draws of the policy that wrote them. A type of user is drawn for each label by its
share, and answers as `distalign.bridge.generation.users` says. Soft labels name no user: a pair stands twice,
once in each order, with the weights P and 1 - P, P the share of the population's answers. So the loss of the
two rows is the expectation of the loss of one row with a drawn label. Over a batch, `train` divides by the
sum of weights, which varies where the two rows lie in different batches: `Labels.shrinkage` says how much of
the gradient that takes.

What no line can say is left out and counted: pairs of equal texts, of which neither is preferred, and texts
that are blank, which no completion may be. Both happen where texts are short; the law of preferred texts is
then that of the texts which are left.

Source: ours; best of n against worst of n is arXiv 2502.01930's Leaderboard experiment.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import expit

from distalign.bridge.generation.draws import rows_by_prompt
from distalign.bridge.generation.scores import prompt_of
from distalign.bridge.generation.users import Scale, Users, Utilities, table_of, utilities_of
from distalign.checks import InputError, one_of, whole
from distalign.training.evaluation.samples import Sample, Samples
from distalign.types import Array

Kind = Literal["pairs", "soft", "thumbs", "best_worst"]
KINDS: tuple[Kind, ...] = get_args(Kind)
AVERAGE = "average"
"""The word for the average utility, as what best and worst are by."""

Row = dict[str, Any]


@dataclass
class Labels:
    """Preference data.

    Attributes:
        kind: one of `KINDS`.
        rows: as `distalign train` reads them.
        counts: `labels`, `ties`, `equal_texts`, `blank_texts`, `prompts`, `prompts_left_out`.
    """

    kind: Kind
    rows: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """The counts in words."""
        c, noun = self.counts, {"thumbs": "thumbs", "soft": "soft pairs"}.get(self.kind, "pairs")
        up = sum(bool(row.get("label")) for row in self.rows)
        share = f", {up / c['labels']:.1%} of them up" if self.kind == "thumbs" and c["labels"] else ""
        left_out = f", {c['prompts_left_out']:,} prompts without any" if c["prompts_left_out"] else ""
        return (
            f"{c['labels']:,} {noun}{share} of {c['prompts']:,} prompts{left_out}; {c['ties']:,} ties; left "
            f"out: {c['equal_texts']:,} pairs of equal texts, {c['blank_texts']:,} blank texts"
        )


def label(
    samples: Samples,
    kind: Kind,
    users: Users | None = None,
    *,
    scale: Scale | None = None,
    by: str = AVERAGE,
    per_prompt: int = 0,
    best_of: int = 10,
    draws: slice = slice(None),
    seed: int = 0,
) -> Labels:
    """Let users compare the draws of each prompt.

    Each prompt has random numbers of its own, so its labels do not depend on the other prompts.

    Args:
        samples: of `distalign score`.
        kind: `pairs` with a label by a drawn user; `soft`, each pair in both orders with weights P and 1 - P;
            `thumbs`, single texts with a label by a drawn user; `best_worst`, the best of `best_of` texts
            against the worst.
        users: may be left out for best_worst by a score.
        scale: as in `utilities_of`.
        by: for best_worst, `average` (utility of the population) or the name of a score.
        per_prompt: labels of each prompt; 0 uses every draw once: N // 2 pairs, N thumbs or N // best_of
            groups. More than N // 2 pairs share draws.
        best_of: texts of a group.
        draws: which draws of each prompt, for instance slice(768), so that others are left to evaluate on.
        seed: of pairs, users and answers.

    Raises:
        InputError: a value is out of range, users are missing, `by` would not be read, there are fewer
            draws than the labels need, or nothing can be labelled.
    """
    one_of("kind", kind, KINDS)
    whole("per_prompt", per_prompt, 0, "0 uses every draw once")
    whole("best_of", best_of, 2, "it is the size of the group whose best and worst become a pair")
    whole("seed", seed, 0, "any seed will do")
    if by != AVERAGE and kind != "best_worst":
        raise InputError(
            f"by is {by!r}, which only best_worst reads, and kind is {kind}: leave --by out, or say --kind "
            "best_worst"
        )
    if users is None and (kind != "best_worst" or by == AVERAGE):
        raise InputError(f"{kind} by users needs a population: give --population, or best_worst --by SCORE")
    told = None if users is None else utilities_of(samples, users, scale)
    worth = table_of(samples, by) if by != AVERAGE else told.average if told else np.empty(0)
    out = Labels(kind)
    for s, (index, rows) in enumerate(rows_by_prompt(samples).items()):
        rng, before = np.random.default_rng([seed, index]), len(out.rows)
        used = _used(rows, draws, out)
        _enough(kind, per_prompt, best_of, len(range(len(rows))[draws]))
        if kind == "best_worst":
            _best_worst(rows, worth[s], rng.permutation(used), best_of, per_prompt, out)
        elif kind == "thumbs":
            assert told
            _thumbs(rows, told, s, rng.permutation(used)[: per_prompt or None], rng, out)
        else:
            assert told
            _pairs(rows, told, s, _index_pairs(used, per_prompt, rng), rng, out)
        out.counts["prompts" if len(out.rows) > before else "prompts_left_out"] += 1
    if not out.rows:
        remedy = "draw more or longer texts"
        if out.counts["ties"]:
            remedy = "label by a score that varies within a prompt, or draw texts that differ"
        raise InputError(f"nothing can be labelled ({out.line()}): {remedy}")
    return out


def _used(rows: list[Sample], draws: slice, out: Labels) -> np.ndarray:
    """Draws that may be labelled."""
    asked = range(len(rows))[draws]
    kept = [i for i in asked if rows[i].response.strip()]
    out.counts["blank_texts"] += len(asked) - len(kept)
    return np.array(kept, int)


def _enough(kind: Kind, per_prompt: int, best_of: int, n: int) -> None:
    """Raise where the draws of a prompt, blank ones included, are fewer than asked for."""
    pairs = n * (n - 1) // 2
    most = {"pairs": pairs, "soft": pairs, "thumbs": n, "best_worst": n // best_of}[kind]
    if most < max(per_prompt, 1):
        raise InputError(
            f"{n} draws a prompt give at most {most} labels of kind {kind}"
            f"{f' with best_of {best_of}' * (kind == 'best_worst')}, asked for {max(per_prompt, 1)}: draw "
            "more texts (--samples-per-prompt), use more of them (--draws), or ask for fewer"
        )


def _index_pairs(used: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(m, 2) different draws: disjoint pairs while there are enough draws, else any pairs, none twice."""
    n = len(used)
    if n < 2 or count <= n // 2:
        m = min(count or n // 2, n // 2)
        return rng.permutation(used)[: 2 * m].reshape(m, 2)
    first, second = np.triu_indices(n, 1)
    chosen = rng.choice(len(first), min(count, len(first)), replace=False)
    return np.stack([used[first[chosen]], used[second[chosen]]], 1)


def _pairs(
    rows: list[Sample], told: Utilities, s: int, pairs: np.ndarray, rng: np.random.Generator, out: Labels
) -> None:
    users, prompt = told.users, prompt_of(rows[0])
    for i, j in pairs:
        k, toss = int(rng.choice(len(users.shares), p=users.shares)), rng.random()
        if rows[i].response == rows[j].response:
            out.counts["equal_texts"] += 1
            continue
        gaps = users.temperatures * (told.values[:, s, i] - told.values[:, s, j])
        out.counts["labels"] += 1
        if out.kind == "soft":
            p = float(users.shares @ expit(gaps))
            out.counts["ties"] += abs(p - 0.5) < 1e-12
            out.rows += [
                _pair(prompt, rows[i], rows[j], weight=p),
                _pair(prompt, rows[j], rows[i], weight=1 - p),
            ]
            continue
        out.counts["ties"] += gaps[k] == 0
        chosen, rejected = (i, j) if toss < expit(gaps[k]) else (j, i)
        out.rows.append(_pair(prompt, rows[chosen], rows[rejected], **_who(users, k)))


def _thumbs(
    rows: list[Sample], told: Utilities, s: int, used: np.ndarray, rng: np.random.Generator, out: Labels
) -> None:
    users, prompt = told.users, prompt_of(rows[0])
    for i in used:
        k, toss = int(rng.choice(len(users.shares), p=users.shares)), rng.random()
        up = expit(users.temperatures[k] * (told.values[k, s, i] - 0.5))
        out.counts["labels"] += 1
        out.rows.append(
            {"prompt": prompt, "completion": rows[i].response, "label": bool(toss < up)}
            | _who(users, k)
            | _cut(rows[i], "completion")
        )


def _best_worst(
    rows: list[Sample], worth: Array, order: np.ndarray, size: int, count: int, out: Labels
) -> None:
    groups = len(order) // size
    for group in order[: groups * size].reshape(groups, size)[: count or None]:
        best, worst = group[worth[group].argmax()], group[worth[group].argmin()]
        if worth[best] == worth[worst] or rows[best].response == rows[worst].response:
            out.counts["ties"] += 1
            continue
        out.counts["labels"] += 1
        scores = {"score_chosen": float(worth[best]), "score_rejected": float(worth[worst])}
        out.rows.append(_pair(prompt_of(rows[0]), rows[best], rows[worst], **scores))


def _pair(prompt: Any, chosen: Sample, rejected: Sample, **more: Any) -> Row:
    cut = _cut(chosen, "chosen") | _cut(rejected, "rejected")
    return {"prompt": prompt, "chosen": chosen.response, "rejected": rejected.response, **more, **cut}


def _cut(text: Sample, side: str) -> Row:
    """The column that says that a text was cut, so that training gives it no end; none for a whole one."""
    return {} if text.finished else {f"{side}_cut": True}


def _who(users: Users, k: int) -> Row:
    """Columns of a type of user, numbered from 1 as in its file."""
    return {"user": str(k + 1)} | ({"group": users.groups[k]} if users.groups else {})
