"""`distalign data`: what it prints is what the model will see and what is scored."""

import io
import json
import sys

import pytest
from preference_rows import PAIR, TOKENIZER, answer, load, talk, write

from distalign.training.data.rows import Example, PreferenceData
from distalign.training.data.show import Piece, lengths_table, row_pieces

ROW = {"prompt": talk("tea?"), "chosen": talk("?", "which", "black", "yes")[1:], "rejected": answer("no")}


def test_pieces_are_the_tokens_and_say_what_is_scored(tmp_path):
    (example,) = load(tmp_path, [ROW]).examples
    shown = dict(row_pieces(example, TOKENIZER))
    titles = list(shown)
    assert titles[0] == f"line 1, prompt, {len(example.prompt)} tokens"
    assert titles[2] == f"rejected, {len(example.rejected)} tokens, {len(example.rejected)} scored"
    prompt, chosen, rejected = shown.values()
    assert [piece.scored for piece in prompt] == [False]
    assert [piece.scored for piece in chosen] == [True, False, True]
    assert chosen[2].text == "y|e|s|<|im_end|>|\\n"
    assert rejected == [Piece("n|o|<|im_end|>|\\n", True)]
    assert rejected[0].marked() == "[[n|o|<|im_end|>|\\n]]"


def test_a_long_text_is_shown_by_its_beginning_and_its_end():
    example = Example(tuple(TOKENIZER("0123456789")["input_ids"]), (5,), None)
    (_, pieces), _ = row_pieces(example, TOKENIZER, most=4)
    assert "".join(piece.text for piece in pieces) == "0|1 ... 6 tokens ... 8|9"


def test_every_completion_is_in_the_histogram():
    examples = [Example((1,) * (i % 7 + 1), (2,) * (i % 5 + 1), (3,) if i % 2 else None) for i in range(60)]
    rows = lengths_table(PreferenceData.of(examples))[1:]
    assert sum(int(row.split()[3]) for row in rows) == 90
    assert max(len(row.split()[-1]) for row in rows) == 40


def test_the_command_shows_marks_in_a_pipe(run, tmp_path, tiny_folder):
    path = write(tmp_path, [ROW, ROW | {"rejected": answer("nothing"), "from": "web"}])
    done = run("data", path, "--model", tiny_folder, "--rows", 1)
    assert done.returncode == 0
    assert "line 1, prompt" in done.stdout
    assert "line 2" not in done.stdout
    assert "|\\n[[y|e|s|<|im_end|>|\\n]]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "2 lines read, 2 pairs kept" in done.stdout
    assert "columns not used: from" in done.stdout
    assert "tokens of prompt and completion: median" in done.stdout
    scored = run("data", path, "--model", tiny_folder, "--assistant_only_loss", "false", "--rows", 1)
    assert "t|\\n|y|e|s|<|im_end|>|\\n]]" in scored.stdout


def test_the_command_shows_colours_on_a_terminal(run, tmp_path, tiny_folder, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    path, screen = write(tmp_path, [PAIR]), Terminal()
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", screen)
    run("data", path, "--model", tiny_folder)
    assert "\x1b[32m yes|<|im_end|>\x1b[0m" in screen.getvalue()
    assert "[[" not in screen.getvalue()


def test_the_command_shows_what_a_run_would_refuse_to_cut(run, tmp_path, tiny_folder):
    path = write(tmp_path, [PAIR | {"chosen": " good" * 30, "rejected": " tea" * 30}])
    done = run("data", path, "--model", tiny_folder, "--max-length", 20)
    assert "warning: 2 of 2 completions are cut by max_length" in done.stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("none.jsonl", "--model", "{tiny}"), "none.jsonl does not exist"),
        (("bad.jsonl", "--model", "{tiny}"), "line 2: not a line of JSON"),
        (("bad.jsonl", "--model", "{tiny}", "--rows", "-1"), "rows must be at least 0"),
        (("bad.jsonl", "--model", "no/such/folder"), "there is no folder"),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence, run, tmp_path, tiny_folder):
    (tmp_path / "bad.jsonl").write_text(json.dumps(PAIR) + "\n{oops\n")
    done = run("data", *(word.format(tiny=tiny_folder) for word in words))
    assert done.returncode == 2
    assert sentence in done.stderr
