"""Forms of convolutions and of their gradients, by turns. See README.md."""

import argparse
import functools
import json
import pathlib
import statistics
import time

import jax
import jax.numpy as jnp

from stemseg_jax.formats import whole
from stemseg_jax.modules import conv3d
from stemseg_jax.ops import convolution
from stemseg_jax.outputs import report

# frames, height, width, channels in and out, taps, stride: of a clip of 192 x 320.
LAYERS_2D = {
    "FPN, stride 4": (8, 48, 80, 256, 256, 3, 1),
    "FPN, stride 8": (8, 24, 40, 256, 256, 3, 1),
    "stage 2": (8, 24, 40, 128, 128, 3, 1),
    "stage 3": (8, 12, 20, 256, 256, 3, 1),
    "stage 3, widened": (8, 12, 20, 256, 1024, 1, 1),
    "stage 3, narrowed": (8, 12, 20, 1024, 256, 1, 1),
    "FPN, lateral": (8, 48, 80, 256, 256, 1, 1),
    "a block that halves": (8, 48, 80, 128, 128, 3, 2),
}
LAYERS_3D = {
    "decoder, stride 4": (8, 48, 80, 256, 128),
    "decoder, stride 8": (8, 24, 40, 256, 128),
    "decoder, stride 16": (8, 12, 20, 256, 256),
    "decoder of the demo": (8, 24, 40, 48, 48),
}
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    tables = {
        "2-D": [of_2d(*layer, options.rounds) for layer in LAYERS_2D.items()],
        "3-D": [of_3d(*layer, options.rounds) for layer in LAYERS_3D.items()],
    }
    for title, rows in tables.items():
        print(f"{title}, milliseconds\n{report.table(rows, digits=1)}\n")
    whole.write_text(options.output / "figures.json", json.dumps(tables, indent=1))


def of_2d(name: str, layer: tuple[int, ...], rounds: int) -> dict:
    frames, height, width, inputs, outputs, taps, stride = layer
    x = normal((frames, height, width, inputs))
    kernel = normal((taps, taps, inputs, outputs))
    padding = ((taps // 2, taps // 2),) * 2
    convolve = functools.partial(
        convolution.general_dilated,
        strides=(stride, stride),
        padding=padding,
        dimension_numbers=convolution.AXES,
    )
    return compared(
        name,
        {
            form: functools.partial(convolve, form=form)
            for form in ("native", "products")
        },
        x,
        kernel,
        rounds,
    )


def of_3d(name: str, layer: tuple[int, ...], rounds: int) -> dict:
    *shape, outputs = layer
    x = normal((1, *shape))
    kernel = normal((3, 3, 3, shape[-1], outputs))
    forms = {form: conv3d.FORMS[form] for form in ("native", "concat", "sum")}
    return compared(name, forms, x, kernel, rounds)


def compared(name, forms, x, kernel, rounds: int) -> dict:
    """Forward, and forward with both gradients, of each form in turn."""
    work = {}
    for form, convolve in forms.items():
        forward = jax.jit(convolve)

        def loss(x, kernel, convolve=convolve):
            return jnp.square(convolve(x, kernel)).sum()

        work[f"{form}, forward"] = forward
        work[f"{form}, both"] = jax.jit(jax.grad(loss, (0, 1)))
    seconds = {key: [] for key in work}
    for step in range(rounds + 1):
        for key, function in work.items():
            begin = time.perf_counter()
            jax.block_until_ready(function(x, kernel))
            if step:  # the first compiles
                seconds[key].append(time.perf_counter() - begin)
    medians = {key: 1000 * statistics.median(s) for key, s in seconds.items()}
    print(name, flush=True)
    return {"layer": name, **medians}


def normal(shape: tuple[int, ...]) -> jax.Array:
    return jax.random.normal(jax.random.key(0), shape)


if __name__ == "__main__":
    main()
