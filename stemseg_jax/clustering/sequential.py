"""Sequential clustering: instances of one window, found one seed after the other.

The unassigned point of highest seediness becomes a centre and takes the unassigned
points around it, until no seed is good enough. Four rules, see `Settings.rule`.

Source: STEm-Seg (Athar et al., ECCV 2020), inference; Eq. 2 for the probability. SRNet
    (Ying et al., MM 2021), Algorithm 1, for "discard".
    Differs from the latter in: masks are disjoint and tiny ones are dropped, as their
    tasks want them; a seed may equal the minimum; at most `ROUNDS_PER_SLOT` seeds are
    tried for each slot.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32

from stemseg_jax.ops import gaussian

RULES = ("paper", "released", "refined", "discard")
SEEDS = ("seediness", "random")
# "refined" and "discard" try at most this many seeds for each slot they have.
ROUNDS_PER_SLOT = 4
TOGETHER = 4  # slots that one pass over the points is compared with


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How a window's points become clusters.

    Attributes:
        rule: "paper" takes points of probability exp(-d^2 / 2), the one of training.
            "released" is the authors' program: exp(-d / 2), and what is left over may
            go to the farthest centre. "refined" is the paper's rule with each centre
            moved once to the mean of what it caught, and without tiny clusters.
            "discard" is the paper's rule without tiny clusters and their points.
        seeds: The unassigned point that comes next is that of highest "seediness", or a
            "random" one, and none is too bad: as if there were no seediness.
        max_instances: K, the number of slots. The paper has no such limit.
        min_seediness: The search ends at the first seed below it.
        primary_threshold: A centre takes points of a higher probability.
        secondary_threshold: The same for leftover points; "released" only.
        min_cells: Smaller clusters are dropped; "refined" leaves their points for
            others, "discard" does not. These two only.
        min_probability: See `assign_nearest`; "refined" only.
    """

    rule: str = "paper"
    seeds: str = "seediness"
    max_instances: int = 20
    min_seediness: float = 0.8
    primary_threshold: float = 0.5
    secondary_threshold: float = 0.3
    min_cells: int = 20
    min_probability: float = 0.0

    def __post_init__(self):
        if self.rule not in RULES:
            raise ValueError(f"rule={self.rule!r} is not one of {', '.join(RULES)}.")
        if self.seeds not in SEEDS:
            raise ValueError(f"seeds={self.seeds!r} is not one of {', '.join(SEEDS)}.")
        for name in ("max_instances", "min_cells"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        for name in (
            "min_seediness",
            "primary_threshold",
            "secondary_threshold",
            "min_probability",
        ):
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
    bandwidths: Float[Array, "P _"],
    seediness: Float[Array, "P"],
    foreground: Bool[Array, "P"],
    *,
    settings: Settings,
    free: tuple[float, ...] = (),
) -> Clusters:
    """Groups the foreground points of a window.

    Args:
        embeddings: One row per point; of equal seeds the first point is taken.
        bandwidths: 1/sigma^2, but for those of the last dimensions in `free`.
        seediness: In [0, 1].
        foreground: All other points get label -1 and have no influence.
        settings: Static under `jit`.
        free: 1/sigma^2 of the last dimensions, the same for all points.

    Source: STEm-Seg, inference; for "released" the authors' code.
        Differs from the paper in: at most K instances; only foreground is clustered.
    """
    K = settings.max_instances
    embeddings, bandwidths = embeddings.T, bandwidths.T  # long axis last: it vectorises
    labels, slots, count = _search(
        embeddings, bandwidths, seediness, foreground, settings, free
    )
    if settings.rule == "released":
        labels = _give_leftovers(embeddings, foreground, labels, slots, count, settings)
    sizes = jnp.zeros(K, jnp.int32).at[jnp.where(labels < 0, K, labels)].add(1)
    return Clusters(labels, *slots, jnp.arange(K) < count, sizes)


def assign_nearest(
    embeddings: Float[Array, "*p E"],
    foreground: Bool[Array, "*p"],
    clusters: Clusters,
    *,
    min_probability: float = 0.0,
) -> Int32[Array, "*p"]:
    """The slot whose centre is nearest to each foreground point, or -1.

    Distances are weighted with each centre's own bandwidths, so the nearest centre is
    the most probable one. Without any valid slot all labels are -1.

    Args:
        embeddings: Of points that need not be those of `cluster`: centres found on
            few cells serve every pixel.
        min_probability: Less probable points, of objects without a cluster or of none,
            stay unassigned.
    """
    distance = jnp.full(foreground.shape, jnp.inf, embeddings.dtype)
    labels = jnp.full(foreground.shape, -1, jnp.int32)
    for slot in range(len(clusters.valid)):  # unrolled, it becomes one pass over points
        candidate = gaussian.squared_distances(
            embeddings, clusters.centres[slot], clusters.bandwidths[slot]
        )
        nearer = clusters.valid[slot] & (candidate < distance)
        distance = jnp.where(nearer, candidate, distance)
        labels = jnp.where(nearer, slot, labels)
    probable = jnp.exp(-distance / 2) >= min_probability
    return jnp.where(foreground & probable, labels, -1)


