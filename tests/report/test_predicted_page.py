"""The page of predictions, for which there is no truth."""

import numpy as np
import pytest

from stemseg_jax import drawings, results
from stemseg_jax.data import inputs
from stemseg_jax.formats import images
from stemseg_jax.predictor import Predictor
from stemseg_jax.report import predicted_folder, predicted_page
from tests import coloured
from tests.report import folders


def page_of(folder, most=12):
    return predicted_page.page_of(folder, predicted_folder.find(folder), most=most)


@pytest.fixture
def output(tmp_path):
    folder = tmp_path / "predicted"
    folders.write_predicted(folder / "sure")
    folders.write_predicted(folder / "unsure", score=0.7, left_out={"too small": 2})
    folders.write_predicted(folder / "cut", score=0.95, fault="6 of 9 frames.")
    return folder


def test_faults_come_first_then_what_is_least_sure(output):
    page = page_of(output)
    names = ["cut", "unsure", "sure"]
    assert [video.name for video in page.videos] == names
    (table,) = page.tables
    assert [row["video"] for row in table.rows] == names
    assert [row["mean score"] for row in table.rows] == [0.95, 0.7, 0.9]
    assert page.videos[0].faults == ["6 of 9 frames."]
    assert page.videos[1].notes == ["2 track(s) left out: too small"]
    assert page.facts == {"videos": 3, "frames": 18, "tracks": 3}
    assert page.settings == {"program": "0"}  # the same of all


def test_a_lane_has_the_times_at_which_an_object_is_seen(output):
    (group,) = page_of(output).videos[0].groups
    (lane,) = group.lanes
    assert (lane.id, lane.name, lane.score) == (1, "person & dog", 0.95)
    assert [(s.first, s.last) for s in lane.spans] == [(0, 1), (3, 5)]
    assert [s.left for s in lane.spans] == pytest.approx([0, 3 / 6], abs=1e-5)
    assert [s.width for s in lane.spans] == pytest.approx([2 / 6, 3 / 6], abs=1e-5)


def test_one_video_has_a_page_of_its_own(output):
    page = page_of(output / "sure")
    assert page.title == "sure" and [video.name for video in page.videos] == ["sure"]


def test_without_an_overlay_there_are_masks(tmp_path):
    folders.write_predicted(tmp_path / "out" / "clip", overlay=False)
    (video,) = page_of(tmp_path / "out").videos
    assert video.film and video.notes == [
        "No overlay was written (--outputs=overlay), only masks."
    ]


def test_a_broken_overlay_is_told_and_masks_are_shown(output):
    path = output / "sure" / "overlay.mp4"
    path.write_bytes(path.read_bytes()[:400])
    video = page_of(output).videos[-1]
    (fault,) = video.faults
    assert fault.startswith("overlay.mp4 cannot be shown: ") and video.film


def test_broken_tracks_are_told_and_the_overlay_is_shown(output):
    (output / "sure" / "tracks.json").write_text("{")
    page = page_of(output)
    (video,) = (v for v in page.videos if v.name == "sure")
    (row,) = (row for row in page.tables[0].rows if row["video"] == "sure")
    (fault,) = video.faults
    assert row["fault"] == fault and row["mean score"] is None
    assert (
        fault.startswith("What was found cannot be read: ") and "tracks.json" in fault
    )
    assert video.film and not video.groups


def test_for_a_row_no_mask_is_read(output, monkeypatch):
    (output / "sure" / "tracks.json").unlink()
    (output / "sure" / "masks").mkdir()
    monkeypatch.setattr(predicted_folder.davis_results, "read", None)
    assert len(page_of(output, most=0).tables[0].rows) == 3


def test_a_record_that_is_damaged_is_named(output):
    (output / "sure" / "made_of.json").write_text('{"num_frames": "six"}')
    with pytest.raises(
        ValueError, match=r"made_of.json: \$.num_frames: expected `int`"
    ):
        page_of(output)


def test_what_predict_writes(tmp_path):
    """By a system that knows objects by their colours."""
    clip = coloured.write(tmp_path / "clip.mp4", 7)
    for names in (("masks",), ("tracks", "overlay")):
        (source,) = inputs.find(clip)
        outputs = results.Outputs(names=names)
        predictor = Predictor(coloured.model_of(coloured.ByColour()))
        labelling = predictor.label(source, **outputs.needs())
        folder = tmp_path / "out" / names[0]
        written = results.write(labelling, folder, outputs, {"program": "1"})
        assert written.num_tracks == 2
    page = page_of(tmp_path / "out")
    assert page.facts["tracks"] == 4
    for video in page.videos:
        (group,) = video.groups
        spans = {lane.id: lane.spans for lane in group.lanes}
        ends = {id: [(s.first, s.last) for s in own] for id, own in spans.items()}
        assert ends == {1: [(0, 6)], 2: [(0, 3)]}
        assert video.film and not video.faults


def test_names_are_those_of_predict():
    assert predicted_folder.RECORD == results.RECORD
    drawn = {file for file, _ in drawings.OF_TRACKS.values()}
    assert {*predicted_folder.FILMS} <= drawn


def test_a_score_that_is_not_known_is_none(tmp_path):
    """Masks alone have none."""
    folder = folders.write_predicted(tmp_path / "out" / "clip")
    (folder / "tracks.json").unlink()
    (folder / "masks").mkdir()
    images.write_labels(folder / "masks" / "00000.png", np.ones((48, 64), np.uint8))
    page = page_of(tmp_path / "out")
    (row,) = page.tables[0].rows
    assert row["fault"] is None and row["mean score"] is None and row["tracks"] == 1
    assert [lane.id for lane in page.videos[0].groups[0].lanes] == [1]
