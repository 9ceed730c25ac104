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
    "group_norm": group_norm(),
    "group_norm_8": group_norm(channels_per_group=8),
}


def named(name: str, *, epsilon: float) -> Norm:
    """The norm of that name.

    Args:
        epsilon: Of frozen batch norms, whose weights it belongs to.

    Raises:
        ValueError: It is unknown.
    """
    norm = NORMS[choices.known("model.norm", name, NORMS)]
    is_frozen = norm is FrozenBatchNorm
    return Recipe(norm, epsilon=epsilon) if is_frozen else norm
