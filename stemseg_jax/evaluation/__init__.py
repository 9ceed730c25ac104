"""Official metrics in NumPy, on result files and on arrays."""

import functools

from stemseg_jax.evaluation import davis, ytvis

METRICS = {
    "davis19": functools.partial(davis.evaluate, task="unsupervised"),
    "davis17": functools.partial(davis.evaluate, task="semi-supervised"),
    "davis16": functools.partial(davis.evaluate, task="single-object"),
    "ytvis": ytvis.evaluate,
    "ovis": functools.partial(ytvis.evaluate, occlusion=True),
}
