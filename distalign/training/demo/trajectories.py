"""Training trajectories of objectives: held-out scores at checkpoints, and where they reach a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from distalign.checks import InputError
from distalign.training.data.rows import PreferenceData
from distalign.training.model.scoring import Scores, score_examples


@dataclass(frozen=True)
class Trajectory:
    """The training trajectory of one objective: held-out scores at its checkpoints, the reference's first.

    Attributes:
        objective: name of the recipe.
        steps: updates at each checkpoint, 0 first.
        scores: held-out (chosen, rejected) log-probabilities at each.
    """

    objective: str
    steps: tuple[int, ...]
    scores: tuple[Scores, ...]


def distance(policy: Scores, reference: Scores, prompts: Sequence[int]) -> float:
    """Half the variance of log pi/pi_ref among the responses of one prompt, mean over prompts, in nats.

    A response counts as often as it stands in a pair.

    Example: two responses whose log-ratios are +1 and -1.
        >>> policy, reference = torch.tensor([[-1.0], [-3.0]]), torch.tensor([[-2.0], [-2.0]])
        >>> distance((policy[0], policy[1]), (reference[0], reference[1]), [0])
        0.5
    """
    ratio = torch.cat([p - r for p, r in zip(policy, reference)]).double().numpy()
    frame = pd.DataFrame({"prompt": [*prompts, *prompts], "ratio": ratio})
    return float(frame.groupby("prompt").ratio.var(ddof=0).mean() / 2)


def at_distance(trajectory: Trajectory, prompts: Sequence[int], target: float) -> tuple[float, Scores]:
    """(updates, scores) where the trajectory first reaches the target distance.

    Between checkpoints log-ratios are interpolated linearly.

    Raises:
        InputError: it never does.
    """
    reference, steps = trajectory.scores[0], trajectory.steps
    for i in range(1, len(steps)):
        if distance(trajectory.scores[i], reference, prompts) >= target:
            low, high = 0.0, 1.0
            for _ in range(50):
                middle = (low + high) / 2
                reached = distance(_interpolated(trajectory, i, middle), reference, prompts) >= target
                low, high = (low, middle) if reached else (middle, high)
            updates = steps[i - 1] + high * (steps[i] - steps[i - 1])
            return updates, _interpolated(trajectory, i, high)
    raise InputError(
        f"{trajectory.objective} does not get {target:g} nats away within {steps[-1]} updates: lower the "
        "target"
    )


def _interpolated(trajectory: Trajectory, i: int, share: float) -> Scores:
    """The scores at this share of the way from checkpoint i - 1 to checkpoint i."""
    before, after = trajectory.scores[i - 1], trajectory.scores[i]
    return before[0] + share * (after[0] - before[0]), before[1] + share * (after[1] - before[1])


def train_trajectory(
    objective: str,
    training: Path,
    model: Path,
    out: Path,
    data: PreferenceData,
    reference: Scores,
    updates: int,
    every: int,
) -> Trajectory:
    """Train by the shipped recipe and score the held-out data at each checkpoint.

    Scores that are in `out` already are not computed again.
    """
    from distalign.training.loop import train
    from distalign.training.model.policy import load_policy
    from distalign.training.recipe_file import read

    folder, steps = out / "runs" / objective, list(range(every, updates + 1, every))
    files = {step: out / "scores" / f"{objective}_{step}.npz" for step in steps}
    if not all(path.is_file() for path in files.values()):
        train(
            read(
                f"smollm2_{objective}",
                {
                    "model": str(model),
                    "train_data": str(training),
                    "eval_data": None,
                    "output_dir": str(folder),
                    "max_steps": updates,
                    "save_steps": every,
                    "save_total_limit": len(steps) + 1,
                },
            )
        )
    scores = [reference]
    for step in steps:
        if not files[step].is_file():
            scorer = load_policy(str(folder / f"checkpoint-{step:08d}" / "model"))
            chosen, rejected = score_examples(scorer, data.examples, progress=True)
            files[step].parent.mkdir(parents=True, exist_ok=True)
            np.savez(files[step], chosen=chosen.numpy(), rejected=rejected.numpy())
        with np.load(files[step], allow_pickle=False) as arrays:
            scores.append((torch.from_numpy(arrays["chosen"]), torch.from_numpy(arrays["rejected"])))
    return Trajectory(objective, (0, *steps), tuple(scores))
