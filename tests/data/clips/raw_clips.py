"""Clips as a reader gives them, of noise."""

import numpy as np

from stemseg_jax.data import readers


def raw_clip(masks, *, ignore=None, intrinsics=None) -> readers.RawClip:
    masks = np.asarray(masks, bool)
    N, T, H, W = masks.shape
    rng = np.random.default_rng(0)
    return readers.RawClip(
        frames=rng.integers(0, 256, (T, H, W, 3), np.uint8),
        ids=np.arange(1, N + 1),
        categories=np.arange(11, N + 11),
        masks=masks,
        ignore=np.zeros((T, H, W), bool) if ignore is None else ignore,
        intrinsics=intrinsics,
    )
