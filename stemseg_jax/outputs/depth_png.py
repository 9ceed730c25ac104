"""Depth maps as grey PNGs of 16 bits."""

import pathlib

import numpy as np
import PIL.Image
from jaxtyping import Float

from stemseg_jax.formats import whole

MOST = 2**16 - 1


def write(
    path: pathlib.Path, depth: Float[np.ndarray, "H W"], *, per_unit: float | int = 1000
) -> pathlib.Path:
    """Writes depth times `per_unit`, rounded; the file appears once complete.

    Metres become millimetres, as in most RGB-D datasets. 0 says that the depth is not
    known (it is not finite, or not positive); what is too large becomes 65535, what is
    too small 1.

    Args:
        per_unit: Of depth without a unit any factor, the same for all of a video.
    """
    known = np.isfinite(depth) & (depth > 0)
    values = np.rint(np.where(known, depth, 1).astype(np.float64) * per_unit)
    values = np.where(known, np.clip(values, 1, MOST), 0).astype(np.uint16)
    with whole.file(path) as partial:
        PIL.Image.fromarray(values).save(partial, "PNG")
    return pathlib.Path(path)
