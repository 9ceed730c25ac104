"""STEm-Seg on DAVIS'19 unsupervised, first stage. Expect J&F 64.7 on val (ECCV 2020,
R-101) after the second stage, configs/davis_stage2.py. The authors: 2 GPUs of 11 GB.

    python -m stemseg_jax.main --config=configs/davis.py --workdir=runs/davis

The schedule is that of the released program: 50k updates. `davis.py:paper` is the one
that the paper prints: 60k updates, decay after 20k to 1e-5, and no second stage.
"""

from configs import stemseg


def get_config(variant: str = ""):
    config = stemseg.get_config()
    config.num_frames = 8
    config.init_from = "weights/mask_rcnn_R_101_FPN_backbone.pth"

    config.model.mixing = "xyff"
    config.model.free_dim_std = 0.3
    config.model.seediness_decoder = True
    config.model.num_classes = 0  # every object is of one class

    data = config.data
    data.mixture = dict(coco=0.25, ytvis=0.35, davis19=0.30, pascal_voc=0.10)
    for name in ("coco", "ytvis", "pascal_voc"):
        data.options[name] = dict(categories="object")
    data.span = dict(davis19=(16, 16), ytvis=(8, 8))
    data.duplicate = ("davis19", "ytvis")
    data.aspects = ("16:9", "4:3", "9:16")
    data.min_dim, data.max_dim = 736, 1248

    optim = config.optim
    optim.batch_size = 2
    optim.steps = 50_000
    optim.learning_rate = 1e-3
    optim.schedule = "exponential"
    optim.schedule_options = dict(start=40_000, steps=10_000, factor=0.1)

    config.clustering.min_seediness = 0.8
    config.tracking.overlap = 6
    config.tracking.foreground_threshold = 0.25  # of the seediness
    config.selection.limit = 20
    config.selection.by = "lifetime"

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "davis19"
    evaluation.ground_truth = "DAVIS"
    evaluation.min_dim, evaluation.max_dim = 736, 1248
    return stemseg.finish(config, variant, paper=paper)


def paper(config):
    config.optim.steps = 60_000
    config.optim.schedule_options = dict(start=20_000, steps=40_000, factor=0.01)
