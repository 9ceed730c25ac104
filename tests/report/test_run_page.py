"""The page of a run: what is on it, in which order, and what is said of what lacks."""

import json
import shutil

import pytest

from stemseg_jax import tasks
from stemseg_jax.report import run_folder, run_page
from tests.report import folders


def page_of(folder, config=None, most=12):
    return run_page.page_of(folder, config, most=most)


def test_the_worst_video_comes_first(run):
    page = page_of(run)
    names = ["val_000002", "val_000001", "val_000000"]
    assert [video.name for video in page.videos] == names
    (table,) = page.tables
    assert [row["video"] for row in table.rows] == names
    assert table.sorted_by == "J&F-Mean"
    worst, middle, best = (row["J&F-Mean"] for row in table.rows)
    assert worst == 0 < middle < best == 1
    assert table.anchors == {name: f"video-{k}" for k, name in enumerate(names, 1)}
    assert page.videos_note == (
        "3 of 3 videos of the evaluation, the lowest score first."
    )


def test_what_is_left_out_is_said(run):
    page = page_of(run, most=1)
    assert [video.name for video in page.videos] == ["val_000002"]
    assert len(page.tables[0].rows) == 3
    assert page.videos_note.startswith("1 of 3 videos of the evaluation")
    assert page.videos_note.endswith("the others are left out (--videos=1).")


def test_lanes_are_of_truth_and_of_what_was_found(run):
    true, found = page_of(run).videos[1].groups
    assert true.title == "true objects" and found.title == "found tracks"
    assert len(true.lanes) == len(found.lanes) + 1
    # The first object is what was left out; what is found is found exactly.
    assert true.lanes[0].name == "not found" and true.lanes[0].score == 0
    assert true.lanes[1].name == f"found as {found.lanes[0].id}"
    assert true.lanes[1].score == 1 and true.lanes[1].heights == (1,) * folders.FRAMES
    assert true.lanes[1].colour == found.lanes[0].colour  # it has the same id


def test_facts_and_curves_of_the_log(run):
    page = page_of(run)
    assert page.facts["updates"] == "3 of 2" and page.facts["loss"] == 1
    assert page.facts["best validation"] == "0.500 at 2"
    assert 0 < page.facts["J&F-Mean"] < 1
    curves = {name: [p.name for p in own] for name, own in page.plots.items()}
    assert curves == {
        "Validation": ["J&F-Mean"],
        "Loss": ["loss", "lovasz"],
        "Optimisation": ["learning_rate"],
    }
    assert page.settings["evaluation.options.num_frames"] == "5"
    assert page.settings["model.pixels.order"] == '"rgb"'


@pytest.mark.parametrize("task", ["ytvis", "kitti_mots_cars"])
def test_other_tasks(tmp_path, task):
    """Of KITTI there are no annotated objects but cars."""
    page = page_of(folders.write_run(tmp_path / "run", task=task))
    main = {"ytvis": "AP", "kitti_mots_cars": "car sMOTSA"}[task]
    assert page.tables[0].sorted_by == main
    figures = [video.figures[main] for video in page.videos]
    assert figures == sorted(figures) and figures[-1] == pytest.approx(1)
    (true, found) = page.videos[-1].groups
    assert len(true.lanes) == len(found.lanes) > 0
    assert {lane.score for lane in found.lanes} == {0.5}
    if task == "ytvis":
        assert page.tables[1].title == "Categories"
        assert {lane.name for lane in true.lanes} == {x.name for x in found.lanes}
        assert all(lane.name for lane in true.lanes)


def test_without_the_dataset_there_are_masks_and_a_word(copy):
    config = json.loads((copy / tasks.EVALUATED).read_text())
    config["evaluation"].update(dataset="davis19", options={})
    config["data"]["root"] = str(copy / "nowhere")
    (copy / tasks.EVALUATED).write_text(json.dumps(config))
    shutil.rmtree(copy / "ground_truth")
    page = page_of(copy)
    assert "The dataset is not here" in page.videos_note
    assert "nowhere" in page.videos_note
    empty, partial, whole = page.videos
    assert empty.film is None  # nothing was found in it
    for video in (partial, whole):
        assert video.film and [g.title for g in video.groups] == ["found tracks"]


def test_results_with_numbers_have_names_without_the_dataset(tmp_path):
    folder = folders.write_run(tmp_path / "run", task="ytvis")
    shutil.rmtree(folder / "ground_truth")
    config = folders.config_of("ytvis")
    config.evaluation.dataset, config.evaluation.options = "ytvis", {}
    config.evaluation.ground_truth = "YouTubeVIS/valid.json"
    config.data.root = str(tmp_path)
    page = page_of(folder, config)
    assert {video.name for video in page.videos} == {f"val_00000{k}" for k in range(3)}
    assert page.videos[-1].film


