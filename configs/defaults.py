"""What all systems share, every option once. `configs/<system>.py` adds a system's own
to these; a config is its differences from both."""

import functools
import math
from collections.abc import Callable

from ml_collections import ConfigDict, config_dict

Variant = Callable[[ConfigDict], None]


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.system = ""  # its own options are in configs/<system>.py
    # "paper", or "released": every choice in which the authors' program differs from
    # their paper is taken from the program.
    config.parity = "paper"
    config.seed = 42
    # Weights to start from: a run's folder, .safetensors, or a torch file. One for the
    # whole network, or for each of its modules: a file, or dict(file=..., module=its
    # name in the file, widen="zeros" or "repeat"); see conversion/parts.py.
    config.init_from = config_dict.FieldReference("", field_type=object)
    config.init_partial = False  # take what fits from `init_from` and say what did not
    config.num_frames = 8  # of a clip

    config.model = ConfigDict()
    model = config.model
    model.backbone = "resnet101"
    # Or "batch_norm", which goes on training, or "group_norm", to train from scratch.
    model.norm = "frozen_batch_norm"
    model.norm_epsilon = 0.0  # of batch norms; comes with the weights
    model.stride_in_1x1 = True  # where bottlenecks stride; comes with the weights
    model.freeze_stages = 2  # the stem and the first stage
    model.freeze_backbone = False  # backbone and FPN
    model.fpn_channels = 256
    model.num_classes = 0  # background included; 0: it tells none apart
    model.categories = ""  # whose they are: data/datasets/categories.py has their names
    model.dtype = "float32"  # of activations; parameters and losses stay float32
    model.remat = False  # recompute activations in the backward pass: less memory
    # How pixels 0..255 enter the network; comes with the weights.
    model.pixels = ConfigDict()
    model.pixels.order = "bgr"
    model.pixels.mean = (102.9801, 115.9465, 122.7717)  # in that order
    model.pixels.std = (1.0, 1.0, 1.0)

    # Which tracks of a video are written, and how they are named.
    config.selection = ConfigDict()
    selection = config.selection
    selection.limit = 20  # tracks of a video
    selection.by = "lifetime"  # or "pixels"
    selection.min_score = 0.0  # tracks below it are left out,
    selection.min_frames = 1  # and those that are gone after fewer frames
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
    # Aspects of the canvases that clips lie on, e.g. ("16:9", "4:3", "9:16"): frames
    # of that form have the size on it that min_dim and max_dim give them. Clips of a
    # batch lie on the same one, and each has its own compiled update.
    data.aspects = ()
    # Without aspects, one canvas of this size; 0: min_dim x max_dim. Multiples of 32.
    data.height = 0
    data.width = 0
    data.flip = True  # mirror half of the clips; not those of videos if "released"
    data.reverse = False  # play half of the clips backwards; the same
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
    # How still images move: "paper", "ovis" (with perspective), "affine", "released"
    # (as in the authors' loaders), or "" to follow `parity`.
    data.motion = ""
    data.synthesised = True  # off: datasets of still images are left out
    data.duplicate = ()  # datasets whose clips of one instance get a shifted copy of it
    data.skip_broken = False  # leave out, count and log samples that cannot be read
    data.max_instances = 20
    data.workers = 0  # processes that read clips; 0: this one does, in threads
    data.threads = 0  # so many; 0: one for each core, at most 8

    config.optim = ConfigDict()
    optim = config.optim
    optim.name = "sgd"
    optim.batch_size = 2  # clips per update, whatever the number of devices
    optim.clips_per_device = 1  # at once; the rest by accumulating gradients
    optim.steps = 50_000
    optim.learning_rate = 1e-3
    optim.schedule = "constant"  # optimization.SCHEDULES has the others,
    optim.schedule_options = ConfigDict()  # and their options
    optim.warmup_steps = 0
    # Parts that learn at a rate of their own: the path of a parameter or a beginning of
    # it, e.g. "body/stage1" -> factor. 0 freezes; the longest beginning counts.
    optim.rates = ConfigDict()
    optim.momentum = 0.9
    optim.nesterov = True
    optim.weight_decay = 1e-4
    optim.decay_norms = True  # decay norm scales and biases too, as the authors do
    optim.clip_norm = 0.0  # 0: gradients are not clipped
    optim.max_skipped = 10  # updates in a row that are not finite, and are left out
    # Whether a run may go on with another batch size, mixture, seed, length of clips or
    # parity than it began with.
    optim.allow_changes = False
    optim.average_decay = 0.0  # of an exponential average of the weights; 0: none

    config.log_every = 20
    config.checkpoint_every = 1000  # updates,
    config.checkpoint_minutes = 0.0  # and whenever the last one is so old; 0: never
    config.keep_checkpoints = 2  # the latest
    config.milestone_every = 0  # updates; its checkpoints stay. 0: there are none
    config.profile_steps = ()  # the first and the last update of a trace

    config.evaluation = ConfigDict()
    evaluation = config.evaluation
    evaluation.dataset = ""
    evaluation.split = "val"
    evaluation.options = ConfigDict()  # of the dataset's reader
    # The official annotations, below data.root: a DAVIS root, an annotation JSON, or a
    # folder of txt files. Without it they are written from what the reader reads.
    evaluation.ground_truth = ""
    evaluation.every = 0  # updates between validations of a run; 0: there are none
    evaluation.every_videos = 4  # of the benchmark, the first ones
    # davis19, davis16, ytvis, ovis, kitti_mots, kitti_mots_cars, mots_challenge
    evaluation.task = ""
    # (height, width) at which MOTS is scored, too; empty: at full size alone.
    evaluation.also_at = ()
    evaluation.min_dim = 736
    evaluation.max_dim = 1248

    # What --mode=demo compares, as (name, changes of the config), and its caption.
    config.demo = ConfigDict()
    config.demo.caption = "{}"
    config.demo.variants = (("model", {}),)
    # Changes that give --mode=benchmark the most to do with untrained weights.
    config.benchmark = ConfigDict()
    config.benchmark.changes = ConfigDict()
    return config


