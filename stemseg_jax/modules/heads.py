"""Output heads: what is read off the map of a decoder. They compute in float32."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from stemseg_jax.modules import conv2d, conv3d, initialisers
from stemseg_jax.ops import gaussian, mixing


class EmbeddingMaps(NamedTuple):
    embeddings: Float[Array, "B T h w E"]
    log_bandwidths: Float[Array, "B T h w V"]
    seediness: Float[Array, "B T h w"] | None


class SemanticMaps(NamedTuple):
    logits: Float[Array, "B T h w C"]  # background first
    foreground_logits: Float[Array, "B T h w"] | None


class EmbeddingHead(nn.Module):
    """Embeddings, their log-bandwidths and, if asked for, the seediness.

    The extent of time in the grid, `time_scale`, is stored in the collection
    "constants", as the original's checkpoints carry it.

    Attributes:
        mixing: The name of the mixing function, see `ops.mixing`.
        bounded: Whether offsets pass through tanh(y / 4) before the grid is added.
        bandwidth_std: None: bandwidths are predicted. Otherwise the standard deviation
            that all points have instead, along the same dimensions.
        seediness: Whether this head has the seediness too; otherwise a `SeedinessHead`
            on a decoder of its own gives it.
        seediness_bias: Initial bias of the seediness logit. None: no bias at all, as in
            the original. A negative one (-1.5) starts from an empty scene.
    """

    mixing: str = "xyff"
    bounded: bool = True
    bandwidth_std: float | None = None
    seediness: bool = True
    seediness_bias: float | None = None
    initialiser: str = "torch"

    @nn.compact
    def __call__(self, x: Float[Array, "B T h w C"]) -> EmbeddingMaps:
        spec = mixing.get(self.mixing)
        time_scale = self.variable("constants", "time_scale", lambda: jnp.float32(1))
        embeddings = conv3d.Pointwise(
            spec.dimensions, initialiser=self.initialiser, name="conv_embedding"
        )(x)
        if self.bounded:
            embeddings = jnp.tanh(0.25 * embeddings)
        if self.bandwidth_std is None:
            log_bandwidths = conv3d.Pointwise(
                spec.bandwidths,
                bias="scheme",
                initialiser=self.initialiser,
                name="conv_variance",
            )(x)
        else:
            log_bandwidths = jnp.full(
                (*x.shape[:-1], spec.bandwidths),
                gaussian.log_bandwidth(self.bandwidth_std),
            )
        seediness = None
        if self.seediness:
            logits = conv3d.Pointwise(
                1,
                bias=self.seediness_bias,
                initialiser=self.initialiser,
                name="conv_seediness",
            )(x)
            seediness = nn.sigmoid(logits[..., 0])
        return EmbeddingMaps(
            embeddings + spec.grid(x.shape[1:4], time_scale.value),
            log_bandwidths,
            seediness,
        )


class SeedinessHead(nn.Module):
    """Seediness in [0, 1] from a decoder of its own.

    Attributes:
        bias: Initial bias, as `EmbeddingHead.seediness_bias`.
    """

    bias: float | None = None
    initialiser: str = "torch"

    @nn.compact
    def __call__(self, x: Float[Array, "B T h w C"]) -> Float[Array, "B T h w"]:
        logits = conv3d.Pointwise(
            1, bias=self.bias, initialiser=self.initialiser, name="conv_out"
        )(x)
        return nn.sigmoid(logits[..., 0])


class SemanticHead(nn.Module):
    """Logits of the classes and, as one more channel, of the foreground.

    Attributes:
        num_classes: Classes, the background included.
    """

    num_classes: int
    foreground: bool = True
    initialiser: str = "torch"

    @nn.compact
    def __call__(self, x: Float[Array, "B T h w C"]) -> SemanticMaps:
        logits = conv3d.Pointwise(
            self.num_classes + self.foreground,
            initialiser=self.initialiser,
            name="conv_out",
        )(x)
        foreground = logits[..., -1] if self.foreground else None
        return SemanticMaps(logits[..., : self.num_classes], foreground)


class ConvolutionHead(nn.Module):
    """A 3x3 convolution, ReLU and a 1x1 convolution, on maps of single frames.

    Attributes:
        bias: Of the second convolution: "scheme" or its initial value.

    Source: SRNet (Ying et al., MM 2021); the width is not in the paper.
    """

    features: int
    width: int = 128
    bias: str | float = "scheme"
    initialiser: str = "torch"

    @nn.compact
    def __call__(self, x: Float[Array, "B h w c"]) -> Float[Array, "B h w C"]:
        scheme = initialisers.INITIALISERS[self.initialiser]
        x = conv2d.Conv2D(
            self.width,
            (3, 3),
            kernel_init=scheme.kernel,
            bias_init=scheme.bias(9 * x.shape[-1]),
            dtype=jnp.float32,
            name="conv",
        )(x)
        return conv3d.Pointwise(
            self.features,
            bias=self.bias,
            initialiser=self.initialiser,
            name="conv_out",
        )(nn.relu(x))
