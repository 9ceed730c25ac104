"""What the options of STEm-Seg may be; configs/stemseg.py has defaults and meanings."""

from collections.abc import Mapping

from stemseg_jax.clustering import sequential
from stemseg_jax.modules import conv3d, initialisers, norms, squeeze_expand
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
from stemseg_jax.systems.stemseg import CLASSES_OF, SCORES
from stemseg_jax.systems.volumes import SHARE

WIDTHS = Each(Whole(least=1, most=2**14), lengths=(4,))
OPTIONS: Mapping[str, Range] = {
    "num_frames": OneOf(tuple(squeeze_expand.HALVINGS)),
    "model.mixing": OneOf(tuple(mixing.MIXINGS)),
    "model.free_dim_std": Real(above=0),
    "model.bandwidth_std": Maybe(Real(above=0)),
    "model.temporal_pooling": Flag(),
    "model.decoder_channels": WIDTHS,
    "model.seediness_decoder": Flag(),
    "model.seediness_bias": Maybe(Real()),
    "model.foreground": Flag(),
    "model.semantic_channels": WIDTHS,
    "model.norm": OneOf(norms.LASTING),
    "model.decoder_norm_groups": Whole(least=1),
    "model.initialiser": OneOf(tuple(initialisers.INITIALISERS)),
    "model.conv3d": OneOf(tuple(conv3d.FORMS)),
    **dict.fromkeys(
        (
            "loss.weights.lovasz",
            "loss.weights.smoothness",
            "loss.weights.seediness",
            "loss.weights.semantic",
            "loss.weights.foreground",
        ),
        Real(least=0),
    ),
    "loss.target": OneOf(tuple(masks.TO_STRIDE)),
    "loss.classes_of": OneOf(CLASSES_OF),
    "clustering.rule": OneOf(("paper", "released", "refined")),
    "clustering.seeds": OneOf(sequential.SEEDS),
    "clustering.max_instances": Whole(least=1, most=2**12),
    "clustering.min_seediness": PROBABILITY,
    "clustering.primary_threshold": PROBABILITY,
    "clustering.secondary_threshold": PROBABILITY,
    "clustering.min_cells": Whole(least=1),
    "clustering.min_probability": PROBABILITY,
    "tracking.overlap": Whole(),
    "tracking.share_convolutions": OneOf(SHARE),
    "tracking.foreground_threshold": PROBABILITY,
    "tracking.full_size": Flag(),
    "tracking.score": OneOf(SCORES),
}
