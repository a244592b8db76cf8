"""What a run says: without a terminal plain lines in time, on a terminal a bar, always by `logging`."""

import io
import json
import logging
import re
import sys

import pytest

from distalign import progress
from distalign.checks import InputError
from distalign.training.loop import train
from tests.training.data_for_tests import recipe, write_pairs
from tests.training.tiny import TEMPLATE, save_tiny, tiny_tokenizer


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def told(tmp_path, capfd):
    """Train by the recipe of the tests with these changes, and return the lines on stderr."""

    def run(**changes):
        settings = recipe(tmp_path, **changes)
        capfd.readouterr()
        train(settings)
        return capfd.readouterr().err.splitlines()

    return run


def test_a_run_without_a_terminal_says_what_it_does_while_it_does_it(told, tmp_path):
    lines = told(eval_fraction=0.2, eval_steps=2, max_steps=4, logging_steps=2)
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines), lines
    text = [line[9:] for line in lines]
    assert text[0] == (
        f"data: {tmp_path}/pairs.jsonl: 24 lines read, 24 pairs kept; left out: 0; completions cut: 0 of 48; "
        "prompts cut: 0"
    )
    screen = "\n".join(text[: next(i for i, line in enumerate(text) if line.startswith("update"))])
    for part in (
        "held out: 5 of these",
        "39,072 parameters, 39,072 trained (100 %), float32; attention sdpa; prompts computed once",
        "training: dpo, 4 updates of 8 examples on 1 process",
        "holds none of these 19 lines yet",
    ):
        assert part in screen
    number = r"[\d.,e+-]+"
    updates = [line for line in text if re.match(r"update \d+/4: loss", line)]
    assert [line.split(":")[0] for line in updates] == ["update 2/4", "update 4/4"]
    for line in updates:
        assert re.fullmatch(
            rf"update ./4: loss {number}, margin {number}, accuracy {number}, grad norm {number}, "
            rf"lr {number}, {number} tokens/s, {number} GiB, .* left",
            line,
        )
    assert sum("held out: loss" in line for line in text) == 2
    assert text.index(updates[0]) < text.index(updates[1]) < len(text) - 1  # in time, not at the end
    cached = told(eval_fraction=0.2, eval_steps=2, max_steps=4, out="again")
    assert any("19 of 19 lines found" in line for line in cached)


def test_on_a_terminal_there_is_a_bar_and_no_line_an_update(told, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    told(max_steps=2)
    assert "update 1/2:" not in screen.getvalue()
    assert "2/2" in screen.getvalue()
    assert "data: " in screen.getvalue()


def test_a_silent_run_still_logs(tmp_path, caplog, capfd):
    caplog.set_level(logging.INFO, logger="distalign")
    settings = recipe(tmp_path, max_steps=1)
    capfd.readouterr()
    train(settings, progress=False)
    assert capfd.readouterr().err == ""
    assert any(message.startswith("update 1/1: loss") for message in caplog.messages)
    assert not progress.LOG.handlers


def test_nested_speakers_write_a_line_once(capfd):
    with progress.on_stderr(), progress.on_stderr():
        progress.Voice()("once")
        progress.Voice(False)("never")
    progress.Voice()("nowhere")
    assert [line[9:] for line in capfd.readouterr().err.splitlines()] == ["once"]


def warned(lines):
    return [line.split("warning: data: ")[1] for line in lines if "warning: data: " in line]


def test_what_may_not_be_meant_is_said_once_before_the_first_update(told, tmp_path):
    """A template that ends no turn, fields it does not read, columns nobody reads, dropped and cut lines."""
    save_tiny(tmp_path / "model")
    tiny_tokenizer(TEMPLATE.replace("<|im_end|>", "")).save_pretrained(tmp_path / "model")
    rows = [
        {
            "prompt": [{"role": "user", "content": f"q{i}"}],
            "chosen": [{"role": "assistant", "content": "yes " * (40 if i < 3 else 2), "mood": "good"}],
            "rejected": [{"role": "assistant", "content": "no"}],
            "source": "web",
        }
        for i in range(20)
    ]
    rows[7]["rejected"] = rows[7]["chosen"]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = told(max_steps=1, max_length=48, skip_bad_rows=True)
    first = next(i for i, line in enumerate(lines) if "update 1/1" in line)
    assert "20 lines read, 19 pairs kept; left out: 1 (1 identical); completions cut: 3 of 38" in lines[0]
    assert lines[1].endswith("data: columns not used: source")
    assert warned(lines[first:]) == []
    assert [warning.split(":")[0] for warning in warned(lines)] == [
        "38 of 38 completions do not end in a special token, so the model does not learn to end its answers",
        "3 of 38 completions are cut by max_length, so their ends are not learnt",
        "the texts do not depend on mood, which 19 lines have",
    ]


def test_a_beginning_written_twice_is_counted(told, tmp_path):
    from tokenizers.processors import TemplateProcessing

    save_tiny(tmp_path / "model")
    eager = tiny_tokenizer()
    eager.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    eager.save_pretrained(tmp_path / "model")
    write_pairs(tmp_path / "pairs.jsonl", prompt=lambda i: "<|im_start|>" * (i < 7) + f"q{i}")
    assert warned(told(max_steps=1))[0].startswith(
        "7 of 24 texts begin with the beginning-of-text token twice"
    )


def test_completions_all_cut_stop_the_run_unless_it_is_told_to_go_on(told):
    with pytest.raises(InputError, match=r"max_length=12 cuts .* completions, more than max_cut_share=0.2"):
        told(max_steps=1, max_length=12, max_prompt_length=8)
    lines = told(max_steps=1, max_length=12, max_prompt_length=8, max_cut_share=1.0)
    assert "completions are cut by max_length" in warned(lines)[-1]
