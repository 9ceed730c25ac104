"""Figures of programs that other systems build on, numbers alone: CenterTrack,
SpatialEmbeddings and STEm-Seg's grid (SRNet); FIERY, monodepth2, scikit-learn and a
discriminative loss (the causal embedding); FRTM and Panoptic-DeepLab (target-aware
discovery). Some are kept here, all are in the shared
folder."""

import pathlib

import numpy as np

KEPT = pathlib.Path(__file__).parent / "figures"
OWN = (
    "causal3d",
    "frtm",
    "meanshift",
    "panoptic_deeplab",
)  # kept whole, in a file of their own
FOLDERS = ("kept", "shared")


def load(folder: str, name: str, request) -> dict[str, np.ndarray]:
    """The arrays of one program; without the shared folder its test skips."""
    path = KEPT / (f"{name}.npz" if name in OWN else "srnet.npz")
    if folder == "shared":
        shared = request.getfixturevalue("shared")
        path = shared / "reference/goldens_other" / f"{name}.npz"
    with np.load(path) as arrays:
        return dict(arrays)
