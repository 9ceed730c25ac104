"""Forms of the depthwise convolution, forward and with gradients. See README.md."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.ops import depthwise
from stemseg_jax.outputs import report

# EfficientNet-Lite0 at 192 x 352: height, width, channels, kernel, stride
LAYERS = (
    (96, 176, 32, 3, 1),
    (96, 176, 96, 3, 2),
    (48, 88, 144, 3, 1),
    (48, 88, 144, 5, 2),
    (24, 44, 240, 5, 1),
    (12, 22, 480, 5, 1),
    (6, 11, 1152, 5, 1),
)


def shifted_by_autodiff(x, kernel, stride, padding):
    """The same sum of shifted maps, without gradients of its own."""
    return depthwise.FORMS["shifted"].__wrapped__(x, kernel, stride, padding)


FORMS = depthwise.FORMS | {"shifted, autodiff": shifted_by_autodiff}


def main(frames: int = 8, rounds: int = 5):
    """Prints medians of rounds in which the forms take turns."""
    lines = []
    for height, width, channels, size, stride in LAYERS:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(frames, height, width, channels)), "float32")
        kernel = jnp.asarray(rng.normal(size=(size, size, 1, channels)), "float32")
        padding = ((size // 2, size // 2),) * 2
        runs = {}
        for name, form in FORMS.items():
            apply = functools.partial(form, stride=stride, padding=padding)
            runs[f"{name}: forward"] = jax.jit(apply)
            runs[f"{name}: both"] = jax.jit(jax.grad(squares(apply), argnums=(0, 1)))
        seconds = {name: [] for name in runs}
        for _ in range(1 + rounds):  # the first compiles
            for name, run in runs.items():
                begin = time.perf_counter()
                jax.block_until_ready(run(x, kernel))
                seconds[name].append(time.perf_counter() - begin)
        line = {"ms": f"{height}x{width}x{channels}, {size}x{size}, /{stride}"}
        for name, values in seconds.items():
            line[name] = float(1e3 * np.median(values[1:]))
        lines.append(line)
    print(report.table(lines, digits=1))


def squares(apply):
    return lambda x, kernel: jnp.square(apply(x, kernel)).sum()


if __name__ == "__main__":
    main()
