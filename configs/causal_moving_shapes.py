"""A small causal embedding on built-in data whose depth is known, on two CPU cores.

A camera moves through a layered world; what is learnt of depth is measured against the
truth in `experiments/causal_moving_shapes`. The network of the foreground comes first:

    python -m stemseg_jax.main --config=configs/causal_moving_shapes.py:foreground \\
        --workdir=runs/causal_shapes_foreground
    python -m stemseg_jax.main --config=configs/causal_moving_shapes.py \\
        --workdir=runs/causal_shapes

The encoder of the main network begins as that of the foreground: the paper's knows
ImageNet. From nothing it learns where in the frame a pixel is, and no more.
"""

import functools

from configs import causal_embedding

WORLD = dict(height=64, width=96, objects=(2, 4))


def get_config(variant: str = ""):
    config = causal_embedding.get_config()

    model = config.model
    model.backbone = "tiny"
    model.norm = "group_norm_8"
    model.encoder_channels = (64, 48)
    model.temporal_blocks = 4
    model.embedding_dims = 4
    model.decoder_channels = (24, 24, 16, 16, 8, 8)
    # In units that are free: the street reaches from 3 to 40 metres. What is near at
    # the start lets translations, not turns, explain what moves.
    model.depth_range = (0.1, 6.0)
    model.pose_channels = 48
    model.pose_reach = (2, 4)
    model.pixels.order = "rgb"
    model.pixels.mean = (127.5, 127.5, 127.5)
    model.pixels.std = (64.0, 64.0, 64.0)

    config.init_from = starts("runs/causal_shapes_foreground")
    # The street always moves. What a wrong motion has made worse has to say so: with an
    # automask, a pose network that starts from nothing leaves where a gradient is.
    config.loss.automask = "off"
    config.clustering.max_instances = 8
    config.clustering.stride = 4

    data = config.data
    data.mixture.layered_world = 1.0
    data.options.layered_world = dict(num_videos=20_000, **WORLD)
    data.min_dim, data.max_dim = 64, 96
    data.max_instances = 4
    data.transforms = ("flip", "colour_jitter")

    optim = config.optim
    optim.name = "adamw"
    optim.batch_size = optim.clips_per_device = 1
    optim.steps = 2_000
    optim.learning_rate = 1e-3
    optim.schedule = "cosine"
    optim.warmup_steps = 100
    optim.clip_norm = 1.0
    optim.average_decay = 0.998
    config.checkpoint_every = 1000

    config.selection.by = "pixels"
    evaluation = config.evaluation
    evaluation.task = "kitti_mots_cars"
    evaluation.dataset = "layered_world"
    evaluation.options = dict(num_videos=12, num_frames=20, **WORLD)
    evaluation.min_dim, evaluation.max_dim = 64, 96
    finish = functools.partial(causal_embedding.finish, smoke=smoke)
    return finish(config, variant, foreground=foreground)


def starts(run: str) -> dict:
    """What the main network's phase begins with, from the run of the foreground's."""
    encoder = dict(file=run, module="mask_encoder")
    return {"encoder": encoder, "mask_encoder": run, "mask_decoder": run}


def foreground(config):
    config.init_from = ""
    config.loss.parts = ("foreground",)


def smoke(config):
    """On the same world, in small."""
    causal_embedding.smoke(config)
    world = dict(height=64, width=96, objects=(1, 3))
    config.data.mixture = dict(layered_world=1.0)
    config.data.options = dict(layered_world=dict(num_videos=8, **world))
    config.evaluation.dataset = "layered_world"
    config.evaluation.options = dict(num_videos=2, num_frames=20, **world)
