"""STEm-Seg on YouTube-VIS 2019. Expect AP 34.6 on valid (ECCV 2020, R-101; R-50: 30.6).
The authors: 2 GPUs of 11 GB.

    python -m stemseg_jax.main --config=configs/ytvis.py --workdir=runs/ytvis

The annotations of valid are on the server: `--mode=evaluate` writes results.zip for it.
The schedule is that of the released program: 160k updates. `ytvis.py:paper` is the one
that the paper prints: 150k updates, without Pascal VOC.
"""

from configs import stemseg


def get_config(variant: str = ""):
    config = stemseg.get_config()
    config.num_frames = 8
    config.init_from = "weights/mask_rcnn_R_101_FPN_backbone.pth"

    config.model.mixing = "xyff"
    config.model.free_dim_std = 0.3
    config.model.num_classes = 41
    config.model.categories = "ytvis"
    config.model.semantic_channels = (256, 256, 256, 256)

    data = config.data
    data.mixture = dict(ytvis=0.60, coco=0.30, pascal_voc=0.10)
    data.options.coco = dict(categories="ytvis")
    data.options.pascal_voc = dict(categories="ytvis")
    data.span = dict(ytvis=(8, 8))
    data.duplicate = ("ytvis",)
    data.aspects = ("16:9", "4:3", "9:16")
    data.min_dim, data.max_dim = 640, 1196

    optim = config.optim
    optim.batch_size = 2
    optim.steps = 160_000
    optim.learning_rate = 1e-3
    optim.schedule = "exponential"
    optim.schedule_options = dict(start=60_000, steps=100_000, factor=0.01)

    config.clustering.min_seediness = 0.8
    config.tracking.overlap = 4
    config.tracking.foreground_threshold = 0.5  # of the foreground channel
    config.tracking.full_size = True
    config.selection.limit = 10
    config.selection.by = "lifetime"
    config.selection.category_from = "logits"

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "ytvis"
    evaluation.split = "valid"
    evaluation.ground_truth = "YouTubeVIS/valid.json"
    evaluation.min_dim, evaluation.max_dim = 640, 1196
    return stemseg.finish(config, variant, paper=paper)


def paper(config):
    config.data.mixture = dict(ytvis=0.67, coco=0.33)
    config.optim.steps = 150_000
    config.optim.schedule_options = dict(start=60_000, steps=90_000, factor=0.01)
