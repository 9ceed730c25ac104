"""How much of a map is the frame's own, and how much of the frame before."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class GuidanceGate(nn.Module):
    """Weighs a map against that of the guidance, channel by channel.

    Two descriptors, each the mean of a map, pass through a bottleneck and a softmax
    over pairs of channels: own * a + guide * b with a + b = 1.

    Attributes:
        hidden: Width of the bottleneck.

    Source: Zhou et al. (CVPR 2021), Eq. 3-7. The width is ours.
    """

    hidden: int = 64
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        own: Float[Array, "B h w C"],
        guide: Float[Array, "B h w C"],
        described: tuple[Float[Array, "B h w C"], Float[Array, "B h w C"]],
    ) -> Float[Array, "B h w C"]:
        """Takes the two maps, and those whose means decide."""
        C = own.shape[-1]
        means = [x.mean(axis=(1, 2)) for x in described]
        x = nn.Dense(self.hidden, dtype=self.dtype, name="squeeze")(
            jnp.concatenate(means, axis=-1)
        )
        x = nn.Dense(2 * C, dtype=self.dtype, name="excite")(nn.relu(x))
        shares = jax.nn.softmax(x.reshape(-1, 2, C), axis=1)[:, :, None, None]
        return shares[:, 0] * own + shares[:, 1] * guide
