"""The second phase: masks of coarse scores. FRTM's numbers (CVPR 2020, its code).

    python -m stemseg_jax.main --config=configs/target_aware_refiner.py \\
        --workdir=runs/target_aware_refiner

It goes on from runs/target_aware_davis; `:ytvis`, with classes, from
runs/target_aware_ytvis.
"""

from configs import target_aware, target_aware_ytvis


def get_config(variant: str = ""):
    config = target_aware.get_config()
    config.init_from = "runs/target_aware_davis"
    config.data.mixture.davis17 = 1.0
    refiner(config)
    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "davis19"
    evaluation.ground_truth = "DAVIS"
    return target_aware.finish(config, variant, ytvis=ytvis)


def refiner(config):
    config.loss.parts = ("refiner",)
    config.num_frames = 3
    # An object where it is first seen, and two frames after that.
    config.data.sampling.rule = "later"
    config.data.sampling.start = "entry"
    config.data.transforms = ("resize", "flip")
    optim = config.optim
    optim.name = "amsgrad"
    optim.batch_size = optim.clips_per_device = 16  # at once: it has batch norms
    optim.steps = 13_000  # 260 of its epochs
    optim.rates = {}
    optim.learning_rate = 1e-3
    optim.weight_decay = 1e-5
    optim.schedule = "step"
    optim.schedule_options = dict(milestones=(6_350, 12_700), factor=0.1)


def ytvis(config):
    target_aware_ytvis.ytvis(config)
    config.init_from = "runs/target_aware_ytvis"
