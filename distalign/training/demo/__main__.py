"""Fine-tune SmolLM2 on real votes: `python -m distalign.training.demo --objective rdro --votes FOLDER`."""

from __future__ import annotations

from pathlib import Path

from distalign.checks import InputError
from distalign.training.demo.data import demo_data, votes_folder
from distalign.training.demo.model import demo_model


def run(
    objective: str = "rdro", *, votes: Path | None = None, out: Path = Path("out/demo"), max_steps: int = 0
) -> int:
    """Fine-tune SmolLM2 on arguments people voted on, and print its evaluation.

    The recipe is the one that is shipped for the objective.

    Args:
        objective: name in distalign.objectives.
        votes: folder with votes.csv (or .csv.gz) and arguments.csv; none means ukp_convarg1 in
            $DISTALIGN_DATA.
        out: folder for the data and, under the objective's name, the run.
        max_steps: updates; 0 means the recipe's.
    """
    from distalign.training.commands import train
    from distalign.training.loop import train as offline
    from distalign.training.recipe_file import read

    recipe = f"smollm2_{objective}"
    read(recipe, {})  # an unknown objective is told before anything is converted
    data = demo_data(votes_folder(votes), out)
    changed = {
        "model": str(demo_model()),
        "train_data": str(data.train),
        "eval_data": str(data.held_out),
        "output_dir": str(out / objective),
    }
    return train(read(recipe, changed | ({"max_steps": max_steps} if max_steps else {})), offline)


if __name__ == "__main__":
    import sys

    import tyro

    try:
        sys.exit(tyro.cli(run))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
