"""The systems by name, and what the options of each may be.

`ADDED`: options that came after configs had been saved -> what stands for what was done
before.
"""

from stemseg_jax.systems import (
    causal_embedding,
    causal_embedding_options,
    saliency,
    saliency_options,
    srnet,
    srnet_options,
    stemseg,
    stemseg_options,
    target_aware,
    target_aware_options,
)

SYSTEMS = {
    "causal_embedding": causal_embedding.CausalEmbedding,
    "saliency": saliency.Saliency,
    "srnet": srnet.SRNet,
    "stemseg": stemseg.STEmSeg,
    "target_aware": target_aware.TargetAware,
}
OPTIONS = {
    "causal_embedding": causal_embedding_options.OPTIONS,
    "saliency": saliency_options.OPTIONS,
    "srnet": srnet_options.OPTIONS,
    "stemseg": stemseg_options.OPTIONS,
    "target_aware": target_aware_options.OPTIONS,
}
ADDED = {
    "saliency": {"tracking.share_convolutions": "auto"},  # the same maps
    "stemseg": {
        "tracking.share_convolutions": "auto",
        "model.bandwidth_std": None,
        "model.temporal_pooling": True,
        "loss.classes_of": "cells",
        "clustering.seeds": "seediness",
        "tracking.score": "size",
    },
}
