"""How far depth and camera motion that were learnt without labels are from the truth.

A single camera does not know how large the world is, so both are compared up to scale.
"""

import numpy as np
from jaxtyping import Bool, Float

SCALES = ("median", None)
STILL = 1e-9


def errors(
    predicted: Float[np.ndarray, "*size"],
    truth: Float[np.ndarray, "*size"],
    *,
    valid: Bool[np.ndarray, "*size"] | None = None,
    scale: str | None = "median",
) -> dict[str, float]:
    """The usual errors of the depth of one frame.

    With p and d the predicted and the true depth, means over pixels of
    |p - d| / d (`abs_rel`), (p - d)^2 / d (`sq_rel`), roots of the means of (p - d)^2
    (`rmse`) and (log p - log d)^2 (`rmse_log`), and shares of the pixels for which
    max(p / d, d / p) is below 1.25, 1.25^2, 1.25^3. Those of a video are their means
    over frames. `scale` is what the prediction was multiplied by. All are NaN without
    a valid pixel.

    Args:
        valid: Where the truth is known and counts; everywhere without it.
        scale: "median" multiplies the prediction by median(d) / median(p) over the
            valid pixels of the frame; None takes it as it is.

    Raises:
        ValueError: A depth at a valid pixel is not positive and finite, or the scale
            is unknown.

    Source: Eigen, Puhrsch, Fergus (NIPS 2014); the scaling of each frame by medians is
        that of Zhou et al. (CVPR 2017). Differs from the public evaluation of KITTI in
        that nothing is clipped to a range and no border is cut off: `valid` says that.
    """
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: expected 'median' or None.")
    if valid is None:
        valid = np.ones(truth.shape, bool)
    p, d = predicted[valid].astype(np.float64), truth[valid].astype(np.float64)
    for name, depth in (("predicted", p), ("true", d)):
        bad = ~(np.isfinite(depth) & (depth > 0))
        if bad.any():
            raise ValueError(
                f"{name} depth: {bad.sum()} of {bad.size} valid pixels are not "
                f"positive and finite, the first is {depth[bad][0]}. Leave them out "
                "by `valid`."
            )
    if not d.size:
        return dict.fromkeys(NAMES, float("nan"))
    factor = np.median(d) / np.median(p) if scale else 1.0
    p = factor * p
    ratio = np.maximum(p / d, d / p)
    values = (
        np.mean(np.abs(p - d) / d),
        np.mean(np.square(p - d) / d),
        np.sqrt(np.mean(np.square(p - d))),
        np.sqrt(np.mean(np.square(np.log(p) - np.log(d)))),
        *(np.mean(ratio < 1.25**power) for power in (1, 2, 3)),
        factor,
    )
    return dict(zip(NAMES, map(float, values), strict=True))


NAMES = (
    *("abs_rel", "sq_rel", "rmse", "rmse_log"),
    *("delta<1.25", "delta<1.25^2", "delta<1.25^3", "scale"),
)


def rotation_error(
    predicted: Float[np.ndarray, "*n 4 4"], truth: Float[np.ndarray, "*n 4 4"]
) -> Float[np.ndarray, "*n"]:
    """Degrees by which the rotations of two motions differ."""
    left = predicted[..., :3, :3] @ np.swapaxes(truth[..., :3, :3], -1, -2)
    # By sine and cosine: the cosine alone does not know angles close to 0.
    twist = left - np.swapaxes(left, -1, -2)
    sine = np.sqrt(np.square(twist).sum(axis=(-1, -2)) / 8)
    cosine = (np.trace(left, axis1=-2, axis2=-1) - 1) / 2
    return np.asarray(np.rad2deg(np.arctan2(sine, cosine)))


def direction_error(
    predicted: Float[np.ndarray, "*n 4 4"], truth: Float[np.ndarray, "*n 4 4"]
) -> Float[np.ndarray, "*n"]:
    """Degrees between the translations of two motions, whatever their lengths.

    NaN where one of them is shorter than `STILL` and so has no direction.
    """
    one, other = (_directions(motion[..., :3, 3]) for motion in (predicted, truth))
    apart = np.linalg.norm(one - other, axis=-1)
    together = np.linalg.norm(one + other, axis=-1)
    return np.asarray(np.rad2deg(2 * np.arctan2(apart, together)))


def _directions(vectors):
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.where(lengths < STILL, np.nan, lengths)
