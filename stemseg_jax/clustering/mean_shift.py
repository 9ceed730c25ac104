"""Mean shift: instances are where the points of embedding space are densest.

A random unassigned point moves to the mean of the points around it until it stays; the
unassigned points around that mode become a cluster. A flat kernel: points within the
bandwidth count alike, all others not at all.

Source: Hu, Kendall, Cipolla (arXiv 1912.08969), inference: a random unassigned point
    gathers those close to it.
    Ours: the mean is over all points, assigned or not; how far is close, and when a
    point stays; at most K clusters; tiny ones are dropped; `Settings.stride`; at most
    `ROUNDS_PER_SLOT` seeds are tried for each slot.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, Key

# Scattered points would each be a seed, and take as many rounds as there are points.
ROUNDS_PER_SLOT = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How points become clusters.

    Attributes:
        bandwidth: Radius of the kernel, and how far a point may lie from its mode.
        max_instances: K, the number of slots. Of more clusters the largest stay.
        min_points: Clusters with fewer points of the present frame are dropped.
        stride: Of the points in their order, 0, stride, 2 stride, ... are clustered;
            each of the others goes to the nearest mode within the bandwidth.
        max_iterations: A seed moves at most as often.
        tolerance: A step of less than this many bandwidths is the last and not taken.
    """

    bandwidth: float
    max_instances: int
    min_points: int
    stride: int = 1
    max_iterations: int = 300
    tolerance: float = 1e-3

    def __post_init__(self):
        for name in ("max_instances", "min_points", "stride", "max_iterations"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if not 0 < self.bandwidth < float("inf"):
            raise ValueError(
                f"bandwidth={self.bandwidth} must be a distance between embeddings "
                "above 0."
            )
        if not 0 <= self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance} is not in [0, 1).")


class Clusters(NamedTuple):
    """Clusters in K slots; those that are not valid hold zeros."""

    labels: Int32[Array, "P"]  # slot, or -1
    modes: Float[Array, "K E"]
    sizes: Int32[Array, "K"]  # points of the present frame with this label
    valid: Bool[Array, "K"]


def cluster(
    points: Float[Array, "P E"],
    counted: Bool[Array, "P"],
    current: Bool[Array, "P"],
    key: Key[Array, ""],
    *,
    settings: Settings,
) -> Clusters:
    """Groups the counted points, of the present frame and of those before.

    Which clusters stay depends on their points of the present frame alone; where the
    last slot is between equals, on the order in which all are found. A seed that is too
    far from the mode that it came to is noise and in no cluster.

    Args:
        counted: All other points get label -1 and have no influence. Nor have those
            that are not finite.
        current: Points of the present frame.
        key: Draws the order in which unassigned points are seeds.
        settings: Static under `jit`.
    """
    counted &= jnp.isfinite(points).all(axis=-1)
    present = counted & current
    # The long axis last: it vectorises.
    points = jnp.where(counted[:, None], points, 0).T
    sampled = slice(None, None, settings.stride)
    found, modes, sizes = _search(
        points[:, sampled], counted[sampled], present[sampled], key, settings
    )
    labels = found
    if settings.stride > 1:
        labels = _nearest(points, counted, modes, sizes > 0, settings.bandwidth)
        labels = labels.at[sampled].set(found)
    K = settings.max_instances
    shown = jnp.where(present & (labels >= 0), labels, K)
    sizes = jnp.zeros(K, jnp.int32).at[shown].add(1)
    valid = sizes >= settings.min_points
    return Clusters(
        labels=jnp.where((labels >= 0) & valid[labels], labels, -1),
        modes=jnp.where(valid[:, None], modes, 0),
        sizes=jnp.where(valid, sizes, 0),
        valid=valid,
    )


def _search(points, counted, present, key, settings):
    """The labels, modes and sizes of the K largest clusters; points are [E P]."""
    K = settings.max_instances
    taken, unassigned = K, K + 1  # labels; what is taken is in no slot, and no seed
    # Where every point is clustered, what is too small need not have a slot.
    least = settings.min_points if settings.stride == 1 else 1
    priorities = jax.random.uniform(key, counted.shape)

    def go_on(state):
        labels, _, sizes, rounds = state
        # No later cluster is larger than what is left.
        left = (present & (labels == unassigned)).sum()
        room = (left >= least) & (left > sizes.min())
        return room & (rounds < ROUNDS_PER_SLOT * K)

    def step(state):
        labels, modes, sizes, rounds = state
        free = labels == unassigned
        seed = jnp.where(free, priorities, -1).argmax()
        mode, near = _shift(points, counted, points[:, seed], settings)
        members = near & free
        size = (members & present).sum()
        slot = sizes.argmin()  # the first empty one, or the smallest
        slot = jnp.where((size >= least) & (size > sizes[slot]), slot, K)
        labels = labels.at[seed].set(taken)  # noise, unless it is a member
        labels = jnp.where(labels == slot, taken, labels)
        labels = jnp.where(members, slot, labels)
        modes = modes.at[slot].set(mode)  # nowhere, if the slot is K
        return labels, modes, sizes.at[slot].set(size), rounds + 1

    labels = jnp.where(counted, unassigned, taken)
    modes = jnp.zeros((K, len(points)), points.dtype)
    start = labels, modes, jnp.zeros(K, jnp.int32), 0
    if labels.size:  # without points there is nothing to trace `step` on
        labels, modes, sizes, _ = lax.while_loop(go_on, step, start)
        return jnp.where(labels < K, labels, -1), modes, sizes
    return start[:3]


def _shift(points, counted, start, settings):
    """The mode that a point comes to, and the points around it."""

    def go_on(state):
        *_, moves, iterations = state
        # One look more than there are steps: the last finds what is near its end.
        return moves & (iterations <= settings.max_iterations)

    def step(state):
        _, mode, _, _, iterations = state
        near = counted & (_squared(points, mode) <= settings.bandwidth**2)
        weights = near.astype(points.dtype)
        total = jnp.matmul(points, weights, precision="highest")
        mean = total / jnp.maximum(weights.sum(), 1)
        moves = jnp.linalg.norm(mean - mode) > settings.tolerance * settings.bandwidth
        return mode, mean, near, moves, iterations + 1

    state = start, start, jnp.zeros_like(counted), True, 0
    mode, _, near, _, _ = lax.while_loop(go_on, step, state)
    return mode, near


def _nearest(points, counted, modes, valid, bandwidth):
    """The slot whose mode is nearest to each point, or -1 beyond the bandwidth."""
    distances = jnp.full(counted.shape, jnp.inf, points.dtype)
    labels = jnp.full(counted.shape, -1, jnp.int32)
    for slot in range(len(valid)):  # unrolled, it becomes one pass over points
        squared = _squared(points, modes[slot])
        nearer = valid[slot] & (squared < distances) & (squared <= bandwidth**2)
        distances = jnp.where(nearer, squared, distances)
        labels = jnp.where(nearer, slot, labels)
    return jnp.where(counted, labels, -1)


def _squared(points, mode):
    """Distances; summed row by row, as a sum over so short an axis is slow on a CPU."""
    return sum(jnp.square(row - value) for row, value in zip(points, mode, strict=True))
