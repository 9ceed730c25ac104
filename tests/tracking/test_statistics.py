"""What windows say of their slots adds up to what a video says of its tracks."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import resize
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


@pytest.mark.parametrize("seed", range(2))
def test_logits_of_a_coarser_map_count_as_if_enlarged(seed):
    coarse = np.random.default_rng(seed).normal(size=(4, 3, 2, C)).astype(np.float32)
    slots = np.random.default_rng(seed).integers(-1, K, (4, 12, 8)).astype(np.int32)
    counted = jnp.arange(4) >= 2 * seed
    large = resize.linear(jnp.asarray(coarse), (12, 8))
    found, expected = (
        statistics.slot_sums(
            jnp.asarray(slots), counted, num_slots=K, logits=jnp.asarray(logits)
        )
        for logits in (coarse, large)
    )
    np.testing.assert_array_equal(found.cells, expected.cells)
    np.testing.assert_array_equal(found.votes, expected.votes)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-5, atol=1e-5)


def test_votes_are_counted_only_if_asked_for():
    slots, logits = map(jnp.asarray, drawn(0))
    sums = statistics.slot_sums(
        slots, jnp.ones(SIZE[0], bool), num_slots=K, logits=logits, votes=False
    )
    assert sums.votes is None and sums.logits.shape == (K, C)


def test_without_classes_there_are_only_cells():
    slots, _ = drawn(0)
    counted = jnp.ones(SIZE[0], bool)
    sums = statistics.slot_sums(jnp.asarray(slots), counted, num_slots=K)
    assert sums.logits is None and sums.votes is None


def test_confidence_is_a_mean_over_the_cells_of_each_frame():
    slots = jnp.array([[[0, 0, -1]], [[1, 0, 1]]])
    confidence = jnp.array([[[0.25, 0.75, 0.9]], [[0.5, 1.0, 0.0]]])
    sums = statistics.slot_sums(
        slots,
        jnp.ones(2, bool),
        num_slots=2,
        confidences={"this": confidence, "that": confidence / 2},
    )
    means = np.array([[0.5, 0], [1, 0.25]])
    np.testing.assert_allclose(sums.confidences["this"], means)
    np.testing.assert_allclose(sums.confidences["that"], means / 2)
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


def seen_twice(score):
    """Two frames of two tracks, the second of which is not in the first frame."""
    seen = statistics.Accumulator(score=score)
    sums = statistics.SlotSums(
        np.array([[2, 0], [3, 1]]),
        confidences={
            "this": np.array([[0.5, 0.9], [0.7, 0.4]]),
            "that": np.array([[0.1, 0.9], [0.3, 0.8]]),
        },
    )
    seen.add(0, np.int32([1, 2]), sums)
    return seen.finish()


def test_evidence_is_the_mean_confidence_of_the_frames_that_show_the_track():
    found = seen_twice("this")
    assert found[1].evidence == pytest.approx({"this": 0.6, "that": 0.2})
    assert found[2].evidence == pytest.approx({"this": 0.4, "that": 0.8})
    assert found[1].logits is None and found[1].votes is None


@pytest.mark.parametrize(
    ("score", "expected"), [("this", [0.6, 0.4]), ("confidence", [0.4, 0.6])]
)
def test_a_score_is_one_evidence_or_the_mean_of_all(score, expected):
    scores = [track.score for track in seen_twice(score).values()]
    assert scores == pytest.approx(expected)


def test_without_a_score_the_size_counts():
    assert [track.score for track in seen_twice("size").values()] == [None, None]


def test_a_score_without_evidence_is_refused():
    with pytest.raises(ValueError, match="no score 'these': .* of this, that"):
        seen_twice("these")


def test_the_class_is_evidence_by_its_softmax_probability():
    seen = statistics.Accumulator(score="confidence")
    logits = 4 * np.log(np.array([[5.0, 1.0, 2.0]]))  # of four cells
    votes = np.array([[2, 1, 1]])
    seen.add(0, np.int32([7]), statistics.SlotSums(np.array([[4]]), logits, votes))
    (track,) = seen.finish().values()
    assert track.evidence == pytest.approx({"class": 2 / 8})  # not the background's 5
    assert track.score == pytest.approx(0.25)


def test_of_probabilities_a_cell_that_is_very_sure_counts_no_more_than_others():
    logits = jnp.array([[[[0.0, 10, 0], [0, 0, 3], [0, 0, 3]]]])
    slots = jnp.zeros((1, 1, 3), jnp.int32)
    classes = {}
    for soft in (False, True):
        sums = statistics.slot_sums(
            *(slots, jnp.ones(1, bool)), num_slots=1, logits=logits, soft=soft
        )
        seen = statistics.Accumulator(score="class")
        seen.add(0, np.int32([7]), jax.device_get(sums))
        (track,) = seen.finish().values()
        classes[soft] = int(np.argmax(track.logits[1:]))
        np.testing.assert_array_equal(track.votes, [0, 1, 2])
    assert classes == {False: 0, True: 1}
    # Its score is the mean probability, the background having its share.
    sure = np.exp(logits[0, 0]) / np.exp(logits[0, 0]).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(np.exp(track.logits), sure.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(track.score, sure[:, 2].mean(), rtol=1e-5)
    # As much over two frames of one video.
    sums = statistics.slot_sums(
        *(slots, jnp.ones(1, bool)), num_slots=1, logits=logits, soft=True
    )
    seen.add(1, np.int32([7]), jax.device_get(sums))
    (track,) = seen.finish().values()
    np.testing.assert_allclose(track.score, sure[:, 2].mean(), rtol=1e-5)


def test_what_is_held_of_a_track_does_not_grow_with_the_video():
    def size_after(frames):
        seen = statistics.Accumulator(score="this")
        for frame in range(frames):
            cells = np.array([[3]])
            confidences = {"this": np.array([[0.25]])}
            sums = statistics.SlotSums(cells, np.ones((1, 2)), cells, confidences)
            seen.add(frame, np.int32([1]), sums)
        return len(pickle.dumps(seen)), seen.finish()[1].score

    (short, _), (long, score) = size_after(300), size_after(3000)
    assert abs(long - short) < 20 and score == 0.25


def test_parts_of_an_object_are_merged_by_hand():
    parts = [
        TrackStatistics(
            pixels=30,
            first=4,
            last=5,
            logits=np.array([1.0, 2.0]),
            votes=np.array([10, 20]),
            score=0.5,
            scored_by="seen",
            evidence={"seen": 0.5, "class": 0.7},
            joined=(9,),
        ),
        TrackStatistics(
            pixels=10,
            first=1,
            last=2,
            logits=np.array([5.0, -2.0]),
            votes=np.array([4, 6]),
            score=0.9,
            scored_by="seen",
            evidence={"seen": 0.9, "class": 0.1},
        ),
    ]
    whole = statistics.merged(parts)
    assert (whole.pixels, whole.first, whole.last, whole.joined) == (40, 1, 5, (9,))
    np.testing.assert_allclose(whole.logits, [2, 1])
    np.testing.assert_array_equal(whole.votes, [14, 26])
    assert whole.score == pytest.approx(0.6)
    # The class is that of the whole: softmax of 2 and 1.
    expected = {"seen": 0.6, "class": 1 / (1 + np.e)}
    assert whole.evidence == pytest.approx(expected)
    bare = statistics.merged([TrackStatistics(1, 0, 0), TrackStatistics(2, 3, 4)])
    assert bare == TrackStatistics(3, 0, 4)
    assert statistics.merged([bare]) == bare


def test_a_track_of_a_shot_has_the_frames_of_its_video():
    track = TrackStatistics(pixels=3, first=0, last=2, score=0.5, joined=(1,))
    moved = TrackStatistics(pixels=3, first=7, last=9, score=0.5, joined=(8,))
    assert statistics.later(track, 7) == moved
