"""The model card says what was run, what was found, and what that does not show."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from distalign import objectives
from distalign.claims import CLAIMS
from distalign.figures import committed
from distalign.objectives import kldpo
from distalign.preferences import PreferenceLogProbs
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.evaluation.card import (
    card,
    claims_of,
    equation,
    source,
    training_code_digest,
    write_card,
)
from distalign.training.evaluation.evaluate import evaluation
from distalign.training.evaluation.measures import HeldOut
from distalign.training.recipe import Recipe, objective_of

RECIPE = Recipe(
    model="owner/base",
    train_data="t.jsonl",
    eval_data="e.jsonl",
    objective="kldpo",
    lora_rank=4,
    objective_options={"beta": 0.25, "temperature": 1.5},
    learning_rate=3.5e-6,
    seed=11,
)
DATA = PreferenceData.of(
    [Example((1,), (2,), (3,)), Example((4,), (5, 6), (7,))], report={"read": 5, "dropped_identical": 3}
)
LOSSES = objectives.names()


def found():
    rng, n = np.random.default_rng(0), 40
    low = torch.full((n,), -900.0).double()
    fields = {"chosen_tokens": torch.full((n,), 5), "rejected_tokens": torch.full((n,), 6)}
    batch = PreferenceLogProbs(low + torch.from_numpy(rng.normal(1, 1, n)), low, low, low, **fields)
    clusters = np.arange(n) % 8
    return evaluation(HeldOut(batch, True, clusters, clusters), objective_of(RECIPE), resamples=20)


def test_card_holds_recipe_data_results_claims_and_citation(tmp_path):
    result = found()
    text = write_card(tmp_path, RECIPE, DATA, held=DATA, evaluation=result, facts={"updates": 77}).read_text()
    assert text.startswith("---\nlibrary_name: peft\nbase_model: owner/base\n")
    for words in (
        DATA.digest,
        "| dropped_identical | 3 |",
        "| learning_rate | 3.5e-06 |",
        "| beta | 0.25 |",
        "| updates | 77 |",
        "| seed | 11 |",
        "| source | e.jsonl |",
        training_code_digest(),
        torch.__version__,
        "@article{xu2025robust",
    ):
        assert words in text, words
    value = result.values()["accuracy"]
    row = result.table.set_index("metric").loc["accuracy"]
    assert f"| accuracy | {value:.4g} | [{row.low_95:.4g}, {row.high_95:.4g}] |" in text
    for note in result.notes:
        assert note in text
    assert "nobody compared what this model writes" in text


def test_verdicts_are_the_committed_ones():
    text, ledger = card(RECIPE, DATA), pd.read_csv(committed("ledger"))
    mine = claims_of("kldpo")
    assert {"kldpo_shrinkage", "kldpo_minibatch"} <= {c.slug for c in mine} < {c.slug for c in CLAIMS}
    for slug, verdict in zip(ledger.slug, ledger.verdict, strict=True):
        if slug in {c.slug for c in mine}:
            assert f"| {slug} |" in text
            assert f"| {verdict} |" in text
        else:
            assert f"| {slug} |" not in text


def test_nothing_held_out_is_said():
    text = card(replace(RECIPE, eval_data=None), DATA)
    assert "Nothing was held out" in text
    assert "Held-out data" not in text


@pytest.mark.parametrize("name", LOSSES)
def test_every_objective_has_an_equation_and_a_source(name):
    text = equation(name)
    assert any(line.startswith("    ") and "=" in line for line in text.splitlines())
    assert "Args:" not in text
    assert len(source(name)) > 10


def test_cells_do_not_break_tables():
    text = card(replace(RECIPE, output_dir="a|b"), DATA)
    assert "a\\|b" in text
    table = [line for line in text.split("## Recipe")[1].split("##")[0].splitlines() if "|" in line]
    assert {line.replace("\\|", "").count("|") for line in table} == {3}


def test_an_option_changes_the_card():
    other = replace(RECIPE, objective_options={"beta": 0.25, "radius": 0.1})
    assert card(other, DATA) != card(RECIPE, DATA)
    assert objective_of(other).func is kldpo
