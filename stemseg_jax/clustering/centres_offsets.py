"""The objects of a frame: peaks of a heat map, and pixels that point at them.

Source: Panoptic-DeepLab (Cheng et al., CVPR 2020), as Zhou et al. (CVPR 2021) use it.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32

from stemseg_jax.ops import masks as masks_ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What counts as an object.

    Attributes:
        min_peak: Of the heat map; a centre is above it.
        window: Side of the square that a centre is the highest in, in cells.
        max_instances: The strongest centres that are kept.
        min_share: Of the image; smaller objects are dropped.
        min_foreground: Probability; pixels above it belong to objects.
    """

    min_peak: float = 0.1
    window: int = 7
    max_instances: int = 20
    min_share: float = 1e-3
    min_foreground: float = 0.5

    def __post_init__(self):
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(
                f"window={self.window}: a square around a cell has an odd side."
            )
        for name in ("min_peak", "min_share", "min_foreground"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is no probability.")


class Centres(NamedTuple):
    """In the order of reading: by row, then by column."""

    places: Int32[Array, "K 2"]  # (row, column)
    peaks: Float[Array, "K"]  # of the heat map
    valid: Bool[Array, "K"]


class Proposals(NamedTuple):
    """Disjoint objects in K slots, in the order of their centres."""

    labels: Int32[Array, "h w"]  # slot of each pixel, or -1
    scores: Float[Array, "K"]  # peak times the mean foreground probability
    valid: Bool[Array, "K"]


def propose(
    heatmap: Float[Array, "h w"],
    offsets: Float[Array, "h w 2"],
    foreground: Float[Array, "h w"],
    inside: Bool[Array, "h w"],
    *,
    settings: Settings,
) -> Proposals:
    """Groups the foreground of a frame.

    Args:
        offsets: (y, x) from each pixel to the centre of its object, in cells.
        foreground: Probability of belonging to any object.
        inside: Off padding; elsewhere nothing is found.
    """
    K = settings.max_instances
    found = centres(jnp.where(inside, heatmap, 0), settings=settings)
    seen = inside & (foreground > settings.min_foreground)
    labels = jnp.where(seen, group(found, offsets), -1)
    flat = jnp.where(labels < 0, K, labels).ravel()
    sizes = jax.ops.segment_sum(jnp.ones(len(flat), jnp.int32), flat, K + 1)[:K]
    sums = jax.ops.segment_sum(foreground.ravel(), flat, K + 1)[:K]
    valid = found.valid & (sizes > 0) & (sizes >= settings.min_share * inside.sum())
    scores = jnp.clip(found.peaks, 0, 1) * sums / jnp.maximum(sizes, 1)
    kept = (labels >= 0) & valid[labels]
    return Proposals(
        jnp.where(kept, labels, -1).astype(jnp.int32),
        jnp.where(valid, scores, 0),
        valid,
    )


def centres(heatmap: Float[Array, "h w"], *, settings: Settings) -> Centres:
    """The strongest local maxima above the threshold.

    A cell is one if no cell of the window around it is higher; a plateau has many.

    Differs from the authors' code in: of the strongest K all are kept. There a strict
        comparison leaves K - 1.
    """
    K = min(settings.max_instances, heatmap.size)
    high = jnp.where(heatmap > settings.min_peak, heatmap, -1)
    window = (settings.window, settings.window)
    around = jax.lax.reduce_window(high, -jnp.inf, jax.lax.max, window, (1, 1), "SAME")
    peaks = jnp.where((high == around) & (high > 0), high, 0).ravel()
    values, places = jax.lax.top_k(peaks, K)
    # What is no centre goes last, as if it lay behind the map.
    order = jnp.argsort(jnp.where(values > 0, places, heatmap.size))
    values, places = values[order], places[order]
    missing = settings.max_instances - K
    values, places = (jnp.pad(x, (0, missing)) for x in (values, places))
    rows = jnp.stack(jnp.divmod(places, heatmap.shape[1]), axis=-1)
    valid = values > 0
    rows = jnp.where(valid[:, None], rows, 0).astype(jnp.int32)
    return Centres(rows, values, valid)


def group(centres: Centres, offsets: Float[Array, "h w 2"]) -> Int32[Array, "h w"]:
    """The centre nearest to where each pixel points, of equals the first; -1 if there
    is none."""
    size = offsets.shape[:2]
    cells = masks_ops.cells(size)
    pointed = cells + offsets

    def squared(place):
        return jnp.square(pointed - place).sum(axis=-1)

    distances = jax.vmap(squared)(centres.places)  # [K h w]
    distances = jnp.where(centres.valid[:, None, None], distances, jnp.inf)
    nearest = distances.argmin(axis=0).astype(jnp.int32)
    return jnp.where(centres.valid.any(), nearest, -1)
