"""Normalisation layers, given to other modules as a field.

A module with a field `norm: Norm` calls `self.norm(dtype=..., name=...)(x)`.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from stemseg_jax import choices
from stemseg_jax.modules.recipes import Recipe

Norm = Callable[..., nn.Module]
STATISTICS = "batch_stats"  # the collection in which batch norms keep what they saw


class FrozenBatchNorm(nn.Module):
    """Batch norm whose statistics and affine map never change.

    `(x - mean) / sqrt(var + epsilon) * scale + bias`, all four stored in the collection
    "constants": neither gradients nor weight decay reach them.

    Source: the original's epsilon is 0, torchvision's and detectron2's 1e-5; it belongs
        to the weights.
    """

    epsilon: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch C"]) -> Float[Array, "*batch C"]:
        def constant(name, initialise):
            return self.variable("constants", name, initialise, x.shape[-1:]).value

        scale = constant("scale", jnp.ones)
        bias = constant("bias", jnp.zeros)
        mean = constant("mean", jnp.zeros)
        var = constant("var", jnp.ones)
        slope = scale * jax.lax.rsqrt(var + self.epsilon)
        return x * slope.astype(self.dtype) + (bias - mean * slope).astype(self.dtype)


class BatchNorm(nn.Module):
    """Batch norm that trains: scale and bias are parameters, statistics are kept.

    Where the collection "batch_stats" may change, `apply(..., mutable=[STATISTICS])`,
    mean and variance are those of x over all axes but the last, and the kept ones move
    towards them. Everywhere else, and while variables are made, the kept ones count.
    Under `jit` with shardings the axes are those of the global batch.

    Attributes:
        epsilon: It belongs to weights. Above 0: a channel may be constant.
        momentum: Share of the old statistics in the kept ones; PyTorch calls the share
            of the new ones so.

    Source: Ioffe and Szegedy, ICML 2015, Alg. 1 and 2. As in PyTorch, the squared
        deviations of n values are divided by n where they normalise, and by n - 1
        where they are kept.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*batch C"]) -> Float[Array, "*batch C"]:
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        kept_mean = self.variable(STATISTICS, "mean", jnp.zeros, x.shape[-1:])
        kept_var = self.variable(STATISTICS, "var", jnp.ones, x.shape[-1:])
        mean, var = kept_mean.value, kept_var.value
        x = x.astype(jnp.float32)  # 8 bits of a mean are too few
        if self.is_mutable_collection(STATISTICS) and not self.is_initializing():
            axes, size = range(x.ndim - 1), x.size // x.shape[-1]
            mean = x.mean(axes)
            var = jnp.square(x - mean).mean(axes)
            unbiased = var * (size / max(size - 1, 1))
            kept_mean.value += (1 - self.momentum) * (mean - kept_mean.value)
            kept_var.value += (1 - self.momentum) * (unbiased - kept_var.value)
        slope = scale * jax.lax.rsqrt(var + self.epsilon)
        return ((x - mean) * slope + bias).astype(self.dtype)


def group_norm(
    *,
    groups: int | None = 32,
    channels_per_group: int | None = None,
    widths: Sequence[int] = (),
) -> Norm:
    """Group norm with the epsilon of PyTorch and the original, 1e-5.

    Args:
        groups: How many groups, whatever the width.
        channels_per_group: The size of a group instead, for narrow networks.
        widths: Of the maps it is for.

    Raises:
        ValueError: One of the widths cannot be divided into the groups.
    """
    if odd := [width for width in widths if width % groups]:
        raise ValueError(
            f"{odd[0]} channels cannot be divided into {groups} groups of a norm; "
            "choose other channels or model.decoder_norm_groups."
        )
    return Recipe(
        nn.GroupNorm,
        num_groups=None if channels_per_group else groups,
        group_size=channels_per_group,
        epsilon=1e-5,
    )


NORMS = {
    "frozen_batch_norm": FrozenBatchNorm,
    "batch_norm": BatchNorm,
    "group_norm": group_norm(),
    "group_norm_8": group_norm(channels_per_group=8),
}
LASTING = tuple(n for n in NORMS if n != "batch_norm")  # training leaves nothing behind


def named(name: str, *, epsilon: float) -> Norm:
    """The norm of that name.

    Args:
        epsilon: Of batch norms, whose weights it belongs to.

    Raises:
        ValueError: It is unknown, or the epsilon leaves it to divide by zero.
    """
    norm = NORMS[choices.known("model.norm", name, NORMS)]
    if norm is BatchNorm and not epsilon > 0:
        raise ValueError(
            f"model.norm_epsilon={epsilon}: the deviation of a channel in a batch may "
            f"be 0, and {name} divides by it. Take 1e-5, as weights of ImageNet have."
        )
    is_batch_norm = norm in (FrozenBatchNorm, BatchNorm)
    return Recipe(norm, epsilon=epsilon) if is_batch_norm else norm