class _Slots(NamedTuple):
    centres: Float[Array, "K E"]
    bandwidths: Float[Array, "K E"]
    seediness: Float[Array, "K"]


def _search(embeddings, bandwidths, seediness, foreground, settings, free):
    """The labels, the slots and how many of them were filled; points are [E P]."""
    refined, discard = settings.rule == "refined", settings.rule == "discard"
    drops = refined or discard  # small clusters, whose points are no seeds any more
    K = settings.max_instances
    goodness, least = seediness, settings.min_seediness
    if settings.seeds == "random":  # in the same order in every window
        goodness, least = jax.random.uniform(jax.random.key(0), seediness.shape), 0

    free = jnp.asarray(free, bandwidths.dtype)

    def go_on(state):
        *_, top, count, rounds = state
        return (top >= least) & (count < K) & (rounds < ROUNDS_PER_SLOT * K)

    def step(state):
        labels, left, slots, top, count, rounds = state
        # If none are dropped, points without a label are those that may be a seed.
        unassigned = foreground & (labels < 0) if drops else left > -jnp.inf

        def catch(centre, bandwidth):
            distance = _distance(embeddings, centre, bandwidth, settings)
            return unassigned & (jnp.exp(-distance / 2) > settings.primary_threshold)

        # As argmax, which on a CPU is six times slower.
        seed = jnp.where(left == top, jnp.arange(len(left)), len(left)).min()
        centre = embeddings[:, seed]
        bandwidth = jnp.concatenate([bandwidths[:, seed], free])
        caught = catch(centre, bandwidth)
        left = jnp.where(caught, -jnp.inf, left).at[seed].set(-jnp.inf)
        slot = count
        if refined:
            centre = _mean(embeddings, caught)
            bandwidth = jnp.concatenate([_mean(bandwidths, caught), free])
            caught = catch(centre, bandwidth)
        if drops:
            slot = jnp.where(caught.sum() < settings.min_cells, K, count)
        slots = _Slots(
            slots.centres.at[slot].set(centre),  # nowhere, if the slot is K
            slots.bandwidths.at[slot].set(bandwidth),
            slots.seediness.at[slot].set(seediness[seed]),
        )
        # What is discarded has the label K until the search ends.
        labels = jnp.where(caught & ((slot < K) | discard), slot, labels)
        if drops:
            left = jnp.where(labels < 0, left, -jnp.inf)
        return labels, left, slots, left.max(), count + (slot < K), rounds + 1

    labels = jnp.full(seediness.shape, -1, jnp.int32)
    zeros = jnp.zeros((K, len(embeddings)), embeddings.dtype)
    slots = _Slots(zeros, zeros, jnp.zeros(K, seediness.dtype))
    if labels.size:  # without points there is nothing to trace `step` on
        left = jnp.where(foreground, goodness, -jnp.inf)  # how good a seed each may be
        start = labels, left, slots, left.max(), 0, 0
        labels, _, slots, _, count, _ = lax.while_loop(go_on, step, start)
        return jnp.where(labels == K, -1, labels), slots, count
    return labels, slots, 0


def _give_leftovers(embeddings, foreground, labels, slots, count, settings):
    """The secondary step of the authors' program.

    A point goes to the farthest of all centres (it takes the maximum of distances where
    the minimum was meant), provided that even there it is probable enough. Where the
    limit K ended the search, the program still has in hand the points that were
    unassigned before its last step, and may take them from the last instance.
    """
    K = settings.max_instances
    remaining = foreground & ((labels < 0) | ((count == K) & (labels == K - 1)))

    def compare(block, best):
        distance, label = best
        for index in block * TOGETHER + jnp.arange(TOGETHER):
            candidate = _distance(
                embeddings, slots.centres[index], slots.bandwidths[index], settings
            )
            farther = (index < count) & (candidate > distance)
            distance = jnp.where(farther, candidate, distance)
            label = jnp.where(farther, index, label)
        return distance, label

    start = jnp.full(labels.shape, -1, embeddings.dtype), labels
    blocks = (count + TOGETHER - 1) // TOGETHER
    distance, farthest = lax.fori_loop(0, blocks, compare, start)
    probable = jnp.exp(-distance / 2) > settings.secondary_threshold
    return jnp.where(remaining & probable & (count > 0), farthest, labels)


def _distance(embeddings, centre, bandwidth, settings):
    """Squared; the authors' program takes the root here, but not in training."""
    squared = gaussian.squared_distances(embeddings.T, centre, bandwidth)
    return jnp.sqrt(squared) if settings.rule == "released" else squared


def _mean(values, chosen):
    """Over the chosen columns of [E P]."""
    total = jnp.matmul(values, chosen.astype(values.dtype), precision="highest")
    return total / jnp.maximum(chosen.sum(), 1)
