"""Recipes: every value checked before anything is loaded, every shipped recipe valid, each objective trained
end to end.
"""

import inspect
import re
from dataclasses import fields
from functools import partial
from typing import get_args

import pytest
import yaml

from distalign import cli, objectives, policy_gradient
from distalign.checks import InputError
from distalign.training import flags
from distalign.training.data.rows import Example, PreferenceData
from distalign.training.recipe import Recipe, check_data, objective_of
from distalign.training.recipe_file import located, read, shipped, summary
from distalign.training.recipe_online import OnlineRecipe

LOSSES = objectives.names()
LEAST = {"model": "m", "train_data": "d.jsonl", "objective": "dpo", "objective_options": {"beta": 0.1}}
ORIGINS = ("paper", "released", "ours", "default", "distalign.objectives", "preferred")


def test_the_objective_is_the_very_function():
    found = objective_of(Recipe(**LEAST))
    assert isinstance(found, partial)
    assert found.func is objectives.dpo
    assert found.keywords == {"beta": 0.1}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"learning_rate": "5e-7"}, "learning_rate must be a number, got '5e-7'"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"seed": True}, "seed must be a whole number"),
        ({"fp32_logits": 1}, "fp32_logits must be true or false"),
        ({"dtype": "float16"}, "dtype must be one of bfloat16, float32"),
        ({"warmup_ratio": 1.0}, "warmup_ratio must lie in"),
        ({"max_steps": 0}, "max_steps must be -1"),
        ({"max_prompt_length": 1024}, "leaves no token for a completion"),
        ({"micro_batch_tokens": 100}, "less than one response"),
        ({"load_in_4bit": True}, "set lora_rank"),
        ({"eval_data": "e.jsonl", "eval_fraction": 0.1}, "give one of them"),
        ({"lora_target": "q_proj,lm_head"}, "lora_target names the language-model head"),
        ({"output_dir": ""}, "output_dir is empty"),
        ({"objective": "aot"}, "did you mean .*aot_paired"),
        ({"objective_options": {"betta": 1.0}}, "no option 'betta': did you mean beta"),
        ({"objective_options": {}}, "dpo needs beta"),
        ({"objective_options": {"beta": -1.0}}, "beta must be a finite number above 0"),
        ({"objective_options": {"beta": "much"}}, "beta must be a finite number above 0, got .much."),
        ({"objective": "f_dpo", "objective_options": {"beta": 1.0, "divergence": "kl"}}, "divergence"),
        ({"objective": "aot_paired", "objective_options": {"penalty": "hinge"}}, "margin"),
    ],
)
def test_a_bad_value_is_one_sentence(change, sentence):
    with pytest.raises(InputError, match=sentence):
        Recipe(**LEAST | change)


