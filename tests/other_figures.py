"""Figures of other programs that our systems build on, numbers alone: CenterTrack and
SpatialEmbeddings for SRNet; STEm-Seg's blocks, schedule and grid for OVIS and SRNet;
FIERY, monodepth2 and others for the causal embedding; FRTM and Panoptic-DeepLab for
target-aware discovery.
A few are kept here, all are in the shared folder."""

import pathlib

import numpy as np

KEPT = pathlib.Path(__file__).parent / "figures"
FOLDERS = ("kept", "shared")


def load(folder: str, name: str, request) -> dict[str, np.ndarray]:
    """The arrays of one program; without the shared folder its test skips."""
    path = KEPT / f"{name}.npz"
    if not path.is_file():
        path = KEPT / "srnet.npz"  # several programs in one
    if folder == "shared":
        shared = request.getfixturevalue("shared")
        path = shared / "reference/goldens_other" / f"{name}.npz"
    with np.load(path) as arrays:
        return dict(arrays)
