"""Labels are kept as they came; tracks are chosen and restored as the authors do."""

import pathlib

import cv2
import numpy as np
import pytest

from stemseg_jax.formats import rle
from stemseg_jax.geometry import Geometry, restore
from stemseg_jax.outputs import collector
from stemseg_jax.tracks import LabelledFrames, TrackStatistics


def statistics(labels: np.ndarray) -> dict[int, TrackStatistics]:
    """Counted the slow way."""
    found = {}
    for k in set(labels.flatten().tolist()) - {0, -1}:
        frames = np.flatnonzero((labels == k).any(axis=(1, 2)))
        found[k] = TrackStatistics(
            int((labels == k).sum()), int(frames[0]), int(frames[-1])
        )
    return found


def collected(labels: np.ndarray, geometry: Geometry, step: int = 2):
    held = collector.LabelCollector()
    for first in range(0, len(labels), step):
        held.add(LabelledFrames(first, labels[first : first + step], geometry))
    return held


def painted(tracks) -> np.ndarray:
    frames = np.zeros((tracks.num_frames, tracks.height, tracks.width), np.uint8)
    for track in tracks.tracks:
        for frame, segmentation in zip(frames, track.segmentations, strict=True):
            if segmentation is not None:
                frame[rle.decode(segmentation)] = track.id
    return frames


@pytest.fixture(scope="module")
def golden():
    """Six frames of labels and what the authors' writers made of them."""
    with np.load(pathlib.Path(__file__).parent / "collector_golden.npz") as arrays:
        return dict(arrays)


# Labels at stride 4, and already at the size of the network's input.
GEOMETRY = {
    "quarter": Geometry((50, 75), (64, 96), (16, 24), 4),
    "full": Geometry((50, 75), (64, 96), (64, 96), 1),
}


@pytest.mark.parametrize("size", GEOMETRY)
def test_davis_masks_equal_the_authors(golden, size):
    labels = golden[f"{size}.labels"]
    held = collected(labels, GEOMETRY[size])
    chosen = collector.select(statistics(labels), by="lifetime", limit=3)
    tracks = held.tracks("vid", chosen)
    assert (tracks.name, tracks.height, tracks.width) == ("vid", 50, 75)
    np.testing.assert_array_equal(painted(tracks), golden[f"{size}.davis"])


@pytest.mark.parametrize("size", GEOMETRY)
def test_youtube_vis_masks_and_scores_equal_the_authors(golden, size):
    labels = golden[f"{size}.labels"]
    held = collected(labels, GEOMETRY[size])
    chosen = collector.select(statistics(labels), by="lifetime", limit=3)
    expected = np.unpackbits(golden[f"{size}.ytvis_masks"])[: 3 * 6 * 50 * 75]
    empty = np.zeros((50, 75), bool)
    for track, masks, score in zip(
        held.tracks("vid", chosen).tracks,
        expected.reshape(3, 6, 50, 75).astype(bool),
        golden[f"{size}.ytvis_scores"],
        strict=True,
    ):
        assert track.score == pytest.approx(score)
        ours = [empty if s is None else rle.decode(s) for s in track.segmentations]
        np.testing.assert_array_equal(ours, masks)


@pytest.mark.parametrize("size", GEOMETRY)
def test_kitti_mots_masks_equal_the_authors(golden, size):
    labels = golden[f"{size}.labels"]
    held = collected(labels, GEOMETRY[size], step=4)
    chosen = collector.select(statistics(labels), by="pixels", limit=1000)
    tracks = held.tracks("0007", chosen)
    np.testing.assert_array_equal(painted(tracks), golden[f"{size}.mots"])


def test_labels_come_back_as_they_came():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 100_000, (5, 8, 12)).astype(np.int32)
    held = collected(labels, Geometry((32, 48), (32, 48), (8, 12), 4))
    assert len(held) == 5
    for index in range(5):
        np.testing.assert_array_equal(held.labels(index), labels[index])


def test_only_labels_that_are_there_are_restored():
    labels = np.array([[[1, 1], [0, -1]]], np.int32)
    held = collected(labels, Geometry((8, 8), (8, 8), (2, 2), 4))
    assert list(held.masks(0, [3, 1])) == [1]
    assert not held.masks(0, [])


@pytest.mark.parametrize("original", [(37, 61), (96, 160), (120, 90)])
def test_restored_as_by_two_interpolations(original):
    """Against both interpolations written out with NumPy, position by position."""
    rng = np.random.default_rng(1)
    geometry = Geometry(original, (57, 85), (16, 24), 4)
    coarse = cv2.resize(rng.random((4, 6), np.float32), (24, 16))
    mask = coarse > 0.5

    def interpolated(image, size):
        for axis, count in enumerate(size):
            old = image.shape[axis]
            x = np.maximum((np.arange(count) + 0.5) * (old / count) - 0.5, 0)
            low = x.astype(int)
            high = np.minimum(low + 1, old - 1)
            weight = np.expand_dims(x - low, 1 - axis)
            image = (
                image.take(low, axis) * (1 - weight) + image.take(high, axis) * weight
            )
        return image

    enlarged = interpolated(mask.astype(float), (64, 96))[:57, :85]
    expected = interpolated(enlarged, original) > 0.5
    np.testing.assert_array_equal(restore(mask, geometry), expected)


def test_padding_is_cut_off():
    mask = np.zeros((8, 8), bool)
    mask[:, 6:] = True  # only in the padded columns
    geometry = Geometry((32, 20), (32, 20), (8, 8), 4)
    assert not restore(mask, geometry).any()


