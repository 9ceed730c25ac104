"""Figures of programs that SRNet builds on: those of CenterTrack, SpatialEmbeddings and
STEm-Seg's grid, numbers alone. A few are kept here, all are in the shared folder."""

import pathlib

import numpy as np

KEPT = pathlib.Path(__file__).parent / "figures/srnet.npz"
FOLDERS = ("kept", "shared")


def load(folder: str, name: str, request) -> dict[str, np.ndarray]:
    """The arrays of one program; without the shared folder its test skips."""
    path = KEPT
    if folder == "shared":
        shared = request.getfixturevalue("shared")
        path = shared / "reference/goldens_other" / f"{name}.npz"
    with np.load(path) as arrays:
        return dict(arrays)
