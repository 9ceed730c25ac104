"""Depth is read back to the millimetre; what is not known is 0."""

import numpy as np

from stemseg_jax.formats import images
from stemseg_jax.outputs import depth_png


def test_metres_become_millimetres(tmp_path):
    depth = np.array([[0.0004, 1.2344, 65.5, 70], [0, -1, np.nan, np.inf]], np.float32)
    path = depth_png.write(tmp_path / "new" / "0.png", depth)
    held = images.read_labels(path)
    assert held.dtype == np.uint16
    assert held.tolist() == [[1, 1234, 65500, 65535], [0, 0, 0, 0]]


def test_another_scale(tmp_path):
    path = depth_png.write(tmp_path / "0.png", np.full((2, 3), 0.5), per_unit=256)
    assert (images.read_labels(path) == 128).all()
