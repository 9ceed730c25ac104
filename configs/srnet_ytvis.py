"""SRNet on YouTube-VIS 2019. Expect AP 32.3 on valid (ACM MM 2021, R-101). The authors:
one GPU of 11 GB.

    python -m stemseg_jax.main --config=configs/srnet_ytvis.py --workdir=runs/srnet

The annotations of valid are on the server: `--mode=evaluate` writes results.zip for it.
"""

from configs import srnet


def get_config(variant: str = ""):
    config = srnet.get_config()
    config.init_from = "weights/mask_rcnn_R_101_FPN_backbone.pth"
    config.model.num_classes = 41
    config.model.categories = "ytvis"

    data = config.data
    data.mixture = dict(ytvis=0.60, coco=0.30, pascal_voc=0.10)
    data.options.coco = dict(categories="ytvis")
    data.options.pascal_voc = dict(categories="ytvis")
    data.aspects = ("16:9", "4:3", "9:16")
    data.min_dim, data.max_dim = 480, 864

    optim = config.optim
    optim.batch_size = 4
    optim.steps = 160_000
    optim.learning_rate = 1e-3
    optim.schedule = "exponential"
    optim.schedule_options = dict(start=60_000, steps=100_000, factor=0.01)

    config.selection.limit = 10
    config.selection.by = "lifetime"
    config.selection.category_from = "logits"

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "ytvis"
    evaluation.split = "valid"
    evaluation.ground_truth = "YouTubeVIS/valid.json"
    evaluation.min_dim, evaluation.max_dim = 480, 864
    return srnet.finish(config, variant, r50=srnet.r50)
