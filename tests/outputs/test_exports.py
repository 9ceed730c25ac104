"""What was found in a video, as the benchmarks' own readers read it."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from stemseg_jax.formats import davis_png, mots_txt, rle
from stemseg_jax.outputs import exports
from stemseg_jax.tracks import Track, VideoTracks

NAMES = {1: "person", 3: "car", 8: "dog", 9: "pedestrian"}
SIZE = (20, 30)


class OnDisk(Sequence):
    """Stands for masks that are read when they are asked for."""

    def __init__(self, masks):
        self.masks = masks

    def __len__(self):
        return len(self.masks)

    def __getitem__(self, index):
        mask = self.masks[index]
        return None if mask is None else rle.encode(mask)


def track(id, category, left):
    mask = np.zeros(SIZE, bool)
    mask[5:15, left : left + 8] = True
    return Track(id, category, 0.5, OnDisk([mask, None, mask]))


def video(*tracks):
    return VideoTracks("clip", *SIZE, 3, tracks)


@pytest.fixture
def traffic():
    return video(track(1, 3, 2), track(2, 1, 6), track(3, 9, 20))


def test_davis(tmp_path, traffic):
    folder = exports.write("davis", tmp_path, traffic, NAMES)
    names = [davis_png.frame_name(index) for index in range(3)]
    first, second, _ = davis_png.read_frames(folder, names)
    assert folder == tmp_path / "clip" and not second.any()
    assert np.bincount(first.ravel())[1:].tolist() == [40, 80, 80]


def test_more_objects_than_davis_takes_are_written_with_a_warning(tmp_path, caplog):
    folder = exports.write("davis", tmp_path, video(track(254, 1, 2)), NAMES)
    assert "clip: ids up to 254; the DAVIS server takes no more than 20" in caplog.text
    (first,) = davis_png.read_frames(folder, ["00000.png"])
    assert first.max() == 254
    with pytest.raises(ValueError, match=r"track id 255 is not in 1\.\.254"):
        exports.write("davis", tmp_path / "b", video(track(255, 1, 2)), NAMES)


def test_youtube_vis(tmp_path, traffic):
    path = exports.write("youtube_vis", tmp_path, traffic, {})
    entries = json.loads(path.read_text())
    assert [e["category_id"] for e in entries] == [3, 1, 9]
    assert {e["video_id"] for e in entries} == {1}
    assert entries[0]["segmentations"][1] is None
    assert path.with_suffix(".zip").exists()


def test_mots(tmp_path, traffic):
    path = exports.write("mots", tmp_path, traffic, NAMES)
    first, second, _ = mots_txt.read(path, num_frames=3)
    assert not second
    assert {line.id: line.category for line in first} == {1001: 1, 2002: 2, 2003: 2}
    assert rle.areas([line.mask for line in first]).tolist() == [40, 80, 80]


def test_other_categories_are_no_mots(tmp_path, traffic):
    tracks = (*traffic.tracks, track(4, 8, 0), track(5, 8, 0), track(6, 0, 0))
    with pytest.raises(ValueError, match=r"clip: .*: dog \(2\), no category \(1\)\."):
        exports.write("mots", tmp_path, video(*tracks), NAMES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", exports.FORMS)
def test_a_video_without_tracks(tmp_path, form):
    assert exports.write(form, tmp_path, video(), NAMES).exists()


def test_unknown_forms_are_refused(tmp_path):
    with pytest.raises(ValueError, match="export='coco' is unknown; known:.*davis"):
        exports.write("coco", tmp_path, video(), NAMES)
