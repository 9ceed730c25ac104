"""What the options of the causal embedding may be; configs/causal_embedding.py has
defaults and meanings."""

from collections.abc import Mapping

from stemseg_jax.losses import depth
from stemseg_jax.modules.upsampling_decoder import UPSAMPLINGS
from stemseg_jax.ranges import (
    PROBABILITY,
    Each,
    Flag,
    Maybe,
    OneOf,
    Range,
    Real,
    Whole,
)
from stemseg_jax.systems.causal_embedding import IDENTITIES, PARTS, SPANS, TEMPORAL

_CHANNELS = Whole(least=1, most=2**14)

OPTIONS: Mapping[str, Range] = {
    "parity": OneOf(("paper",)),  # no program was released
    "model.num_classes": OneOf((0,)),
    "model.encoder_channels": Each(_CHANNELS, lengths=(2,)),
    "model.temporal": OneOf(TEMPORAL),
    "model.temporal_blocks": Whole(least=2, most=1024),
    "model.embedding_dims": Whole(least=1, most=1024),
    "model.decoder_channels": Each(_CHANNELS, lengths=(6,)),
    "model.upsample": OneOf(tuple(UPSAMPLINGS)),
    "model.depth": Flag(),
    "model.depth_range": Each(Real(above=0), lengths=(2,), rising=True),
    "model.pose_channels": _CHANNELS,
    "model.pose_reach": Each(Whole(most=64), lengths=(2,)),
    "loss.parts": Each(OneOf(PARTS), lengths=(1, 2)),
    "loss.span": OneOf(SPANS),
    "loss.attraction_radius": Real(least=0),
    "loss.repulsion_radius": Real(above=0),
    "loss.automask": OneOf(tuple(depth.AUTOMASKS)),
    **dict.fromkeys(
        (
            "loss.weights.attraction",
            "loss.weights.repulsion",
            "loss.weights.regularisation",
            "loss.weights.view",
            "loss.weights.smoothness",
            "loss.weights.foreground",
        ),
        Real(least=0),
    ),
    "clustering.bandwidth": Real(above=0),
    "clustering.max_instances": Whole(least=1, most=2**10),
    "clustering.min_points": Whole(least=1, most=2**20),
    "clustering.stride": Whole(least=1, most=2**10),
    "tracking.span": Whole(least=1, most=1024),
    "tracking.foreground_threshold": PROBABILITY,
    "tracking.identity": OneOf(IDENTITIES),
    "tracking.radius": Real(above=0),
    "tracking.time_to_live": Maybe(Whole(least=1)),
    "tracking.max_tracks": Whole(least=1, most=2**12),
    "tracking.true_masks": Flag(),
    "tracking.true_means": Flag(),
    "tracking.seed": Whole(),
}
