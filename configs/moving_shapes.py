"""A small STEm-Seg on built-in data, trained from nothing on two CPU cores.

What `make demo` runs. Expect J&F 0.80 and AP50 0.86 on unseen videos, after 12
minutes on two idle cores.

    python -m stemseg_jax.main --config=configs/moving_shapes.py --workdir=runs/shapes
"""

from configs import stemseg


def get_config(variant: str = ""):
    config = stemseg.get_config()
    config.num_frames = 8

    model = config.model
    model.backbone = "tiny"
    model.norm = "group_norm_8"
    model.freeze_stages = 0
    model.fpn_channels = 48
    model.decoder_channels = model.semantic_channels = (48, 48, 48, 48)
    model.decoder_norm_groups = 6
    model.initialiser = "he_normal"
    model.seediness_bias = -1.5
    model.num_classes = 5  # background, star, cross, trilobe, crescent
    model.categories = "moving_shapes"
    model.pixels.order = "rgb"
    model.pixels.mean = (127.5, 127.5, 127.5)
    model.pixels.std = (64.0, 64.0, 64.0)

    config.loss.target = "fraction"  # the published AND shrinks masks by a cell
    config.loss.classes_of = "instances"
    config.clustering.rule = "refined"
    config.clustering.min_seediness = 0.7
    config.tracking.foreground_threshold = 0.5

    data = config.data
    data.mixture.moving_shapes = 1.0
    # Colours tell classes apart; without them one clip an update is too few objects:
    # experiments/classes.
    shapes = dict(height=96, width=160, objects=(2, 4), marked=True)
    data.options.moving_shapes = dict(num_videos=20_000, **shapes)
    data.span.moving_shapes = (7, 11)
    data.min_dim, data.max_dim = 96, 160
    data.reverse = True
    data.max_instances = 4

    optim = config.optim
    optim.name = "adamw"
    optim.batch_size = 1
    optim.steps = 4_000
    optim.learning_rate = 2e-3
    optim.schedule = "cosine"
    optim.warmup_steps = 100
    optim.clip_norm = 1.0
    optim.average_decay = 0.998
    config.checkpoint_every = 1000

    evaluation = config.evaluation
    evaluation.dataset = "moving_shapes"
    evaluation.options = dict(num_videos=20, num_frames=20, **shapes)
    evaluation.task = "davis19"
    evaluation.min_dim, evaluation.max_dim = 96, 160
    return stemseg.finish(config, variant)
