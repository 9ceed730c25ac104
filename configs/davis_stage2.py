"""STEm-Seg on DAVIS'19 unsupervised, second stage: 16 frames, frozen backbone.
Expect J&F 64.7 on val (ECCV 2020, R-101).

    python -m stemseg_jax.main --config=configs/davis_stage2.py --workdir=runs/davis2

It starts from the first stage in runs/davis. The authors' davis.pth is its result:

    python -m stemseg_jax.main --config=configs/davis_stage2.py --mode=evaluate \\
        --checkpoint=weights/davis.pth --config.parity=released --workdir=runs/davis_pth
"""

from configs import davis, stemseg


def get_config(variant: str = ""):
    config = davis.get_config().unlock()
    config.num_frames = 16
    config.init_from = "runs/davis"
    config.model.freeze_backbone = True
    config.data.span = dict(davis19=(16, 16), ytvis=(16, 16))
    config.optim.steps = 10_000
    config.optim.schedule = "constant"
    config.optim.schedule_options = {}
    return stemseg.finish(config, variant)
