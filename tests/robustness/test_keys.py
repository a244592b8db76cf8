"""What a result is kept under names all that it depends on, and nothing is counted twice."""

import pandas as pd
import pytest

from distalign.checks import InputError
from distalign.pluralism import Scenario, simulate
from distalign.pluralism.grid import parse_sweeps
from distalign.simulation import source, sweep

STUDY = "distalign.bridge.studies.distortion.lm_distortion"


def path(folder, policy):
    return sweep.Cell("lm_distortion", STUDY, {"policy": policy, "seed": 0}).path(folder)


def test_other_weights_in_a_folder_of_the_same_name_are_another_cell(tmp_path):
    """The key held the folder's name alone: a model trained on found the rows of the one before."""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"one")
    first = path(tmp_path, f"lm:{model}")
    assert path(tmp_path, f"lm:{model}") == first
    (model / "model.safetensors").write_bytes(b"other")
    assert path(tmp_path, f"lm:{model}") != first
    (model / "model.safetensors").write_bytes(b"one")
    assert path(tmp_path, f"lm:{model}") == first


@pytest.mark.parametrize("library", ["transformers", "peft"])
def test_another_version_of_a_model_library_is_another_cell(tmp_path, monkeypatch, library):
    import importlib.metadata

    real = importlib.metadata.version
    before = {policy: path(tmp_path, policy) for policy in ("tiny", "tabular")}
    monkeypatch.setattr(source, "_model_versions", source._model_versions.__wrapped__)  # asked once a process
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9" if name == library else real(name))
    assert path(tmp_path, "tiny") != before["tiny"]
    assert path(tmp_path, "tabular") == before["tabular"]


@pytest.mark.parametrize(
    "word", ["kl_budget=0.1,0.1", "kl_budget=1:1:3", "kl_budget=0.1,nan", "n=10.5", "n=10,20.5", "n=1e30"]
)
def test_a_value_is_a_number_of_its_own(word):
    """A repeated value counted its seeds four times and narrowed the interval; n=10.5 was rounded."""
    with pytest.raises(InputError, match="--sweep"):
        parse_sweeps([word])


def test_spaced_values_of_a_count_are_whole_and_so_are_their_labels():
    assert parse_sweeps(["n=log:50:800:4"]) == {"n": [50.0, 126.0, 317.0, 800.0]}
    assert parse_sweeps(["kl_budget=0.1,1,inf"])["kl_budget"][2] == float("inf")


def test_two_populations_do_not_share_a_figure(tmp_path):
    two = [Scenario([[0.2, 0.9], [0.9, 0.1]], name=name) for name in ("a b", "a-b")]
    with pytest.raises(InputError, match=r"would share the figure a-b\.pdf"):
        simulate(two, ["Borda"], out=tmp_path)


def test_damaged_rows_are_named_together(tmp_path, monkeypatch):
    """They were named one by one; a page with a changed byte was read as it was."""
    cells = [
        sweep.Cell("slug", "distalign.simulation.studies.aot.aot_transport", {"n": n}) for n in (1, 2, 3, 4)
    ]

    def write(cell, path):
        import numpy as np

        from distalign.files import write_whole

        frame = pd.DataFrame({"x": np.random.default_rng(1).normal(size=2000)})
        write_whole(path, lambda p: frame.to_parquet(p, write_page_checksum=True))

    monkeypatch.setattr(sweep, "compute", write)
    sweep.run(cells, tmp_path)
    whole = sweep.rows(cells, tmp_path)
    files = [cell.path(tmp_path) for cell in cells]
    data = files[0].read_bytes()
    files[0].write_bytes(data[:-10])
    half = len(data) // 2
    files[1].write_bytes(data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :])
    files[2].write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot be read: delete them and run the same command") as error:
        sweep.rows(cells, tmp_path)
    assert [str(file) in str(error.value) for file in files] == [True, True, True, False]
    for file in files[:3]:
        file.unlink()
    sweep.run(cells, tmp_path)
    pd.testing.assert_frame_equal(sweep.rows(cells, tmp_path), whole)


def test_a_table_that_was_changed_is_read_again(tmp_path):
    """The cache of a process held the file's name alone: another file of that name gave the first's users."""
    from distalign.pluralism.sources.ratings import load_ratings

    path = tmp_path / "ratings.csv"
    rows = "user,item,rating\nann,tea,5\nann,milk,1\nbob,tea,3\nbob,milk,{}\n"
    path.write_text(rows.format(2))
    first = load_ratings(str(path)).utilities
    assert load_ratings(str(path)).utilities is first
    path.write_text(rows.format(5))
    assert load_ratings(str(path)).utilities[1].tolist() == [1.0, 0.5]
