"""SRNet on DAVIS'19 unsupervised. Expect J&F 59.7 on val (ACM MM 2021, R-101; R-50:
58.1). The authors: one GPU of 11 GB.

    python -m stemseg_jax.main --config=configs/srnet_davis.py --workdir=runs/srnet

`srnet_davis.py:r50` has the smaller backbone. configs/srnet.py lists the options that
the paper's tables vary. The paper has neither mixture nor input size; they are ours.
"""

from configs import srnet


def get_config(variant: str = ""):
    config = srnet.get_config()
    config.init_from = "weights/mask_rcnn_R_101_FPN_backbone.pth"
    config.model.num_classes = 0  # every object is of one class

    data = config.data
    data.mixture = dict(coco=0.25, ytvis=0.35, davis19=0.30, pascal_voc=0.10)
    for name in ("coco", "ytvis", "pascal_voc"):
        data.options[name] = dict(categories="object")
    data.aspects = ("16:9", "4:3", "9:16")
    data.min_dim, data.max_dim = 480, 864

    optim = config.optim
    optim.batch_size = 4
    optim.steps = 160_000
    optim.learning_rate = 1e-3
    optim.schedule = "exponential"
    optim.schedule_options = dict(start=60_000, steps=100_000, factor=0.01)

    config.selection.limit = 20
    config.selection.by = "lifetime"

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "davis19"
    evaluation.ground_truth = "DAVIS"
    evaluation.min_dim, evaluation.max_dim = 480, 864
    return srnet.finish(config, variant, r50=srnet.r50)
