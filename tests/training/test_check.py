"""`distalign check`: what a file says of the assumptions of RDRO and DDRO, its exit status, and its
sentences.
"""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from distalign import cli
from distalign.checks import InputError
from distalign.data_check import check_labels
from distalign.training.check import check_file
from tests.training.tiny import save_tiny


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """The command line inside this process, in an empty folder."""

    def called(*words):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["distalign", "check", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        captured = capsys.readouterr()
        return SimpleNamespace(returncode=left.value.code, stdout=captured.out, stderr=captured.err)

    return called


@pytest.fixture
def write(tmp_path):
    """Write rows as JSONL."""

    def written(rows, name="data.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return written


def thumbs(chance, prompts=200, each=6, seed=0, **more):
    """Labelled responses of prompts whose share of chosen is chance(prompt)."""
    rng = np.random.default_rng(seed)
    return [
        {
            "prompt": f"p{x}",
            "completion": f"r{i}",
            "label": bool(rng.uniform() < chance(x)),
            **{name: of(x) for name, of in more.items()},
        }
        for x in range(prompts)
        for i in range(each)
    ]


def test_pairs_have_nothing_to_say_against_them(run, write):
    rows = [{"prompt": f"p{i % 10}", "chosen": f"c{i}", "rejected": f"r{i}"} for i in range(40)]
    done = run(write(rows), "--micro-batch", 64)
    assert done.returncode == 0, done.stdout
    assert "warning" not in done.stdout
    assert "0.5000" in done.stdout


def test_conversations_are_prompts_too(write):
    talk = [{"role": "user", "content": "tea?"}]
    rows = [
        {
            "prompt": talk,
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [{"role": "assistant", "content": word}],
        }
        for word in ("no", "never")
    ]
    assert check_file(write(rows)).units == 1


def test_labels_of_one_prior_and_labels_whose_prior_varies(run, write):
    same = write(thumbs(lambda _: 0.5, seed=2), "same.jsonl")
    varies = write(thumbs(lambda x: 0.2 + 0.6 * (x % 2)), "varies.jsonl")
    assert not [w for w in check_file(same).warnings if "varies" in w]
    done = run(varies, "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["prior_sd"] == pytest.approx(0.3, abs=0.05)
    assert said["evidence"] is None
    assert any("prior varies with the prompt" in w for w in said["warnings"])


def test_unbalanced_labels_warn_of_the_mean_over_examples(run, write):
    path = write(thumbs(lambda _: 0.3))
    done = run(path, "--micro-batch", 4)
    assert done.returncode == 1
    assert "use class means" in done.stdout
    assert "lacks a class" in done.stdout
    assert json.loads(run(path, "--json").stdout)["batch_mean_weight"] == pytest.approx(7 / 3, rel=0.2)


def test_a_prior_the_data_contradict(write):
    path = write(thumbs(lambda _: 0.5))
    assert not [w for w in check_file(path, prior=0.5).warnings if "prior 0.5" in w]
    assert any("prior 0.39 is not the share" in w for w in check_file(path, prior=0.39).warnings)


def test_groups_where_prompts_have_one_response(write):
    path = write(thumbs(lambda x: 0.2 + 0.6 * (x < 500), prompts=1000, each=1, group=lambda x: "ab"[x < 500]))
    assert any("cannot be tested" in w for w in check_file(path).warnings)
    found = check_file(path, by="group")
    assert found.units == 2
    assert any("varies" in w for w in found.warnings)


def test_counts_are_those_of_the_rows(write):
    rows = thumbs(lambda x: 0.1 + 0.8 * (x % 2), prompts=7, each=5)
    labels = np.array([row["label"] for row in rows]).reshape(7, 5)
    assert check_file(write(rows)).found.spread == check_labels(labels.sum(1), (~labels).sum(1)).spread


def test_a_reference_that_did_not_write_the_responses(write, tmp_path):
    """A model at hand wrote the responses; told that another one did, the check sees it, and not the other
    way round.
    """
    from distalign.training.evaluation.generate import generate
    from distalign.training.model.policy import load_policy, tokenizer_of

    writer, other = (
        str(save_tiny(tmp_path / name, seed=seed)) for seed, name in enumerate(("writer", "other"))
    )
    tokenizer = tokenizer_of(writer)
    prompts = [tuple(tokenizer(text)["input_ids"]) for text in ("tea", "good tea")]
    drawn = generate(
        load_policy(writer, dtype="float32"),
        tokenizer,
        prompts,
        samples_per_prompt=20,
        max_new_tokens=6,
        seed=0,
    )
    texts = [row.response for row in drawn.rows]
    path = write(
        [
            {"prompt": "tea", "completion": text, "label": i % 2 == 0}
            for i, text in enumerate(texts)
            if text.strip()
        ]
    )
    how = {"dtype": "float32", "max_length": 64}
    right, wrong = (
        check_file(path, reference=ref, pooled=f, **how) for ref, f in ((writer, other), (other, writer))
    )
    assert right.found.evidence < 0 < math.log(100) < wrong.found.evidence
    assert any("cannot be the pooled law" in w for w in wrong.warnings)
    assert not any("cannot be the pooled law" in w for w in right.warnings)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("{up}",), "rejected is empty in the whole data"),
        (("{both}", "--prior", "1"), "prior must lie strictly"),
        (("{both}", "--prior", "-0.1"), "prior must lie strictly"),
        (("{both}", "--micro-batch", "0"), "micro_batch must be"),
        (("{both}", "--by", "group"), "no column 'group'"),
        (("{both}", "--reference", "m"), "reference and pooled go together"),
        (("{empty}",), "holds no rows"),
        (("missing.jsonl",), "missing.jsonl"),
        (("{bad}",), "label must be true or false"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_2(words, sentence, run, write):
    row = {"prompt": "p", "completion": "r", "label": True}
    files = {
        "up": write([row], "up.jsonl"),
        "both": write([row, {**row, "label": False}], "both.jsonl"),
        "empty": write([], "empty.jsonl"),
        "bad": write([{**row, "label": "perhaps"}], "bad.jsonl"),
    }
    done = run(*(word.format(**files) for word in words))
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_rows_are_left_out_when_asked(write):
    rows = [*thumbs(lambda _: 0.5, prompts=20), {"prompt": "p", "completion": "r", "label": "perhaps"}]
    with pytest.raises(InputError, match="line 121"):
        check_file(write(rows))
    assert check_file(write(rows), skip_bad_rows=True).units == 20
