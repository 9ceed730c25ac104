"""Own options of target-aware discovery, beside what all systems share.

Zhou, Li, Li, Shao, CVPR 2021. What their paper leaves open and is decided here says so:
"ours", or whose it is: FRTM's (Robinson et al., CVPR 2020) or Panoptic-DeepLab's.

What the paper's tables vary, each as one option:

    3  model.guidance           off: frames on their own (target_aware_davis:unguided);
                                scored with tracking.targets off and
                                evaluation.task = "proposals" (FILE:proposals)
    4  tracking.verification    off: masks stay those of the models
       tracking.memory_update   off: models keep their first fit
    -  model.descriptor         "printed": the gates as the paper prints them

Its three parts train one after the other, the second and the third where wanted: see
configs/target_aware_davis.py, target_aware_refiner.py and target_aware_embedding.py.
"""

import functools

from ml_collections import ConfigDict

from configs import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.system = "target_aware"
    config.num_frames = 2  # a frame and the one before

    model = config.model
    model.backbone = "resnet50"  # of discovery and its guide
    model.target_backbone = "resnet101"  # in whose maps targets are looked for
    model.embedding_backbone = "resnet50"  # of crops; ours, the paper's is not public
    model.norm = "batch_norm"  # what does not train has frozen ones
    model.norm_epsilon = 1e-5
    model.freeze_stages = 0
    model.stride_in_1x1 = False
    model.pixels.order = "rgb"
    model.pixels.mean = (123.675, 116.28, 103.53)
    model.pixels.std = (58.395, 57.12, 57.375)
    model.guidance = True
    model.descriptor = "pair"  # what gates see, as declared; or "printed"
    model.aspp_channels = 256
    model.gate_channels = 64  # ours
    # Of foreground and instances, and of the finer maps of each: Panoptic-DeepLab's.
    model.decoder_channels = (256, 128)
    model.foreground_skips = (64, 32)
    model.instance_skips = (32, 16)
    model.refiner_channels = 64

    config.loss = ConfigDict()
    loss = config.loss
    loss.parts = ("discovery",)  # or "refiner" or "embedding"
    loss.weights = ConfigDict()
    loss.weights.foreground = 1.0  # Panoptic-DeepLab's, as the next two
    loss.weights.centre = 200.0
    loss.weights.offset = 0.01
    loss.weights.refinement = 1.0
    loss.weights.triplet = 1.0
    # Of "embedding": pixels; PReMVOS's. What has a shorter side is not compared.
    loss.min_box = 30
    # The true foreground of the frame before, made to look like a found one; ours.
    loss.guidance_noise = ConfigDict()
    loss.guidance_noise.affine = 0.05
    loss.guidance_noise.grown = 10  # pixels, or shrunk, at most
    loss.guidance_noise.dropped = 0.2

    config.clustering = ConfigDict()
    clustering = config.clustering
    clustering.min_peak = 0.1  # Panoptic-DeepLab's, as the window
    clustering.window = 7  # pixels
    clustering.max_instances = 20
    clustering.min_share = 1e-3  # of the image; smaller objects are dropped, ours
    clustering.min_foreground = 0.5

    config.tracking = ConfigDict()
    tracking = config.tracking
    tracking.targets = True  # off: proposals alone, each a track of one frame
    tracking.size = 473
    tracking.refiner = True  # ours; the paper names none
    tracking.verification = True
    tracking.memory_update = True
    tracking.min_similarity = 0.6  # sum of two cosines; belongs to the embedding
    tracking.min_overlap = 0.5
    tracking.max_overlap = 0.1
    tracking.update_every = 8
    tracking.max_tracks = 20  # at a time
    tracking.copies = 4
    tracking.crop = 128
    tracking.seed = 0
    # The models of targets: FRTM's numbers.
    tracking.target = ConfigDict()
    target = tracking.target
    target.channels = 96
    target.ridge = (1e-4, 1e-2)
    target.preconditioner = (1e-4, 1e-2)
    target.first = (5, 10, 10, 10, 10)
    target.then = (10,)
    target.update = (10,)
    target.capacity = 80
    target.rate = 0.1
    target.balanced = True

    config.selection.limit = 20
    config.selection.by = "pixels"  # DAVIS allows for 20 tracks; ours

    data = config.data
    data.transforms = ("scale_and_crop", "flip")
    data.min_dim = data.max_dim = data.height = data.width = 640

    optim = config.optim
    # As all but the kind of the optimiser: ours. All at once: batch norms see them.
    optim.batch_size = optim.clips_per_device = 8
    optim.steps = 40_000
    optim.learning_rate = 5e-3
    optim.rates = ConfigDict({"discovery/body": 0.1, "discovery/guide/body": 0.1})
    optim.schedule = "polynomial"
    optim.schedule_options = dict(power=0.9)
    optim.nesterov = False
    optim.weight_decay = 5e-4

    evaluation = config.evaluation
    evaluation.min_dim, evaluation.max_dim = 480, 864

    config.demo.caption = "{}"
    config.demo.variants = (
        ("target_aware", {}),
        ("no verification", dict(tracking=dict(verification=False))),
        ("no memory", dict(tracking=dict(memory_update=False))),
    )
    # Untrained peaks would all be too low: every local maximum counts.
    config.benchmark.changes = dict(
        clustering=dict(min_peak=0.0, min_foreground=0.0, min_share=0.0)
    )
    return config


def imagenet() -> dict:
    """Where a network begins: ImageNet, each part its own copy."""
    r50, r101 = (f"weights/resnet{depth}_imagenet.pth" for depth in (50, 101))
    return {
        "discovery/body": dict(file=r50, module="body"),
        "discovery/guide/body": dict(file=r50, module="body", widen="zeros"),
        "targets/body": dict(file=r101, module="body"),
        "embedding/body": dict(file=r50, module="body"),
    }


def smoke(config: ConfigDict) -> None:
    """Narrow networks and small models of targets; all rules are the config's."""
    defaults.smoke(config)
    model, tracking = config.model, config.tracking
    config.loss.min_box = min(config.loss.min_box, 8)  # frames are small, too
    model.target_backbone = model.embedding_backbone = "tiny"
    model.aspp_channels = 16
    model.gate_channels = 8
    model.decoder_channels = (16, 16)
    model.foreground_skips = model.instance_skips = (8, 8)
    model.refiner_channels = 8
    tracking.size = 64
    tracking.max_tracks = 4
    tracking.copies = min(tracking.copies, 1)
    tracking.crop = 32
    tracking.target.channels = 8
    tracking.target.capacity = 4
    tracking.target.first = tracking.target.first[:2]


def proposals(config: ConfigDict) -> None:
    """The objects of each frame on their own, scored as in Table 3."""
    config.tracking.targets = False
    config.evaluation.task = "proposals"
    config.selection.limit = 100_000  # each frame's count


def unguided(config: ConfigDict) -> None:
    """Frames on their own, and nothing that is said of the guide."""
    config.model.guidance = False
    del config.optim.rates["discovery/guide/body"]
    del config.init_from["discovery/guide/body"]


finish = functools.partial(defaults.finish, smoke=smoke)
