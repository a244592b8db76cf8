r"""Objectives side by side on real votes, at one distance from the reference.

`python -m distalign.training.demo.compare` runs it.

Objectives move at different speeds, so equal numbers of updates compare speeds. Here each trains by its
shipped recipe with checkpoints, and is read where half the variance of log pi/pi_ref among the arguments of
one prompt reaches a common value: for small steps that is a KL divergence between policy and reference
restricted to those arguments, each weighted by how often it was compared (ours; a KL divergence over all
texts would need long samples). Between two checkpoints log-ratios are interpolated. All policies get one
yardstick, rewards 0.1 log pi/pi_ref, whatever their own objective calls a reward.

As a shift, voters are split by how often they voted for the longer argument in the debates trained on;
accuracy on the votes of either half, in the held-out debates, says whom a policy serves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from distalign.checks import InputError
from distalign.figures import write_table
from distalign.objectives import dpo
from distalign.training.data.rows import PreferenceData
from distalign.training.data.votes import VotedPair, pairs_from_votes
from distalign.training.demo.data import MAX_WORDS, demo_data, votes_file, votes_folder
from distalign.training.demo.model import demo_model
from distalign.training.demo.trajectories import Trajectory, at_distance, distance, train_trajectory
from distalign.training.evaluation.evaluate import evaluation, held_out
from distalign.training.model.scoring import score_examples

FAMILIES = (
    "sft",
    "dpo",
    "ipo",
    "kto",
    "f_dpo",
    "aot_paired",
    "aot_unpaired",
    "kldpo",
    "wdpo",
    "ddro",
    "rdro",
)
MEASURED = (
    "accuracy",
    "accuracy_matched_length",
    "longer_wins",
    "calibration_preference",
    "dominance_w1",
    "violated_quantiles",
    "displacement",
)
YARDSTICK = partial(dpo, beta=0.1)


def voters(training: Sequence[VotedPair]) -> dict[str, bool]:
    """Whether a voter took the longer argument more often than the median voter did.

    Voters of fewer than 5 votes are left out.
    """
    frame = pd.DataFrame(
        [(p.user, len(p.chosen) > len(p.rejected)) for p in training], columns=["user", "longer"]
    )
    share = frame.groupby("user").longer.agg(["mean", "size"])
    share = share[share["size"] >= 5]["mean"]
    return {str(user): bool(value > share.median()) for user, value in share.items()}


def accuracy_by_voters(
    held: Sequence[VotedPair], longer: Mapping[str, bool], ratio: Mapping[tuple[str, str], float]
) -> dict[str, float]:
    """Share of votes that log-ratios agree with, by half of the voters.

    Votes on texts without a score are left out.
    """
    rows = [
        (longer[str(p.user)], ratio[p.prompt, p.chosen] > ratio[p.prompt, p.rejected])
        for p in held
        if str(p.user) in longer and (p.prompt, p.chosen) in ratio and (p.prompt, p.rejected) in ratio
    ]
    frame = pd.DataFrame(rows, columns=["longer", "correct"])
    means = frame.groupby("longer").correct.mean()
    return {
        "votes_longer_half": float(means.get(True, np.nan)),
        "votes_other_half": float(means.get(False, np.nan)),
        "votes": float(len(frame)),
    }


def measure(
    trajectory: Trajectory,
    target: float,
    data: PreferenceData,
    texts: Sequence[tuple[str, str, str]],
    held: Sequence[VotedPair],
    longer: Mapping[str, bool],
) -> pd.DataFrame:
    """One row a measure, at the target distance, with a 95 % interval over debates.

    Accuracy on single votes has no interval.
    """
    updates, scores = at_distance(trajectory, _prompts(data), target)
    table = evaluation(held_out(data, scores, trajectory.scores[0], YARDSTICK), YARDSTICK).table
    rows = table.loc[table.metric.isin(MEASURED), ["metric", "value", "low_95", "high_95", "n", "clusters"]]
    ratio = {
        (prompt, text): float(score - before)
        for side in (0, 1)
        for (prompt, *sides), score, before in zip(texts, scores[side], trajectory.scores[0][side])
        for text in (sides[side],)
    }
    votes = accuracy_by_voters(held, longer, ratio)
    extra = [
        {"metric": name, "value": votes[name], "n": votes["votes"]}
        for name in ("votes_longer_half", "votes_other_half")
    ]
    return pd.DataFrame([*rows.to_dict("records"), *extra]).assign(
        objective=trajectory.objective, updates=updates, spread=target
    )


def _prompts(data: PreferenceData) -> list[int]:
    names: dict[tuple[int, ...], int] = {}
    return [names.setdefault(example.prompt, len(names)) for example in data.examples]


def compare(
    votes: Path, out: Path, objectives: Sequence[str] = FAMILIES, updates: int = 9, every: int = 3
) -> pd.DataFrame:
    """Train, score and measure every objective; finished scores in `out` are reused, a killed run goes on.

    Args:
        votes: folder with votes.csv and arguments.csv (perhaps .gz), see `distalign.training.data.votes`.
        out: folder for data, runs, scores and `real_votes.csv`.
        objectives: names of shipped recipes `smollm2_...`.
        updates: of every run.
        every: updates between checkpoints; divides `updates`.

    Raises:
        InputError: unknown objective, `every` does not divide `updates`, or files are missing.
    """
    from distalign.training.data.load import load_preferences
    from distalign.training.model.policy import load_policy, tokenizer_of
    from distalign.training.recipe_file import read

    recipes = {name: read(f"smollm2_{name}", {}) for name in objectives}
    if not 0 < every <= updates or updates % every:
        raise InputError(f"every must divide updates, got {every} and {updates}")
    demo, model = demo_data(votes, out / "data"), demo_model()
    recipe = next(iter(recipes.values()))
    data = load_preferences(
        demo.held_out,
        tokenizer_of(str(model)),
        max_length=recipe.max_length,
        chat_template=recipe.chat_template,
    )
    lines = [json.loads(line) for line in demo.held_out.read_text(encoding="utf-8").splitlines()]
    texts = [(line["prompt"], line["chosen"], line["rejected"]) for line in lines]
    debates = {line["group"] for line in lines}
    tables = votes_file(votes, "votes"), votes_file(votes, "arguments")
    single = pairs_from_votes(*tables, per_vote=True, max_words=MAX_WORDS).pairs
    longer = voters([p for p in single if p.group not in debates])
    reference = score_examples(load_policy(str(model)), data.examples, progress=True)
    trajectories = [
        train_trajectory(name, demo.train, model, out, data, reference, updates, every) for name in objectives
    ]
    prompts = _prompts(data)
    target = min(max(distance(scores, reference, prompts) for scores in t.scores) for t in trajectories)
    held = [p for p in single if p.group in debates]
    table = pd.concat(
        [measure(t, target, data, texts, held, longer) for t in trajectories], ignore_index=True
    )
    write_table(table, out / "real_votes.csv")
    return table


def main(
    *,
    votes: Path | None = None,
    out: Path = Path("out/real_votes"),
    objectives: tuple[str, ...] = FAMILIES,
    updates: int = 9,
    every: int = 3,
) -> int:
    """Compare objectives on real votes at one distance from the reference.

    Args:
        votes: folder with votes.csv (or .csv.gz) and arguments.csv; none means ukp_convarg1 in
            $DISTALIGN_DATA.
        out: folder for data, runs, scores and the table.
        objectives: names of shipped recipes.
        updates: of every run.
        every: updates between checkpoints.
    """
    table = compare(votes_folder(votes), out, objectives, updates, every)
    print(table.pivot(index="objective", columns="metric", values="value").round(3).to_string())
    return 0


if __name__ == "__main__":
    import sys

    import tyro

    try:
        sys.exit(tyro.cli(main))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
