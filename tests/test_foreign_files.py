"""What is not ours stays as it is, whatever a mode is asked to write over it.

Each case puts files of somebody else where results would go, and compares the tree
before and after. `test_predict.py` has the names that sources of predictions can have.
"""

import itertools
from unittest import mock

import pytest

from configs import moving_shapes
from stemseg_jax import check_data, demo, evaluate, models, pack, show_data, train
from stemseg_jax.formats import whole
from tests.data import folders
from tests.formats.test_whole import tree


def config_of():
    config = moving_shapes.get_config("smoke").unlock()
    config.data.options.moving_shapes.num_videos = 2
    return config


def write_demo(folder, name="x"):
    config = config_of()
    config.demo.variants = ((name, {}),)
    demo.run(config, workdir=str(folder))


def write_pack(folder, split="train"):
    config = config_of()
    config.data.options.moving_shapes.split = split
    pack.run(config, str(folder))


WRITERS = {
    "train": lambda folder: train.run(config_of(), str(folder)),
    "evaluate": lambda folder: evaluate.run(
        config_of(), checkpoint="none", workdir=str(folder)
    ),
    "demo": write_demo,
    "show_data": lambda folder: show_data.run(config_of(), str(folder)),
    "check_data": lambda folder: check_data.run(
        str(folder.parent / "data"), str(folder / "report.json")
    ),
}


@pytest.fixture
def untouched(monkeypatch):
    """No mode gets as far as its work."""

    def started(*arguments, **options):
        raise AssertionError("the work was begun")

    monkeypatch.setattr(models, "initial", started)
    monkeypatch.setattr(models, "load", started)


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("train", "config.json"),
        ("train", "metrics.jsonl"),
        ("evaluate", "scores.json"),
        ("evaluate", "ground_truth/mine.txt"),
        ("demo", "scores.json"),
        ("demo", "contact_sheet.png"),
        ("demo", "overlays/mine.mp4"),
        ("show_data", "clips.png"),
        ("check_data", "report.png"),
    ],
)
def test_files_of_somebody_else_stay(tmp_path, untouched, mode, name):
    folders.davis(tmp_path / "data")
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("not ours")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=name.partition("/")[0]):
        WRITERS[mode](tmp_path / "out")
    after = tree(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert {name.rpartition(".")[2] for name in after.keys() - before} <= {"lock"}


FILES = {
    "train": {"config.json", "metrics.jsonl"},
    "evaluate": {"scores.json"},
    "demo": {"scores.json", "overlays"},
}


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(FILES, 2)])
def test_what_one_mode_wrote_makes_nothing_else_ours(
    tmp_path, untouched, first, second
):
    """A folder that a mode has been at work in, finished or not."""
    folder = tmp_path / "out"
    with pytest.raises(AssertionError, match="the work was begun"):
        WRITERS[first](folder)
    whole.claim(folder, *FILES[first])
    for name in FILES[first]:
        (folder / name).write_text("{}")
    (folder / ".yarn.lock").touch()
    for name in FILES[second] - FILES[first]:
        (folder / name).write_text("not ours")
        before = tree(tmp_path)
        with pytest.raises(ValueError, match=f"{name} is there already"):
            WRITERS[second](folder)
        after = tree(tmp_path)
        assert {name: after.get(name) for name in before} == before
        (folder / name).unlink()
    with pytest.raises(AssertionError, match="the work was begun"):
        WRITERS[first](folder)


@pytest.mark.parametrize("name", ["0", "2024"])
def test_a_folder_called_like_a_checkpoint_stays(tmp_path, untouched, name):
    place = tmp_path / "out" / "checkpoints" / name
    place.mkdir(parents=True)
    (place / "mine.txt").write_text("not ours")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=f"checkpoints/{name} is no checkpoint"):
        WRITERS["train"](tmp_path / "out")
    assert tree(tmp_path) == before | {"out/.train.lock": mock.ANY}


@pytest.mark.parametrize("name", ["report.png", "report.PNG"])
def test_a_report_is_no_picture(tmp_path, name):
    folders.davis(tmp_path / "data")
    with pytest.raises(ValueError, match=f"{name}: .* expected .*.json"):
        check_data.run(str(tmp_path / "data"), str(tmp_path / name))
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("mode", ["show_data", "check_data"])
def test_our_own_sheet_is_replaced(tmp_path, mode, monkeypatch):
    monkeypatch.setattr(show_data, "CLIPS", 1)
    folders.davis(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("not ours")
    for _ in range(2):
        WRITERS[mode](tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "not ours"


@pytest.mark.parametrize("name", ["..", ".", "", "../beside", "a/../..", ".hidden"])
def test_names_of_a_config_lead_nowhere_else(tmp_path, untouched, name):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "mine.txt").write_text("not ours")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="cannot be a name in"):
        write_demo(tmp_path / "out", name)
    if "/" in name:
        with pytest.raises(ValueError, match="cannot be a name|split"):
            write_pack(tmp_path / "out", f"x/{name}")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("given", [".", "..", ".hidden", "inner/.."])
def test_the_report_of_a_folder_has_a_name_inside(tmp_path, monkeypatch, given):
    home = tmp_path / "home"
    (home / "inner").mkdir(parents=True)
    (home / ".hidden").mkdir()
    for folder in (home, home / ".hidden", tmp_path):
        folders.davis(folder)
    monkeypatch.chdir(home)
    before = tree(tmp_path)
    check_data.run(given)
    written = tree(tmp_path).keys() - before
    reports = [n for n in written if n.endswith((".json", ".png"))]
    assert len(reports) == 2
    for name in written:
        assert name.startswith("home/runs") and "/." not in name
    assert {n: tree(tmp_path)[n] for n in before} == before


def test_packing_leaves_other_files_alone(tmp_path):
    (tmp_path / "packed_videos").mkdir()
    (tmp_path / "packed_videos" / "mine.txt").write_text("not ours")
    (tmp_path / "mine.txt").write_text("not ours")
    before = tree(tmp_path)
    write_pack(tmp_path)
    after = tree(tmp_path)
    assert {name: after.get(name) for name in before} == before and len(after) > 4


@pytest.mark.parametrize("theirs", [False, True])
def test_a_packed_set_is_not_replaced(tmp_path, theirs):
    if theirs:
        place = tmp_path / "packed_videos" / "moving_shapes_train" / "1.1.0"
        place.mkdir(parents=True)
        (place / "dataset_info.json").write_text("not ours")
    else:
        write_pack(tmp_path)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="1.1.0 is there already.*data.packed="):
        write_pack(tmp_path)
    assert tree(tmp_path) == before
