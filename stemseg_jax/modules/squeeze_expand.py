"""The temporal squeeze-expand decoder, for every clip length and every head."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from stemseg_jax import choices
from stemseg_jax.modules import conv3d, initialisers, norms
from stemseg_jax.modules.recipes import Recipe
from stemseg_jax.ops import resize

# How often the coarsest path halves the clip. No parameter depends on it.
HALVINGS = {2: 0, 4: 1, 8: 2, 16: 3, 24: 3, 32: 3}
STRIDES, UNITS = (32, 16, 8, 4), (3, 2, 1, 1)  # of the paths
Maps = tuple[Float[Array, "B *T _ _ _"], ...]  # one of each stride, finest first


class SqueezeExpandDecoder(nn.Module):
    """Feature maps of a clip to one map of stride 4 that has seen scales and frames.

    The path of stride 32 has three units, that of 16 two, of 8 and 4 one. A unit is a
    3x3x3 convolution, norm and ReLU; the units of the three coarse paths are followed
    by a pooling that halves time, as long as the clip is long enough for it. Then, from
    coarse to fine, the coarser map is enlarged to the size of the finer, put beside it
    and mixed by a 1x1x1 convolution.

    Attributes:
        num_frames: The clip length the decoder is made for: 2, 4, 8, 16, 24 or 32.
        channels: The widths of the paths, coarsest first.
        pooling: Whether units pool at all; without it all paths keep every frame.
        convolution: The form of the 3-D convolutions, see `conv3d.Conv3D`.
        remat: Recompute each unit in the backward pass instead of storing it.

    Raises:
        ValueError: If `num_frames` is none of these.

    Source: STEm-Seg (Athar et al., ECCV 2020), the decoder's figure; the authors' code
        for where it pools at each clip length.
    """

    num_frames: int
    channels: tuple[int, int, int, int] = (256, 256, 128, 128)
    norm: norms.Norm = norms.group_norm()
    pooling: bool = True
    convolution: str = "auto"
    initialiser: str = "torch"
    remat: bool = False
    dtype: DTypeLike = jnp.float32

    def __post_init__(self):
        if self.num_frames not in HALVINGS:
            raise ValueError(
                f"num_frames={self.num_frames}: the squeeze-expand decoder is defined "
                f"for clips of {sorted(HALVINGS)} frames."
            )
        super().__post_init__()

    def setup(self):
        unit = nn.remat(Unit) if self.remat else Unit
        halvings = HALVINGS[self.num_frames] if self.pooling else 0
        self.paths = [
            [
                unit(
                    width,
                    squeeze=stride > 4 and index < halvings,
                    norm=self.norm,
                    convolution=self.convolution,
                    initialiser=self.initialiser,
                    dtype=self.dtype,
                    name=f"block_{stride}x_{index}",
                )
                for index in range(units)
            ]
            for stride, units, width in zip(STRIDES, UNITS, self.channels, strict=True)
        ]
        self.merges = [
            Merge(width, self.initialiser, self.dtype, name=f"conv_{stride}")
            for stride, width in zip(STRIDES[1:], self.channels[1:], strict=True)
        ]

    def __call__(self, maps: Maps) -> Float[Array, "B T h w C"]:
        """Takes the four feature maps finest first."""
        pairs = zip(self.paths, reversed(maps), strict=True)
        return self._expand([path[0](x) for path, x in pairs])

    def frame_terms(self, maps: Maps) -> Maps:
        """Of the first convolution of each path, see `conv3d.Conv3D.frame_terms`: most
        of the decoder's work, and the same in every clip that has the frame."""
        pairs = zip(reversed(self.paths), maps, strict=True)
        return tuple(path[0].convolve.frame_terms(x) for path, x in pairs)

    def of_terms(self, terms: Sequence[Maps]) -> Float[Array, "B T h w C"]:
        """The decoder's map of a clip from the terms of each of its frames."""
        scales = reversed([*zip(*terms, strict=True)])
        pairs = zip(self.paths, scales, strict=True)
        return self._expand([path[0].of_terms(x) for path, x in pairs])

    def _expand(self, maps: list[Array]) -> Array:
        """All that follows the first unit of each path; coarsest first."""
        x = None
        for (_, *units), merge, features in zip(
            self.paths, (None, *self.merges), maps, strict=True
        ):
            for unit in units:
                features = unit(features)
            x = merge(x, features) if merge else features
        return x


