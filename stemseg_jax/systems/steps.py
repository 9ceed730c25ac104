"""The parts of a network as they leave the house: what `--mode=export` writes.

Arrays go in and come out by name, so that who calls a step needs no type of ours.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from stemseg_jax.structures import Variables

Arrays = dict[str, Array]
Shapes = dict[str, jax.ShapeDtypeStruct]

IMAGES = {"frames": "RGB, 0 to 255"}
LEVELS = {f"stride{n}": f"features of frames at stride {n}" for n in (4, 8, 16, 32)}


class Step(NamedTuple):
    """What is called with the variables and arrays.

    Attributes:
        apply: Pure; arrays by name -> arrays by name.
        takes: Their shapes, in which sizes may be symbols, and types.
        meaning: Of what is taken and given, for those who do not know the method.
    """

    apply: Callable[[Variables, Arrays], Arrays]
    takes: Shapes
    meaning: Mapping[str, str]

    def gives(self, variables: Variables) -> Shapes:
        return jax.eval_shape(self.apply, variables, self.takes)


def encode(network: Any, frames: jax.ShapeDtypeStruct) -> Step:
    """Of a network with an `encoder` and a method `encode`: features of each frame."""

    def apply(variables: Variables, arrays: Arrays) -> Arrays:
        images = network.encoder.convention.normalise(arrays["frames"])
        return of_pyramid(network.apply(variables, images, method="encode"))

    return Step(apply, {"frames": frames}, IMAGES | LEVELS)


def of_pyramid(maps: tuple[Array, ...]) -> Arrays:
    return dict(zip(LEVELS, maps, strict=True))


def pyramid(arrays: Arrays) -> tuple[Array, ...]:
    return tuple(arrays[name] for name in LEVELS)


def named(maps: Any) -> Arrays:
    """A NamedTuple by its fields; those that the network does not have are left out."""
    return {name: x for name, x in maps._asdict().items() if x is not None}


def bandwidths(free_std: Sequence[float]) -> str:
    """What to say of `log_bandwidths`, beside free dimensions."""
    text = "v, where 10 exp(v) is 1 / sigma^2 of a cell's object along the first axes"
    free = [round(std**-2, 4) for std in free_std]
    return f"{text}; along the others 1 / sigma^2 is {free}" if free else text
