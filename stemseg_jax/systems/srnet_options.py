"""What the options of SRNet may be; configs/srnet.py has defaults and meanings."""

from collections.abc import Mapping

from stemseg_jax.losses import embedding
from stemseg_jax.modules import initialisers, norms
from stemseg_jax.ops import masks, mixing
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
from stemseg_jax.systems.srnet import ACTIVATIONS, CENTRES, PAST

OPTIONS: Mapping[str, Range] = {
    "parity": OneOf(("paper",)),  # no program was released
    "num_frames": OneOf((2,)),
    "model.mixing": OneOf(mixing.PLANAR),
    "model.free_dim_std": Real(above=0),
    "model.embedding_activation": OneOf(tuple(ACTIVATIONS)),
    "model.decoder_channels": Each(Whole(least=1, most=2**14), lengths=(4,)),
    "model.norm": OneOf(norms.LASTING),
    "model.decoder_norm_groups": Whole(least=1),
    "model.head_channels": Whole(least=1, most=2**14),
    "model.objectness_bias": Maybe(Real()),
    "model.initialiser": OneOf(tuple(initialisers.INITIALISERS)),
    "loss.overlap": OneOf(tuple(embedding.OVERLAPS)),
    **dict.fromkeys(
        (
            "loss.weights.overlap",
            "loss.weights.smoothness",
            "loss.weights.score",
            "loss.weights.tracking",
            "loss.weights.category",
        ),
        Real(least=0),
    ),
    "loss.target": OneOf(tuple(masks.TO_STRIDE)),
    "loss.heatmap_noise.jitter": Real(least=0),
    "loss.heatmap_noise.dropped": PROBABILITY,
    "loss.heatmap_noise.spurious": PROBABILITY,
    "clustering.rule": OneOf(("discard", "refined")),
    "clustering.max_instances": Whole(least=1, most=2**12),
    "clustering.min_seediness": PROBABILITY,
    "clustering.primary_threshold": PROBABILITY,
    "clustering.min_cells": Whole(least=1, most=2**20),
    "tracking.instance_heatmap": Flag(),
    "tracking.temporal_features": OneOf(PAST),
    "tracking.upsample": Flag(),
    "tracking.centre": OneOf(CENTRES),
}