def finish(
    config: ConfigDict, variant: str, *, smoke: Variant, **variants: Variant
) -> ConfigDict:
    """Applies the variants that `--config=FILE:variant` names, and locks the config.

    Several are joined by a comma, as in `davis.py:paper,batch16`, in any order: the
    config's own come first, then the batch, which scales what they say, then smoke.

    Args:
        smoke: The system's own, which every config has.
        variants: The config's own.
    """
    batches = {f"batch{n}": functools.partial(of_batch, n) for n in (8, 16, 32)}
    variants = {"": lambda config: None, **variants, **batches, "smoke": smoke}
    names = variant.split(",")
    for name in names:
        if name not in variants:
            raise ValueError(f"variant={name!r} is unknown; known: {sorted(variants)}.")
    for name in sorted(names, key=list(variants).index):
        variants[name](config)
    return config.lock()


def of_batch(size: int, config: ConfigDict) -> None:
    """The same training in updates of another size.

    As many clips in all: what counts updates shrinks as the batch grows, and the rate
    grows with it (with its root where the optimiser divides by the gradient's size),
    after 500 updates of warm-up, or a tenth of all if that is less, but no fewer clips
    than the config's own. A batch of the config's own size changes nothing.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, for SGD. None of the
        papers here has trained so; neither have we.
    """
    optim = config.optim
    times = size / optim.batch_size
    if times == 1:
        return

    def fewer(updates: int) -> int:
        return max(round(updates / times), min(updates, 1))

    optim.batch_size = size
    optim.steps = fewer(optim.steps)
    optim.learning_rate *= times if optim.name == "sgd" else times**0.5
    for name in ("start", "steps", "total"):
        if name in optim.schedule_options:
            optim.schedule_options[name] = fewer(optim.schedule_options[name])
    if "milestones" in optim.schedule_options:
        optim.schedule_options.milestones = tuple(
            map(fewer, optim.schedule_options.milestones)
        )
    optim.warmup_steps = max(fewer(optim.warmup_steps), min(500, optim.steps // 10))
    optim.average_decay **= times
    config.checkpoint_every = fewer(config.checkpoint_every)
    config.milestone_every = fewer(config.milestone_every)
    config.evaluation.every = fewer(config.evaluation.every)


def smoke(config: ConfigDict) -> None:
    """Seconds on a CPU: a tiny backbone and built-in data, and all else that a config
    is about on a small scale: what is frozen, classes, spans and canvas.

    Only `init_from` goes, whose file need not be there; name one that fits.
    """
    model, data, evaluation = config.model, config.data, config.evaluation
    model.backbone = "tiny"
    model.freeze_stages = min(model.freeze_stages, 5)  # all that it has
    model.fpn_channels = 16
    config.init_from = ""

    categories = min(model.num_classes - 1, 4) if model.num_classes else 4
    shapes = dict(height=64, width=96, categories=categories)
    spans = [tuple(span) for span in data.span.values()]
    data.mixture = ConfigDict(dict(moving_shapes=1.0))
    data.options = ConfigDict(
        dict(moving_shapes=dict(num_videos=8, objects=(1, 3), **shapes))
    )
    data.span = ConfigDict(dict(moving_shapes=max(spans)) if spans else {})
    data.duplicate = ("moving_shapes",) if data.duplicate else ()
    scale = 64 / data.min_dim
    data.height = math.ceil(scale * data.height / 32) * 32
    data.width = math.ceil(scale * data.width / 32) * 32
    data.min_dim, data.max_dim = 64, round(scale * data.max_dim)
    data.max_instances = 5
    config.optim.batch_size, config.optim.clips_per_device = 2, 1
    config.optim.steps = 2
    config.optim.max_skipped = 0
    config.optim.warmup_steps = min(config.optim.warmup_steps, 1)
    config.log_every = 1

    scale = 64 / evaluation.min_dim
    evaluation.min_dim, evaluation.max_dim = 64, round(scale * evaluation.max_dim)
    evaluation.also_at = (32, 48) if evaluation.also_at else ()
    evaluation.dataset = "moving_shapes"
    if evaluation.task == "ovis":
        evaluation.task = "ytvis"  # nobody has annotated degrees of occlusion
    evaluation.split = "val"
    evaluation.ground_truth = ""
    evaluation.options = ConfigDict(
        dict(num_videos=2, num_frames=20, objects=(2, 3), **shapes)
    )
