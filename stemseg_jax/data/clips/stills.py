"""Clips from still images: every frame is the image, moved and coloured at random."""

import dataclasses

import numpy as np

from stemseg_jax.data import readers
from stemseg_jax.data.clips import canvas, colour, warping
from stemseg_jax.data.clips.transforms import resize

INVALID = np.iinfo(np.uint16).max  # label of pixels without a source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Motion:
    """Ranges from which the change of one frame is drawn, evenly.

    Args:
        rotation: Degrees, either way.
        translation: Share of height and width, either way.
        tied: Whether one draw of the translation serves both axes.
        scale: Bounds.
        perspective: Deviation of the corners' distances inwards, as a share of the
            size; 0 leaves it out.
        brightness, hue_saturation: Largest change, of 255, either way. One of the two
            is made, or both.
        blur_probability, blur_lengths: Of the motion blur; pixels of the image.
    """

    rotation: float = 10.0
    translation: float = 0.1
    tied: bool = False
    scale: tuple[float, float] = (0.8, 1.2)
    perspective: float = 0.0
    brightness: int = 0
    hue_saturation: int = 5
    blur_probability: float = 0.25
    blur_lengths: tuple[int, ...] = (9, 11)


# STEm-Seg (ECCV 2020): affine maps, hue and saturation, motion blur. The ranges of the
# last two are those of the authors' code, since the paper gives none.
PAPER = Motion()
# The authors' loaders, which scale nothing and shift along the diagonal alone.
RELEASED = Motion(tied=True, scale=(1.0, 1.0), perspective=0.08, brightness=40)
RELEASED_COCO = dataclasses.replace(RELEASED, rotation=12.0)
# SRNet (MM 2021): affine maps. The paper has no ranges; they are those of STEm-Seg's
# loaders, without their quirk of shifting along the diagonal alone.
AFFINE = Motion(rotation=12.0, scale=(1.0, 1.0), brightness=40)
# STEm-Seg on OVIS (2021), Sec. 3: affine and perspective, without ranges: these, too.
OVIS = dataclasses.replace(AFFINE, perspective=0.08)
RELEASED_MAPILLARY = dataclasses.replace(RELEASED, blur_probability=0.0)

# config.data.motion -> dataset -> ranges; "" stands for all other sets.
MOTIONS = {
    "paper": {"": PAPER},
    "ovis": {"": OVIS},
    "affine": {"": AFFINE},
    "released": {
        "coco": RELEASED_COCO,
        "mapillary": RELEASED_MAPILLARY,
        "": RELEASED,
    },
}


def clip_from_still(
    rng: np.random.Generator,
    still: readers.RawClip,
    *,
    num_frames: int,
    size: tuple[int, int],
    motion: Motion,
    fill: tuple[int, int, int],
    most: int | None = None,
) -> readers.RawClip:
    """Frames of a still image: one as it is, the others changed, in random order.

    Each is changed on its own, and one draw serves the image and its labels. Pixels
    without a source get the colour `fill` and are ignored. Where instances overlap, the
    last one is seen, and an ignored region before all.

    Args:
        still: A clip of one frame.
        size: (height, width) of the frames. Moving and resizing are one step.
        most: Instances beyond, and unseen ones, are left out before they have masks of
            their own, which take most memory; see `canvas.chosen`.

    Source: STEm-Seg, Sec. 4, and the authors' loaders for the ranges.
        Differs from the authors' code in: the first frame is free of overlaps too;
        what perspective cuts away is seen again where the affine map bares it; pixels
        without a source are background there.
    """
    image = still.frames[0]
    labels = _label_map(still)
    plain = warping.resizing(image.shape[:2], size)
    # The plain frame is resized like any video's; its labels like those of the others.
    frames = [resize(still._replace(masks=still.masks[:0]), size).frames[0]]
    seen = [warping.warp(labels, plain, size, nearest=True, fill=INVALID)]
    matrices = [plain]
    for _ in range(num_frames - 1):
        matrix = plain @ _draw_motion(rng, image.shape[:2], motion)
        changed = _change_colour(rng, image, motion)
        frames.append(warping.warp(changed, matrix, size, fill=fill))
        seen.append(warping.warp(labels, matrix, size, nearest=True, fill=INVALID))
        matrices.append(matrix)
    order = rng.permutation(num_frames)
    seen = np.stack(seen)[order]  # [T H W]
    kept, surplus = np.arange(len(still.ids)), np.arange(0)
    if most is not None:
        areas = np.bincount(seen.ravel(), minlength=len(still.ids) + 1)
        kept, surplus = canvas.largest(areas[1 : len(still.ids) + 1], most)
    numbers = (kept + 1).astype(np.uint16)
    intrinsics = still.intrinsics
    if intrinsics is not None:  # of one camera that looks at a plane
        intrinsics = np.stack(matrices)[order] @ intrinsics
    return readers.RawClip(
        frames=np.stack(frames)[order],
        ids=still.ids[kept],
        categories=still.categories[kept],
        masks=seen == numbers[:, None, None, None],
        ignore=(seen > len(still.ids)) | np.isin(seen, surplus + 1),
        intrinsics=intrinsics,
        dropped=len(surplus),
    )


def _label_map(still: readers.RawClip) -> np.ndarray:
    """0 background, 1..N instances, N + 1 ignored."""
    labels = np.zeros(still.ignore.shape[1:], np.uint16)
    for number, mask in enumerate(still.masks[:, 0], start=1):
        labels[mask] = number
    labels[still.ignore[0]] = len(still.ids) + 1
    return labels


def _draw_motion(
    rng: np.random.Generator, size: tuple[int, int], motion: Motion
) -> warping.Matrix:
    matrix = np.eye(3)
    if motion.perspective:
        corners = np.abs(rng.normal(0, motion.perspective, (4, 2))) % 1
        matrix = warping.perspective(size, corners)
    y, x = rng.uniform(-motion.translation, motion.translation, 2)
    return (
        warping.affine(
            size,
            rotation=rng.uniform(-motion.rotation, motion.rotation),
            scale=rng.uniform(*motion.scale),
            translation=(x, x) if motion.tied else (y, x),
        )
        @ matrix
    )


def _change_colour(
    rng: np.random.Generator, image: np.ndarray, motion: Motion
) -> np.ndarray:
    """Also blurs: along any direction alike, so it may come before the motion."""
    changes = [
        (colour.brighten, motion.brightness),
        (colour.shift_hue_and_saturation, motion.hue_saturation),
    ]
    changes = [(change, most) for change, most in changes if most]
    if changes:
        chosen = rng.choice(
            len(changes), size=rng.integers(1, len(changes) + 1), replace=False
        )
        for index in sorted(chosen):
            change, most = changes[index]
            image = change(image, int(rng.integers(-most, most + 1)))
    if rng.random() < motion.blur_probability:
        image = colour.blur_motion(
            image,
            length=int(rng.choice(motion.blur_lengths)),
            angle=rng.uniform(0, 360),
            direction=rng.uniform(-1, 1),
        )
    return image
