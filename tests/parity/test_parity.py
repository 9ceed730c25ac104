"""The authors' figures are reached, and a figure that is missed is reported."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from tests import goldens
from tests.parity import figures, run

HERE = pathlib.Path(__file__).parent / "goldens"
QUICK = sorted(json.loads((HERE / "index.json").read_text())["files"])
SLOW = (  # up to a minute each, mostly compilation
    "chainer",
    "clusterer",
    "decoders",
    "inference",
    "losses",
    "model",
    "train_step",
)


def missed(compared):
    return [figure for figure in compared if not figure.met]


@pytest.mark.parametrize("case", QUICK)
def test_small_figures(case):
    compared = run.check(HERE, case)
    assert compared and not missed(compared)


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_all_figures(shared, slow):
    folder = shared / "reference/goldens"
    cases = json.loads((folder / "index.json").read_text())["files"]
    cases = [case for case in cases if case.startswith(SLOW) == slow]
    cases = [case for case in cases if slow or case not in QUICK]
    compared = run.run(folder, cases)
    text = run.table(compared)
    assert not missed(sum(compared.values(), [])), text


def test_every_case_is_of_a_known_kind(shared):
    index = json.loads((shared / "reference/goldens/index.json").read_text())
    for case in index["files"]:
        assert case.startswith(tuple(run.CHECKS))


def copy(folder, case, change):
    """A case of the small figures, changed."""
    meta, arrays = goldens.load(HERE, case)
    change(meta, arrays)
    (folder / f"{case}.json").write_text(json.dumps(meta))
    np.savez(folder / f"{case}.npz", **arrays)
    (folder / "index.json").write_text(json.dumps({"files": {case: ""}}))


def test_what_differs_is_missed(tmp_path, capsys):
    def change(meta, arrays):
        arrays["mask.resized"][0, 0, 0, 0] ^= 1
        arrays["loader1.tensor"][0, 0, 0] += 0.5

    copy(tmp_path, "preproc", change)
    file = tmp_path / "figures.json"
    assert run.main([f"--goldens={tmp_path}", f"--json={file}"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if " NO" in line]
    assert [line.split()[1] for line in lines] == ["loader1", "mask.resized"]
    content = json.loads(file.read_text())["preproc"]
    wrong = {f["quantity"]: f for f in content if not f["met"]}
    assert wrong["mask.resized"]["error"] == 1 and wrong["mask.resized"]["bar"] == 0
    assert wrong["loader1 (grey levels)"]["error"] == pytest.approx(0.5, rel=0.01)


def test_all_met_is_success(tmp_path, capsys):
    copy(tmp_path, "legacy_checkpoint", lambda meta, arrays: None)
    assert run.main([f"--goldens={tmp_path}"]) == 0
    assert ", 0 missed" in capsys.readouterr().out


def test_what_cannot_be_computed_is_missed_and_the_rest_goes_on(tmp_path, capsys):
    copy(tmp_path, "preproc", lambda meta, arrays: arrays.clear())
    for suffix in ("json", "npz"):
        shutil.copy(HERE / f"legacy_checkpoint.{suffix}", tmp_path)
    names = {"preproc": "", "legacy_checkpoint": "", "something_else": ""}
    (tmp_path / "index.json").write_text(json.dumps({"files": names}))
    assert run.main([f"--goldens={tmp_path}"]) == 1
    out = capsys.readouterr().out
    assert "KeyError" in out and "known kind of case" in out
    assert "3 cases, 2 missed" in out


def test_json_is_strict():
    entries = [
        figures.Figure("x", np.float32(1), np.inf),
        figures.Figure("y", np.nan, 1e-4, "why"),
    ]
    entries = [run._entry(entry) for entry in entries]
    assert json.loads(json.dumps(entries, allow_nan=False)) == [
        {"quantity": "x", "error": 1.0, "bar": None, "note": "", "met": True},
        {"quantity": "y", "error": None, "bar": 1e-4, "note": "why", "met": False},
    ]


# ------------------------------------------------------------------------- comparisons


def test_relative_is_to_the_largest_magnitude():
    figure = figures.relative("x", [1.0, -4.0], [1.0, -5.0], 0.1)
    assert figure.error == pytest.approx(0.2) and not figure.met
    assert figures.relative("x", [0.0], [0.0], 0.0).met
    assert figures.relative("x", [], [], 0.0).met


def test_nan_equals_nan_and_nothing_else():
    assert figures.relative("x", [np.nan, 1], [np.nan, 1], 0.0).met
    assert not figures.relative("x", [np.nan, 1], [2, 1], 9.0).met
    assert not figures.relative("x", [2, 1], [np.nan, 1], 9.0).met


def test_another_shape_is_missed():
    assert not figures.relative("x", [1.0], [1.0, 1.0], 9.0).met
    assert not figures.different("x", [1], [1, 1]).met
    assert "(1,) for (2,)" in figures.absolute("x", [1.0], [1.0, 1.0], 9.0).note


def test_elements_near_a_threshold_are_counted_apart():
    near = np.array([True, True, False, False])
    figure = figures.different("x", [1, 2, 3, 4], [9, 2, 3, 4], near=near)
    assert figure.met and figure.note == "1 of 4 near a threshold differ."
    figure = figures.different("x", [1, 2, 3, 4], [1, 2, 3, 9], near=near)
    assert figure.error == 1 and not figure.met


def test_the_worst_of_several():
    several = {"a": figures.Figure("a", 1, 2), "b": figures.Figure("b", np.nan, 2)}
    figure = figures.of_each("all", several)
    assert np.isnan(figure.error) and figure.note == "worst of 2: b"