def test_a_video_that_is_missing_is_told_and_the_others_are_shown(copy):
    shutil.rmtree(copy / "predictions/val_000001")
    shutil.rmtree(copy / "ground_truth/JPEGImages/480p/val_000000")
    (copy / "ground_truth/ImageSets/2017/val.txt").write_text("val_000001\nval_000002")
    faults = {video.name: video.faults for video in page_of(copy).videos}
    assert faults == {
        "val_000000": ["The dataset has no video of this name."],
        "val_000001": ["There are no results of this video."],
        "val_000002": [],
    }


def test_broken_frames_annotations_and_results_are_told(copy):
    for path in (
        "ground_truth/JPEGImages/480p/val_000000/00001.jpg",
        "ground_truth/Annotations_unsupervised/480p/val_000001/00001.png",
        "predictions/val_000002/00001.png",
    ):
        (copy / path).write_bytes((copy / path).read_bytes()[:100])
    videos = {video.name: video for video in page_of(copy).videos}
    for name, start in (
        ("val_000000", "Its frames cannot be shown: "),
        ("val_000001", "Its annotations cannot be read: "),
        ("val_000002", "What was found cannot be read: "),
    ):
        (fault,) = videos[name].faults
        assert fault.startswith(start) and "00001" in fault
        assert videos[name].film


def test_results_of_more_frames_than_the_video_has_are_told(copy):
    folder = copy / "predictions/val_000000"
    shutil.copy(folder / "00000.png", folder / "00005.png")
    video = {video.name: video for video in page_of(copy).videos}["val_000000"]
    assert video.faults == ["There are results of 6 frames, of which the video has 5."]


def test_a_run_that_was_only_validated_shows_that(copy):
    (copy / "validation").mkdir()
    for name in ("predictions", "ground_truth"):
        (copy / name).rename(copy / "validation" / name)
    (copy / "scores.json").unlink()
    page = page_of(copy)
    assert page.tables == [] and len(page.videos) == 3
    assert "of the last validation, without scores" in page.videos_note
    assert [group.title for group in page.videos[0].groups] == [
        "true objects",
        "found tracks",
    ]


def test_a_run_that_has_just_begun(tmp_path):
    (tmp_path / "config.json").write_text(folders.config_of().to_json_best_effort())
    (tmp_path / "metrics.jsonl").write_text("")
    page = page_of(tmp_path)
    assert (page.tables, page.videos, page.plots) == ([], [], {})
    assert page.plots_note == "metrics.jsonl has no updates."
    assert "--mode=evaluate" in page.videos_note
    assert page.facts == {"system": "stemseg"}


def test_the_demo_has_a_table_of_what_it_compares(copy):
    scores = json.loads((copy / "scores.json").read_text())
    none = {"J&F-Mean": 0.0, "AP": -1.0}
    compared = {"model": scores, "paper": none, "refined": scores, "untrained": none}
    (copy / "scores.json").write_text(json.dumps(compared))
    for name, target in (("predictions", "refined"), ("ground_truth", "")):
        moved = copy / "moved" / "davis19" / target
        moved.parent.mkdir(parents=True, exist_ok=True)
        (copy / name).rename(moved)
        (copy / "moved").rename(copy / name)
    page = page_of(copy)
    comparison, videos = page.tables
    assert [row["result"] for row in comparison.rows] == [
        *("paper", "refined", "untrained")
    ]
    assert comparison.rows[0]["AP"] is None  # nothing was annotated
    assert len(videos.rows) == 3 and page.videos[0].film
    assert "of the demo, refined" in page.videos_note


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("metrics.jsonl", '{"step": 1}\n{"st\n{"step": 3}\n', "line 2 is damaged"),
        ("config.json", "{", r"config.json: no readable JSON"),
        ("scores.json", "[]", "scores.json: holds list, expected an object"),
        ("scores.json", '{"per_sequence": 3}', "scores.json: Expected `object`"),
        ("evaluated.json", '{"evaluation": {}}', "missing required field.*--config="),
    ],
)
def test_what_is_damaged_is_named(copy, file, text, message):
    (copy / file).write_text(text)
    with pytest.raises(ValueError, match=message):
        page_of(copy)


def test_the_config_of_the_evaluation_counts(copy):
    config = json.loads((copy / "config.json").read_text())
    config["evaluation"]["task"] = "ytvis"
    (copy / "config.json").write_text(json.dumps(config))
    assert run_folder.evaluated(copy).evaluation.task == "davis19"
    assert len(page_of(copy).videos) == 3


def test_results_alone_need_a_config(run, tmp_path):
    """As another program leaves them; a folder without any is refused."""
    folder = shutil.copytree(run / "predictions", tmp_path / "results")
    config = folders.config_of()
    assert len(page_of(folder, config).videos) == 3
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match="none: holds no results of .*'davis19'"):
        page_of(tmp_path / "none", config)
