"""Tracks are followed by where they lie in embedding space.

Source: Hu, Kendall, Cipolla (arXiv 1912.08969), inference: a mean within the repulsion
    radius of a track's is a match.
    Ours: pairs are one to one, the nearest first; a track has the last mean it was seen
    with; it may be forgotten.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from stemseg_jax.tracking import association


class Tracks(NamedTuple):
    """The tracks that are remembered, in M slots."""

    means: Float[Array, "M E"]
    ids: Int32[Array, "M"]  # from 1
    last_seen: Int32[Array, "M"]  # frame
    valid: Bool[Array, "M"]


def none(num_slots: int, dims: int) -> Tracks:
    """Before the first frame."""
    numbers = jnp.zeros(num_slots, jnp.int32)
    return Tracks(jnp.zeros((num_slots, dims)), numbers, numbers, numbers > 0)


def associate(
    tracks: Tracks,
    means: Float[Array, "K E"],
    valid: Bool[Array, "K"],
    frame: Int32[Array, ""],
    next_id: Int32[Array, ""],
    *,
    radius: float,
    time_to_live: int | None,
) -> tuple[Int32[Array, "K"], Tracks, Int32[Array, ""]]:
    """Gives the clusters of a frame the ids of tracks, or new ones in their order.

    A pair is possible where the distance is below the radius. A matched track moves to
    the cluster's mean; a cluster without a match opens a track, in a slot that is free
    or else in that of the track longest unseen, but for those of this frame. There are
    M >= K slots.

    Args:
        means: Of each cluster, over its points in this frame.
        valid: Which slots hold a cluster.
        frame: Number of this frame, from 0.
        next_id: The first id that was never given.
        time_to_live: A track may be missing in so many frames; after more it is
            forgotten, and its object has a new id. None: it never is.

    Returns:
        The id of each cluster (0 in slots that are not valid), the tracks after this
        frame, and the next id.
    """
    M, K = len(tracks.ids), len(valid)
    assert M >= K, f"{K} clusters may need as many tracks, and there is room for {M}."
    known = tracks.valid
    if time_to_live is not None:
        known &= frame - tracks.last_seen - 1 <= time_to_live
    steps = tracks.means[:, None] - means  # [M K E]
    distances = jnp.linalg.norm(steps, axis=-1)
    possible = (distances < radius) & known[:, None] & valid
    match = association.closest_pairs(distances, possible)
    is_new = valid & (match < 0)
    ids, next_id = association.number(tracks.ids[match], is_new, next_id)

    last_seen = jnp.where(known, tracks.last_seen, -1)
    last_seen = last_seen.at[jnp.where(match < 0, M, match)].set(frame)
    longest_unseen = jnp.argsort(last_seen)  # free slots first
    slot = jnp.where(is_new, longest_unseen[jnp.cumsum(is_new) - 1], match)
    slot = jnp.where(valid, slot, M)  # nowhere
    tracks = Tracks(
        means=tracks.means.at[slot].set(means),
        ids=tracks.ids.at[slot].set(ids),
        last_seen=last_seen.at[slot].set(frame),
        valid=known.at[slot].set(True),
    )
    return jnp.where(valid, ids, 0), tracks, next_id
