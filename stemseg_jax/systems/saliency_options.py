"""What the options of the foreground as one object may be; configs/saliency.py has
defaults and meanings."""

from collections.abc import Mapping

from stemseg_jax.modules import conv3d, initialisers, norms, squeeze_expand
from stemseg_jax.ops import masks
from stemseg_jax.ranges import PROBABILITY, Each, Flag, OneOf, Range, Real, Whole
from stemseg_jax.systems.volumes import SHARE

OPTIONS: Mapping[str, Range] = {
    "parity": OneOf(("paper",)),  # their program does not hold it
    "num_frames": OneOf(tuple(squeeze_expand.HALVINGS)),
    "model.num_classes": OneOf((0,)),
    "model.norm": OneOf(norms.LASTING),
    "model.decoder_channels": Each(Whole(least=1, most=2**14), lengths=(4,)),
    "model.temporal_pooling": Flag(),
    "model.decoder_norm_groups": Whole(least=1),
    "model.initialiser": OneOf(tuple(initialisers.INITIALISERS)),
    "model.conv3d": OneOf(tuple(conv3d.FORMS)),
    "loss.weights.foreground": Real(least=0),
    "loss.target": OneOf(tuple(masks.TO_STRIDE)),
    "loss.hardest": Real(above=0, most=1),
    "tracking.overlap": Whole(),
    "tracking.share_convolutions": OneOf(SHARE),
    "tracking.foreground_threshold": PROBABILITY,
}