def test_data_must_hold_what_the_objective_reads():
    both, chosen, rejected = Example((1,), (2,), (3,)), Example((1,), (2,), None), Example((1,), None, (3,))
    pairs, unpaired, good = (PreferenceData.of(x) for x in ([both], [chosen, rejected], [chosen]))
    dpo, options = Recipe(**LEAST), {"beta": 1, "temperature": 1}
    group = Recipe(**LEAST | {"objective": "group_dpo", "objective_options": options})
    rdro = Recipe(**LEAST | {"objective": "rdro", "objective_options": {"alpha": 0.5}})
    check_data(dpo, pairs)
    check_data(rdro, unpaired)
    check_data(Recipe(**LEAST | {"objective": "sft", "objective_options": {}}), good)
    for recipe, data, sentence in (
        (dpo, unpaired, "compares pairs"),
        (group, pairs, "column `group`"),
        (rdro, good, "no dispreferred response"),
        (rdro, PreferenceData.of([rejected]), "no preferred"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_data(recipe, data)


def written(folder, text):
    path = folder / "r.yaml"
    path.write_text("model: m\ntrain_data: d.jsonl\nobjective: dpo\nobjective_options: {beta: 0.1}\n" + text)
    return path


@pytest.mark.parametrize("text", ["5e-7", "5E-7", "0.5e-6", ".5e-6", "5.e-7", "+5e-7", "0.0000005"])
def test_numbers_with_exponents_are_numbers(text, tmp_path):
    assert read(written(tmp_path, f"learning_rate: {text}\n")).learning_rate == pytest.approx(5e-7)


def test_plain_yaml_would_read_text():
    """What the loader is there for."""
    assert yaml.safe_load("5e-7") == "5e-7"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learning_rat: 1\n", "unknown key 'learning_rat': did you mean learning_rate"),
        ("beta: 0.1\n", "beta is an option of dpo: put it under"),
        ("seed: 1\nseed: 2\n", "'seed' stands twice"),
        ("model:\n", "'model' stands twice"),
        ("seed: [\n", "is not YAML"),
        ("learning_rate: '5e-7'\n", "must be a number"),
        ("!!python/object/apply:os.system ['true']\n", "is not YAML"),
    ],
)
def test_a_bad_file_is_one_sentence(text, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        read(written(tmp_path, text))


def test_missing_files_and_keys(tmp_path):
    with pytest.raises(InputError, match=r"did you mean .*smollm2_dpo"):
        read("smolm2_dpo")
    path = tmp_path / "r.yaml"
    path.write_text("objective: sft\nmodel: m\n")
    with pytest.raises(InputError, match="lacks train_data"):
        read(path)
    assert read(path, {"train_data": "d.csv"}).train_data == "d.csv"
    path.write_text("- 1\n")
    with pytest.raises(InputError, match="YAML mapping"):
        read(path)


def test_flags_override_values_and_options():
    base = read("smollm2_kldpo")
    new = read("smollm2_kldpo", {"learning_rate": 1e-3, "temperature": 2.0})
    assert (new.learning_rate, new.objective_options["temperature"], new.seed) == (1e-3, 2.0, base.seed)
    assert new.objective_options["weights"] == base.objective_options["weights"]
    other = read("smollm2_kldpo", {"objective": "dpo"})
    assert other.objective_options == {"beta": base.objective_options["beta"]}
    with pytest.raises(InputError, match="unknown key 'tau'"):
        read("smollm2_kldpo", {"tau": 1.0})


def test_flags_are_all_fields_and_all_options():
    taken = {
        n
        for f in (*(getattr(objectives, name) for name in LOSSES), policy_gradient.rlhf, policy_gradient.nlhf)
        for n, p in inspect.signature(f).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }
    assert {f.name for f in fields(flags.options())} == taken
    assert {f.name for f in fields(flags.overrides())} == {f.name for f in fields(OnlineRecipe)} - {
        "objective_options"
    }
    assert flags.given(flags.overrides()(seed=0)) == {"seed": 0}
    documented = re.findall(r"^        (\w+): ", Recipe.__doc__ + OnlineRecipe.__doc__, re.M)
    assert {f.name for f in fields(OnlineRecipe)} <= set(documented)


def test_types_and_help_of_option_flags_are_those_of_the_objectives():
    made = {f.name: f.type for f in fields(flags.options())}
    plain = {name: get_args(kind)[0] for name, kind in made.items()}
    assert plain["beta"] == plain["kl"] == float | None
    assert plain["penalty"] == plain["divergence"] == str | None
    for name, kind in made.items():
        text = get_args(kind)[1].help
        for objective in LOSSES:
            if name in inspect.signature(getattr(objectives, objective)).parameters:
                assert re.search(rf"\b{objective}\b", text), (name, objective)
        assert "as in `" not in text
        assert "as above" not in text
        assert "see its documentation" not in text


def test_flags_of_options_are_not_made_for_other_commands(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["distalign", "show", "aot_rate"])
    flags.options.cache_clear()
    with pytest.raises(SystemExit):
        cli.main()
    assert "aot_rate" in capsys.readouterr().out
    assert flags.options.cache_info().misses == 0


@pytest.mark.parametrize("name", shipped())
def test_shipped_recipes_are_valid_and_every_value_says_where_it_is_from(name):
    recipe, lines = read(name), located(name).read_text().splitlines()
    assert summary(located(name)).endswith(".")
    assert recipe.output_dir == f"out/train/{name}"
    for line in lines[1:]:
        key, _, rest = line.partition(": ")
        value, mark, origin = rest.partition("  # ")
        assert line == "objective_options:" or (
            key and value and mark and any(word in origin for word in ORIGINS)
        ), line


def test_every_objective_has_a_recipe_for_a_laptop():
    made = {read(name).objective for name in shipped() if name.startswith("smollm2_")}
    assert made == {*LOSSES, "rlhf"}  # nlhf differs from rlhf by three flags, which docs/fine_tuning.md gives
    assert {f"smollm2_{name}" for name in LOSSES} <= set(shipped())


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_laptop_recipes_run_end_to_end(name, tmp_path, tiny_folder, pairs_file):
    """The recipe itself, on a tiny random model: two updates and the evaluation."""
    from distalign.training.loop import train

    done = train(
        read(
            f"smollm2_{name}",
            {
                "model": str(tiny_folder),
                "train_data": str(pairs_file),
                "eval_data": str(pairs_file),
                "output_dir": str(tmp_path / "out"),
                "max_steps": 2,
                "dtype": "float32",
                "max_length": 96,
                "lora_rank": 4,
            },
        ),
        progress=False,
    )
    assert done.steps == 2
    assert done.loss == pytest.approx(done.loss)
    assert (done.model / "adapter_model.safetensors").is_file()
    assert 0 <= done.evaluation["accuracy"] <= 1


@pytest.mark.parametrize("field", ["eval_data", "reference_cache"])
def test_none_on_the_command_line_takes_a_value_of_the_recipe_away(field):
    found = read("smollm2_dpo", {field: "somewhere"} | flags.given(flags.overrides()(**{field: "none"})))
    assert getattr(found, field) is None
    assert flags.given(flags.overrides()(model="none")) == {"model": "none"}  # a model may be called so
