"""The training commands as a user meets them."""

import json
from typing import Literal

import pandas as pd
import pytest
import tyro

from distalign.training import flags


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "smollm2_dop"), "did you mean smollm2_"),
        (("train", "smollm2_dpo", "--learning_rate", "-1"), "learning_rate must be above 0"),
        (("train", "smollm2_dpo", "--temperature", "1"), "unknown key 'temperature'"),
        (("train", "smollm2_dpo", "--train_data", "missing.jsonl", "--model", "{tiny}"), "missing.jsonl"),
        (("recipes", "cp"), "needs a recipe"),
        (("recipes", "validate", "none.yaml"), "no recipe 'none.yaml'"),
        (("plan", "smollm2_dpo", "--gpu", "many"), "--gpu must be a size"),
        (("plan", "smollm2_dpo", "--devices", "0"), "--devices must be at least 1"),
        (("evaluate", "{tiny}", "--data", "missing.jsonl"), "give --reference MODEL"),
        (("evaluate", "{tiny}", "--data", "missing.jsonl", "--reference", "{tiny}"), "missing.jsonl"),
        (
            ("evaluate", "{tiny}", "--data", "x", "--reference", "{tiny}", "--objective", "dpoo"),
            "did you mean",
        ),
        (("generate", "{tiny}", "--prompts", "missing.jsonl", "--out", "o.jsonl"), "missing.jsonl"),
        (("generate", "nowhere/at/all", "--prompts", "{pairs}", "--out", "o.jsonl"), "there is no folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(words, sentence, run, tiny_folder, pairs_file):
    done = run(*(word.format(tiny=tiny_folder, pairs=pairs_file) for word in words))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--learning-rat", "--learning_rat", "--bta"])
def test_a_misspelt_flag_gets_a_suggestion_in_its_own_spelling(flag, run):
    done = run("train", "smollm2_dpo", flag, "1")
    assert done.returncode == 2
    meant = "--beta" if flag == "--bta" else f"{flag}e"
    assert meant in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("--share_prompt", "false"), False),
        (("--share-prompt", "False"), False),
        (("--share_prompt", "true"), True),
        (("--share_prompt",), True),
        (("--share_prompt", "none"), None),
        ((), None),
    ],
)
def test_switches_are_written_as_in_yaml(words, value):
    overrides = tyro.cli(flags.overrides(), args=[*words, "--max_steps", "3"])
    assert overrides.share_prompt is value
    assert overrides.max_steps == 3


def test_several_trackers_on_the_command_line(run, tmp_path):
    def of(*words):
        return tyro.cli(flags.overrides(), args=list(words)).report_to

    assert of("--report_to", "tensorboard") == "tensorboard"
    assert of("--report-to", "tensorboard,wandb") == ["tensorboard", "wandb"]
    assert of() is None
    done = run("train", "smollm2_dpo", "--report_to", "tensorboard,comet")
    assert done.returncode == 2
    assert "with commas between, got 'comet'" in done.stderr.replace("│", "").replace("\n", " ")


def test_a_switch_of_another_word_is_refused(run):
    done = run("train", "smollm2_dpo", "--share_prompt", "perhaps")
    assert done.returncode == 2
    assert "it must be true or false" in done.stderr
    assert "got 'perhaps'" in done.stderr


def test_a_switch_with_more_values_takes_them():
    kind = flags._open(bool | Literal["auto"])
    assert [tyro.cli(kind, args=[word], default=None) for word in ("auto", "false")] == ["auto", False]


def test_recipes_are_listed_copied_and_checked(run, tmp_path):
    assert "smollm2_aot_paired" in run("recipes", "ls").stdout
    assert run("recipes", "cp", "smollm2_dpo", "mine.yaml").returncode == 0
    assert (tmp_path / "mine.yaml").read_text().startswith("# ")
    assert "exists" in run("recipes", "cp", "smollm2_dpo", "mine.yaml").stderr
    done = run("recipes", "validate", "mine.yaml")
    assert done.returncode == 0
    assert "not there yet: out/demo/train.jsonl" in done.stderr


def test_plan_says_what_fits_and_what_to_turn(run):
    small = run("plan", "llama31_8b_rdro", "--gpu", "141GB")
    assert small.returncode == 1
    assert "does NOT fit" in small.stderr
    assert "8,030,261,248" in small.stderr
    assert "lora-rank" in small.stdout.replace("_", "-")
    assert run("plan", "llama31_8b_rdro", "--gpu", "141GB", "--devices", "2").returncode == 0
    assert run("plan", "llama31_8b_rdro", "--gpu", "141GB", "--lora_rank", "16").returncode == 0


def test_train_evaluate_generate(run, tmp_path, tiny_folder, pairs_file):
    """A tiny model through all three; the evaluation of the command is that of the run."""
    done = run(
        "train",
        "smollm2_dpo",
        "--model",
        tiny_folder,
        "--train_data",
        pairs_file,
        "--eval-data",
        pairs_file,
        "--output-dir",
        "run",
        "--max_steps",
        3,
        "--dtype",
        "float32",
        "--learning_rate",
        "1e-2",
        "--lora-rank",
        4,
        "--max-length",
        96,
        "--beta",
        0.3,
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    model = tmp_path / "run" / "model"
    done = run(
        "evaluate",
        model,
        "--data",
        pairs_file,
        "--beta",
        0.3,
        "--dtype",
        "float32",
        "--max_length",
        96,
        "--out",
        "e",
        "--samples",
        3,
        "--resamples",
        20,
        "--chat-template",
        "True",
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "e" / "evaluation.csv").set_index("metric")
    trained = pd.read_csv(tmp_path / "run" / "evaluation" / "evaluation.csv").set_index("metric")
    for name in trained.index:
        assert table.value[name] == pytest.approx(trained.value[name], rel=1e-3, abs=1e-5), name
    assert table.value["rewards/margins"] > 1e-3
    assert table.n["kl"] == 12
    assert (tmp_path / "e" / "figures" / "dominance.png").is_file()
    done = run(
        "generate",
        model,
        "--prompts",
        pairs_file,
        "--out",
        "g.jsonl",
        "--max_new_tokens",
        4,
        "--dtype",
        "float32",
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "g.jsonl").read_text().splitlines()]
    assert len(lines) == 1 + 6
    assert all(line["ref_log_prob"] is not None for line in lines[1:])
    other = run(
        "evaluate",
        model,
        "--data",
        pairs_file,
        "--reference",
        tiny_folder,
        "--dtype",
        "float32",
        "--beta",
        0.3,
        "--max_length",
        96,
        "--out",
        "e2",
        "--resamples",
        0,
        "--chat-template",
        "True",
    )
    assert other.returncode == 0, other.stderr
    again = pd.read_csv(tmp_path / "e2" / "evaluation.csv").set_index("metric")
    assert again.value["loss"] == pytest.approx(table.value["loss"], rel=1e-4)
