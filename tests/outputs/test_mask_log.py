"""What is written frame by frame is what is read, with little in memory."""

import json
import tracemalloc

import numpy as np
import pytest

from stemseg_jax.formats import rle
from stemseg_jax.outputs import mask_log
from stemseg_jax.outputs.collector import Chosen

SIZE = (6, 9)


def mask(number):
    found = rle.encode(np.arange(54).reshape(SIZE) % (number + 2) == 0)
    return {**found, "size": SIZE}


@pytest.fixture
def log(tmp_path):
    with mask_log.MaskLog(tmp_path / "masks.jsonl") as log:
        yield log


def test_a_mask_is_found_by_label_and_frame(log):
    frames = [{3: mask(1), 12: mask(2)}, {}, {12: mask(3)}, {3: mask(4)}]
    for index, masks in enumerate(frames):
        log.append(0.04 * index, masks)
    for label in (3, 12, 5):
        expected = [masks.get(label) for masks in frames]
        assert list(log.masks(label)) == expected
        assert log.masks(label)[-1] == expected[-1] and len(log.masks(label)) == 4
    with pytest.raises(IndexError):
        log.masks(3)[4]
    assert list(log.times) == pytest.approx([0, 0.04, 0.08, 0.12])


def test_tracks_have_the_ids_they_were_chosen_with(log):
    log.append(0.0, {7: mask(1)})
    tracks = log.tracks("clip", SIZE, [Chosen(label=7, id=1, category=2, score=0.5)])
    assert (tracks.name, tracks.height, tracks.width, tracks.num_frames) == (
        *("clip", *SIZE, 1),
    )
    (track,) = tracks.tracks
    assert track[:3] == (1, 2, 0.5) and list(track.segmentations) == [mask(1)]


def test_each_line_is_readable_as_soon_as_its_frame_is_there(log, tmp_path):
    for index in range(3):
        log.append(index / 3, {1: mask(index), 2: mask(9)} if index else {})
        lines = (tmp_path / "masks.jsonl").read_text().splitlines()
        assert len(lines) == index + 1
        held = json.loads(lines[-1])
        assert held["frame"] == index and held["time"] == pytest.approx(index / 3)
        assert set(held["objects"]) == ({"1", "2"} if index else set())


def test_a_log_of_somebody_else_is_not_written_over(tmp_path):
    (tmp_path / "masks.jsonl").write_text("mine")
    with pytest.raises(FileExistsError):
        mask_log.MaskLog(tmp_path / "masks.jsonl")
    assert (tmp_path / "masks.jsonl").read_text() == "mine"


def test_memory_hardly_grows_with_the_video(log):
    large = rle.encode(np.random.default_rng(0).random((200, 300)) > 0.5)
    assert len(large["counts"]) > 20_000
    log.append(0.0, dict.fromkeys(range(1, 11), large))
    tracemalloc.start()
    for index in range(1, 40):
        log.append(float(index), dict.fromkeys(range(1, 11), large))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 40_000  # 390 masks of 20 bytes each, with room to grow
