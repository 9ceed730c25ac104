"""Ids by overlap with the frame before."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import optimize

from stemseg_jax.tracking import previous_frame

associate = jax.jit(previous_frame.associate)


def labels(text):
    """A label map; dots stand for no label."""
    rows = [[-1 if c == "." else int(c) for c in row] for row in text.split()]
    return jnp.array(rows, jnp.int32)


def valid(shown, num_slots=3):
    return jnp.asarray(np.isin(np.arange(num_slots), shown))


def test_three_frames_by_hand():
    masks = previous_frame.none((2, 6), 3)
    ids, masks, next_id = associate(
        masks, labels("00.222 00.222"), valid([0, 2]), jnp.int32(1)
    )
    assert ids.tolist() == [1, 0, 2] and next_id == 3
    # The slots are others, and the first object is gone.
    ids, masks, next_id = associate(
        masks, labels("..1100 ..1100"), valid([0, 1]), next_id
    )
    # IoU of slot 0 with id 2: 4 / 6, of slot 1: 2 / 8; one of them alone has it.
    assert ids.tolist() == [2, 3, 0] and next_id == 4
    # Id 1 has not been seen for a frame, and is forgotten.
    ids, _, next_id = associate(masks, labels("00..22 00..22"), valid([0, 2]), next_id)
    assert ids.tolist() == [4, 0, 2] and next_id == 5


def test_a_stray_point_in_common_is_no_match():
    old = previous_frame.Masks(labels("000000 000001"), jnp.array([7, 8, 0], jnp.int32))
    ids, *_ = associate(old, labels("111111 111101"), valid([0, 1]), jnp.int32(9))
    # IoU of slot 0 with id 7: 1 / 11; of slot 1 with id 7: 10 / 11, with id 8: 1 / 11.
    assert ids.tolist() == [9, 7, 0]


def test_pairs_are_those_of_scipy():
    rng = np.random.default_rng(0)
    K, size = 5, (12, 12)
    compared = 0
    for _ in range(10):
        old = np.kron(rng.integers(-1, K, (4, 4)), np.ones((3, 3), int))
        new = np.kron(rng.integers(-1, K, (3, 3)), np.ones((4, 4), int))
        iou = np.zeros((K, K))
        for a in range(K):
            for b in range(K):
                union = ((old == a) | (new == b)).sum()
                iou[a, b] = ((old == a) & (new == b)).sum() / max(union, 1)
        iou[iou < 0.1] = 0
        old_ids = jnp.arange(1, K + 1, dtype=jnp.int32) * 10
        ids, masks, next_id = associate(
            previous_frame.Masks(jnp.asarray(old, jnp.int32), old_ids),
            jnp.asarray(new, jnp.int32),
            valid(np.unique(new), K),
            jnp.int32(100),
        )
        best = optimize.linear_sum_assignment(-iou)
        found = [(int(x) // 10 - 1, k) for k, x in enumerate(ids) if 0 < x < 100]
        np.testing.assert_allclose(sum(iou[p] for p in found), iou[best].sum())
        fresh = [x for x in ids.tolist() if x >= 100]
        assert fresh == list(range(100, int(next_id)))
        assert (np.asarray(ids) > 0).sum() == len(np.unique(new[new >= 0]))
        np.testing.assert_array_equal(masks.labels, new.reshape(size))
        compared += len(found)
    assert compared > 10


def test_frames_without_clusters():
    masks = previous_frame.none((2, 2), 3)
    nothing = labels(".. ..")
    ids, masks, next_id = associate(masks, nothing, valid([]), jnp.int32(5))
    assert not ids.any() and next_id == 5
    ids, _, next_id = associate(masks, labels("22 .."), valid([2]), next_id)
    assert ids.tolist() == [0, 0, 5] and next_id == 6


def test_vmap_gives_what_each_frame_gives_alone():
    rng = np.random.default_rng(1)
    old, new = (jnp.asarray(rng.integers(-1, 3, (4, 5, 6)), jnp.int32) for _ in "ab")
    numbers = jnp.array([1, 2, 3], jnp.int32)
    together, *_ = jax.jit(
        jax.vmap(
            lambda a, b: previous_frame.associate(
                previous_frame.Masks(a, numbers), b, valid([0, 1, 2]), jnp.int32(9)
            )
        )
    )(old, new)
    for k in range(4):
        alone, *_ = associate(
            previous_frame.Masks(old[k], numbers),
            new[k],
            valid([0, 1, 2]),
            jnp.int32(9),
        )
        np.testing.assert_array_equal(together[k], alone)
