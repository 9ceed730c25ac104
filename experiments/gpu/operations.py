"""Products of matrices, the Lovász hinge, sorts and 3-D convolutions, each alone."""

import functools
from collections.abc import Callable

import cases
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from stemseg_jax import benchmark
from stemseg_jax.losses import lovasz
from stemseg_jax.modules import conv3d

INSTANCES = 20
SORTS = {
    "float32": lambda x: lax.sort(x, is_stable=False),
    "uint32": lambda x: lax.sort(_code(x), is_stable=False),
    "places of float32": lambda x: jnp.argsort(x, stable=False),
    "places of uint32": lambda x: jnp.argsort(_code(x), stable=False),
}


def of_peak(case: cases.Case, size: cases.Size) -> cases.Figures:
    peak = benchmark.matrix_peak(case.dtype, side=size.side)
    return {"side": size.side, "GFLOP/s": peak}


def of_lovasz(case: cases.Case, size: cases.Size) -> cases.Figures:
    """The value and the gradient for all instances of a clip, a twentieth of the points
    inside each."""
    logits, labels = _points(size)

    def total(logits, labels):
        hinge = functools.partial(lovasz.hinge, form=case.form)
        return jax.vmap(hinge)(logits, labels).sum()

    run = jax.jit(jax.value_and_grad(total))
    return cases.figures([cases.timer(size)(case.form, lambda: run(logits, labels))[0]])


def of_sort(case: cases.Case, size: cases.Size) -> cases.Figures:
    run, costs = jax.jit(SORTS[case.form]), jnp.abs(_points(size)[0])
    return cases.figures([cases.timer(size)(case.form, lambda: run(costs))[0]])


def _points(size: cases.Size) -> tuple[jax.Array, jax.Array]:
    rng, shape = np.random.default_rng(0), (INSTANCES, size.points)
    logits = rng.uniform(-1, 1, shape).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(rng.random(shape) < 0.05)


def _code(costs: jax.Array) -> jax.Array:
    """In the same order, as none is negative."""
    return lax.bitcast_convert_type(costs, jnp.uint32)


def of_convolution(case: cases.Case, size: cases.Size) -> cases.Figures:
    """Forward, and with both gradients; FLOPs are those of the native form."""
    timer, rows = cases.timer(size), []
    for T, h, w, inputs, outputs in size.layers:
        layer = f"{T} x {h} x {w}, {inputs} to {outputs}"
        keys = jax.random.split(jax.random.key(0))
        x = jax.random.normal(keys[0], (1, T, h, w, inputs), case.dtype)
        kernel = jax.random.normal(keys[1], (3, 3, 3, inputs, outputs), case.dtype)
        natives, runs = _forward_and_both("native"), _forward_and_both(case.form)
        for name, run in runs.items():
            work = functools.partial(run, x, kernel)
            needed = benchmark.flops(natives[name], x, kernel)
            rows.append(timer(f"{layer}, {name}", work, flops=needed)[0])
    return cases.figures(rows)


def _forward_and_both(form: str) -> dict[str, Callable]:
    def square(x, kernel):
        return jnp.square(conv3d.FORMS[form](x, kernel)).sum(dtype=jnp.float32)

    both = jax.jit(jax.grad(square, argnums=(0, 1)))
    return {"forward": jax.jit(conv3d.FORMS[form]), "both": both}
