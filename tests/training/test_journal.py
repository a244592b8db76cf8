"""metrics.csv across a kill, and trackers by their interface alone."""

import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from distalign.checks import InputError
from distalign.objectives import sft
from distalign.preferences import PreferenceLogProbs
from distalign.training import journal as module
from distalign.training.journal import COLUMNS, Journal, check_tracker, logged_metrics
from tests.training.data_for_tests import recipe


def test_rows_after_the_checkpoint_and_half_rows_are_dropped(tmp_path):
    journal = Journal(tmp_path, "none", {}, 0)
    for step in (1, 2, 3):
        journal.write(step, {"loss": step / 3})
    whole = journal.path.read_text()
    journal.path.write_text(whole + "4,0.1")
    Journal(tmp_path, "none", {}, 2)
    assert journal.path.read_text() == "".join(line + "\n" for line in whole.splitlines()[:3])
    assert whole.splitlines()[2].startswith("2,,0.6666666666666666,")
    Journal(tmp_path, "none", {}, 0)
    assert journal.path.read_text() == ",".join(COLUMNS) + "\n"


def test_a_file_of_other_columns_is_not_continued(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,loss\n1,0.5\n")
    Journal(tmp_path, "none", {}, 1)
    assert (tmp_path / "metrics.csv").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_config_rows_and_its_end(tmp_path, monkeypatch, name):
    seen = []
    tracked = SimpleNamespace(
        log=lambda values, step: seen.append((step, values)), finish=lambda: seen.append("end")
    )
    module = SimpleNamespace(__spec__=True, init=lambda **options: (seen.append(options), tracked)[1])
    monkeypatch.setitem(sys.modules, name, module)
    journal = Journal(tmp_path, name, {"seed": 1}, 0)
    journal.write(1, {"loss": 0.5})
    journal.close()
    assert seen == [
        {"project": "distalign", "name": tmp_path.name, "config": {"seed": 1}},
        (1, {"loss": 0.5}),
        "end",
    ]


def test_a_tracker_that_is_not_installed_gets_a_sentence(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        InputError,
        match=r"report_to wandb needs the package wandb.*pip install wandb.*metrics.csv is written",
    ):
        check_tracker("wandb")
    check_tracker("none")


def test_a_batch_of_chosen_responses_alone_is_logged_metrics():
    """SFT may have no others: what needs both classes is left out, not made up."""
    chosen, none = torch.tensor([-1.0, -2.0]), torch.zeros(0)
    alone = logged_metrics(
        0.5, PreferenceLogProbs(chosen, none, chosen - 0.5, none), partial(sft), paired=False
    )
    both = logged_metrics(
        0.5, PreferenceLogProbs(chosen, chosen - 1, chosen - 0.5, chosen - 1), partial(sft), paired=False
    )
    assert alone == {"loss": 0.5, "rewards/chosen": 0.5, "displacement": 0.5, "logps/chosen": -1.5}
    assert set(alone) < set(both)
    assert all(both[name] == value for name, value in alone.items())


def test_several_trackers_get_every_row(tmp_path, monkeypatch):
    """tensorboard's own, and two that are made up; each row goes to each of them, and each is closed."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def made(rows):
        log = SimpleNamespace(
            log=lambda values, step: rows.append(step), finish=lambda: rows.append("closed")
        )
        return SimpleNamespace(init=lambda **how: log)

    seen = {"wandb": [], "trackio": []}
    for name, rows in seen.items():
        monkeypatch.setitem(sys.modules, name, made(rows))
    monkeypatch.setattr(module, "check_tracker", lambda report_to: None)
    found = Journal(tmp_path, ["tensorboard", "wandb", "trackio"], {}, 0)
    found.write(1, {"loss": 0.5})
    found.write(2, {"loss": 0.25})
    found.close()
    assert seen == {"wandb": [1, 2, "closed"], "trackio": [1, 2, "closed"]}
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == [0.5, 0.25]


def test_each_tracker_is_looked_for(monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: name == "tensorboard" or None)
    check_tracker(["tensorboard"])
    check_tracker([])
    with pytest.raises(InputError, match="report_to trackio needs the package trackio"):
        check_tracker(["tensorboard", "trackio"])


def test_what_report_to_may_be(tmp_path):
    def of(value):
        return recipe(tmp_path, report_to=value).report_to

    assert of(["tensorboard", "wandb"]) == of(("tensorboard", "wandb")) == ["tensorboard", "wandb"]
    assert of([]) == []
    for wrong in (["wandb", "wandb"], ["none", "wandb"]):
        with pytest.raises(InputError, match="names one twice, or none beside others"):
            of(wrong)
    for wrong in (["comet"], "comet", [["wandb"]], [1], None, 3):
        with pytest.raises(InputError, match=r"must be one of none, tensorboard.* or a list of them"):
            of(wrong)
