import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.tracking import association
from stemseg_jax.tracking.association import Objects
from tests import other_figures

UNIT = jnp.ones(2)
associate = jax.jit(association.associate)


def objects(centres, sizes=4.0, ids=None, slots=5):
    centres = np.array(centres, np.float32).reshape(-1, 2)
    count = len(centres)

    def padded(values, shape):
        whole = np.zeros((slots, *shape), np.asarray(values).dtype)
        whole[:count] = values
        return jnp.asarray(whole)

    return Objects(
        padded(centres, (2,)),
        padded(np.broadcast_to(np.float32(sizes), (count, 2)), (2,)),
        padded(np.arange(1, count + 1, dtype=np.int32) if ids is None else ids, ()),
        padded(np.ones(count, bool), ()),
    )


def ids_of(previous, found, expected=None, next_id=10, spacing=UNIT):
    expected = found.centres if expected is None else objects(expected).centres
    named, after = associate(
        previous, found, expected, jnp.int32(next_id), spacing=spacing
    )
    return named.ids[: int(found.valid.sum())].tolist(), int(after)


def test_the_first_takes_the_nearest_and_the_next_what_is_left():
    previous = objects([(0, 0), (0, 3)])
    # Both are nearest to the second; the first in order has it.
    assert ids_of(previous, objects([(0, 2), (0, 2.5)])) == ([2, 1], 10)
    assert ids_of(previous, objects([(0, 2.5), (9, 9), (0, 2)])) == ([2, 10, 1], 11)


def test_a_pair_lies_no_farther_apart_than_the_smaller_box():
    previous = objects([(0, 0)], sizes=[(2, 8)])  # area 16
    assert ids_of(previous, objects([(0, 4)], sizes=[(9, 9)])) == ([1], 10)
    assert ids_of(previous, objects([(0, 4.01)], sizes=[(9, 9)])) == ([10], 11)
    assert ids_of(previous, objects([(0, 4)], sizes=[(3, 5)])) == ([10], 11)


def test_distances_and_boxes_are_measured_with_the_spacing():
    previous = objects([(0, 0)], sizes=[(4, 4)])
    moved = objects([(0, 6)], sizes=[(4, 4)])
    assert ids_of(previous, moved)[0] == [10]  # 36 > 16
    # Rows lie twice as far apart: 36 > 32; thrice: 36 < 48.
    assert ids_of(previous, moved, spacing=jnp.array([2.0, 1.0]))[0] == [10]
    assert ids_of(previous, moved, spacing=jnp.array([3.0, 1.0]))[0] == [1]


def test_what_counts_is_where_an_object_says_that_it_was():
    previous = objects([(0, 0), (20, 20)], ids=[7, 3])
    found = objects([(0, 0), (20, 20)])
    assert ids_of(previous, found, expected=[(20, 20), (0, 0)]) == ([3, 7], 10)


def test_frames_without_objects():
    nothing = association.none(5)
    assert ids_of(nothing, objects([(1, 1), (5, 5)])) == ([10, 11], 12)
    named, after = associate(
        objects([(1, 1)]), nothing, nothing.centres, jnp.int32(4), spacing=UNIT
    )
    assert not named.ids.any() and not named.valid.any() and after == 4


def test_padding_changes_nothing():
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 12, (2, 6, 2))
    few = ids_of(objects(places[0], slots=6), objects(places[1], slots=6))
    many = ids_of(objects(places[0], slots=17), objects(places[1], slots=17))
    assert few == many


def test_vmap_gives_what_each_frame_gives_alone():
    rng = np.random.default_rng(1)
    pairs = [
        [objects(rng.uniform(0, 12, (4, 2)), slots=5) for _ in range(2)]
        for _ in range(3)
    ]
    batch = [
        jax.tree.map(lambda *x: jnp.stack(x), *side)
        for side in zip(*pairs, strict=True)
    ]
    numbers = jnp.full(3, 10, jnp.int32)
    together, after = jax.vmap(
        lambda p, f, e, n: association.associate(p, f, e, n, spacing=UNIT)
    )(*batch, batch[1].centres, numbers)
    for k, (previous, found) in enumerate(pairs):
        assert (together.ids[k][:4].tolist(), int(after[k])) == ids_of(previous, found)


def test_without_a_row_or_a_column():
    assert association.greedy(jnp.zeros((0, 3)), jnp.zeros((0, 3), bool)).tolist() == [
        -1,
        -1,
        -1,
    ]
    assert association.greedy(jnp.zeros((3, 0)), jnp.zeros((3, 0), bool)).shape == (0,)


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_greedy_pairs_of_the_reference(folder, request):
    arrays = other_figures.load(folder, "centertrack", request)
    for case in range(4):
        distances = arrays[f"greedy{case}_dist"].T  # rows are tracks
        rows = association.greedy(
            jnp.asarray(distances, jnp.float32), jnp.asarray(distances < 1e16)
        )
        found = [(column, row) for column, row in enumerate(rows.tolist()) if row >= 0]
        assert found == list(map(tuple, arrays[f"greedy{case}_match"].tolist()))


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_ids_of_the_reference_over_eight_frames(folder, request):
    """There, detections without a track below 0.4 are discarded, and theirs is the
    distance in pixels."""
    rows = other_figures.load(folder, "centertrack", request)["track_rows"]
    previous, next_id = association.none(5), 1
    for frame in range(8):
        here = rows[rows[:, 0] == frame]
        sizes = here[:, [10, 9]] - here[:, [8, 7]]
        found = objects(here[:, [4, 3]], sizes)
        expected = found.centres.at[: len(here)].add(here[:, [6, 5]].astype(np.float32))
        named, _ = associate(
            previous, found, expected, jnp.int32(next_id), spacing=UNIT
        )
        ids = np.asarray(named.ids[: len(here)])
        is_new = ids >= next_id
        discarded = is_new & (here[:, 2] <= 0.4)
        ids = np.where(discarded, -1, ids)
        kept = is_new & ~discarded
        ids[kept] = next_id + np.arange(kept.sum())
        next_id += kept.sum()
        np.testing.assert_array_equal(ids, here[:, 11].astype(int))
        left = ids > 0
        previous = objects(
            here[left][:, [4, 3]], sizes[left], ids[left].astype(np.int32)
        )


def test_the_closest_pair_is_taken_first():
    distances = jnp.array([[4.0, 1, 9], [5, 2, 8]])
    everywhere = jnp.ones((2, 3), bool)
    # 1 leaves 5 and 8 to the second row.
    assert association.closest_pairs(distances, everywhere).tolist() == [1, 0, -1]
    possible = everywhere.at[0, 1].set(False)
    assert association.closest_pairs(distances, possible).tolist() == [0, 1, -1]
    nothing = jnp.zeros((2, 3), bool)
    assert association.closest_pairs(distances, nothing).tolist() == [-1] * 3


def test_of_equally_close_pairs_the_first_is_taken():
    rows = association.closest_pairs(jnp.ones((3, 2)), jnp.ones((3, 2), bool))
    assert rows.tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (1, 1), (7, 4), (4, 7)])
def test_closest_pairs_in_ascending_order(shape):
    rng = np.random.default_rng(0)
    distances = rng.uniform(size=shape).astype(np.float32)
    possible = rng.uniform(size=shape) < 0.5
    wanted = np.full(shape[1], -1)
    for row, column in sorted(
        np.argwhere(possible).tolist(), key=lambda p: distances[*p]
    ):
        if wanted[column] < 0 and row not in wanted:
            wanted[column] = row
    rows = jax.jit(association.closest_pairs)(distances, possible)
    np.testing.assert_array_equal(rows, wanted)
