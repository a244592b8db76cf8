"""`distalign predict` and `distalign judge` as a user meets them."""

import json
import sys
from dataclasses import replace

import pandas as pd
import pytest

from distalign import cli
from distalign.training.evaluation.samples import write_samples
from tests.bridge.generation.test_judgement import SETTINGS, files


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Texts of two models, scored; verdicts; a population that cares for the score."""
    place = tmp_path_factory.mktemp("texts")
    ours, theirs = files()
    write_samples(ours, str(place / "ours.parquet"))  # names of files are taken, too
    write_samples(theirs, place / "theirs.jsonl")
    write_samples(files(128)[1], place / "few.jsonl")
    hot = replace(theirs, settings={**SETTINGS, "temperature": 0.7})
    write_samples(hot, place / "hot.jsonl")
    rows = [{"prompt_index": s, "winner": "tie"} for s in ours.prompts]
    pd.DataFrame(rows).to_csv(place / "verdicts.csv", index=False)
    users = "- {mixture: {reward: 1}, weight: 2, group: many}\n- {mixture: {reward: -0.2}, group: few}\n"
    (place / "users.yaml").write_text("name: two\nusers:\n" + users)
    return place


@pytest.fixture
def run(monkeypatch, folder, tmp_path, capsys):
    """The command line inside this process: status, stdout and stderr."""

    def called(words):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["distalign", *words.split(), "--out", str(tmp_path)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return called


def test_judge_prints_a_table_and_writes_files(run, tmp_path):
    code, out, err = run("judge ours.parquet --against theirs.jsonl --draws theirs.jsonl")
    assert code == 0
    for name in ("win_rate_equal_length", "kl_reweighted", "self_bleu", "calibration_preference"):
        assert name in out
    assert "were cut at the largest length" in err
    read = json.loads((tmp_path / "judge.json").read_text())
    assert read["asked"] == {"ours": "ours.parquet", "against": "theirs.jsonl", "draws": "theirs.jsonl"}
    (first, *_) = json.loads((tmp_path / "alpaca_eval.json").read_text())
    assert first["instruction"] == "prompt 0"
    assert (tmp_path / "alpaca_eval_against.json").is_file()


def test_judge_reads_verdicts(run, tmp_path):
    assert run("judge ours.parquet --against theirs.jsonl --verdicts verdicts.csv")[0] == 0
    table = pd.read_csv(tmp_path / "judge.csv").set_index("metric")
    assert table.loc["win_rate", ["value", "n"]].tolist() == [0.5, 9]


def test_predict_prints_a_table_of_at_most_20_lines_and_a_figure(run, tmp_path):
    code, out, err = run("predict few.jsonl --population users.yaml --kl 0.1 --beta 0.2 1 3")
    assert code == 0
    assert len((out + err).strip().splitlines()) <= 20
    assert "more lines are in predict.csv" in out
    table = pd.read_csv(tmp_path / "predict.csv")
    assert {"group: many", "worst_off", "distortion_low", "refused"} <= set(table)
    assert (tmp_path / "frontier.png").is_file()
    assert json.loads((tmp_path / "predict.json").read_text())["asked"]["kl"] == "0.1"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("judge none.parquet", "no samples in none.parquet"),
        ("judge ours.parquet --against hot.jsonl", "at temperature 0.7, and those judged at 1.0"),
        ("judge ours.parquet --against theirs.jsonl --score rewrad", "score must be one of 'reward'"),
        ("judge ours.parquet --verdicts verdicts.csv", "give these by --against"),
        ("predict hot.jsonl --population users.yaml", "temperature 0.7 and top_p 1, which is another policy"),
        ("predict few.jsonl --population users.yaml --kl 3", "needs 404 draws a prompt"),
        (
            "predict few.jsonl --population readers",
            "cares for 'sentiment', 'length', which the samples lack",
        ),
        ("predict few.jsonl --population two_camps", "users must be a list"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(run, words, sentence):
    code, _, err = run(words)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
