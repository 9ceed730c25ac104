"""What windows say of their slots adds up to what a video says of its tracks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.tracking import statistics
from stemseg_jax.tracks import TrackStatistics

SIZE = (4, 5, 6)  # T h w
K, C = 3, 4


def drawn(seed):
    rng = np.random.default_rng(seed)
    slots = rng.integers(-1, K, SIZE).astype(np.int32)
    return slots, rng.normal(size=(*SIZE, C)).astype(np.float32)


def test_by_hand():
    slots = jnp.array([[[0, -1]], [[1, 0]]])  # two frames of two cells
    logits = jnp.array([[[[1.0, 2.0], [9.0, 9.0]]], [[[5.0, 4.0], [0.0, 3.0]]]])
    both = statistics.slot_sums(slots, jnp.ones(2, bool), num_slots=2, logits=logits)
    np.testing.assert_array_equal(both.cells, [[1, 0], [1, 1]])
    np.testing.assert_array_equal(both.logits, [[1, 5], [5, 4]])
    np.testing.assert_array_equal(both.votes, [[0, 2], [1, 0]])
    new = statistics.slot_sums(
        slots, jnp.array([False, True]), num_slots=2, logits=logits
    )
    np.testing.assert_array_equal(new.cells, [[0, 0], [1, 1]])
    np.testing.assert_array_equal(new.logits, [[0, 3], [5, 4]])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_equals_numpy_slot_by_slot(seed, wrap):
    slots, logits = drawn(seed)
    counted = np.arange(SIZE[0]) >= seed
    sums = wrap(
        lambda *arrays: statistics.slot_sums(*arrays[:2], num_slots=K, logits=arrays[2])
    )(*map(jnp.asarray, (slots, counted, logits)))
    for k in range(K):
        own = (slots == k) & counted[:, None, None]
        np.testing.assert_array_equal(sums.cells[:, k], own.sum(axis=(1, 2)))
        np.testing.assert_allclose(sums.logits[k], logits[own].sum(axis=0), rtol=1e-5)
        votes = np.bincount(logits[own].argmax(axis=-1), minlength=C)
        np.testing.assert_array_equal(sums.votes[k], votes)


def test_without_classes_there_are_only_cells():
    slots, _ = drawn(0)
    counted = jnp.ones(SIZE[0], bool)
    sums = statistics.slot_sums(jnp.asarray(slots), counted, num_slots=K)
    assert sums.logits is None and sums.votes is None


def test_confidence_is_a_mean_over_the_cells_of_each_frame():
    slots = jnp.array([[[0, 0, -1]], [[1, 0, 1]]])
    confidence = jnp.array([[[0.25, 0.75, 0.9]], [[0.5, 1.0, 0.0]]])
    sums = statistics.slot_sums(
        slots, jnp.ones(2, bool), num_slots=2, confidence=confidence
    )
    np.testing.assert_allclose(sums.confidences, [[0.5, 0], [1, 0.25]])
    assert sums.logits is None


def test_a_video_adds_up_over_windows():
    seen = statistics.Accumulator()
    first = statistics.SlotSums(
        cells=np.array([[2, 0], [3, 1]]),
        logits=np.array([[5.0, 10.0], [1.0, 0.0]]),
        votes=np.array([[0, 5], [1, 0]]),
    )
    seen.add(0, np.int32([4, 9]), first)
    second = statistics.SlotSums(  # track 4 is in slot 1 now; 9 is gone
        cells=np.array([[0, 0], [0, 5]]),
        logits=np.array([[0.0, 0.0], [5.0, 0.0]]),
        votes=np.array([[0, 0], [5, 0]]),
    )
    seen.add(1, np.int32([0, 4]), second)
    found = seen.finish()
    assert list(found) == [4, 9]  # in order of appearance
    assert found[4][:3] == (10, 0, 2) and found[9][:3] == (1, 1, 1)
    np.testing.assert_allclose(found[4].logits, [1, 1])  # over its 10 cells
    np.testing.assert_array_equal(found[4].votes, [5, 5])
    assert found[4].score is None


def test_a_score_is_the_mean_confidence_of_the_frames_that_show_the_track():
    seen = statistics.Accumulator()
    cells = np.array([[2, 0], [3, 1]])
    confidences = np.array([[0.5, 0.9], [0.7, 0.4]])
    seen.add(0, np.int32([1, 2]), statistics.SlotSums(cells, confidences=confidences))
    found = seen.finish()
    assert found[1].score == pytest.approx(0.6)
    assert found[2].score == pytest.approx(0.4)  # it is not in the first frame
    assert found[1].logits is None and found[1].votes is None


def test_parts_of_an_object_are_merged_by_hand():
    parts = [
        TrackStatistics(
            pixels=30,
            first=4,
            last=5,
            logits=np.array([1.0, 2.0]),
            votes=np.array([10, 20]),
            score=0.5,
            joined=(9,),
        ),
        TrackStatistics(
            pixels=10,
            first=1,
            last=2,
            logits=np.array([5.0, -2.0]),
            votes=np.array([4, 6]),
            score=0.9,
        ),
    ]
    whole = statistics.merged(parts)
    assert (whole.pixels, whole.first, whole.last, whole.joined) == (40, 1, 5, (9,))
    np.testing.assert_allclose(whole.logits, [2, 1])
    np.testing.assert_array_equal(whole.votes, [14, 26])
    assert whole.score == pytest.approx(0.6)
    bare = statistics.merged([TrackStatistics(1, 0, 0), TrackStatistics(2, 3, 4)])
    assert bare == TrackStatistics(3, 0, 4)
    assert statistics.merged([bare]) == bare


def test_a_track_of_a_shot_has_the_frames_of_its_video():
    track = TrackStatistics(pixels=3, first=0, last=2, score=0.5, joined=(1,))
    moved = TrackStatistics(pixels=3, first=7, last=9, score=0.5, joined=(8,))
    assert statistics.later(track, 7) == moved
