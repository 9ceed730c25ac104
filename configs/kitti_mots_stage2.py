"""STEm-Seg on KITTI-MOTS, second stage: real video, and larger frames.
Expect sMOTSA 72.7 (car) and 50.4 (pedestrian) on val (ECCV 2020, R-101).

    python -m stemseg_jax.main --config=configs/kitti_mots_stage2.py --workdir=runs/mots

It starts from the first stage in runs/kitti_mots. The authors' kitti_mots.pth is its
result:

    python -m stemseg_jax.main --config=configs/kitti_mots_stage2.py --mode=evaluate \\
        --checkpoint=weights/kitti_mots.pth --config.parity=released --workdir=runs/pth
"""

from configs import kitti_mots, stemseg


def get_config(variant: str = ""):
    config = kitti_mots.get_config().unlock()
    config.init_from = "runs/kitti_mots"
    config.data.mixture = dict(kitti_mots=1.0)
    config.data.min_dim, config.data.max_dim = 736, 1792
    config.data.aspects = ("10:3", "16:9")  # of KITTI and of MOTSChallenge
    config.optim.steps = 20_000
    config.optim.schedule = "constant"
    config.optim.schedule_options = {}
    return stemseg.finish(config, variant)