def test_longest_first_then_earliest_then_smallest_label():
    tracks = {
        5: TrackStatistics(10, 2, 6),
        4: TrackStatistics(20, 0, 4),
        9: TrackStatistics(40, 0, 4),
        1: TrackStatistics(30, 0, 8),
        2: TrackStatistics(99, 3, 3),
    }
    chosen = collector.select(tracks, by="lifetime", limit=4)
    assert [(t.label, t.id) for t in chosen] == [(1, 1), (4, 2), (9, 3), (5, 4)]
    assert [t.score for t in chosen] == [0.75, 0.5, 1.0, 0.25]


def test_a_systems_own_confidence_is_the_score():
    tracks = {
        1: TrackStatistics(30, 0, 8, score=0.25),
        2: TrackStatistics(10, 0, 4, score=0.75),
    }
    chosen = collector.select(tracks, by="lifetime", limit=4)
    assert [t.score for t in chosen] == [0.25, 0.75]


def test_doubtful_and_short_tracks_are_left_out_before_the_limit():
    tracks = {
        1: TrackStatistics(30, 0, 8, score=0.25),
        2: TrackStatistics(10, 0, 4, score=0.5),
        3: TrackStatistics(10, 2, 3, score=0.75),
        4: TrackStatistics(10, 2, 4, score=0.75),
    }
    chosen = collector.select(
        tracks, by="lifetime", limit=2, min_score=0.5, min_frames=3
    )
    assert [(t.label, t.id) for t in chosen] == [(2, 1), (4, 2)]
    sizes = {k: t._replace(score=None) for k, t in tracks.items()}
    chosen = collector.select(sizes, by="lifetime", limit=4, min_score=0.5)
    assert [(t.label, t.score) for t in chosen] == [(1, 1.0)]  # a third is too little
    # Of those that last, track 2 has as many pixels as the largest.
    lasting = {k: sizes[k] for k in (2, 3, 4)} | {5: TrackStatistics(99, 0, 0)}
    chosen = collector.select(
        lasting, by="lifetime", limit=4, min_score=0.5, min_frames=3
    )
    assert [(t.label, t.score) for t in chosen] == [(2, 1.0), (4, 1.0)]


def test_by_pixels_numbers_follow_lifetime_and_painting_the_label():
    tracks = {
        3: TrackStatistics(10, 0, 9),
        1: TrackStatistics(30, 0, 5),
        2: TrackStatistics(20, 0, 1),
        4: TrackStatistics(5, 0, 0),
    }
    chosen = collector.select(tracks, by="pixels", limit=3)
    assert [(t.label, t.id) for t in chosen] == [(1, 2), (2, 1), (3, 3)]


def test_categories_from_logits_and_from_votes():
    tracks = {
        1: TrackStatistics(4, 0, 3, np.array([9.0, 1.0, 2.0]), np.array([7, 2, 1])),
        2: TrackStatistics(4, 0, 2, np.array([0.0, -1.0, -2.0]), np.array([7, 1, 2])),
        3: TrackStatistics(4, 0, 1, np.array([0.0, -2.0, -1.0]), np.array([7, 0, 0])),
        4: TrackStatistics(4, 0, 0),
    }

    def categories(source):
        chosen = collector.select(tracks, by="lifetime", limit=9, category_from=source)
        return [track.category for track in chosen]

    assert categories("logits") == [2, 1, 2, 0]
    assert categories("votes") == [1, 2, 1, 0]
    with pytest.raises(ValueError, match=r"category_from='size'.*'logits', 'votes'"):
        categories("size")
    tracks[1] = tracks[1]._replace(votes=None)
    with pytest.raises(ValueError, match="'votes': votes were not counted while the"):
        categories("votes")


def test_no_track_at_all():
    assert collector.select({}, by="lifetime", limit=3) == ()
    held = collected(
        np.zeros((3, 4, 4), np.int32), Geometry((9, 9), (16, 16), (4, 4), 4)
    )
    tracks = held.tracks("empty", ())
    assert (tracks.num_frames, tracks.tracks) == (3, ())


def test_an_unknown_order_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"selection.by='area'.*'lifetime', 'pixels'"):
        collector.select({}, by="area", limit=3)


def test_depth_comes_back_at_the_size_of_the_frame():
    geometry = Geometry((8, 8), (8, 8), (2, 2), 4)
    nothing = np.zeros((1, 2, 2), np.int32)
    held = collector.LabelCollector()
    depth = np.array([[[1, 3], [1, 3]]], np.float32)
    held.add(LabelledFrames(0, nothing, geometry, depth))
    expected = [1, 1, 1.25, 1.75, 2.25, 2.75, 3, 3]  # half-pixel centres
    np.testing.assert_allclose(held.depth(0), np.tile(expected, (8, 1)))
    assert collected(nothing, geometry).depth(0) is None


def test_a_generator_is_run_to_its_returned_statistics():
    geometry = Geometry((8, 8), (8, 8), (2, 2), 4)

    def track():
        yield LabelledFrames(0, np.ones((2, 2, 2), np.int32), geometry)
        yield LabelledFrames(2, np.ones((1, 2, 2), np.int32), geometry)
        return {1: TrackStatistics(12, 0, 2)}

    held, found = collector.collect(track())
    assert len(held) == 3 and found == {1: TrackStatistics(12, 0, 2)}
