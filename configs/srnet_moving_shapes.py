"""A small SRNet on built-in data, trained from nothing on two CPU cores.

It sees as many frames as STEm-Seg in configs/moving_shapes.py: four pairs an update in
place of one clip of eight frames. `experiments/srnet_moving_shapes` compares the two.

    python -m stemseg_jax.main --config=configs/srnet_moving_shapes.py \\
        --workdir=runs/srnet_shapes
"""

from configs import srnet


def get_config(variant: str = ""):
    config = srnet.get_config()

    model = config.model
    model.backbone = "tiny"
    model.norm = "group_norm_8"
    model.freeze_stages = 0
    model.fpn_channels = 48
    model.decoder_channels = (48, 48, 48, 48)
    model.decoder_norm_groups = 6
    model.head_channels = 48
    model.initialiser = "he_normal"
    model.objectness_bias = -1.5
    model.num_classes = 5  # background, star, cross, trilobe, crescent
    model.categories = "moving_shapes"
    model.pixels.order = "rgb"
    model.pixels.mean = (127.5, 127.5, 127.5)
    model.pixels.std = (64.0, 64.0, 64.0)

    config.clustering.min_seediness = 0.7
    config.clustering.min_cells = 6
    # Between the cells of an object and those around it lie embeddings of neither; in
    # small frames they become objects of their own: experiments/srnet_moving_shapes.
    config.tracking.upsample = False

    data = config.data
    data.mixture.moving_shapes = 1.0
    data.options.moving_shapes = dict(
        num_videos=20_000, height=96, width=160, objects=(2, 4)
    )
    data.min_dim, data.max_dim = 96, 160
    data.reverse = True
    data.max_instances = 4

    optim = config.optim
    optim.name = "adamw"
    optim.batch_size = optim.clips_per_device = 4
    optim.steps = 4_000
    optim.learning_rate = 2e-3
    optim.schedule = "cosine"
    optim.warmup_steps = 100
    optim.clip_norm = 1.0
    optim.average_decay = 0.998
    config.checkpoint_every = 1000

    evaluation = config.evaluation
    evaluation.dataset = "moving_shapes"
    evaluation.options = dict(
        num_videos=20, num_frames=20, height=96, width=160, objects=(2, 4)
    )
    evaluation.task = "davis19"
    evaluation.min_dim, evaluation.max_dim = 96, 160
    return srnet.finish(config, variant)
