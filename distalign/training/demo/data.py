"""Real preferences for a laptop: short arguments that people voted on, split by debate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from distalign.checks import InputError
from distalign.training.data.votes import pairs_from_votes, split_debates, write_pairs

HELD_OUT_DEBATES = 4
MAX_WORDS = 60
"""Arguments of at most 60 words leave 46 % of the pairs of UKPConvArg1, with two thirds of the tokens
each.
"""


@dataclass(frozen=True)
class DemoData:
    """Files of the demo and what they hold.

    Attributes:
        train, held_out: JSONL files of prompt, chosen, rejected, weight, group.
        report: counts of votes and pairs, before and after the split.
    """

    train: Path
    held_out: Path
    report: dict[str, int]


def demo_data(
    votes_dir: Path | str,
    out_dir: Path | str,
    *,
    held_out: int = HELD_OUT_DEBATES,
    max_words: int | None = MAX_WORDS,
    seed: int = 0,
    min_held_out: int = 500,
) -> DemoData:
    """Majority preferences between short arguments, split by debate, as `train.jsonl` and `held_out.jsonl`.

    Args:
        votes_dir: folder with votes.csv.gz and arguments.csv.gz (or .csv); `distalign.training.data.votes`
            names the public set.
        out_dir: where the two files go.
        held_out: how many debates to hold out, drawn by `seed`.
        max_words: most words of an argument.
        seed: of the split.
        min_held_out: fewest held-out pairs; with fewer an accuracy says little.

    Raises:
        InputError: a file is missing or bad, or the held-out debates have too few pairs.
    """
    votes, arguments = (votes_file(Path(votes_dir), name) for name in ("votes", "arguments"))
    voted = pairs_from_votes(votes, arguments, max_words=max_words)
    train, held = split_debates(voted.pairs, held_out, seed)
    if len(held) < min_held_out:
        raise InputError(
            f"held_out={held_out} debates have {len(held)} pairs, fewer than {min_held_out}: hold out more "
            "debates or raise max_words"
        )
    report = voted.report | {
        "train_pairs": len(train),
        "train_debates": len({pair.group for pair in train}),
        "held_out_pairs": len(held),
        "held_out_debates": held_out,
    }
    folder = Path(out_dir)
    return DemoData(
        write_pairs(folder / "train.jsonl", train), write_pairs(folder / "held_out.jsonl", held), report
    )


def votes_file(folder: Path, name: str) -> Path:
    """The file `name`.csv.gz or `name`.csv of a folder.

    Raises:
        InputError: there is none.
    """
    found = [path for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv") if path.is_file()]
    if not found:
        raise InputError(
            f"{folder} holds no {name}.csv.gz: fetch UKPConvArg1 (GitHub "
            "UKPLab/acl2016-convincing-arguments) and write its votes and arguments as CSV, see "
            "distalign.training.data.votes"
        )
    return found[0]


def votes_folder(votes: Path | None) -> Path:
    """The folder named, or ukp_convarg1 in $DISTALIGN_DATA.

    Raises:
        InputError: neither is given.
    """
    if votes is not None:
        return votes
    named = os.environ.get("DISTALIGN_DATA")
    if not named:
        raise InputError(
            "the demo trains on votes you have: give --votes FOLDER with votes.csv and arguments.csv, or set "
            "DISTALIGN_DATA to the folder that holds ukp_convarg1; distalign.training.data.votes names a "
            "public set"
        )
    return Path(named) / "ukp_convarg1"
