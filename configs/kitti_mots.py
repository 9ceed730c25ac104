"""STEm-Seg on KITTI-MOTS, first stage: clips made of Mapillary's street images.
Expect sMOTSA 72.7 (car) and 50.4 (pedestrian) on val (ECCV 2020, R-101) after the
second stage, configs/kitti_mots_stage2.py.

    python -m stemseg_jax.main --config=configs/kitti_mots.py --workdir=runs/kitti_mots

The schedule is that of the released program: 80k updates. `kitti_mots.py:paper` is the
one that the paper prints: 100k updates on both sets at once, and no second stage.
"""

from configs import stemseg


def get_config(variant: str = ""):
    config = stemseg.get_config()
    config.num_frames = 8
    config.init_from = "weights/mask_rcnn_R_101_FPN_backbone.pth"

    config.model.mixing = "xyt"
    config.model.num_classes = 3  # background, car, pedestrian
    config.model.categories = "kitti_mots"

    data = config.data
    data.mixture = dict(mapillary=1.0)
    data.options.mapillary = dict(split="train+val")  # as the authors'
    data.span = dict(kitti_mots=(8, 8))
    data.options.kitti_mots = dict(mots_challenge=("0002",))
    data.max_instances = 30
    data.aspects = ("16:9", "4:3", "9:16")
    data.min_dim, data.max_dim = 736, 1248

    optim = config.optim
    optim.batch_size = 2
    optim.steps = 80_000
    optim.learning_rate = 1e-3
    optim.schedule = "exponential"
    optim.schedule_options = dict(start=60_000, steps=20_000, factor=0.1)

    config.clustering.min_seediness = 0.95
    config.tracking.overlap = 4
    config.tracking.foreground_threshold = 0.5  # of the foreground channel
    config.selection.limit = 999  # a file has room for no more; the authors: 1000
    config.selection.by = "pixels"
    config.selection.category_from = "votes"

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "kitti_mots"
    evaluation.ground_truth = "KITTI_MOTS"
    evaluation.min_dim, evaluation.max_dim = 800, 1948
    return stemseg.finish(config, variant, paper=paper)


def paper(config):
    config.data.mixture = dict(mapillary=0.5, kitti_mots=0.5)
    config.data.aspects += ("10:3",)  # of KITTI
    config.data.options.kitti_mots = {}  # without MOTSChallenge
    config.optim.steps = 100_000
    config.optim.schedule_options = dict(start=40_000, steps=60_000, factor=0.01)
