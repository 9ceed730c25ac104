"""Own options of the foreground as one object, beside what all systems share."""

import functools

from ml_collections import ConfigDict

from configs import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.system = "saliency"
    config.num_frames = 8  # of a clip and of a window: 2, 4, 8, 16, 24 or 32

    model = config.model
    model.decoder_channels = (256, 256, 128, 128)  # coarsest first
    model.decoder_norm_groups = 32
    model.temporal_pooling = True  # of the decoder's coarse paths
    model.initialiser = "torch"  # of the decoder: "torch" (uniform) or "he_normal"
    model.conv3d = "auto"  # "native", or made of 2-D ones: "concat", "sum"

    config.loss = ConfigDict()
    loss = config.loss
    loss.weights = ConfigDict()
    loss.weights.foreground = 1.0
    loss.target = "fraction"  # how far a cell is covered; "and": the inside alone
    loss.hardest = 0.25  # share of a clip's cells that counts; 1: all

    config.tracking = ConfigDict()
    tracking = config.tracking
    tracking.overlap = 4  # frames that neighbouring windows share
    # Decoders' first convolutions once for each frame: "always", "never" (less memory);
    # "auto" does so on a CPU. Once, they are in 2-D whatever model.conv3d says.
    tracking.share_convolutions = "auto"
    tracking.foreground_threshold = 0.5  # of the probability

    config.selection.limit = 1
    config.demo.caption = "The {}"
    # An untrained network may see no foreground; here everything is.
    config.benchmark.changes = dict(tracking=dict(foreground_threshold=0.0))
    return config


def smoke(config: ConfigDict) -> None:
    """A narrow decoder; loss and windows are the config's."""
    defaults.smoke(config)
    config.model.decoder_channels = (16, 16, 16, 16)
    config.model.decoder_norm_groups = 4


finish = functools.partial(defaults.finish, smoke=smoke)
