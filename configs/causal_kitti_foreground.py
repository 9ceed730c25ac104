"""The causal embedding on KITTI-MOTS, second phase: the foreground network alone.

    python -m stemseg_jax.main --config=configs/causal_kitti_foreground.py \\
        --workdir=runs/causal_kitti_foreground --config.init_from=runs/causal_kitti

Start from a run of configs/causal_kitti.py, which then has all that is needed to track;
nothing of it changes. It depends on none of its options, but on its architecture: of a
run of `causal_kitti.py:no_depth`, say `causal_kitti_foreground.py:no_depth`.
"""

from configs import causal_kitti


def get_config(variant: str = ""):
    config = causal_kitti.get_config(variant)
    with config.unlocked():
        config.tracking.span = config.tracking.time_to_live = 5  # num_frames before
        config.num_frames = 1
        config.loss.parts = ("foreground",)
        config.data.colour_jitter.clean = False
        if variant != "smoke":
            config.init_from = "runs/causal_kitti"
            config.optim.batch_size = config.optim.clips_per_device = 16
            config.optim.steps = 20_000
            config.optim.schedule_options.milestones = (13_333,)
    return config
