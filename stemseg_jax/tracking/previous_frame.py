"""Clusters have the id of the mask that they overlap in the frame before.

Source: ours, for the single-frame baseline of Hu, Kendall, Cipolla (arXiv 1912.08969),
    of which it is not said where ids come from.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32

from stemseg_jax.tracking import association, matching

# A few stray points in common do not make one object: as `stitching` has it.
MIN_IOU = 0.1


class Masks(NamedTuple):
    """The labelled frame before."""

    labels: Int32[Array, "h w"]  # slot, or -1
    ids: Int32[Array, "K"]  # of each slot


def none(size: tuple[int, int], num_slots: int) -> Masks:
    """Before the first frame."""
    return Masks(jnp.full(size, -1, jnp.int32), jnp.zeros(num_slots, jnp.int32))


def associate(
    previous: Masks,
    labels: Int32[Array, "h w"],
    valid: Bool[Array, "K"],
    next_id: Int32[Array, ""],
) -> tuple[Int32[Array, "K"], Masks, Int32[Array, ""]]:
    """Gives the clusters of a frame the ids of previous masks, or new ones.

    Pairs are one to one and have the largest sum of IoUs; none is below `MIN_IOU`. What
    is not seen in one frame has a new id in the next.

    Args:
        labels: Slots of this frame, or -1.
        valid: Which slots hold a cluster.
        next_id: The first id that was never given.

    Returns:
        The id of each cluster (0 in slots that are not valid), this frame as the next
        one's previous, and the next id.
    """
    K = len(valid)
    counts = matching.joint_counts(previous.labels, labels, num_rows=K, num_columns=K)
    iou = matching.iou(counts)
    match = matching.best_rows(jnp.where(iou < MIN_IOU, 0, iou))
    is_new = valid & (match < 0)
    ids, next_id = association.number(previous.ids[match], is_new, next_id)
    ids = jnp.where(valid, ids, 0)
    return ids, Masks(labels, ids), next_id
