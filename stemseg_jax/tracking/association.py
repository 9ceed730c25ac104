"""Which object that is known a found object is: greedily, by distance.

Source of all but `closest_pairs`, which is ours: Zhou et al., "Tracking Objects as
    Points", ECCV 2020 (CenterTrack), which SRNet (Ying et al., MM 2021) takes it from.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32


class Objects(NamedTuple):
    """The objects of one frame, in K slots; places and sizes in (rows, columns)."""

    centres: Float[Array, "K 2"]
    sizes: Float[Array, "K 2"]  # height and width of the bounding box
    ids: Int32[Array, "K"]  # from 1; 0 in slots that are not valid
    valid: Bool[Array, "K"]


def none(num_slots: int) -> Objects:
    """A frame without objects."""
    pairs = jnp.zeros((num_slots, 2))
    ids = jnp.zeros(num_slots, jnp.int32)
    return Objects(pairs, pairs, ids, ids > 0)


def associate(
    previous: Objects,
    found: Objects,
    expected: Float[Array, "K 2"],
    next_id: Int32[Array, ""],
    *,
    spacing: Float[Array, "2"],
) -> tuple[Objects, Int32[Array, ""]]:
    """Gives found objects the ids of previous ones, or new ones in their order.

    A pair is possible where the squared distance from where the found object says that
    it was to the previous centre is no larger than either bounding box. An id that no
    object takes is never given again.

    Args:
        found: Best first; their ids are disregarded.
        expected: Where each found object says that it was.
        next_id: The first id that was never given.
        spacing: Of rows, and of columns, in the coordinates that distances and boxes
            are measured in.

    Returns:
        The found objects with their ids, and the next id.
    """
    steps = expected[None] - previous.centres[:, None]  # [A B 2]
    squared = jnp.square(steps * spacing).sum(axis=-1)
    was, now = ((x.sizes * spacing).prod(axis=-1) for x in (previous, found))
    possible = squared <= jnp.minimum(was[:, None], now)
    possible &= previous.valid[:, None] & found.valid
    row = greedy(squared, possible)
    is_new = found.valid & (row < 0)
    ids, next_id = number(previous.ids[row], is_new, next_id)
    return found._replace(ids=jnp.where(found.valid, ids, 0)), next_id


def number(
    ids: Int32[Array, "K"], is_new: Bool[Array, "K"], next_id: Int32[Array, ""]
) -> tuple[Int32[Array, "K"], Int32[Array, ""]]:
    """Gives new objects the next ids, in their order; others keep theirs."""
    new_ids = next_id + jnp.cumsum(is_new, dtype=jnp.int32) - 1
    return jnp.where(is_new, new_ids, ids), next_id + is_new.sum(dtype=jnp.int32)


def greedy(
    distances: Float[Array, "A B"], possible: Bool[Array, "A B"]
) -> Int32[Array, "B"]:
    """Each column in turn takes the nearest row that is possible and still free.

    Gives the row of each column, or -1. Of equals the first row is taken.
    """

    def take(free, column):
        distances, possible = column
        candidates = jnp.where(possible & free, distances, jnp.inf)
        row = candidates.argmin()
        taken = (possible & free).any()
        return free.at[row].set(free[row] & ~taken), jnp.where(taken, row, -1)

    if not len(distances):  # argmin needs a row
        return jnp.full(distances.shape[1], -1, jnp.int32)
    free = jnp.ones(len(distances), bool)
    _, rows = jax.lax.scan(take, free, (distances.T, possible.T))
    return rows.astype(jnp.int32)


def closest_pairs(
    distances: Float[Array, "A B"], possible: Bool[Array, "A B"]
) -> Int32[Array, "B"]:
    """Of all possible pairs the closest is taken, then of those still free, and so on.

    Gives the row of each column, or -1. Of equals the first row is taken, and in it the
    first column. Distances of possible pairs are finite.
    """

    def take(_, state):
        distances, rows = state
        row, column = jnp.unravel_index(distances.argmin(), distances.shape)
        taken = distances[row, column] < jnp.inf
        rows = rows.at[column].set(jnp.where(taken, row, rows[column]))
        return distances.at[row].set(jnp.inf).at[:, column].set(jnp.inf), rows

    rows = jnp.full(distances.shape[1], -1, jnp.int32)
    if not distances.size:  # argmin needs a pair
        return rows
    start = jnp.where(possible, distances, jnp.inf), rows
    return jax.lax.fori_loop(0, min(distances.shape), take, start)[1]
