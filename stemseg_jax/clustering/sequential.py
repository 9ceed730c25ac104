"""Sequential clustering: instances of one window, found one seed after the other.

The unassigned point of highest seediness becomes a centre and takes the unassigned
points around it, until no seed is good enough. Three rules, see `Settings.rule`.

Source: STEm-Seg (Athar et al., ECCV 2020), Sec. 3.3, Eq. 2.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

RULES = ("paper", "released", "refined")
ROUNDS_PER_SLOT = 4  # "refined" tries at most this many seeds for each slot it has


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a window's points become clusters.

    Attributes:
        rule: "paper" takes points of probability exp(-d^2 / 2), the one of training.
            "released" is the authors' program: exp(-d / 2), and what is left over may
            go to the farthest centre. "refined" is the paper's rule with each centre
            moved once to the mean of what it caught, and without tiny clusters.
        max_instances: K, the number of slots. The paper has no such limit.
        min_seediness: The search ends at the first seed below it.
        primary_threshold: A centre takes points of a higher probability.
        secondary_threshold: The same for leftover points; "released" only.
        min_cells: Smaller clusters are dropped and their points left for others;
            "refined" only.
    """

    rule: str = "paper"
    max_instances: int = 20
    min_seediness: float = 0.8
    primary_threshold: float = 0.5
    secondary_threshold: float = 0.3
    min_cells: int = 20

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r} is not one of {', '.join(RULES)}.")
        for name in ("max_instances", "min_cells"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in ("min_seediness", "primary_threshold", "secondary_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not in [0, 1].")


class Clusters(NamedTuple):
    """Clusters of one window, in the order they were found.

    Slots that are not valid hold zeros.
    """

    labels: Int32[Array, "P"]  # slot, or -1
    centres: Float[Array, "K E"]
    bandwidths: Float[Array, "K E"]
    seediness: Float[Array, "K"]  # of the seed
    valid: Bool[Array, "K"]
    sizes: Int32[Array, "K"]  # points with this label


def cluster(
    embeddings: Float[Array, "P E"],
    bandwidths: Float[Array, "P E"],
    seediness: Float[Array, "P"],
    foreground: Bool[Array, "P"],
    *,
    settings: Settings,
) -> Clusters:
    """Groups the foreground points of a window.

    Args:
        embeddings: One row per point; of equal seeds the first point is taken.
        bandwidths: 1/sigma^2, the constants of free dimensions included.
        seediness: In [0, 1].
        foreground: All other points get label -1 and have no influence.
        settings: Static under `jit`.

    Source: STEm-Seg, Sec. 3.3; "released" also stemseg.md section 13.
        Differs from the paper in: at most K instances; only foreground is clustered.
    """
    points = embeddings.T, bandwidths.T, seediness  # long axis last: vectorises
    search = {"paper": _paper, "released": _released, "refined": _refined}
    found = search[settings.rule](*points, foreground, settings)
    labels, slots, count = found
    K = settings.max_instances
    sizes = jax.ops.segment_sum(
        jnp.ones_like(labels), jnp.where(labels < 0, K, labels), K + 1
    )[:K]
    return Clusters(labels, *slots, jnp.arange(K) < count, sizes)


def assign_nearest(
    embeddings: Float[Array, "*p E"],
    foreground: Bool[Array, "*p"],
    clusters: Clusters,
) -> Int32[Array, "*p"]:
    """The slot whose centre is nearest to each foreground point, or -1.

    Distances are weighted with each centre's own bandwidths, so the nearest centre is
    the most probable one. Without any valid slot all labels are -1.
    One slot after the other: at 8 x 736 x 1248 points there is no room for [P K E].
    """

    def compare(best, slot):
        distance, label = best
        index, centre, bandwidth, valid = slot
        candidate = _squared_distance(embeddings, centre, bandwidth)
        closer = valid & (candidate < distance)
        return (
            jnp.where(closer, candidate, distance),
            jnp.where(closer, index, label),
        ), None

    start = (
        jnp.full(foreground.shape, jnp.inf, embeddings.dtype),
        jnp.full(foreground.shape, -1, jnp.int32),
    )
    K = clusters.valid.shape[0]
    slots = (
        jnp.arange(K, dtype=jnp.int32),
        clusters.centres,
        clusters.bandwidths,
        clusters.valid,
    )
    (_, labels), _ = lax.scan(compare, start, slots)
    return jnp.where(foreground, labels, -1)


class _Slots(NamedTuple):
    centres: Float[Array, "K E"]
    bandwidths: Float[Array, "K E"]
    seediness: Float[Array, "K"]


def _no_slots(embeddings, settings):
    K, E = settings.max_instances, embeddings.shape[0]
    zeros = jnp.zeros((K, E), embeddings.dtype)
    return _Slots(zeros, zeros, zeros[:, 0])


def _fill(slots, index, centre, bandwidth, seediness):
    return _Slots(
        slots.centres.at[index].set(centre, mode="drop"),
        slots.bandwidths.at[index].set(bandwidth, mode="drop"),
        slots.seediness.at[index].set(seediness, mode="drop"),
    )


def _squared_distance(embeddings, centre, bandwidth):
    return (bandwidth * jnp.square(embeddings - centre)).sum(axis=-1)


def _distances(embeddings, centre, bandwidth):
    """Squared, of points [E P] to one centre [E]."""
    return (bandwidth[:, None] * jnp.square(embeddings - centre[:, None])).sum(axis=0)


def _best_seed(seediness, candidates):
    return jnp.argmax(jnp.where(candidates, seediness, -jnp.inf))


def _is_good(seediness, candidates, settings):
    return (candidates & (seediness >= settings.min_seediness)).any()


def _paper(embeddings, bandwidths, seediness, foreground, settings):
    def more(state):
        labels, _, count = state
        unassigned = foreground & (labels < 0)
        return (count < settings.max_instances) & _is_good(
            seediness, unassigned, settings
        )

    def step(state):
        labels, slots, count = state
        unassigned = foreground & (labels < 0)
        seed = _best_seed(seediness, unassigned)
        centre, bandwidth = embeddings[:, seed], bandwidths[:, seed]
        probability = jnp.exp(-0.5 * _distances(embeddings, centre, bandwidth))
        caught = unassigned & (probability > settings.primary_threshold)
        caught = caught.at[seed].set(True)  # also where the distance is not a number
        slots = _fill(slots, count, centre, bandwidth, seediness[seed])
        return jnp.where(caught, count, labels), slots, count + 1

    labels = jnp.full(seediness.shape, -1, jnp.int32)
    return lax.while_loop(more, step, (labels, _no_slots(embeddings, settings), 0))


def _released(embeddings, bandwidths, seediness, foreground, settings):
    def more(state):
        labels, _, count, _, _, _ = state
        unassigned = foreground & (labels < 0)
        return (count < settings.max_instances) & _is_good(
            seediness, unassigned, settings
        )

    def step(state):
        labels, slots, count, _, farthest, distance = state
        unassigned = foreground & (labels < 0)
        seed = _best_seed(seediness, unassigned)
        centre, bandwidth = embeddings[:, seed], bandwidths[:, seed]
        # The square root is not in the formula that training uses.
        current = jnp.sqrt(_distances(embeddings, centre, bandwidth))
        caught = unassigned & (jnp.exp(-0.5 * current) > settings.primary_threshold)
        farther = current > distance
        return (
            jnp.where(caught, count, labels),
            _fill(slots, count, centre, bandwidth, seediness[seed]),
            count + 1,
            unassigned,
            jnp.where(farther, count, farthest),
            jnp.where(farther, current, distance),
        )

    labels = jnp.full(seediness.shape, -1, jnp.int32)
    start = (
        labels,
        _no_slots(embeddings, settings),
        0,
        foreground,
        labels,
        jnp.full(seediness.shape, -1, embeddings.dtype),
    )
    labels, slots, count, stale, farthest, distance = lax.while_loop(more, step, start)
    # Where the limit K ended the search, the program still has the points in hand that
    # were unassigned before the last step, and may take them from the last instance.
    remaining = jnp.where(
        count == settings.max_instances, stale, foreground & (labels < 0)
    )
    probable = jnp.exp(-0.5 * distance) > settings.secondary_threshold
    # Of all centres the farthest: it takes the maximum of distances, not the minimum.
    return jnp.where(remaining & probable & (count > 0), farthest, labels), slots, count


def _refined(embeddings, bandwidths, seediness, foreground, settings):
    def more(state):
        labels, seeds, _, count, rounds = state
        return (
            (count < settings.max_instances)
            & (rounds < ROUNDS_PER_SLOT * settings.max_instances)
            & _is_good(seediness, seeds & (labels < 0), settings)
        )

    def step(state):
        labels, seeds, slots, count, rounds = state
        unassigned = foreground & (labels < 0)
        seed = _best_seed(seediness, seeds & unassigned)

        def catch(centre, bandwidth):
            probability = jnp.exp(-0.5 * _distances(embeddings, centre, bandwidth))
            return unassigned & (probability > settings.primary_threshold)

        first = catch(embeddings[:, seed], bandwidths[:, seed]).at[seed].set(True)
        centre = _mean(embeddings, first)
        bandwidth = _mean(bandwidths, first)
        caught = catch(centre, bandwidth)
        kept = caught.sum() >= settings.min_cells
        slot = jnp.where(kept, count, settings.max_instances)
        return (
            jnp.where(kept & caught, count, labels),
            seeds & ~first,  # each round uses up its seed, so the search ends
            _fill(slots, slot, centre, bandwidth, seediness[seed]),
            count + kept,
            rounds + 1,
        )

    labels = jnp.full(seediness.shape, -1, jnp.int32)
    start = labels, foreground, _no_slots(embeddings, settings), 0, 0
    labels, _, slots, count, _ = lax.while_loop(more, step, start)
    return labels, slots, count


def _mean(values, mask):
    """Of the chosen columns of [E P]."""
    return jnp.where(mask, values, 0).sum(axis=1) / jnp.maximum(mask.sum(), 1)
