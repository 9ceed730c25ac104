"""STEm-Seg for OVIS (Athar et al., ICCV 2021 workshop, third place of the challenge).
Expect AP 21.3 on valid, 21.6 on test (Table 1). What differs from YouTube-VIS is
numbers: backbone, data, schedule.

    python -m stemseg_jax.main --config=configs/ovis.py --workdir=runs/ovis

The authors released neither weights nor configuration; what the report leaves open
follows the YouTube-VIS one. It has no table of ablations. What can be varied, each as
one option, with the tables of the ECCV paper that vary it for YouTube-VIS:

    -   model.backbone            "resnet101", "resnet50", with `init_from` of theirs;
                                  "resnext101_64x4d": what "wide" may mean, too
    -   model.seediness_decoder   on: the heatmap has a decoder of its own
    -   data.mixture.coco         against 0.65 of OVIS
    -   data.motion               "affine": images move without perspective
    -   FILE:birds                COCO's birds are OVIS's Bird, not background
    1a  model.mixing              "xy", "xyt", "xyf", "xytf", "xyfff"
    1b  FILE:clips4               or 16 or 24: frames of a clip and of a window; half
                                  of them shared with the next one
    -   parity                    "released": clustering as the authors' program has it
    -   tracking.full_size        off: maps are clustered at stride 4
    -   tracking.score            "product": of the heatmap's peak and the class;
                                  AP is sensitive to it
    -   evaluation.min_dim        720, and 1280 for max_dim: closer to OVIS's frames
"""

import functools

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
    clips = {f"clips{T}": functools.partial(clips_of, T) for T in (4, 16, 24)}
    return stemseg.finish(config, variant, birds=birds, **clips)


def birds(config):
    config.data.options.coco.also = dict(bird="Bird")


def clips_of(num_frames, config):
    config.num_frames = num_frames
    config.data.span = dict(ovis=(num_frames, num_frames))
    config.tracking.overlap = num_frames // 2
