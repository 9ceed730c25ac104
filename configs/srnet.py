"""SRNet's own options, beside what all systems share.

What the paper leaves open and is decided here says so: "ours", or whose it is.

What the paper's Tables 1 to 3 vary, each as one option (Ying et al., MM 2021):

    1  loss.overlap                 "lovasz" or "dice"
    2  tracking.instance_heatmap    off: without the previous objects
       tracking.temporal_features   "current": without the previous frame
       model.mixing                 "xy": without extra dimensions
       data.synthesised             off: without pairs made of still images
    3  FILE:r50                     ResNet-50 and its weights

The second and third need no training of their own.
"""

import functools

from ml_collections import ConfigDict, config_dict

from configs import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.system = "srnet"
    config.num_frames = 2  # pairs
    config.data.sampling.rule = "gaps"
    config.data.sampling.gaps = (0.5, 0.25, 0.25)  # of 1, 2 and 3 frames
    config.data.motion = "affine"

    model = config.model
    model.mixing = "xyff"  # "xy" and up to three free dimensions
    model.free_dim_std = 0.3  # as STEm-Seg's
    model.embedding_activation = "tanh"  # of offsets, or "none"
    model.decoder_channels = (256, 256, 128, 128)  # coarsest first
    model.decoder_norm_groups = 32
    model.head_channels = 128
    model.objectness_bias = config_dict.placeholder(float)  # initial; none: any
    model.initialiser = "torch"  # of decoder and heads: "torch" or "he_normal"

    config.loss = ConfigDict()
    loss = config.loss
    loss.overlap = "lovasz"  # or "dice"
    loss.weights = ConfigDict()
    loss.weights.overlap = 1.0
    loss.weights.smoothness = 1.0
    loss.weights.score = 1.0
    loss.weights.tracking = 1.0
    loss.weights.category = 1.0
    loss.target = "fraction"  # masks at stride 4, ours; "and" shrinks them
    # The true heat map of the frame before, made to look like a found one, with
    # CenterTrack's numbers.
    loss.heatmap_noise = ConfigDict()
    loss.heatmap_noise.jitter = 0.05  # of a centre, as a share of its box
    loss.heatmap_noise.dropped = 0.4  # probability of no peak,
    loss.heatmap_noise.spurious = 0.1  # and of a second one

    config.clustering = ConfigDict()
    clustering = config.clustering
    clustering.rule = "discard"  # Algorithm 1; or "refined", see sequential.py
    clustering.max_instances = 20
    clustering.min_seediness = 0.8  # of the objectness; as STEm-Seg's
    clustering.primary_threshold = 0.5
    clustering.min_cells = 32  # of stride 4; smaller objects are dropped, which is ours

    config.tracking = ConfigDict()
    tracking = config.tracking
    tracking.instance_heatmap = True
    tracking.temporal_features = "previous"
    tracking.upsample = True  # maps to full size before clustering; ours
    tracking.centre = "mass"  # matched, and drawn; or "embedding" or "box"

    config.demo.caption = "{}"
    config.demo.variants = (
        ("srnet", {}),
        ("no heat map", dict(tracking=dict(instance_heatmap=False))),
        ("no temporal features", dict(tracking=dict(temporal_features="current"))),
    )
    # Untrained seeds would all be refused: every seed counts, the most there can be.
    config.benchmark.changes = dict(clustering=dict(min_seediness=0.0))
    return config


def smoke(config: ConfigDict) -> None:
    """Narrow decoder and heads; all rules are the config's."""
    defaults.smoke(config)
    model = config.model
    model.decoder_channels = (16, 16, 16, 16)
    model.decoder_norm_groups = 4
    model.head_channels = 16


def r50(config: ConfigDict) -> None:
    """The smaller backbone of Table 3."""
    config.model.backbone = "resnet50"
    config.init_from = config.init_from.replace("R_101", "R_50")


finish = functools.partial(defaults.finish, smoke=smoke)
