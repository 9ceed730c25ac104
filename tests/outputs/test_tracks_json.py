"""What is written is read back the same, and by pycocotools alone."""

import json
from fractions import Fraction

import numpy as np
import pytest
from pycocotools import mask as coco

from stemseg_jax.formats import rle
from stemseg_jax.outputs import tracks_json
from stemseg_jax.tracks import Track, VideoTracks

CATEGORIES = {1: "person", 8: "dog"}


@pytest.fixture
def masks():
    return np.random.default_rng(0).random((2, 3, 20, 30)) > 0.5


@pytest.fixture
def video(masks):
    seen = [[rle.encode(mask) for mask in frames] for frames in masks]
    seen[1][0] = None
    return VideoTracks(
        *("clip", 20, 30, 3),
        (
            Track(1, 8, 1.0, tuple(seen[0])),
            Track(2, 1, 0.25, tuple(seen[1])),
            Track(5, 1, 0.125, (None, None, None)),
        ),
    )


@pytest.fixture
def path(tmp_path, video):
    return tracks_json.write(
        tmp_path / "new" / "tracks.json",
        video,
        fps=Fraction(30000, 1001),
        categories=CATEGORIES,
    )


def test_it_comes_back_the_same(path, video, masks):
    held = tracks_json.read(path)
    assert held.categories == CATEGORIES
    assert held.fps == pytest.approx(29.97, abs=0.001)
    assert held.video._replace(tracks=()) == video._replace(tracks=())
    for ours, theirs in zip(held.video.tracks, video.tracks, strict=True):
        assert ours[:3] == theirs[:3]
    np.testing.assert_array_equal(
        [rle.decode(mask) for mask in held.video.tracks[0].segmentations], masks[0]
    )
    again = tracks_json.write(
        path.with_name("again.json"), held.video, fps=held.fps, categories=CATEGORIES
    )
    assert again.read_bytes() == path.read_bytes()


def test_other_programs_need_only_json_and_pycocotools(path, masks):
    content = json.loads(path.read_text())
    assert content["video"]["num_frames"] == 3
    assert content["categories"] == {"1": "person", "8": "dog"}
    first, second, unseen = content["tracks"]
    assert (first["first"], first["last"]) == (0, 2)
    assert (second["first"], second["last"]) == (1, 2)
    assert second["segmentations"][0] is None
    assert (unseen["first"], unseen["last"]) == (None, None)
    for index, segmentation in enumerate(first["segmentations"]):
        np.testing.assert_array_equal(coco.decode(segmentation), masks[0, index])


def test_a_video_without_tracks(tmp_path):
    video = VideoTracks("empty", 4, 6, 1, ())
    path = tracks_json.write(tmp_path / "t.json", video, fps=24, categories={})
    assert tracks_json.read(path) == (video, 24.0, {})


def test_an_older_file_stays_if_writing_fails(path, video):
    before = path.read_bytes()
    broken = video._replace(tracks=(*video.tracks, Track(9, 1, 1.0, ({},) * 3)))
    with pytest.raises(KeyError):
        tracks_json.write(path, broken, fps=24, categories=CATEGORIES)
    assert [p.read_bytes() for p in path.parent.iterdir()] == [before]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(format="other"), "format: invalid enum value"),
        (
            lambda c: c["tracks"][1]["segmentations"].pop(),
            "track 2 has 2 .* has 3 frames",
        ),
        (lambda c: c["video"].update(height=21), r"track 1: .*\[20, 30\]"),
        (
            lambda c: c["tracks"][0]["segmentations"][2].update(counts="1"),
            "track 1: .*pixels",
        ),
    ],
)
def test_files_that_do_not_hold_together_are_refused(path, change, message):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        tracks_json.read(path)


def test_no_file_and_no_json(tmp_path):
    with pytest.raises(ValueError, match=r"none\.json: no readable JSON"):
        tracks_json.read(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"format": "stem')
    with pytest.raises(ValueError, match=r"cut\.json: no readable JSON"):
        tracks_json.read(tmp_path / "cut.json")
