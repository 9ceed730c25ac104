"""What the options of target-aware discovery may be; configs/target_aware.py has
defaults and meanings."""

from collections.abc import Mapping

from stemseg_jax.modules.backbones import BACKBONES
from stemseg_jax.modules.guided_discovery import DESCRIPTORS
from stemseg_jax.ranges import PROBABILITY, Each, Flag, OneOf, Range, Real, Whole
from stemseg_jax.systems.target_aware import PARTS

_CHANNELS = Whole(least=1, most=2**14)
_PAIR = Each(_CHANNELS, lengths=(2,))
_ITERATIONS = Each(Whole(least=1, most=2**10))

OPTIONS: Mapping[str, Range] = {
    "parity": OneOf(("paper",)),  # no program was released
    "model.target_backbone": OneOf(tuple(BACKBONES)),
    "model.embedding_backbone": OneOf(tuple(BACKBONES)),
    "model.guidance": Flag(),
    "model.descriptor": OneOf(DESCRIPTORS),
    "model.aspp_channels": _CHANNELS,
    "model.gate_channels": _CHANNELS,
    "model.decoder_channels": _PAIR,
    "model.foreground_skips": _PAIR,
    "model.instance_skips": _PAIR,
    "model.refiner_channels": _CHANNELS,
    "loss.parts": Each(OneOf(PARTS), lengths=(1,)),
    **dict.fromkeys(
        (
            "loss.weights.foreground",
            "loss.weights.centre",
            "loss.weights.offset",
            "loss.weights.refinement",
            "loss.weights.triplet",
        ),
        Real(least=0),
    ),
    "loss.min_box": Whole(least=1, most=2**12),
    "loss.guidance_noise.affine": PROBABILITY,
    "loss.guidance_noise.grown": Whole(most=2**10),
    "loss.guidance_noise.dropped": PROBABILITY,
    "clustering.min_peak": PROBABILITY,
    "clustering.window": Whole(least=1, most=2**10),
    "clustering.max_instances": Whole(least=1, most=2**10),
    "clustering.min_share": PROBABILITY,
    "clustering.min_foreground": PROBABILITY,
    "tracking.targets": Flag(),
    "tracking.size": Whole(least=32, most=2**12),
    "tracking.refiner": Flag(),
    "tracking.verification": Flag(),
    "tracking.memory_update": Flag(),
    "tracking.min_similarity": Real(least=-2, most=2),
    "tracking.min_overlap": PROBABILITY,
    "tracking.max_overlap": PROBABILITY,
    "tracking.update_every": Whole(least=1),
    "tracking.max_tracks": Whole(least=1, most=2**10),
    "tracking.copies": Whole(most=2**10),
    "tracking.crop": Whole(least=32, most=2**10),
    "tracking.seed": Whole(),
    "tracking.target.channels": _CHANNELS,
    "tracking.target.ridge": Each(Real(least=0), lengths=(2,)),
    "tracking.target.preconditioner": Each(Real(above=0), lengths=(2,)),
    "tracking.target.first": _ITERATIONS,
    "tracking.target.then": _ITERATIONS,
    "tracking.target.update": _ITERATIONS,
    "tracking.target.capacity": Whole(least=1, most=2**12),
    "tracking.target.rate": Real(above=0, below=1),
    "tracking.target.balanced": Flag(),
}
