"""What a network says of a frame, as pictures beside it."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from stemseg_jax import choices
from stemseg_jax.geometry import Geometry, restore_values
from stemseg_jax.outputs import side_by_side, steady

LEAST_BANDWIDTH = 1e-6  # 1 / sigma^2, whose logarithm is shown
Maps = Mapping[str, Float[np.ndarray, "h w _"]]
Titled = tuple[str, UInt8[np.ndarray, "H W 3"]]


class Panels:
    """Draws maps of the frames of one video, in order; colours keep their meaning.

    The maps, each of any number of channels:

        embedding   by principal components (`steady.PrincipalColours`)
        foreground  as a probability, and
        seediness   from 0, dark, to 1
        bandwidth   the mean of its logarithm: bright where an object is held tight
        depth       red is near, blue far, by its inverse; black where there is none

    Args:
        names: The maps to show, in this order.

    Raises:
        ValueError: There is no such map.
    """

    def __init__(self, names: Sequence[str]):
        self.names = [choices.known("panels", name, DRAWN) for name in names]
        self._colours = steady.PrincipalColours()
        self._ranges = {name: steady.Range() for name in names}

    def draw(
        self, image: UInt8[np.ndarray, "H W 3"], maps: Maps, geometry: Geometry
    ) -> UInt8[np.ndarray, "_ _ 3"]:
        """The next frame, RGB, with its panels; of a map that is not there, a dark one.

        Args:
            maps: By name, in the size of the label maps.
            geometry: How they lie over the frame.
        """
        pictures = [("frame", image)]
        for name in self.names:
            if name in maps:
                pictures.append(DRAWN[name](self, maps[name], geometry))
            else:
                pictures.append((name, np.zeros_like(image)))
        return side_by_side.tile(pictures)

    def _embedding(self, values: np.ndarray, geometry: Geometry) -> Titled:
        colours = self._colours.next(values)
        planes = [restore_values(plane, geometry) for plane in np.rollaxis(colours, 2)]
        return "embedding", np.stack([_bytes(plane) for plane in planes], axis=-1)

    def _foreground(self, values: np.ndarray, geometry: Geometry) -> Titled:
        return "foreground, 0 to 1", _from_0_to_1(values, geometry)

    def _seediness(self, values: np.ndarray, geometry: Geometry) -> Titled:
        return "seediness, 0 to 1", _from_0_to_1(values, geometry)

    def _bandwidth(self, values: np.ndarray, geometry: Geometry) -> Titled:
        values = _mean(np.log(np.maximum(values, LEAST_BANDWIDTH)))
        low, high = self._ranges["bandwidth"].next(values)
        shown = restore_values(steady.to_unit(values, low, high), geometry)
        return f"log bandwidth, {low:.1f} to {high:.1f}", _mapped(shown, VIRIDIS)

    def _depth(self, values: np.ndarray, geometry: Geometry) -> Titled:
        values = _mean(values)
        known = np.isfinite(values) & (values > 0)
        inverse = np.where(known, 1 / np.where(known, values, 1), 0)
        low, high = self._ranges["depth"].next(inverse[known])
        shown = restore_values(steady.to_unit(inverse, low, high), geometry)
        picture = _mapped(shown, TURBO)
        there = restore_values(known.astype(np.float32), geometry) > 0.5
        picture[~there] = 0
        return f"depth, {1 / high:.3g} to {1 / max(low, 1e-9):.3g}", picture


DRAWN = {
    "embedding": Panels._embedding,
    "foreground": Panels._foreground,
    "seediness": Panels._seediness,
    "bandwidth": Panels._bandwidth,
    "depth": Panels._depth,
}


def _table(colour_map: int) -> UInt8[np.ndarray, "256 1 3"]:
    """The colours of a map of OpenCV, as RGB."""
    shades = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(shades, colour_map)[..., ::-1])


VIRIDIS = _table(cv2.COLORMAP_VIRIDIS)
TURBO = _table(cv2.COLORMAP_TURBO)


def _from_0_to_1(
    values: Float[np.ndarray, "h w c"], geometry: Geometry
) -> UInt8[np.ndarray, "H W 3"]:
    return _mapped(restore_values(_mean(values), geometry), VIRIDIS)


def _mean(values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w"]:
    return values.mean(axis=-1, dtype=np.float32)


def _bytes(values: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W"]:
    return np.rint(255 * np.clip(np.nan_to_num(values), 0, 1)).astype(np.uint8)


def _mapped(
    values: Float[np.ndarray, "H W"], table: UInt8[np.ndarray, "256 1 3"]
) -> UInt8[np.ndarray, "H W 3"]:
    """Values from 0 to 1 as colours."""
    return cv2.applyColorMap(_bytes(values), table)
