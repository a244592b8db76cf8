"""The page of a run: what the folder holds is on it, in one file, and names are no markup."""

import base64
import re

import pytest

from distalign.checks import InputError
from distalign.report import ROWS, report

PICTURE = b"\x89PNG picture"
BAD = '<script>alert("x")</script>'


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "report.md").write_text(f"# What came out {BAD}\n", encoding="utf-8")
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.7\n2,0.61237\n", encoding="utf-8")
    rows = "".join(f"m{i},{i}\n" for i in range(ROWS + 3))
    (tmp_path / "summary.csv").write_text(f"method,{BAD}\n{rows}", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text("objective: dpo\n", encoding="utf-8")
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/one.png").write_bytes(PICTURE)
    (tmp_path / "cells").mkdir()
    (tmp_path / "cells/rows.csv").write_text("secret\n1\n", encoding="utf-8")
    return tmp_path


def test_texts_tables_figures_and_settings_are_on_the_page(folder):
    text = report(folder).read_text(encoding="utf-8")
    assert "What came out" in text
    assert "objective: dpo" in text
    assert "0.6124" in text
    assert "3 more rows are in the file" in text
    assert "m49" in text
    assert "m50" not in text
    assert "secret" not in text
    pictures = [base64.b64decode(x) for x in re.findall(r"data:image/png;base64,([^\"]+)", text)]
    assert PICTURE in pictures
    assert len(pictures) == 2  # and the loss by update, drawn from metrics.csv
    assert text.index("What came out") < text.index("figures/one.png") < text.index("summary.csv")


def test_the_page_is_one_file_and_names_are_no_markup(folder):
    text = report(folder).read_text(encoding="utf-8")
    assert "<script" not in text
    assert [x for x in re.findall(r'(?:src|href)="([^"]+)"', text) if not x.startswith("data:")] == []
    assert report(folder).read_text(encoding="utf-8") == text  # its own page is not shown on it


def test_a_run_of_verify_or_simulate_has_its_page_already(tmp_path):
    (tmp_path / "index.html").write_text("x\n", encoding="utf-8")
    assert report(tmp_path) == tmp_path / "index.html"


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no text"):
        report(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        report(tmp_path / "nowhere")


def test_a_file_that_is_no_table_is_left_out(folder):
    (folder / "empty.csv").write_text("", encoding="utf-8")
    assert "empty.csv" not in report(folder).read_text(encoding="utf-8")


def test_curves_of_loss_accuracy_and_margins_and_nothing_hidden(tmp_path):
    rows = "1,0.7,0.5,0.1,,\n2,0.6,0.75,0.3,0.65,\n"
    columns = "step,loss,rewards/accuracies,rewards/margins,eval/loss,reward"
    (tmp_path / "metrics.csv").write_text(f"{columns}\n{rows}", encoding="utf-8")
    whole = report(tmp_path).read_bytes()
    assert b"loss, rewards/accuracies, rewards/margins by update" in whole
    (tmp_path / ".checkpoint-1.tmp").mkdir()  # what a kill leaves
    (tmp_path / ".checkpoint-1.tmp" / "state.json").write_text("{}")
    (tmp_path / "damaged-checkpoint-00000009").mkdir()  # what a run puts aside as it goes on
    (tmp_path / "damaged-checkpoint-00000009" / "metrics.csv").write_text(f"{columns}\n", encoding="utf-8")
    assert report(tmp_path).read_bytes() == whole
    (tmp_path / "metrics.csv").write_text(f"{columns}\n{rows.replace('0.75', '0.25')}", encoding="utf-8")
    assert report(tmp_path).read_bytes() != whole
