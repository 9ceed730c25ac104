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
    "kitti_mots": functools.partial(mots.score, benchmark="kitti_mots"),
    "proposals": proposals.score,
    "mots_challenge": functools.partial(mots.score, benchmark="mots_challenge"),
}
