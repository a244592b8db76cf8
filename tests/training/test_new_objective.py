"""An objective is added by its file, an import line, its recipe and its case of the contract.

A copy of the package gets a toy objective by these four edits. A process that imports the copy then lists its
recipe, trains and evaluates a tiny model with it by the command line, and runs its case of the contract.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
LOSS = '''"""A toy: DPO whose logits are stretched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from distalign.checks import positive
from distalign.objectives._declare import described, objective
from distalign.objectives.dpo import dpo
from distalign.preferences import PreferenceLogProbs


def _reward(log_ratio: Tensor, tokens: Tensor | None, options: Mapping[str, Any]) -> Tensor:
    return options["beta"] * options["stretch"] * log_ratio


@described(paper="aot", defaults={"stretch": 2.0}, reward=_reward)
@objective(data="pairs", coupling="pair")
def toy(batch: PreferenceLogProbs, *, beta: float, stretch: float) -> Tensor:
    r"""DPO at beta times stretch.

        L = \\sum_i p_i softplus(-beta s (u_i - v_i)),   u, v = log pi/pi_ref of chosen and rejected

    Shapes: n pairs in, scalar out. Units: nats.

    Args:
        batch: n pairs.
        beta: strength of the pull to the reference, above 0.
        stretch: s, the factor by which the toy
            stretches logits, above 0.

    Raises:
        InputError: data are not pairs, or a hyper-parameter is out of range.

    Source: a test.

    Example:
        >>> import torch
        >>> toy(PreferenceLogProbs(*torch.zeros(4, 1)), beta=1.0, stretch=2.0).exp().item()
        2.0
    """
    positive("stretch", stretch, "it is the factor of the logits")
    return dpo(batch, beta=beta * stretch)
'''
CASE = """TOY = Case(
    "toy",
    partial(o.toy, beta=0.5, stretch=2.0),
    mean(*LOSSES),
    (Limit("stretch 1: DPO", partial(o.toy, beta=1.0, stretch=1.0), DPO),),
    monotone=True,
    minimiser=is_tilted(1.0),
    bad=({"stretch": 0.0},),
)
"""
SCRIPT = """
import sys
from pathlib import Path

import pytest

import distalign
from distalign import cli

folder = Path(sys.argv[1])


def run(*words):
    print(">>", *words, flush=True)
    sys.argv = ["distalign", *map(str, words)]
    try:
        cli.main()
    except SystemExit as left:
        print("<<", left.code, flush=True)


if __name__ == "__main__":
    from tests.training.data_for_tests import write_pairs
    from tests.training.tiny import save_tiny

    print(distalign.__file__)
    save_tiny(folder / "model")
    write_pairs(folder / "pairs.jsonl")
    run("recipes", "ls")
    run("train", "--help")
    run("train", "smollm2_toy", "--stretch", 3, "--model", folder / "model", "--output-dir", folder / "out",
        "--train-data", folder / "pairs.jsonl", "--eval-data", folder / "pairs.jsonl", "--max-steps", 2)
    run("evaluate", folder / "out/model", "--data", folder / "pairs.jsonl", "--max-length", 256,
        "--objective", "toy", "--beta", 0.1, "--stretch", 3, "--out", folder / "evaluated", "--resamples", 0)
    tests = [str(folder / "tests" / name) for name in ("contract", "training/test_recipe.py", "objectives")]
    chosen = ["-m", "not slow", "-k", "toy or every_objective"]
    status = pytest.main([*tests, "-q", "-p", "no:cacheprovider", *chosen])
    print("contract", int(status))
"""


def add_toy(copy):
    """The four edits."""
    (copy / "distalign/objectives/toy.py").write_text(LOSS)
    names = copy / "distalign/objectives/__init__.py"
    last = "from distalign.objectives.wdpo import wdpo as wdpo\n"
    names.write_text(
        names.read_text().replace(last, "from distalign.objectives.toy import toy as toy\n" + last)
    )
    recipes = copy / "distalign/training/recipes"
    text = (recipes / "smollm2_ipo.yaml").read_text().split("\n", 1)[1]
    text = text.replace("smollm2_ipo", "smollm2_toy").replace("objective: ipo", "objective: toy")
    text = text.replace("  beta: 0.05", "  stretch: 2.0  # ours\n  beta: 0.05")
    (recipes / "smollm2_toy.yaml").write_text("# A toy, which no paper has.\n" + text)
    cases = copy / "tests/contract/contract_cases.py"
    end = "CASES = [SFT,"
    cases.write_text(cases.read_text().replace(end, CASE + end + " TOY,"))


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """The copy's folder, and what its process printed after each command."""
    copy = tmp_path_factory.mktemp("copy")
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "distalign", copy / "distalign", ignore=skip)
    for name in ("contract", "training", "objectives"):
        shutil.copytree(ROOT / "tests" / name, copy / "tests" / name, ignore=skip)
    add_toy(copy)
    (copy / "script.py").write_text(SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, copy / "script.py", copy], env=environment, cwd=copy, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    first, *commands = done.stdout.split(">> ")
    assert first.strip() == str(copy / "distalign/__init__.py")
    return copy, [*commands[:-1], *commands[-1].split("<<")], done


@pytest.mark.slow
def test_a_new_objective_needs_four_edits(said):
    copy, (listed, helped, trained, evaluated, tested), done = said
    everything = done.stdout + done.stderr
    assert "smollm2_toy" in listed
    assert "A toy, which no paper has." in listed
    words = " ".join(helped.replace("│", " ").split())
    assert "--stretch FLOAT" in words
    assert "toy: s, the factor by which the toy stretches logits, above 0." in words
    assert "<< 0" in trained, everything
    assert "accuracy" in evaluated, everything
    card = (copy / "out/model/README.md").read_text()
    assert "DPO at beta times stretch." in card
    assert "| stretch | 3.0 |" in card
    assert "melnyk2024aot" in card
    responses = pd.read_csv(copy / "evaluated/responses.csv")
    assert responses.log_ratio.abs().max() > 0
    assert responses.reward.to_numpy() == pytest.approx(0.3 * responses.log_ratio.to_numpy())
    assert "contract 0" in tested, everything
    assert " passed" in tested
