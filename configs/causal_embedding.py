"""Own options of the causal embedding, beside what all systems share.

Hu, Kendall, Cipolla (arXiv 1912.08969). What their paper leaves open and is decided
here says so: "ours", or whose it is.

What the paper's tables vary, each as options or a variant:

    2  FILE:no_depth       without depth
       FILE:no_temporal    without the temporal model
       FILE:single_frame   without either, each frame on its own; identities by overlap
    3  tracking.true_means, tracking.true_masks     without training anew
    4  num_frames          clips of 1 to 15 frames, and as many at inference; of the
                           second phase tracking.span and tracking.time_to_live
"""

import functools

from ml_collections import ConfigDict

from configs import defaults


def get_config() -> ConfigDict:
    config = defaults.get_config()
    config.system = "causal_embedding"
    config.num_frames = 5

    model = config.model
    model.backbone = "resnet18"  # of all three encoders
    model.norm = "batch_norm"
    model.norm_epsilon = 1e-5
    model.freeze_stages = 0
    model.pixels.order = "rgb"  # as ImageNet's weights in torchvision want them
    model.pixels.mean = (123.675, 116.28, 103.53)
    model.pixels.std = (58.395, 57.12, 57.375)
    model.encoder_channels = (256, 128)  # of strides 16 and 8
    model.temporal = "causal"  # or "none"
    model.temporal_blocks = 12
    model.embedding_dims = 8
    model.decoder_channels = (64, 64, 32, 32, 16, 16)
    model.upsample = "transposed"  # or "bilinear": fewer parameters than the paper's
    model.depth = True  # its decoder, and the pose network
    model.depth_range = (0.1, 100.0)  # monodepth2's
    model.pose_channels = 256
    # The pose network sees the pair; above 0, how likely shifts of so many pixels are
    # along y and x, at half the size: ours, for networks that start from nothing.
    model.pose_reach = (0, 0)

    # Frames next to each other, annotated or not, which motion needs; as the camera saw
    # them, they are compared.
    config.data.sampling.annotated = False
    config.data.sampling.empty = True
    config.data.transforms = ("resize", "flip", "colour_jitter")
    config.data.colour_jitter.clean = True

    config.loss = ConfigDict()
    loss = config.loss
    # Networks that train: that of the "embedding" (and depth), that of the
    # "foreground", or both.
    loss.parts = ("embedding",)
    loss.span = "clip"  # over which an object has one mean; or "frame"
    loss.attraction_radius = 0.5
    loss.repulsion_radius = 1.5
    loss.automask = "min"  # monodepth2's code; or "masked_mean", as printed, or "off"
    loss.weights = ConfigDict()
    loss.weights.attraction = 1.0
    loss.weights.repulsion = 1.0
    loss.weights.regularisation = 1e-3
    loss.weights.view = 1.0
    loss.weights.smoothness = 1e-3  # monodepth2's
    loss.weights.foreground = 1.0

    config.clustering = ConfigDict()
    clustering = config.clustering
    clustering.bandwidth = 1.5  # ours: a loss of 0 leaves 1 to 2
    clustering.max_instances = 32  # of a frame; the smallest are dropped
    clustering.min_points = 20  # of a frame; smaller objects are dropped, which is ours
    clustering.stride = 1  # more: so much fewer points take part in the shifts

    config.tracking = ConfigDict()
    tracking = config.tracking
    tracking.span = config.get_oneway_ref(
        "num_frames"
    )  # frames that are clustered together
    tracking.foreground_threshold = 0.5
    tracking.identity = "embedding"  # or "overlap", of masks
    tracking.radius = 1.5
    # Frames until a track that is not seen is forgotten; None: never. Ours.
    tracking.time_to_live = config.get_oneway_ref("num_frames")
    tracking.max_tracks = 128  # remembered at a time
    tracking.true_masks = False
    tracking.true_means = False
    tracking.seed = 0

    config.demo.caption = "{}"
    config.demo.variants = (
        ("causal_embedding", {}),
        ("no memory", dict(tracking=dict(span=1))),
    )
    return config


def smoke(config: ConfigDict) -> None:
    """Narrow networks; all rules are the config's."""
    defaults.smoke(config)
    model = config.model
    model.encoder_channels = (16, 16)
    model.decoder_channels = (8,) * 6
    model.temporal_blocks = 2
    model.pose_channels = 8
    config.data.assumed_camera = (0.58, 1.92, 0.5, 0.5)


def no_depth(config: ConfigDict) -> None:
    config.model.depth = False


def no_temporal(config: ConfigDict) -> None:
    config.model.temporal = "none"


def single_frame(config: ConfigDict) -> None:
    config.model.temporal = "none"
    config.model.depth = False
    config.loss.span = "frame"
    config.tracking.span = 1
    config.tracking.identity = "overlap"


finish = functools.partial(
    defaults.finish,
    smoke=smoke,
    no_depth=no_depth,
    no_temporal=no_temporal,
    single_frame=single_frame,
)
