"""STEm-Seg's own options, beside what all systems share."""

import functools

from ml_collections import ConfigDict, config_dict

from configs import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.system = "stemseg"
    config.num_frames = 8  # of a clip and of a window: 2, 4, 8, 16, 24 or 32

    model = config.model
    model.mixing = "xyff"  # see ops/mixing.py
    model.free_dim_std = 0.3
    # Of the other dimensions, the same for all points; none: bandwidths are predicted.
    model.bandwidth_std = config_dict.placeholder(float)
    model.temporal_pooling = True  # of the decoders' coarse paths, as printed
    model.decoder_channels = (256, 256, 128, 128)  # coarsest first
    model.seediness_decoder = False  # or a head of the embedding decoder
    model.seediness_bias = config_dict.placeholder(float)  # initial; none: no bias
    model.foreground = True  # a foreground channel beside the classes, if there are any
    model.semantic_channels = (256, 256, 128, 128)
    model.decoder_norm_groups = 32
    model.initialiser = "torch"  # of decoders: "torch" (uniform) or "he_normal"
    model.conv3d = "auto"  # "native", or made of 2-D ones: "concat", "sum"

    config.loss = ConfigDict()
    loss = config.loss
    loss.weights = ConfigDict()
    loss.weights.lovasz = 1.0
    loss.weights.smoothness = 10.0
    loss.weights.seediness = 1.0
    loss.weights.semantic = 1.0
    loss.weights.foreground = 1.0
    loss.target = "and"  # masks at stride 4: "and" shrinks them, "fraction" does not
    # What is classified: "cells", or "instances" by their mean logits, as tracks are.
    loss.classes_of = "cells"

    config.clustering = ConfigDict()
    clustering = config.clustering
    clustering.rule = "paper"  # "released" or "refined"; parity="released" wins
    clustering.seeds = "seediness"  # or "random": as if there were none
    clustering.max_instances = 20
    clustering.min_seediness = 0.8
    clustering.primary_threshold = 0.5
    clustering.secondary_threshold = 0.3  # "released" only
    clustering.min_cells = 20  # "refined" drops smaller clusters of a window,
    clustering.min_probability = 0.0  # and leaves out less probable foreground

    config.tracking = ConfigDict()
    tracking = config.tracking
    tracking.overlap = 4  # frames that neighbouring windows share
    # Decoders' first convolutions once for each frame: "always", "never" (less memory);
    # "auto" does so on a CPU. Once, they are in 2-D whatever model.conv3d says.
    tracking.share_convolutions = "auto"
    # Foreground: the semantic decoder's channel, or the mean seediness over windows.
    tracking.foreground_threshold = 0.25
    tracking.full_size = False  # enlarge maps before clustering, not after it
    # Of a track: "size", its mean "foreground" probability, "confidence": the mean of
    # that, of its mean seediness, and of the probability of its class; or "product":
    # of the latter and the mean seediness of its seeds.
    tracking.score = "size"

    config.demo.caption = "{} clustering"
    config.demo.variants = tuple(
        (rule, dict(clustering=dict(rule=rule)))
        for rule in ("paper", "released", "refined")
    )
    # Untrained seeds would all be refused: every seed counts, the most there can be.
    config.benchmark.changes = dict(
        clustering=dict(min_seediness=0.0), tracking=dict(foreground_threshold=0.0)
    )
    return config


def smoke(config: ConfigDict) -> None:
    """Narrow decoders; heads and rules are the config's."""
    defaults.smoke(config)
    model = config.model
    model.decoder_channels = model.semantic_channels = (16, 16, 16, 16)
    model.decoder_norm_groups = 4


finish = functools.partial(defaults.finish, smoke=smoke)
