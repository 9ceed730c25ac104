"""--mode=score as a user calls it: the table, the JSON file, the exit code."""

import json
import pathlib
import subprocess
import sys
import zipfile

import pytest

from stemseg_jax import score

CASES = pathlib.Path(__file__).parent / "evaluation/cases"
YTVIS = CASES / "ytvis/synth_thresholds"


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    root = tmp_path_factory.mktemp("cases")
    for case in ("davis/unsup_synth", "davis/semisup_synth", "mots/synth_edges"):
        with zipfile.ZipFile(CASES / f"{case}.zip") as archive:
            archive.extractall(root / case)
    return root


@pytest.fixture
def inputs(unpacked):
    """By task, the ground truth and a result."""
    davis, single = unpacked / "davis/unsup_synth", unpacked / "davis/semisup_synth"
    kitti = unpacked / "mots/synth_edges"
    ytvis = CASES / "ytvis"
    return {
        "davis19": (davis, davis / "results/pred"),
        "davis17": (single, single / "results/pred"),
        "davis16": (single, single / "results/pred"),
        "ytvis": (
            ytvis / "synth_thresholds.gt.json.gz",
            ytvis / "synth_thresholds.pred.json.gz",
        ),
        "ovis": (
            ytvis / "synth_generic.gt.json.gz",
            ytvis / "synth_generic.pred.json.gz",
        ),
        "kitti_mots": (kitti / "gt", kitti / "trackers/pred/data"),
    }


DAVIS = {f"{m}-{s}" for m in "JF" for s in ("Mean", "Recall", "Decay")} | {"J&F-Mean"}
YTVIS_KEYS = {"AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR1", "AR10"}
MOTS = {"sMOTSA", "MOTSA", "MOTSP", "IDS", "TP", "FP", "FN", "HOTA", "DetA", "AssA"}


@pytest.mark.parametrize(
    ("task", "keys", "parts", "row"),
    [
        ("davis19", DAVIS, "per_sequence", "all objects"),
        ("davis17", DAVIS, "per_sequence", "all objects"),
        ("davis16", DAVIS, "per_sequence", "all objects"),
        ("ytvis", YTVIS_KEYS, "per_category", "all categories"),
        ("ovis", YTVIS_KEYS | {"AP_heavy_occ"}, "per_category", "all categories"),
        ("kitti_mots", {"car", "pedestrian"}, "per_sequence", "all pedestrian"),
    ],
)
def test_each_task(inputs, tmp_path, capsys, task, keys, parts, row):
    truth, results = map(str, inputs[task])
    file = tmp_path / "new/scores.json"
    options = {"task": task, "ground_truth": truth, "results": [results]}
    assert score.run(**options, json_file=str(file)) == 0
    report = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert keys <= {*report} and report[parts]
    if task == "kitti_mots":
        assert {*report["car"]} >= MOTS
    assert row in capsys.readouterr().out


def test_figures_are_written_in_full(inputs, tmp_path):
    truth, results = inputs["davis19"]
    expected = json.loads((CASES / "davis/unsup_synth.expected.json").read_text())
    written = score.figures(
        task="davis19",
        ground_truth=truth,
        results=results,
        json_file=tmp_path / "o.json",
    )
    read = json.loads((tmp_path / "o.json").read_text())
    for name, value in expected["global"].items():
        assert read[name] == written[name] == pytest.approx(value, abs=1e-15)


def test_what_is_no_number_is_written_as_a_word(tmp_path):
    infinite, missing = float("inf"), float("nan")
    report = {"a": [infinite, -infinite], "b": {"c": missing}, "d": 1}
    score.write_json(tmp_path / "o.json", report)
    assert json.loads((tmp_path / "o.json").read_text()) == {
        "a": ["Infinity", "-Infinity"],
        "b": {"c": "NaN"},
        "d": 1,
    }


def test_two_results_are_compared(inputs, tmp_path, capsys):
    truth, results = map(str, inputs["ytvis"])
    worse = tmp_path / "worse.json"
    worse.write_text("[]")
    file = tmp_path / "o.json"
    options = {"task": "ytvis", "ground_truth": truth, "json_file": str(file)}
    assert score.run(**options, results=[results, str(worse)]) == 0
    report = json.loads(file.read_text())
    row = report["comparison"]["AP50"]
    assert row["second"] == 0 and row["difference"] == -row["first"] < 0
    assert row["low"] <= row["difference"] <= row["high"] <= 0
    assert report["A"]["AP50"] == row["first"]
    assert "B - A" in capsys.readouterr().out
    with pytest.raises(ValueError, match="given 3 times"):
        score.run(**options, results=[results] * 3)


def test_a_second_size_has_figures_of_its_own(inputs, tmp_path, capsys):
    truth, results = map(str, inputs["kitti_mots"])
    file = tmp_path / "o.json"
    options = {"ground_truth": truth, "also_at": [40, 50], "json_file": str(file)}
    assert score.run(task="kitti_mots_cars", results=[results], **options) == 0
    report = json.loads(file.read_text())
    assert report["at 40x50"]["per_sequence"].keys() == report["per_sequence"].keys()
    assert "all car at 40x50" in capsys.readouterr().out
    assert score.run(task="kitti_mots", results=[results] * 2, **options) == 0
    compared = json.loads(file.read_text())["comparison"]
    assert compared["car IDS rate at 40x50"]["difference"] == 0


@pytest.mark.parametrize(
    ("task", "size", "message"),
    [
        (
            "ytvis",
            [40, 50],
            "also_at=40,50: ytvis is scored at full.*; kitti_mots, ",
        ),
        ("kitti_mots", [40], "also_at=40: expected height,width in pixels, e.g. 192,6"),
        ("kitti_mots", [40, 0], "also_at=40,0: expected height,width"),
        ("kitti_mots", [40, 10**6], "from 1 to 16384"),
    ],
)
def test_sizes_that_are_none(inputs, task, size, message):
    truth, results = inputs[task]
    with pytest.raises(ValueError, match=message):
        score.read(task, truth, results, also_at=size)


def test_an_unknown_task_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="known: .*'davis19', .*'mots_challenge'"):
        score.run(task="davis", ground_truth="x", results=["y"])


def main(*arguments):
    command = [sys.executable, "-m", "stemseg_jax.main", "--mode=score", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_main_scores_and_tells_what_is_wrong(inputs, tmp_path):
    truth, results = inputs["ytvis"]
    good = main("--task=ytvis", f"--ground_truth={truth}", f"--results={results}")
    assert good.returncode == 0 and "all categories" in good.stdout
    second = main("--task=kitti_mots", "--ground_truth=x", "--results=y", "--also_at=a")
    assert second.returncode != 0 and "--also_at=a: expected height" in second.stderr
    broken = tmp_path / "broken.json"
    broken.write_text('[{"video_id": 99999}]')
    bad = main("--task=ytvis", f"--ground_truth={truth}", f"--results={broken}")
    assert bad.returncode != 0
    assert "broken.json: $[0]: " in bad.stderr and "Traceback" not in bad.stderr


def test_scoring_waits_for_no_jax():
    code = "import sys, stemseg_jax.score; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
