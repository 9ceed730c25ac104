"""STEm-Seg for OVIS (Athar et al., ICCV 2021 workshop, third place of the challenge).
Expect AP 21.3 on valid, 21.6 on test (Table 1). What differs from YouTube-VIS is
numbers: backbone, data, schedule.

    python -m stemseg_jax.main --config=configs/ovis.py --workdir=runs/ovis

The authors released neither weights nor configuration; what the report leaves open
follows the YouTube-VIS one.
"""

from configs import stemseg, ytvis


def get_config(variant: str = ""):
    config = ytvis.get_config().unlock()
    config.init_from = "weights/mask_rcnn_X_101_32x8d_FPN_3x.pkl"
    config.model.backbone = "resnext101_32x8d"
    config.model.stride_in_1x1 = False
    config.model.num_classes = 26
    config.model.categories = "ovis"

    data = config.data
    data.mixture = dict(ovis=0.65, coco=0.35)
    data.options = dict(coco=dict(categories="ovis"))
    data.reverse = True
    data.span = dict(ovis=(8, 8))
    data.duplicate = ("ovis",)
    data.motion = "ovis"

    config.optim.batch_size = 8
    config.optim.steps = 120_000
    config.optim.schedule_options = dict(start=60_000, steps=60_000, factor=0.01)

    config.selection.limit = 20  # videos hold more objects than YouTube-VIS's

    evaluation = config.evaluation
    evaluation.task = evaluation.dataset = "ovis"
    evaluation.ground_truth = "OVIS/annotations_valid.json"
    return stemseg.finish(config, variant)
