"""Every option once. A config is its differences from these."""

from collections.abc import Callable

from ml_collections import ConfigDict, config_dict

Variant = Callable[[ConfigDict], None]


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.system = "stemseg"
    # "paper", or "released": every choice in which the authors' program differs from
    # their paper is taken from the program, clustering.rule and stitching included.
    config.parity = "paper"
    config.seed = 42
    # Weights to start from: an orbax folder, .safetensors, or a torch file.
    config.init_from = ""
    config.init_partial = False  # take what fits from `init_from` and say what did not
    config.num_frames = 8  # frames of a clip and of a window: 2, 4, 8, 16, 24 or 32

    config.model = ConfigDict()
    model = config.model
    model.backbone = "resnet101"
    model.norm = "frozen_batch_norm"  # or "group_norm", to train from scratch
    model.norm_epsilon = 0.0
    model.stride_in_1x1 = True  # where bottlenecks stride; comes with the weights
    model.freeze_stages = 2  # the stem and the first stage
    model.freeze_backbone = False  # backbone and FPN
    model.fpn_channels = 256
    model.mixing = "xyff"  # see ops/mixing.py
    model.free_dim_std = 0.3
    model.decoder_channels = (256, 256, 128, 128)  # coarsest first
    model.seediness_decoder = False  # or a head of the embedding decoder
    model.seediness_bias = config_dict.placeholder(float)  # initial; none: no bias
    model.num_classes = 0  # background included; 0: no semantic decoder
    model.foreground = True  # a foreground channel beside the classes
    model.semantic_channels = (256, 256, 128, 128)
    model.decoder_norm_groups = 32
    model.initialiser = "torch"  # of decoders: "torch" (uniform) or "he_normal"
    model.conv3d = "auto"  # "native", "concat" (faster on CPU) or by device
    model.dtype = "float32"  # of activations; parameters and losses stay float32
    model.remat = False  # recompute activations in the backward pass: less memory
    # How pixels 0..255 enter the network; comes with the weights.
    model.pixels = ConfigDict()
    model.pixels.order = "bgr"
    model.pixels.mean = (102.9801, 115.9465, 122.7717)  # in that order
    model.pixels.std = (1.0, 1.0, 1.0)

    config.loss = ConfigDict()
    loss = config.loss
    loss.weights = ConfigDict()
    loss.weights.lovasz = 1.0
    loss.weights.smoothness = 10.0
    loss.weights.seediness = 1.0
    loss.weights.semantic = 1.0
    loss.weights.foreground = 1.0
    loss.target = "and"  # masks at stride 4: "and" shrinks them, "fraction" does not

    config.clustering = ConfigDict()
    clustering = config.clustering
    clustering.rule = "paper"  # "paper", "released" or "refined"
    clustering.max_instances = 20
    clustering.min_seediness = 0.8
    clustering.primary_threshold = 0.5
    clustering.secondary_threshold = 0.3  # "released" only
    clustering.min_cells = 20  # "refined" drops smaller clusters of a window,
    clustering.min_probability = 0.0  # and leaves out less probable foreground

    config.tracking = ConfigDict()
    tracking = config.tracking
    tracking.overlap = 4  # frames that neighbouring windows share
    # Foreground: the semantic decoder's channel, or the mean seediness over windows.
    tracking.foreground_threshold = 0.25
    tracking.full_size = False  # enlarge maps before clustering, not after it

    # Which tracks of a video are written, and how they are named.
    config.selection = ConfigDict()
    selection = config.selection
    selection.limit = 20  # tracks of a video
    selection.by = "lifetime"  # or "pixels"
    selection.category_from = "logits"  # mean class logits, or "votes" of pixels

    config.data = ConfigDict()
    data = config.data
    data.root = config_dict.placeholder(str)  # or the environment's STEMSEG_DATA
    data.packed = ""  # a folder that --mode=pack wrote, to read in place of the others
    data.mixture = ConfigDict()  # dataset -> weight
    data.options = ConfigDict()  # dataset -> options of its reader
    # dataset -> (fewest, most) frames from the first to the last of a clip; a dataset
    # not named here gives consecutive frames
    data.span = ConfigDict()
    # How frames are drawn for a clip, and for a pair: see data/clips/sampling.py.
    data.sampling = ConfigDict()
    data.sampling.rule = "even"  # over the span; or "gaps" or "later"
    data.sampling.gaps = ()  # of "gaps": weights of 1, 2, ... frames to the next
    data.sampling.start = "any"  # or "entry": where an instance is first seen
    data.sampling.annotated = True  # only frames with an instance, not all
    data.sampling.empty = False  # clips without an instance may occur
    # What is done to clips, in this order; also known: "resize", "scale_and_crop" and
    # "colour_jitter". See data/clips/transforms.py.
    data.transforms = ("keep_aspect", "flip", "reverse")
    data.min_dim = 736  # shorter side after resizing,
    data.max_dim = 1248  # unless the longer side would exceed this
    # Every clip lies on a canvas of this size; 0: min_dim x max_dim. Multiples of 32.
    data.height = 0
    data.width = 0
    data.flip = True  # mirror half of the clips; not those of videos if "released"
    data.reverse = False  # play half of the clips backwards
    data.scale_and_crop = ConfigDict()
    data.scale_and_crop.scale = (0.8, 1.5)  # bounds; the part is as large as the canvas
    data.colour_jitter = ConfigDict()
    data.colour_jitter.probability = 0.5
    data.colour_jitter.brightness = 0.2
    data.colour_jitter.contrast = 0.2
    data.colour_jitter.saturation = 0.2
    data.colour_jitter.hue = 0.1
    data.colour_jitter.clean = False  # frames as they were come along, as `clean`
    # (f_x / W, f_y / H, c_x / W, c_y / H) of videos whose camera is not known, e.g.
    # (0.58, 1.92, 0.5, 0.5) for KITTI; empty: their intrinsics are NaN.
    data.assumed_camera = ()
    # How still images move: "paper", "ovis" (with perspective), "released" (as in the
    # authors' loaders), or "" to follow `parity`.
    data.motion = ""
    data.duplicate = ()  # datasets whose clips of one instance get a shifted copy of it
    data.skip_broken = False  # leave out, count and log samples that cannot be read
    data.max_instances = 20
    data.workers = 2

    config.optim = ConfigDict()
    optim = config.optim
    optim.name = "sgd"
    optim.batch_size = 2  # clips per update, whatever the number of devices
    optim.clips_per_device = 1  # at once; the rest by accumulating gradients
    optim.steps = 50_000
    optim.learning_rate = 1e-3
    optim.schedule = "constant"
    optim.schedule_options = ConfigDict()
    optim.warmup_steps = 0
    optim.momentum = 0.9
    optim.nesterov = True
    optim.weight_decay = 1e-4
    optim.decay_norms = True  # decay norm scales and biases too, as the authors do
    optim.clip_norm = 0.0  # 0: gradients are not clipped
    optim.average_decay = 0.0  # of an exponential average of the weights; 0: none

    config.log_every = 20
    config.checkpoint_every = 1000
    config.keep_checkpoints = 2

    config.evaluation = ConfigDict()
    evaluation = config.evaluation
    evaluation.dataset = ""
    evaluation.split = "val"
    evaluation.options = ConfigDict()  # of the dataset's reader
    # The official annotations, below data.root: a DAVIS root, an annotation JSON, or a
    # folder of txt files. Without it they are written from what the reader reads.
    evaluation.ground_truth = ""
    evaluation.task = ""  # davis19, davis16, ytvis, ovis, kitti_mots, mots_challenge
    evaluation.min_dim = 736
    evaluation.max_dim = 1248
    return config


