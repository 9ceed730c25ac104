"""A small target-aware discovery on built-in data, trained from nothing on a CPU.

    python -m stemseg_jax.main --config=configs/target_aware_moving_shapes.py \\
        --workdir=runs/shapes_discovery
    python -m stemseg_jax.main --config=configs/target_aware_moving_shapes.py:refiner \\
        --workdir=runs/shapes_refiner

The refiner goes on from runs/shapes_discovery, and `:embedding`, where wanted, from
runs/shapes_refiner. `experiments/target_aware_moving_shapes` compares the system with
others.
"""

from configs import target_aware, target_aware_embedding, target_aware_refiner


def get_config(variant: str = ""):
    config = target_aware.get_config()

    model = config.model
    model.backbone = model.target_backbone = model.embedding_backbone = "tiny"
    model.norm = "group_norm_8"
    model.aspp_channels = 64
    model.gate_channels = 16
    model.decoder_channels = (48, 48)
    model.foreground_skips = model.instance_skips = (16, 16)
    model.refiner_channels = 16
    model.pixels.mean = (127.5, 127.5, 127.5)
    model.pixels.std = (64.0, 64.0, 64.0)

    config.loss.guidance_noise.grown = 3
    config.loss.min_box = 10
    config.clustering.min_share = 4e-3
    tracking = config.tracking
    tracking.size = 128
    tracking.crop = 32
    tracking.max_tracks = 8
    tracking.target.channels = 16
    tracking.target.capacity = 16

    data = config.data
    data.mixture.moving_shapes = 1.0
    data.options.moving_shapes = dict(
        num_videos=20_000, height=96, width=160, objects=(2, 4)
    )
    data.transforms = ("keep_aspect", "flip", "reverse")
    data.min_dim, data.max_dim = 96, 160
    data.height = data.width = 0
    data.reverse = True
    data.max_instances = 4
    evaluation = config.evaluation
    evaluation.dataset = "moving_shapes"
    evaluation.options = dict(
        num_videos=20, num_frames=20, height=96, width=160, objects=(2, 4)
    )
    evaluation.task = "davis19"
    evaluation.min_dim, evaluation.max_dim = 96, 160
    config.checkpoint_every = 1000
    discovery(config)
    return target_aware.finish(
        config,
        variant,
        refiner=refiner,
        embedding=embedding,
        proposals=target_aware.proposals,
    )


def discovery(config):
    optim = config.optim
    optim.name = "adamw"
    optim.batch_size = optim.clips_per_device = 4
    optim.steps = 4_000
    optim.learning_rate = 2e-3
    optim.rates = {}
    optim.schedule = "cosine"
    optim.schedule_options = {}
    optim.warmup_steps = 100
    optim.weight_decay = 1e-4
    optim.clip_norm = 1.0
    optim.average_decay = 0.998


def starts(run: str) -> dict:
    """A refiner after a run of discovery.

    Targets are looked for, and crops compared, in the features that discovery has
    learnt: nothing else here is trained on any images.
    """
    body = dict(file=run, module="discovery/body")
    return {"discovery": run, "targets/body": body, "embedding/body": dict(body)}


def refiner(config):
    config.init_from = starts("runs/shapes_discovery")
    transforms = config.data.transforms
    target_aware_refiner.refiner(config)
    discovery(config)
    config.data.transforms = transforms
    config.optim.steps = 1_000


def embedding(config):
    config.init_from = "runs/shapes_refiner"
    transforms = config.data.transforms
    target_aware_embedding.embedding(config)
    discovery(config)
    config.data.transforms = transforms
    config.optim.steps = 500
