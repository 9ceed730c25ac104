"""Gauss-Newton with conjugate gradients, for any function of residuals.

Neither the Jacobian J nor J^T J is ever built: their products with a vector are one
forward-mode and one reverse-mode derivative, whatever the parameters are.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Parameters = Any  # a pytree of arrays
FORGETTING = 0.9**750  # FRTM's: as good as a restart at each step
CONJUGACIES = ("polak_ribiere", "fletcher_reeves")


class Directions(NamedTuple):
    """What conjugate gradients carry from one system to the next."""

    direction: Parameters  # zeros: none yet
    energy: Float[Array, ""]  # rho of the last iteration
    residual: Parameters  # s of the last but one


def none(params: Parameters) -> Directions:
    """Before the first system."""
    zeros = jax.tree.map(jnp.zeros_like, params)
    return Directions(zeros, jnp.ones((), jax.tree.leaves(params)[0].dtype), zeros)


def minimise(
    residuals: Callable[[Parameters], Any],
    params: Parameters,
    directions: Directions,
    schedule: Sequence[int],
    *,
    preconditioner: Parameters,
    conjugacy: str = "polak_ribiere",
    forgetting: float = FORGETTING,
) -> tuple[Parameters, Directions]:
    """Makes the sum of squared residuals smaller.

    Each step solves J^T J d = -J^T r, started from d = 0, by some iterations of
    conjugate gradients, and adds d. A singular system has a finite solution, too:
    where a direction has no curvature no step is taken. What makes it a good one is a
    ridge, which is one more residual.

    Args:
        residuals: Parameters -> a pytree of residuals, twice differentiable or not.
        schedule: Iterations of each step.
        preconditioner: A positive number for each leaf of the parameters (or an array
            of its shape), by which gradients are divided.
        conjugacy: How a direction is made of the last one: "polak_ribiere", clipped at
            0, or "fletcher_reeves".
        forgetting: Divides the carried energy before each step: the smaller, the less
            the next step knows of the directions of this one.

    Source: the optimiser of ATOM (Danelljan et al., CVPR 2019) as FRTM (Robinson et
        al., CVPR 2020) uses it.
        Differs from it in: without curvature a step is 0, not NaN.
    """
    assert conjugacy in CONJUGACIES, conjugacy
    solve = functools.partial(
        _solve, preconditioner=preconditioner, conjugacy=conjugacy
    )

    def step(carry, iterations):
        params, directions = carry
        values, push = jax.linearize(residuals, params)
        pull = jax.linear_transpose(push, params)
        directions = directions._replace(energy=directions.energy / forgetting)
        (gradient,) = pull(jax.tree.map(jnp.negative, values))
        update, directions = solve(
            lambda p: pull(push(p))[0], gradient, directions, iterations
        )
        return (jax.tree.map(jnp.add, params, update), directions), None

    carry, _ = jax.lax.scan(step, (params, directions), jnp.asarray(schedule))
    return carry


def loss(residuals: Any) -> Float[Array, ""]:
    """The sum of their squares."""
    return sum(jnp.square(values).sum() for values in jax.tree.leaves(residuals))


def _solve(product, right, directions, iterations, *, preconditioner, conjugacy):
    """Some iterations on `product(d) = right`."""

    def iterate(index, carry):
        solution, s, (direction, before, last) = carry
        z = jax.tree.map(jnp.divide, s, preconditioner)
        energy = _dot(s, z)
        gain = energy
        if conjugacy == "polak_ribiere":
            gain = jnp.maximum(energy - _dot(last, z), 0)
        # A solved system has no energy left, and no next direction.
        share = jnp.where(before > 0, gain / jnp.where(before > 0, before, 1), 0)
        direction = jax.tree.map(lambda z, p: z + share * p, z, direction)
        q = product(direction)
        curvature = _dot(direction, q)
        curved = curvature > 0
        length = jnp.where(curved, energy / jnp.where(curved, curvature, 1), 0)
        moved = _along(solution, length, direction)
        return moved, _along(s, -length, q), Directions(direction, energy, s)

    start = jax.tree.map(jnp.zeros_like, right), right, directions
    solution, _, directions = jax.lax.fori_loop(0, iterations, iterate, start)
    return solution, directions


def _dot(a: Parameters, b: Parameters) -> Float[Array, ""]:
    return sum(
        jnp.vdot(x, y, precision="highest")
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def _along(start: Parameters, length, direction: Parameters) -> Parameters:
    return jax.tree.map(lambda x, p: x + length * p, start, direction)