def finish(config: ConfigDict, variant: str, **variants: Variant) -> ConfigDict:
    """Applies the variant that `--config=FILE:variant` names, and locks the config.

    Args:
        variants: The config's own; "smoke" exists for all.
    """
    variants = {"": lambda config: None, "smoke": smoke, **variants}
    if variant not in variants:
        raise ValueError(f"variant={variant!r} is unknown; known: {sorted(variants)}.")
    variants[variant](config)
    return config.lock()


def smoke(config: ConfigDict) -> None:
    """Seconds on a CPU: the config's own heads and rules on a tiny network and data."""
    model, data = config.model, config.data
    model.backbone = "tiny"
    model.norm = "group_norm_8"
    model.freeze_stages = 0
    model.freeze_backbone = False
    model.fpn_channels = 16
    model.decoder_channels = model.semantic_channels = (16, 16, 16, 16)
    model.decoder_norm_groups = 4
    model.num_classes = min(model.num_classes, 5)
    config.init_from = ""

    categories = model.num_classes - 1 if model.num_classes else 4
    shapes = dict(height=64, width=96, objects=(2, 3), categories=categories)
    data.mixture = ConfigDict(dict(moving_shapes=1.0))
    data.options = ConfigDict(dict(moving_shapes=dict(num_videos=8, **shapes)))
    data.min_dim, data.max_dim = 64, 96
    data.max_instances = 5
    data.height = data.width = 0
    data.workers = 0
    config.optim.batch_size = 2
    config.optim.steps = 2
    config.log_every = 1

    config.evaluation.dataset = "moving_shapes"
    if config.evaluation.task == "ovis":
        config.evaluation.task = "ytvis"  # nobody has annotated degrees of occlusion
    config.evaluation.split = "val"
    config.evaluation.ground_truth = ""
    config.evaluation.options = ConfigDict(dict(num_videos=2, num_frames=20, **shapes))
    config.evaluation.min_dim, config.evaluation.max_dim = 64, 96
