"""Mixing functions: how coordinates and free dimensions form an embedding.

An embedding has, in this order, dimensions that predict an offset from the cell's own
coordinates (t, y, x), dimensions without a coordinate whose bandwidth is predicted too,
and free dimensions, which have neither coordinate nor predicted bandwidth.

Source: STEm-Seg (Athar et al., ECCV 2020), "mixing functions". The paper writes
    (x, y, t); here, as in the authors' code, the order is (t, y, x).
"""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from stemseg_jax import choices
from stemseg_jax.structures import Side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixing:
    """What the dimensions of an embedding are.

    Attributes:
        coordinates: The coordinates that are added, a part of "tyx" in that order.
        plain: Dimensions without a coordinate, with a predicted bandwidth.
        free: Dimensions without a coordinate, with a constant bandwidth.
    """

    coordinates: str = ""
    plain: int = 0
    free: int = 0

    @property
    def bandwidths(self) -> int:
        """V, the dimensions whose bandwidth is predicted: the embedding's first."""
        return len(self.coordinates) + self.plain

    @property
    def dimensions(self) -> int:
        """E."""
        return self.bandwidths + self.free

    def grid(
        self, size: tuple[int, Side, Side], time_scale: float | Float[Array, ""] = 1.0
    ) -> Float[Array, "T h w E"]:
        """What is added to the head's output: coordinates or, without one, 0."""
        axes = coordinates(size, time_scale)
        columns = [axes[..., "tyx".index(letter)] for letter in self.coordinates]
        zeros = jnp.zeros(size, axes.dtype)
        return jnp.stack(columns + [zeros] * (self.plain + self.free), axis=-1)


def coordinates(
    size: tuple[int, Side, Side], time_scale: float | Float[Array, ""] = 1.0
) -> Float[Array, "T h w 3"]:
    """(t, y, x) of every cell of a map.

    The shorter side of a frame spans [-1, 1], the longer one proportionally more, and
    time [-time_scale, time_scale], end points included. A single frame lies at
    -time_scale.
    """
    frames, height, width = size
    extents = (time_scale, *_extents((height, width)))
    axes = [
        jnp.linspace(-extent, extent, length, dtype=jnp.float32)
        for extent, length in zip(extents, (frames, height, width), strict=True)
    ]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), axis=-1)


def from_cells(
    places: Float[Array, "*n 2"], size: tuple[int, int]
) -> Float[Array, "*n 2"]:
    """The coordinates (y, x) of places (row, column) on a map, whole or fractional."""
    return places * spacing(size) - jnp.array(_extents(size))


def to_cells(
    points: Float[Array, "*n 2"], size: tuple[int, int]
) -> Float[Array, "*n 2"]:
    """The inverse of `from_cells`."""
    return (points + jnp.array(_extents(size))) / spacing(size)


def spacing(size: tuple[int, int]) -> Float[Array, "2"]:
    """How far neighbouring rows, and columns, of a map lie apart."""
    pairs = zip(_extents(size), size, strict=True)
    return jnp.array([2 * extent / max(length - 1, 1) for extent, length in pairs])


def _extents(
    size: tuple[Side, Side],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    height, width = size
    return jnp.maximum(1.0, height / width), jnp.maximum(1.0, width / height)


MIXINGS = {
    "ff": Mixing(plain=2),  # the paper's identity: nothing is added
    "xy": Mixing(coordinates="yx"),
    "xyt": Mixing(coordinates="tyx"),
    "xyf": Mixing(coordinates="yx", free=1),
    "xytf": Mixing(coordinates="tyx", free=1),
    "xyff": Mixing(coordinates="yx", free=2),
    "xytff": Mixing(coordinates="tyx", free=2),
    "xyfff": Mixing(coordinates="yx", free=3),
}
# Those of single frames: (y, x) and free dimensions.
PLANAR = tuple(
    name
    for name, mixing in MIXINGS.items()
    if mixing.coordinates == "yx" and not mixing.plain
)


def get(name: str) -> Mixing:
    """The mixing function of that name.

    Raises:
        ValueError: If there is none; the message lists the known ones.
    """
    return MIXINGS[choices.known("mixing", name, MIXINGS)]
