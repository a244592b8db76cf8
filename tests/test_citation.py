"""`distalign cite` for claims and for runs: what the run's own record says it used, and nothing else."""

import json

import pytest

from distalign.bibliography import PAPERS
from distalign.checks import InputError
from distalign.citation import bibtex
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.evaluation.card import card
from distalign.training.recipe import Recipe

KEYS = {p.key for p in PAPERS}


def keys(text):
    return {key for key in KEYS if f"{{{key}," in text}


def test_nothing_named_means_all():
    assert keys(bibtex()) == KEYS
    assert "@software{distalign" in bibtex()


def test_a_folder_of_verify(tmp_path):
    (tmp_path / "provenance.json").write_text(
        json.dumps({"source": {"aot_rate": "0", "nlhf_distortion": "0"}})
    )
    assert keys(bibtex([str(tmp_path)])) == {"melnyk2024aot", "golz2025distortion"}
    assert keys(bibtex([str(tmp_path), "kldpo_rate"])) == {
        "melnyk2024aot",
        "golz2025distortion",
        "xu2025robust",
    }


@pytest.mark.parametrize(
    ("objective", "options", "expected"),
    [
        ("kldpo", {"beta": 0.1, "temperature": 1.0}, {"xu2025robust"}),
        ("dpo", {"beta": 0.1}, set()),
    ],
)
def test_a_folder_of_train(objective, options, expected, tmp_path):
    recipe = Recipe(model="m", train_data="d.jsonl", objective=objective, objective_options=options)
    data = PreferenceData.of([Example((1,), (2,), (3,))])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text(card(recipe, data))
    assert keys(bibtex([str(tmp_path)])) == expected
    assert "@software{distalign" in bibtex([str(tmp_path)])


def test_any_other_folder_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"neither provenance\.json"):
        bibtex([str(tmp_path)])


def test_a_slug_is_a_slug_even_where_a_folder_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "aot_rate").mkdir()
    assert keys(bibtex(["aot_rate"])) == {"melnyk2024aot"}
