"""Tracklets of a window become tracks of the video by what they share in the overlap.

Source: STEm-Seg (Athar et al., ECCV 2020), inference.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Int32
from scipy import optimize

from stemseg_jax.tracking import matching

RULES = ("paper", "released", "refined")
NO_ID = np.iinfo(np.int32).max  # beyond all ids, so that tables of ids stay sorted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How tracklets are joined.

    Attributes:
        rule: "paper" pairs tracks and tracklets so that the sum of their IoUs is
            largest. "released" is the authors' program, which also joins pairs that
            share nothing and uses numbers again. "refined" is the paper's rule among
            pairs of at least `min_iou`.
        min_iou: A few stray points in common do not make one object; "refined" only.
    """

    rule: str = "paper"
    min_iou: float = 0.1

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r} is not one of {', '.join(RULES)}.")
        if not 0 <= self.min_iou <= 1:
            raise ValueError(f"min_iou={self.min_iou} is not in [0, 1].")


class Stitched(NamedTuple):
    """A window whose tracklets have the numbers of their tracks."""

    labels: Int32[Array, "T *p"]  # track ids from 1; 0 background, -1 unassigned
    ids: Int32[Array, "K"]  # of each slot; 0 if it has no track
    next_id: Int32[Array, ""]  # above all ids so far


def stitch(
    previous: Int32[Array, "T *p"],
    slots: Int32[Array, "T *p"],
    foreground: Bool[Array, "T *p"],
    known: Int32[Array, ""],
    next_id: Int32[Array, ""],
    *,
    num_slots: int,
    max_alive: int,
    settings: Settings,
    known_ids: Int32[Array, "*ids"] | None = None,
) -> Stitched:
    """Names the tracklets of a window.

    Frames labelled by an earlier window keep these labels, unchanged. All windows of a
    video have the same shapes: the overlap is the first `known` frames.

    Args:
        previous: Labels of the frames that earlier windows share with this one, as
            `Stitched` gave them; anything in the others.
        slots: The window's own clusters, -1 for none.
        foreground: Tells unassigned points from background.
        known: Number of frames at the front that have labels already.
        next_id: 1 for the first window, then what the last window gave.
        num_slots: K.
        max_alive: Room for the distinct ids in `previous`: K times
            `windows.labelling_windows`.
        settings: Static under `jit`.
        known_ids: All ids that `previous` may have, in any order and with any repeats;
            below 1 is none. None: they are looked for, which takes longer than all else
            where frames are large.

    Source: STEm-Seg, inference; for "released" the authors' code.
        Differs from the authors' code in: "paper" and "refined" join no pair that
        shares nothing, and never use a number again.
    """
    T = previous.shape[0]
    is_known = (jnp.arange(T) < known).reshape(T, *[1] * (previous.ndim - 1))
    previous = jnp.where(is_known, previous, 0)
    alive = _distinct(previous if known_ids is None else known_ids, max_alive)

    def add_frame(index, counts):
        frame = previous[index]
        row = jnp.searchsorted(alive, frame, method="scan_unrolled")
        return counts + matching.joint_counts(
            jnp.where(frame > 0, row, -1).astype(jnp.int32),
            slots[index],
            num_rows=max_alive,
            num_columns=num_slots,
        )

    counts = jnp.zeros((max_alive + 1, num_slots + 1), jnp.int32)
    if T:
        counts = lax.fori_loop(0, known, add_frame, counts)
    appears = _appears(jnp.where(is_known, -1, slots), num_slots)
    if settings.rule == "released":
        row = _released_rows(counts, alive, next_id, previous, is_known & foreground)
        fresh = next_id + jnp.arange(num_slots)
    else:
        scores = matching.iou(counts)
        if settings.rule == "refined":
            scores = jnp.where(scores < settings.min_iou, 0, scores)
        row = matching.best_rows(scores)
        fresh = next_id + jnp.cumsum(appears & (row < 0)) - 1
    ids = jnp.where(row < 0, jnp.where(appears, fresh, 0), alive[row])
    own = jnp.where(slots < 0, jnp.where(foreground, -1, 0), ids[slots])
    labels = jnp.where(is_known, previous, own).astype(jnp.int32)
    # The highest id kept, not given: what was seen in the overlap only is forgotten.
    next_id = jnp.maximum(next_id, labels.max() + 1)
    return Stitched(labels, ids.astype(jnp.int32), next_id)


def _distinct(labels, size):
    """The ids among labels, in ascending order."""
    ids = jnp.where(labels > 0, labels, NO_ID)
    return jnp.unique(ids, size=size, fill_value=NO_ID)


def _appears(slots, num_slots):
    """Which slots have a point."""
    place = jnp.where(slots < 0, num_slots, slots).ravel()
    return jnp.zeros(num_slots, bool).at[place].set(True, mode="drop")


def _released_rows(counts, alive, next_id, previous, shared_foreground):
    """As `matching.best_rows`, by SciPy on the host, with the program's ties."""
    has_unassigned = (
        (shared_foreground & (previous == -1)).any(),
        counts[:, :-1].sum() < shared_foreground.sum(),
    )
    num_slots = counts.shape[1] - 1
    return jax.pure_callback(
        _released_rows_on_host,
        jax.ShapeDtypeStruct((num_slots,), jnp.int32),
        counts,
        alive,
        next_id,
        *has_unassigned,
        vmap_method="sequential",
    )


def _released_rows_on_host(counts, alive, next_id, old_unassigned, new_unassigned):
    counts, alive = np.asarray(counts), np.asarray(alive).tolist()
    sizes, new_sizes = counts.sum(axis=1)[:-1], counts.sum(axis=0)[:-1]
    row_of = {alive[r]: r for r in np.flatnonzero(sizes)}
    slot_of = {int(next_id) + int(k): k for k in np.flatnonzero(new_sizes)}
    rows = [row_of[i] for i in _set_order(row_of, old_unassigned)]
    slots = [slot_of[i] for i in _set_order(slot_of, new_unassigned)]
    shared = counts[np.ix_(rows, slots)].astype(np.float32)
    union = sizes[rows][:, None] + new_sizes[slots] - shared
    cost = 1 - shared / union.astype(np.float32)
    result = np.full(len(new_sizes), -1, np.int32)
    # Every pair counts, also one that shares nothing.
    for r, c in zip(*optimize.linear_sum_assignment(cost), strict=True):
        result[slots[c]] = rows[r]
    return result


def _set_order(ids, with_unassigned):
    """The order in which CPython walks a set of these ascending ids.

    It decides between equal sums, and depends on whether -1 was ever in the set.
    """
    return list(set([-1] * bool(with_unassigned) + list(ids)) - {-1})
