"""Random clips of one dataset: which frames, then what is done to them."""

import dataclasses
from collections.abc import Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np
from absl import logging

from stemseg_jax import geometry
from stemseg_jax.data import readers
from stemseg_jax.data.clips import canvas, sampling, stills, transforms

ATTEMPTS = 20  # before giving up
BLOCKS = 1000  # of videos that a thread looks at in one go: for each still is too many


class Segment(NamedTuple):
    """Frames of one video that a clip may be cut from."""

    video: int
    size: geometry.Size  # of its frames
    frames: Sequence[int]
    starts: Sequence[int] | None = None  # positions in `frames`; None: any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a clip is made of what is read.

    Args:
        video_transforms, still_transforms: In their order. Where a still is resized
            first, that and its motion are one step.
        motion: How stills move.
        assumed_camera: (f_x / W, f_y / H, c_x / W, c_y / H) of videos whose camera is
            not known; none: their intrinsics are NaN.
    """

    sampling: sampling.Sampling
    video_transforms: tuple[transforms.Transform, ...]
    still_transforms: tuple[transforms.Transform, ...]
    canvas: canvas.Canvas
    motion: stills.Motion = stills.PAPER
    assumed_camera: tuple[float, float, float, float] | None = None


class ClipSampler:
    """Draws clips of one dataset.

    Args:
        skip_broken: Whether to draw anew where a sample cannot be read.
        part_of: The sampler of a whole dataset, of which this one has a part,
        segments: which is what its clips are cut from. Where they have nothing to learn
            from, others of the whole stand for them.

    Raises:
        ValueError: No video is long enough for a clip.
    """

    def __init__(
        self,
        dataset: readers.Dataset,
        recipe: Recipe,
        *,
        skip_broken: bool = False,
        part_of: "ClipSampler | None" = None,
        segments: Sequence[Segment] = (),
    ):
        self.dataset = dataset
        self.recipe = recipe
        self.skip_broken = skip_broken
        self.segments = segments
        if part_of is None:
            self.segments = _segments(dataset, recipe.sampling, skip_broken=skip_broken)
            self._say_assumed()
        # Which instances are the largest may change where clips are cropped.
        self._crops = any(
            isinstance(change, transforms.ScaleAndCrop)
            for change in recipe.still_transforms
        )
        lengths = [len(segment.frames) for segment in self.segments]
        # One entry a frame: long videos are drawn in proportion to their length.
        self.owners = np.repeat(np.arange(len(self.segments)), lengths)
        whole = part_of or self
        self._others = whole.segments, whole.owners

    def _say_assumed(self):
        """Once, that calibration is missing, and what stands for it."""
        if self.recipe.assumed_camera is None:
            return
        videos = self.dataset.videos
        unknown = [video.name for video in videos if video.intrinsics is None]
        if unknown:
            logging.warning(
                "%s: no camera is known of %d of %d videos, the first is %s; "
                "config.data.assumed_camera = %s of their sizes stands for it",
                *(self.dataset.name, len(unknown), len(videos), unknown[0]),
                self.recipe.assumed_camera,
            )

    def __call__(self, segment: np.integer, rng: np.random.Generator) -> dict:
        """A clip of the segment, or of another one if it has nothing to learn from."""
        skipped = []
        chosen = self.segments[int(segment)]
        for attempt in range(ATTEMPTS):
            try:
                example = self.draw(chosen, rng)
                if len(example["masks"]) or self.recipe.sampling.empty:
                    return example | {"skipped": skipped}
            except readers.BrokenSample as error:
                if not self.skip_broken:
                    raise
                skipped.append(str(error))
            # Those that suit the canvas first.
            own = attempt < ATTEMPTS // 2
            segments, owners = (self.segments, self.owners) if own else self._others
            chosen = segments[rng.choice(owners)]
        raise ValueError(
            f"dataset {self.dataset.name!r}: {ATTEMPTS} samples in a row are "
            f"broken or without instances{', the last: ' if skipped else ''}"
            f"{''.join(skipped[-1:])}. Look at it with --mode=check_data."
        )

    def draw(self, segment: Segment, rng: np.random.Generator) -> dict:
        """One clip of a segment, as `canvas.Clip` and its `name`."""
        number, _, frames, starts = segment
        video = self.dataset.videos[number]
        if still := video.num_frames == 1:
            indices = frames
        else:
            positions = self.recipe.sampling.positions(rng, len(frames), starts=starts)
            indices = [frames[position] for position in positions]
        clip = video.clip(indices)
        clip = clip._replace(intrinsics=self._intrinsics(video, len(indices)))
        recipe = self.recipe
        if still:
            clip = self._move(rng, clip)
        elif not self._crops:  # early, for masks are most of what is moved
            clip = canvas.chosen(clip, recipe.canvas.max_instances)
        for change in recipe.still_transforms if still else recipe.video_transforms:
            clip = change(rng, clip)
        if not (self.dataset.exhaustive and video.annotated):
            clip = transforms.mark_unlabelled(clip)
        placed = recipe.canvas.place(clip)
        # Eight pixels a byte on the way from the workers.
        return placed._asdict() | {
            "name": f"{self.dataset.name}/{video.name}:{','.join(map(str, indices))}",
            "masks": np.packbits(placed.masks, axis=-1),
            "ignore": np.packbits(placed.ignore, axis=-1),
        }

    def _move(self, rng: np.random.Generator, still: readers.RawClip):
        size = still.frames.shape[1:3]
        first = next(iter(self.recipe.still_transforms), None)
        if isinstance(first, transforms.KeepAspect | transforms.Resize):
            size = first.size(*size)
        return stills.clip_from_still(
            rng,
            still,
            num_frames=self.recipe.sampling.num_frames,
            size=size,
            motion=self.recipe.motion,
            fill=self.recipe.canvas.fill,
            most=None if self._crops else self.recipe.canvas.max_instances,
        )

    def _intrinsics(self, video: readers.Video, num_frames: int) -> np.ndarray | None:
        matrix = video.intrinsics
        if matrix is None and self.recipe.assumed_camera is not None:
            fx, fy, cx, cy = self.recipe.assumed_camera
            width, height = video.width, video.height
            matrix = np.array(
                [
                    [fx * width, 0, cx * width - 0.5],  # from the corner, not from the
                    [0, fy * height, cy * height - 0.5],  # centre of the first pixel
                    [0, 0, 1],
                ]
            )
        return None if matrix is None else np.tile(matrix, (num_frames, 1, 1))


def on_canvases(
    dataset: readers.Dataset,
    recipes: Sequence[Recipe],
    *,
    sizes: geometry.SizeRule | None,
    skip_broken: bool = False,
) -> list[ClipSampler | None]:
    """A sampler for each recipe, whose canvas suits its videos best; none for those
    that suit no video.

    Args:
        recipes: They differ by canvas alone.
        sizes: How frames are sized before they are laid on a canvas.

    Raises:
        ValueError: No video is long enough for a clip.
    """
    whole = ClipSampler(dataset, recipes[0], skip_broken=skip_broken)
    if len(recipes) == 1:
        return [whole]
    canvases = [(recipe.canvas.height, recipe.canvas.width) for recipe in recipes]
    parts: list[list[Segment]] = [[] for _ in recipes]
    for segment in whole.segments:
        size = sizes.resized(*segment.size) if sizes else segment.size
        parts[canvas.best(canvases, size)].append(segment)
    return [
        ClipSampler(
            dataset, recipe, skip_broken=skip_broken, part_of=whole, segments=part
        )
        if part
        else None
        for recipe, part in zip(recipes, parts, strict=True)
    ]


def _segments(
    dataset: readers.Dataset, rule: sampling.Sampling, *, skip_broken: bool
) -> list[Segment]:
    """What clips of a dataset can be cut from."""
    some_annotated = any(video.annotated for video in dataset.videos)
    if not some_annotated and (rule.annotated or not rule.empty):
        raise ValueError(
            f"dataset {dataset.name!r}: none of {len(dataset.videos)} videos is "
            f"annotated. Choose an annotated split with config.data.options."
        )

    def of_videos(numbers: Sequence[int]) -> tuple[list[Segment], int]:
        """Those that are long enough, and the length of the longest video."""
        long_enough, longest = [], 0
        for number in numbers:
            video = dataset.videos[number]  # once: it may have to be read from the disk
            try:
                parts = _segments_of(dataset, number, video, rule)
            except readers.BrokenSample as error:
                if not skip_broken:
                    raise
                logging.warning("left out: %s", error)
                continue
            longest = max(longest, sum(len(part.frames) for part in parts))
            long_enough += [
                part
                for part in parts
                if video.num_frames == 1
                or (len(part.frames) >= rule.least_frames and part.starts != [])
            ]
        return long_enough, longest

    # Some readers look into every mask for this, which waits for the disk most of all.
    count = len(dataset.videos)
    block = 1 + count // BLOCKS
    blocks = [range(i, min(i + block, count)) for i in range(0, count, block)]
    with futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(of_videos, blocks))
    segments = [segment for part, _ in found for segment in part]
    if not segments:
        longest = max((length for _, length in found), default=0)
        raise ValueError(
            f"dataset {dataset.name!r}: none of {count} videos has "
            f"{rule.least_frames} {'annotated ' * rule.annotated}frames (the longest "
            f"has {longest}). Lower config.num_frames."
        )
    used = len({segment.video for segment in segments})
    if used < count:
        logging.info(
            "%s: clips come from %d of %d videos, the others have too few frames",
            *(dataset.name, used, count),
        )
    return segments


def _segments_of(
    dataset: readers.Dataset, number: int, video: readers.Video, rule: sampling.Sampling
) -> list[Segment]:
    """The frames of one video, cut wherever a clip must not leap."""
    size = video.height, video.width
    if not rule.annotated:
        cut = [range(video.num_frames)] if video.annotated or rule.empty else []
    elif frames := video.annotated_frames:
        cut = sampling.segments(frames, max_gap=dataset.max_gap)
    else:
        raise readers.BrokenSample(
            f"{dataset.name}, video {video.name!r}: no frame is annotated. Take it "
            f"out of the list, or set config.data.skip_broken=True."
        )
    if rule.start == "any":
        return [Segment(number, size, frames) for frames in cut]
    return [
        Segment(
            *(number, size, frames),
            [at for at in entries if at + rule.least_frames <= n],
        )
        for frames in cut
        for n, entries in [(len(frames), sampling.entries(video, frames))]
    ]
