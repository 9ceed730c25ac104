"""Official metrics in NumPy, on result files and on arrays."""

import functools

from stemseg_jax.evaluation import davis, mots, proposals, ytvis

# By task: (ground_truth, results, *, progress) -> Scored.
METRICS = {
    "davis19": functools.partial(davis.score, task="unsupervised"),
    "davis17": functools.partial(davis.score, task="semi-supervised"),
    "davis16": functools.partial(davis.score, task="single-object"),
    "ytvis": ytvis.score,
    "ovis": functools.partial(ytvis.score, occlusion=True),
    "proposals": proposals.score,
    **{name: functools.partial(mots.score, benchmark=name) for name in mots.BENCHMARKS},
}
