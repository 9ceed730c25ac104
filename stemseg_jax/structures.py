"""What travels between the stages on the device, with its shapes.

B clips, T frames, H W image size, h w feature size, N padded instances, K track slots,
C classes. Coordinates and axes run (t, y, x).
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Float32, Int32, UInt8

Scalar = Float[Array, ""]
Side = int | Any  # of an array; a symbol where a network is exported for all sizes
Variables = dict[str, Any]  # Flax collections: {"params": ..., "constants": ...}
Collections = dict[str, Any]  # the same without "params"


def collections(variables: Variables) -> Collections:
    """What variables hold beside the parameters."""
    return {name: value for name, value in variables.items() if name != "params"}


class ClipBatch(NamedTuple):
    """Training clips of one fixed shape; one clip alone under `jax.vmap`, without B.

    Slots beyond a clip's own instances have `valid` False, empty masks and category 0.

    A camera's matrix gives the pixel (x, y, 1) of a point (X, Y, Z), times its depth.
    It is the one exception to (t, y, x): the field's equations are written for it. It
    is NaN where no camera is known (and `config.data.assumed_camera` names none), so
    that updates of a loss which needs one are not made, and others do not notice.
    """

    frames: UInt8[Array, "*B T H W 3"]  # RGB
    masks: Bool[Array, "*B N T H W"]
    valid: Bool[Array, "*B N"]
    categories: Int32[Array, "*B N"]  # 1..C-1; 0 is background
    ignore: Bool[Array, "*B T H W"]  # excluded from losses
    # Pixels of the canvas; the centre of the upper left one is (0, 0).
    intrinsics: Float32[Array, "*B T 3 3"]
    # The frames before `colour_jitter`, if config.data.colour_jitter.clean.
    clean: UInt8[Array, "*B T H W 3"] | None = None
    # Rows and columns of the canvas that are the clip's, with what inference would pad;
    # all, if it is not said. Beyond, STEm-Seg and SRNet count nothing.
    within: Int32[Array, "*B 2"] | None = None


class PackedClips(NamedTuple):
    """The same on the way to the device: eight pixels of masks in a byte.

    Masks are most of what a clip is made of.
    """

    frames: UInt8[Array, "*B T H W 3"]
    masks: UInt8[Array, "*B N T H W/8"]
    valid: Bool[Array, "*B N"]
    categories: Int32[Array, "*B N"]
    ignore: UInt8[Array, "*B T H W/8"]
    intrinsics: Float32[Array, "*B T 3 3"]
    clean: UInt8[Array, "*B T H W 3"] | None = None
    within: Int32[Array, "*B 2"] | None = None

    def unpacked(self) -> ClipBatch:
        bits = {name: getattr(self, name) for name in ("masks", "ignore")}
        masks = {
            name: jnp.unpackbits(packed, axis=-1).astype(bool)
            for name, packed in bits.items()
        }
        return ClipBatch(**{**self._asdict(), **masks})


class LossReport(NamedTuple):
    """Each term of a loss, as it stands and as it counts.

    The terms' names are the keys; `total = sum(weights[k] * terms[k])`.
    """

    terms: dict[str, Scalar]
    weights: dict[str, float]
    clips: Float[Array, "B"] | None = None  # the total of each clip, to be told

    @classmethod
    def of_clips(
        cls, terms: dict[str, Float[Array, "B"]], weights: dict[str, float]
    ) -> "LossReport":
        """The means over the clips of a batch; other terms' weights are left out."""
        means = {name: term.mean() for name, term in terms.items()}
        weights = {name: weights[name] for name in terms}
        return cls(means, weights, sum(weights[name] * terms[name] for name in terms))

    def total(self) -> Scalar:
        return sum(self.weights[name] * term for name, term in self.terms.items())