def from_config(config: ConfigDict, *, widths: Sequence[int]) -> Recipe:
    """What makes the decoders that a config describes; takes `channels`.

    Args:
        widths: Of all decoders that it is to make: what their norms have to divide.

    Raises:
        ValueError: A form or an initialiser is unknown, or a width no multiple of the
            norms' groups.
    """
    model = config.model
    return Recipe(
        SqueezeExpandDecoder,
        num_frames=config.num_frames,
        norm=norms.group_norm(groups=model.decoder_norm_groups, widths=tuple(widths)),
        pooling=model.temporal_pooling,
        convolution=choices.known("model.conv3d", model.conv3d, conv3d.FORMS),
        initialiser=choices.known(
            "model.initialiser", model.initialiser, initialisers.INITIALISERS
        ),
        remat=model.remat,
        dtype=jnp.dtype(model.dtype),
    )


class Unit(nn.Module):
    """Convolution, norm, ReLU and, if `squeeze`, the pooling that halves time."""

    features: int
    squeeze: bool
    norm: norms.Norm
    convolution: str
    initialiser: str
    dtype: DTypeLike

    def setup(self):
        self.convolve = conv3d.Conv3D(
            self.features,
            form=self.convolution,
            initialiser=self.initialiser,
            dtype=self.dtype,
            name="conv",
        )
        self.normalise = self.norm(dtype=self.dtype, name="norm")

    def __call__(self, x: Float[Array, "B T h w c"]) -> Float[Array, "B t h w C"]:
        return self._activate(self.convolve(x))

    def of_terms(
        self, terms: Sequence[Float[Array, "B h w _"]]
    ) -> Float[Array, "B t h w C"]:
        """The unit of a clip from the terms of its convolution."""
        return self._activate(self.convolve.of_terms(terms))

    def _activate(self, x: Array) -> Array:
        x = nn.relu(self.normalise(x))
        return halve_time(x) if self.squeeze else x


class Merge(nn.Module):
    """A 1x1x1 convolution, without bias, of [enlarged coarse map, fine map].

    The coarse half of the convolution is done before enlarging: the two commute, and
    there are a quarter to an eighth of the cells.
    """

    features: int
    initialiser: str
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, coarse: Float[Array, "B _ _ _ C1"], fine: Float[Array, "B T h w C2"]
    ) -> Float[Array, "B T h w C"]:
        inputs = coarse.shape[-1] + fine.shape[-1]
        initialise = initialisers.INITIALISERS[self.initialiser].kernel
        kernel = self.param("kernel", initialise, (1, 1, 1, inputs, self.features))
        kernel = kernel[0, 0, 0].astype(self.dtype)
        enlarged = resize.linear(coarse @ kernel[: coarse.shape[-1]], fine.shape[1:4])
        return enlarged + fine @ kernel[coarse.shape[-1] :]


def halve_time(x: Float[Array, "B T h w C"]) -> Float[Array, "B t h w C"]:
    """Mean of each cell's 3x3x3 neighbourhood at every second frame.

    Zeros beyond the border count as members of the mean. Written as sums of shifted
    maps: the same as `nn.avg_pool`, but several times faster on CPU.
    """
    for axis, step in ((1, 2), (2, 1), (3, 1)):
        x = _sum_of_three(x, axis, step)
    return x / 27


def _sum_of_three(x: Array, axis: int, step: int) -> Array:
    length = x.shape[axis]
    widths = [(1, 1) if a == axis else (0, 0) for a in range(x.ndim)]
    padded = jnp.pad(x, widths)
    return sum(
        jax.lax.slice_in_dim(padded, shift, shift + length, step, axis)
        for shift in range(3)
    )
