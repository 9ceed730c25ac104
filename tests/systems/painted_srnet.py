"""Painted frames, see `painted.py`, read as what SRNet's network says.

What is said of a frame depends on the past and on the heat map, as with a network.
"""

import dataclasses

from jaxtyping import Array, Float
from ml_collections import ConfigDict

from stemseg_jax.ops import mixing
from stemseg_jax.systems import srnet
from tests.systems import painted, srnet_reference

COARSE = 8  # cells of a map's side in one of the coarsest map
TRACKING = painted.NUMBERS - 2


def maps(cells, past, heat, *, mixture: str, num_classes: int) -> tuple:
    """From cells [B h w 48], coarse cells of the past and heat maps [B h w], of NumPy
    or of JAX."""
    spec = mixing.get(mixture)
    signal = past.mean(axis=(1, 2, 3))[:, None, None] / 256
    classes = None
    if num_classes:
        classes = cells[..., painted.CLASSES : painted.CLASSES + num_classes] / 32 - 4
    bandwidths = cells[..., painted.BANDWIDTH : painted.BANDWIDTH + 2] / 64 - 2
    return (
        cells[..., painted.EMBEDDING : painted.EMBEDDING + spec.dimensions] / 64 - 2,
        bandwidths + signal[..., None] - 0.5,
        (cells[..., painted.SEEDINESS] + 0.3) / 256 * (1.1 - signal / 4),
        (cells[..., TRACKING:] - 128) / 256 * (1 - heat[..., None]),
        classes,
    )


def coarse(cells):
    """[B h w 48] -> [B h/8 w/8 48]."""
    B, h, w, C = cells.shape
    blocks = cells.reshape(B, h // COARSE, COARSE, w // COARSE, COARSE, C)
    return blocks.mean(axis=(2, 4))


class PaintedNetwork(srnet.Network):
    """Reads its maps off the frames; it has no parameters."""

    def setup(self):
        pass

    def encode(self, images: Float[Array, "*B H W 3"]) -> tuple[Array, Array]:
        values = (images[..., ::-1] + painted.MEAN) * 16  # blue first there
        cells = painted._cells(values.round() / 16)
        single = cells.reshape(-1, *cells.shape[-3:])
        small = coarse(single)
        return cells, small.reshape(*cells.shape[:-3], *small.shape[1:])

    def decode(self, pyramid, past, heatmaps) -> srnet.Maps:
        said = maps(
            *(pyramid[0], past, heatmaps),
            mixture=self.mixing,
            num_classes=self.num_classes,
        )
        return srnet.Maps(*said)


def system(
    config: ConfigDict, network: type[srnet.Network] = PaintedNetwork
) -> srnet.SRNet:
    """The system of a config, with such a network in place of its own."""
    made = srnet.SRNet.from_config(config)
    fields = {
        field.name: getattr(made.network, field.name)
        for field in dataclasses.fields(made.network)
        if field.name not in ("parent", "name")
    }
    return dataclasses.replace(made, network=network(**fields))


def said(video: painted.Video, config: ConfigDict):
    """(frame, frame of the past, heat map) -> what the network says."""
    cells = video.seen().astype(float)

    def of(frame, past, heat):
        found = maps(
            *(cells[[frame]], coarse(cells[[past]]), heat[None]),
            mixture=config.model.mixing,
            num_classes=config.model.num_classes,
        )
        return srnet_reference.Maps(*(None if x is None else x[0] for x in found))

    return of
