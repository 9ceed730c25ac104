"""The causal embedding on KITTI-MOTS, second phase: the foreground network alone.

    python -m stemseg_jax.main --config=configs/causal_kitti_foreground.py \\
        --workdir=runs/causal_kitti_foreground

It starts from runs/causal_kitti, where configs/causal_kitti.py left the main network,
of which nothing changes: what comes out is the whole model. Of another row of Table 2,
e.g. `causal_kitti_foreground.py:no_depth` starts from runs/causal_kitti_no_depth; of
Table 4 (clips of L frames), say

    --config.init_from=RUN --config.tracking.span=L --config.tracking.time_to_live=L

and of Table 3, at --mode=evaluate, --config.tracking.true_masks=True or true_means.
"""

from configs import causal_kitti


def get_config(variant: str = ""):
    config = causal_kitti.get_config(variant)
    tracking = config.tracking
    span, time_to_live = tracking.span, tracking.time_to_live  # of the first phase
    with config.unlocked():
        tracking.span, tracking.time_to_live = span, time_to_live
        config.num_frames = 1
        config.loss.parts = ("foreground",)
        config.data.colour_jitter.clean = False
        config.optim.schedule_options.milestones = (13_333,)
        if variant != "smoke":
            config.init_from = "_".join(["runs/causal_kitti", *filter(None, [variant])])
            config.optim.batch_size = config.optim.clips_per_device = 16
            config.optim.steps = 20_000
    return config
