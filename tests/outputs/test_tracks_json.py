"""What is written is read back the same, and by pycocotools alone."""

import json
import tracemalloc
from collections.abc import Sequence
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
    again = tracks_json.write(path.with_name("again.json"), **held._asdict())
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
    assert tracks_json.read(path)[:3] == (video, 24.0, {})


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
        (lambda c: c["video"].update(num_frames=0), r"num_frames: expected .* >= 1"),
        (lambda c: c["video"].update(fps=0), r"fps: expected `float` > 0"),
        (
            lambda c: c["video"].update(times=[0, 0.5, 0.5]),
            "frame 2 is at 0.5 s, after one at 0.5 s; expected times that increase",
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


DETAILS = tracks_json.Details(
    times=(0.0, 0.04, 0.13),
    scored_by={1: "size", 2: "foreground"},
    score={"size": "Its pixels.", "foreground": "The mean probability of them."},
    evidence={2: {"foreground": 0.25, "seediness": 0.5}},
    joined={1: (2,)},
    left_out={"score below 0.7": 3},
)


def test_details_come_back_the_same(tmp_path, video):
    path = tmp_path / "t.json"
    tracks_json.write(path, video, fps=25, categories={}, details=DETAILS)
    held = tracks_json.read(path)
    lists = {"times": [*DETAILS.times], "joined": {1: [2]}}
    assert held.details == DETAILS._replace(**lists)
    again = tracks_json.write(path.with_name("again.json"), **held._asdict())
    assert again.read_bytes() == path.read_bytes()
    first, _, unseen = json.loads(path.read_text())["tracks"]
    assert first["scored_by"] == "size" and first["joined"] == [2]
    assert unseen["scored_by"] is None and unseen["evidence"] == {}


def test_times_follow_the_rate_unless_they_are_given(path):
    times = json.loads(path.read_text())["video"]["times"]
    assert times == [0.0, 0.033367, 0.066733]


def test_boxes_lie_around_the_masks(tmp_path):
    mask = np.zeros((20, 30), bool)
    mask[4:9, 7:27] = True
    masks = (None, rle.encode(mask), rle.encode(np.zeros_like(mask)))
    video = VideoTracks("clip", 20, 30, 3, (Track(1, 0, 1.0, masks),))
    path = tracks_json.write(tmp_path / "t.json", video, fps=24, categories={})
    (track,) = json.loads(path.read_text())["tracks"]
    assert track["boxes"] == [None, [7, 4, 20, 5], None]
    assert (track["first"], track["last"]) == (1, 2)


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (DETAILS._replace(times=(0.0,)), "clip: 1 times for 3 frames"),
        (DETAILS._replace(score={"size": ""}), r"track 2: .*'foreground'.*\['size'\]"),
    ],
)
def test_details_that_do_not_fit_are_refused(tmp_path, video, details, message):
    with pytest.raises(ValueError, match=message):
        tracks_json.write(
            tmp_path / "t.json", video, fps=24, categories={}, details=details
        )
    assert not list(tmp_path.iterdir())


def test_as_many_segmentations_as_frames_are_written(tmp_path, video):
    short = video._replace(num_frames=4)
    with pytest.raises(ValueError, match="track 1: 3 segmentations for 4 frames"):
        tracks_json.write(tmp_path / "t.json", short, fps=24, categories={})


def test_version_1_is_read(path, video):
    content = json.loads(path.read_text())
    content["format"] = "stemseg_jax tracks 1"
    del content["score"], content["left_out"], content["video"]["times"]
    for track in content["tracks"]:
        for later in ("scored_by", "evidence", "joined", "boxes"):
            del track[later]
    path.write_text(json.dumps(content))
    held = tracks_json.read(path)
    for ours, theirs in zip(held.video.tracks, video.tracks, strict=True):
        counts = [
            [mask and mask["counts"] for mask in track.segmentations]
            for track in (ours, theirs)
        ]
        assert counts[0] == counts[1]
    assert held.details == tracks_json.Details()


class OnDisk(Sequence):
    """Stands for masks that are read when they are asked for."""

    def __init__(self, mask, count):
        self.mask, self.count, self.asked = mask, count, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        self.asked += 1
        return {"size": self.mask["size"], "counts": bytes(self.mask["counts"])}


def test_a_long_video_takes_little_memory(tmp_path):
    mask = rle.encode(np.random.default_rng(0).random((48, 64)) > 0.5)
    assert len(mask["counts"]) > 1000  # 2 x 2,000 of them: more than 4 MB
    lazy = [OnDisk(mask, 2000) for _ in range(2)]
    tracks = tuple(Track(id, 0, 1.0, masks) for id, masks in enumerate(lazy, start=1))
    video = VideoTracks("long", 48, 64, 2000, tracks)
    tracemalloc.start()
    try:
        path = tracks_json.write(tmp_path / "t.json", video, fps=24, categories={})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1e6 and path.stat().st_size > 4e6
    assert [masks.asked for masks in lazy] == [2000] * 2
