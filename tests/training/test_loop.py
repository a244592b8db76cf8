"""train(recipe): what it writes, what it refuses, and that what it wrote can be loaded by others."""

import csv
import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from distalign.checks import InputError
from distalign.training import loop
from distalign.training.model.reference import _digest
from tests.training.data_for_tests import recipe, write_pairs, write_unpaired


def train(recipe):
    return loop.train(recipe, progress=False)


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def weights(folder, name="model.safetensors"):
    return load_file(folder / "model" / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("loop")


def test_a_run_writes_metrics_checkpoints_evaluation_and_a_model_that_transformers_loads(folder):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = train(
        recipe(
            folder,
            "whole",
            max_steps=4,
            save_steps=1,
            eval_steps=2,
            eval_fraction=0.3,
            logging_steps=2,
            gradient_accumulation_steps=2,
        )
    )
    table = rows(found.output_dir)
    assert [row["step"] for row in table] == ["2", "4"]
    assert float(table[0]["epoch"]) == 8 / 16 or float(table[0]["epoch"]) > 0
    for name in (
        "loss",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/margins",
        "rewards/accuracies",
        "logps/chosen",
        "logps/rejected",
        "grad_norm",
        "learning_rate",
        "tokens",
        "eval/loss",
        "eval/rewards/accuracies",
    ):
        assert all(math.isfinite(float(row[name])) for row in table), name
    assert sorted(p.name for p in found.output_dir.glob("checkpoint-*")) == [
        "checkpoint-00000003",
        "checkpoint-00000004",
    ]
    assert found.steps == 4
    assert found.resumed == 0
    assert found.peak_memory > 0
    # The loop's own held-out loss and the evaluation's are two programs on the same scores.
    assert float(table[-1]["eval/loss"]) == pytest.approx(found.evaluation["loss"], rel=1e-5)
    assert (found.output_dir / "evaluation" / "evaluation.csv").exists()
    assert found.metrics["loss"].tolist() == [float(row["loss"]) for row in table]
    assert dict(zip(found.held_out.metric, found.held_out.value)) == pytest.approx(found.evaluation)
    assert [axes.get_ylabel() for axes in found.plot()] == ["loss", "rewards/margins"]
    assert len(found.plot("loss")[0].lines) == 2  # training and held out
    with pytest.raises(InputError, match="metric must be one of"):
        found.plot("los")
    model = AutoModelForCausalLM.from_pretrained(found.model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, weights(found.output_dir)[name])
    card = (found.model / "README.md").read_text()
    assert "dpo" in card
    assert AutoTokenizer.from_pretrained(found.model)("tea").input_ids


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an old name
def test_an_adapter_is_trained_saved_and_loaded_by_peft(folder):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    found = train(
        recipe(folder, "lora", lora_rank=4, learning_rate=1e-2, objective="kto", reference_cache=None)
    )
    assert rows(found.output_dir)[0]["rewards/chosen"] == "0.0"
    base = AutoModelForCausalLM.from_pretrained(folder / "model")
    ids = torch.tensor([[1, 5, 9, 40]])
    before = base(ids).logits
    tuned = PeftModel.from_pretrained(base, found.model)
    assert not torch.allclose(tuned(ids).logits, before)
    with tuned.disable_adapter():
        torch.testing.assert_close(tuned(ids).logits, before)


def test_stopped_and_run_again_it_goes_on_to_the_same_bits_and_rows(folder, monkeypatch):
    # it is slow, and another test looks at it
    monkeypatch.setattr("distalign.training.run.write_results", lambda *args: {})
    settings = {
        "objective": "aot_paired",
        "max_steps": 4,
        "eval_fraction": 0.3,
        "eval_steps": 1,
        "save_steps": 1,
        "gradient_accumulation_steps": 2,
        "lr_scheduler_type": "constant",
    }
    straight = train(recipe(folder, "straight", **settings))
    train(recipe(folder, "again", **settings | {"max_steps": 2}))
    with (folder / "again" / "metrics.csv").open("a") as file:
        file.write("3,0.5,9.9,1.0\n4,0.7")  # a row past the checkpoint and half a row, as a kill leaves them
    found = train(recipe(folder, "again", **settings))
    assert (found.resumed, found.steps) == (2, 4)
    assert found.tokens == straight.tokens
    assert (folder / "again/metrics.csv").read_bytes() == (folder / "straight/metrics.csv").read_bytes()
    for name, tensor in weights(folder / "straight").items():
        assert torch.equal(tensor, weights(folder / "again")[name]), name
    done = train(recipe(folder, "again", **settings))
    assert (done.resumed, done.steps) == (4, 4)
    assert math.isnan(done.loss)
    assert (folder / "again/metrics.csv").read_bytes() == (folder / "straight/metrics.csv").read_bytes()
    with pytest.raises(InputError, match=r"objective_options was .*now.*Restore the recipe"):
        train(recipe(folder, "again", **settings | {"objective_options": {"beta": 0.3}}))
    with pytest.raises(InputError, match="resume_from_checkpoint is false"):
        train(recipe(folder, "again", **settings | {"resume_from_checkpoint": False}))


def test_a_damaged_checkpoint_costs_one_update_and_no_bit(folder, capsys):
    settings = {"max_steps": 3, "save_steps": 1}
    train(recipe(folder, "sound", **settings))
    train(recipe(folder, "broken", **settings | {"num_train_epochs": 1.0}))
    file = folder / "broken/checkpoint-00000003/optimiser-0.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    found = loop.train(recipe(folder, "broken", **settings))
    assert found.resumed == 2
    assert "checkpoint-00000003 is damaged" in capsys.readouterr().err
    for name, tensor in weights(folder / "sound").items():
        assert torch.equal(tensor, weights(folder / "broken")[name]), name


def test_unpaired_data_of_unequal_counts(folder):
    write_unpaired(folder / "unpaired.jsonl")
    for objective, options in (("aot_unpaired", {"beta": 0.1}), ("rdro", {"alpha": 0.5})):
        found = train(
            recipe(
                folder,
                f"unpaired_{objective}",
                train_data=str(folder / "unpaired.jsonl"),
                objective=objective,
                objective_options=options,
                max_steps=4,
                learning_rate=1e-4,
            )
        )
        table = rows(found.output_dir)
        assert all(row["rewards/margins"] == "" and row["rewards/accuracies"] == "" for row in table)
        assert all(math.isfinite(float(row["loss"])) for row in table)
        assert table[0]["rewards/chosen"] == table[0]["rewards/rejected"] == "0.0"
    with pytest.raises(InputError, match="compares pairs but"):
        train(recipe(folder, "unpaired_dpo", train_data=str(folder / "unpaired.jsonl")))


def test_bfloat16_with_checkpointing_and_a_token_budget(folder):
    found = train(
        recipe(
            folder,
            "half",
            dtype="bfloat16",
            gradient_checkpointing=True,
            micro_batch_tokens=128,
            max_length=64,
            learning_rate=1e-4,
            reference_cache=None,
        )
    )
    assert rows(found.output_dir)[0]["rewards/chosen"] == "0.0"
    saved = load_file(folder / "half/checkpoint-00000003/optimiser-0.safetensors")
    name = next(name for name in saved if name.startswith("master.") and "q_proj" in name)
    assert saved[name].dtype == torch.float32
    model = weights(folder / "half")[name.removeprefix("master.")]
    assert model.dtype == torch.bfloat16
    assert torch.equal(model, saved[name].bfloat16())


def test_a_loss_that_is_not_finite_stops_saves_and_names_the_lines(folder):
    settings = recipe(folder, "poisoned", max_steps=6, save_steps=2, learning_rate=1e-3)
    cache = folder / "poisoned_cache"
    train(replace(settings, max_steps=1, output_dir=str(folder / "clean"), reference_cache=str(cache)))
    train(replace(settings, output_dir=str(folder / "clean2"), reference_cache=str(cache)))
    path = next(cache.glob("*.safetensors"))
    tensors = load_file(path)
    tensors["scores"][:, 1] = torch.nan
    save_file(tensors, path, metadata={"sha256": _digest(tensors)})
    with pytest.raises(
        InputError,
        match=r"update 1: loss nan .* the batch holds lines [\d, ]+ of .*pairs.jsonl, and "
        r"log-probabilities of [\d, ]+ are not finite",
    ) as error:
        train(replace(settings, reference_cache=str(cache)))
    listed = str(error.value).split("holds lines ")[1].split(" of ")[0].split(", ")
    assert len(listed) == 8
    assert all(1 <= int(line) <= 24 for line in listed)
    assert (folder / "poisoned/checkpoint-00000000").is_dir()


def test_mistakes_are_found_before_the_model_is_loaded(folder, monkeypatch):
    from distalign.training import prepare

    recipe(folder)
    monkeypatch.setattr(prepare, "load_model", lambda *args, **kwargs: pytest.fail("the model was loaded"))
    wdpo = {"objective": "wdpo", "objective_options": {"beta": 0.1, "radius": 0.1}}
    cases = [
        (
            {"gradient_accumulation_steps": 40},
            "the global batch is 80 examples but the training data hold 24",
        ),
        (wdpo, "wdpo through='ratio' .* set lora_rank, or say through: policy"),
        (
            wdpo | {"lora_rank": 4, "gradient_checkpointing": True},
            "cannot recompute activations with the adapter off",
        ),
        (
            {
                "objective": "wdpo",
                "objective_options": {"beta": 0.1, "radius": 0.1, "through": "policy"},
                "wdpo_method": "double_backward",
                "attn_implementation": "flash_attention_2",
            },
            "flash_attention_2 does not allow",
        ),
        (
            {
                "objective": "wdpo",
                "objective_options": {"beta": 0.1, "radius": 0.1, "through": "policy"},
                "wdpo_method": "double_backward",
                "parallel": "fsdp2",
            },
            "differentiates through the sharding of fsdp2",
        ),
        ({"parallel": "fsdp2", "load_in_4bit": True, "lora_rank": 4}, "cannot shard 4-bit weights"),
        ({"report_to": "trackio"}, "report_to trackio needs the package trackio"),
        ({"eval_fraction": 0.01}, "eval_fraction 0.01 of .* prompts leaves nothing to hold out"),
        (
            {"objective": "group_dpo", "objective_options": {"beta": 0.1, "temperature": 1.0}},
            "no column `group`",
        ),
        ({"output_dir": str(folder / "pairs.jsonl/out")}, "output_dir .* cannot be made"),
    ]
    monkeypatch.setattr("distalign.training.journal.importlib.util.find_spec", lambda name: None)
    for changes, words in cases:
        with pytest.raises(InputError, match=words):
            train(recipe(folder, "mistakes", **changes))


def test_held_out_prompts_are_not_trained_on_and_do_not_depend_on_the_seed(folder):
    from distalign.training.data.rows import Example, PreferenceData
    from distalign.training.splits import split_held_out

    data = PreferenceData.of([Example((1, i % 10), (2, i), (3, i)) for i in range(50)])
    kept, held = split_held_out(data, 0.3)
    assert len(held.examples) == 15
    assert not {e.prompt for e in kept.examples} & {e.prompt for e in held.examples}
    backwards = PreferenceData.of(data.examples[::-1])
    assert {e.prompt for e in split_held_out(backwards, 0.3)[1].examples} == {e.prompt for e in held.examples}


def test_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = train(recipe(folder, "board", report_to="tensorboard", max_steps=2))
    events = EventAccumulator(str(found.output_dir / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]


def test_groups_and_weights_reach_the_objective(folder):
    write_pairs(folder / "grouped.jsonl", group=lambda i: f"g{i % 2}", weight=lambda i: 1.0 + i % 3)
    found = train(
        recipe(
            folder,
            "grouped",
            train_data=str(folder / "grouped.jsonl"),
            objective="group_dpo",
            objective_options={"beta": 0.1, "temperature": 1.0},
        )
    )
    assert math.isfinite(found.loss)
    state = json.loads((folder / "grouped/checkpoint-00000003/state.json").read_text())
    assert state["batch"] == 8


def test_a_small_batch_of_a_coupled_objective_gets_a_line(folder, capsys):
    changes = {"objective": "aot_paired", "gradient_accumulation_steps": 1, "max_steps": 1}
    loop.train(recipe(folder, "small", **changes))
    assert (
        "aot_paired couples its batch, and the global batch is 2: alone a pair is DPO"
        in capsys.readouterr().err
    )
    loop.train(recipe(folder, "large", **changes | {"gradient_accumulation_steps": 4}))
    assert "couples its batch" not in capsys.readouterr().err


@pytest.mark.parametrize("mixed", [False, True])
def test_held_out_data_that_are_not_there_are_named_before_a_line_is_read(folder, mixed, monkeypatch):
    def read(*args, **settings):
        raise AssertionError("lines were read")

    monkeypatch.setattr("distalign.training.splits.load_preferences", read)
    named = "gone.jsonl"
    if mixed:
        named = str(folder / "mixed.yaml")
        (folder / "mixed.yaml").write_text("sources: {gone.jsonl: 1}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"gone.jsonl does not exist: check the path"):
        train(recipe(folder, "gone", eval_data=named))
