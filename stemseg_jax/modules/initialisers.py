"""How weights start: each scheme is a kernel's initialiser and its bias's."""

from collections.abc import Callable
from typing import NamedTuple

import jax
from flax import linen as nn

Initialiser = jax.nn.initializers.Initializer


class Scheme(NamedTuple):
    kernel: Initialiser
    bias: Callable[[int], Initialiser]  # from the number of inputs of one output


def _uniform(limit: float) -> Initialiser:
    def initialise(key, shape, dtype=float):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return initialise


def _zeros(fan_in: int) -> Initialiser:
    del fan_in
    return nn.initializers.zeros


# The original builds its decoders with "torch", PyTorch's default: uniform within
# 1/sqrt(fan_in), biases too. Its backbone and FPN start within sqrt(3/fan_in), which
# keeps the variance of linear layers; "he_normal" keeps that of layers with ReLU.
INITIALISERS = {
    "torch": Scheme(
        kernel=nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"),
        bias=lambda fan_in: _uniform(fan_in**-0.5),
    ),
    "lecun_uniform": Scheme(nn.initializers.lecun_uniform(), _zeros),
    "he_normal": Scheme(
        nn.initializers.variance_scaling(2, "fan_in", "normal"), _zeros
    ),
}
