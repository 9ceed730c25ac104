"""What is done to a whole clip: size, crop, mirror, order, colour.

A transform is `(rng, clip) -> clip`. One draw serves all frames, masks, ignored regions
and intrinsics. `config.data.transforms` names those of a run, in their order.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Bool

from stemseg_jax import geometry
from stemseg_jax.data import readers
from stemseg_jax.data.clips import colour, warping

Images = Callable[[np.ndarray], np.ndarray]  # [*n h w ...] -> [*n H W ...]


@runtime_checkable
class Transform(Protocol):
    def __call__(
        self, rng: np.random.Generator, clip: readers.RawClip
    ) -> readers.RawClip: ...


# ---------------------------------------------------------------------------- size


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeepAspect:
    """Brings frames to the size of a rule, but `height` x `width` at most.

    Without a rule they fill these.
    """

    height: int
    width: int
    sizes: geometry.SizeRule | None = None

    def size(self, height: int, width: int) -> tuple[int, int]:
        scale = min(self.height / height, self.width / width)
        if self.sizes:
            scale = min(scale, self.sizes.scale(height, width))
        return geometry.scaled((height, width), scale)

    def __call__(self, rng, clip):
        return resize(clip, self.size(*clip.frames.shape[1:3]))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resize:
    """Brings frames to `height` x `width`, whatever that does to their aspect."""

    height: int
    width: int

    def size(self, height: int, width: int) -> tuple[int, int]:
        return self.height, self.width

    def __call__(self, rng, clip):
        return resize(clip, (self.height, self.width))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleAndCrop:
    """Scales by a factor drawn evenly, and cuts out a part at a place drawn evenly.

    A side that is shorter than the part stays whole.

    Args:
        height, width: Of the part.
        scale: Bounds of the factor.
    """

    height: int
    width: int
    scale: tuple[float, float] = (0.8, 1.5)

    def __post_init__(self):
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(
                f"scale={self.scale}: expected (lowest, highest), both above 0."
            )

    def __call__(self, rng, clip):
        scale = rng.uniform(*self.scale)
        height, width = geometry.scaled(clip.frames.shape[1:3], scale)
        top = int(rng.integers(max(0, height - self.height) + 1))
        left = int(rng.integers(max(0, width - self.width) + 1))
        rows, columns = slice(top, top + self.height), slice(left, left + self.width)
        return _change(
            resize(clip, (height, width)),
            images=lambda frames: frames[:, rows, columns],
            masks=lambda masks: masks[..., rows, columns],
            matrix=warping.shift(-top, -left),
        )


def resize(clip: readers.RawClip, size: tuple[int, int]) -> readers.RawClip:
    """Bilinear, half-pixel centres, no antialiasing; masks cover more than one half."""
    source = clip.frames.shape[1:3]
    if source == size:
        return clip
    return _change(
        clip,
        images=lambda frames: np.stack([_resize(frame, size) for frame in frames]),
        masks=lambda masks: _resize_masks(masks, size),
        matrix=warping.resizing(source, size),
    )


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def _resize_masks(masks: Bool[np.ndarray, "*n H W"], size: tuple[int, int]):
    *batch, height, width = masks.shape
    resized = np.zeros((*batch, *size), bool)
    flat = resized.reshape(-1, *size)
    for out, mask in zip(flat, masks.reshape(-1, height, width), strict=True):
        if mask.any():
            # Not in bytes, whose weights of 11 bits move pixels across one half.
            np.greater(_resize(mask.astype(np.float32), size), 0.5, out=out)
    return resized


# ---------------------------------------------------------------- mirror and order


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flip:
    """Mirrors a clip: left becomes right."""

    probability: float = 0.5

    def __post_init__(self):
        _check_probability(self.probability)

    def __call__(self, rng, clip):
        # Drawn always: an option shifts no later draw.
        return mirror(clip) if rng.random() < self.probability else clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reverse:
    """Plays a clip backwards."""

    probability: float = 0.5

    def __post_init__(self):
        _check_probability(self.probability)

    def __call__(self, rng, clip):
        return backwards(clip) if rng.random() < self.probability else clip


def mirror(clip: readers.RawClip) -> readers.RawClip:
    """Left becomes right.

    The mirror image of a scene is what the camera sees of a mirrored scene. Its focal
    lengths stay positive, and the principal point moves to W - 1 - c_x.
    """
    mirrored = _change(
        clip,
        images=lambda frames: np.stack([cv2.flip(frame, 1) for frame in frames]),
        masks=lambda masks: masks[..., ::-1],
        matrix=warping.mirroring(clip.frames.shape[2]),
    )
    if mirrored.intrinsics is None:
        return mirrored
    return mirrored._replace(intrinsics=mirrored.intrinsics * (-1, 1, 1))


def backwards(clip: readers.RawClip) -> readers.RawClip:
    """The last frame becomes the first."""
    return clip._replace(
        frames=clip.frames[::-1],
        masks=clip.masks[:, ::-1],
        ignore=clip.ignore[::-1],
        intrinsics=None if clip.intrinsics is None else clip.intrinsics[::-1],
        clean=None if clip.clean is None else clip.clean[::-1],
    )


# -------------------------------------------------------------------------- colour


@dataclasses.dataclass(frozen=True, kw_only=True)
class ColourJitter:
    """Changes brightness, contrast, saturation and hue, in an order that is drawn.

    Args:
        probability: Of any change at all.
        brightness, contrast, saturation: Largest change of the factor 1, either way.
        hue: Largest turn, as a share of the circle, either way.
        clean: Whether the frames as they were come along, as `clean`.

    Source: Monodepth2 (Godard et al., ICCV 2019), whose photometric loss compares the
        clean frames while the network sees these.
    """

    probability: float = 0.5
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.1
    clean: bool = False

    def __post_init__(self):
        _check_probability(self.probability)
        for name in ("brightness", "contrast", "saturation", "hue"):
            most = 0.5 if name == "hue" else 1
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(
                    f"{name}={getattr(self, name)}: expected 0 to {most} at most."
                )

    def __call__(self, rng, clip):
        if self.clean and clip.clean is None:
            clip = clip._replace(clean=clip.frames)
        if rng.random() >= self.probability:
            return clip
        changes = [
            (colour.scale_brightness, 1 + rng.uniform(-1, 1) * self.brightness),
            (colour.scale_contrast, 1 + rng.uniform(-1, 1) * self.contrast),
            (colour.scale_saturation, 1 + rng.uniform(-1, 1) * self.saturation),
            (colour.turn_hue, rng.uniform(-1, 1) * self.hue),
        ]
        frames = clip.frames
        for index in rng.permutation(len(changes)):
            change, amount = changes[index]
            frames = np.stack([change(frame, amount) for frame in frames])
        return clip._replace(frames=frames)


def _check_probability(probability: float):
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability}: expected 0 to 1.")


# ------------------------------------------------------------------------ labelling


def mark_unlabelled(clip: readers.RawClip) -> readers.RawClip:
    """Ignores all that is not an instance, where unlabelled objects may exist."""
    return clip._replace(ignore=clip.ignore | ~clip.masks.any(axis=0))


def _change(
    clip: readers.RawClip, *, images: Images, masks: Images, matrix: warping.Matrix
) -> readers.RawClip:
    """One map of the plane for all that a clip holds."""
    return clip._replace(
        frames=images(clip.frames),
        masks=masks(clip.masks),
        ignore=masks(clip.ignore),
        intrinsics=None if clip.intrinsics is None else matrix @ clip.intrinsics,
        clean=None if clip.clean is None else images(clip.clean),
    )
