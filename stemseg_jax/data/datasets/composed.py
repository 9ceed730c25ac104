"""Videos of several objects, composed of those of other datasets; exact identities.

Objects of real videos and stills, with their texture and their deformation, move over
another video or over a still before which the camera moves (`data/composition.py`).
They enter, leave, cross and hide each other. The same settings give the same videos,
and any frame is made without those before it. Licences are those of the sources.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Integer, UInt8, UInt16

from stemseg_jax import choices
from stemseg_jax.data import composition, encoded_video, readers
from stemseg_jax.data.datasets import cutouts, folders, moving_shapes

SIZE = (0.12, 0.4)  # square root of an object's area, as a share of the frame's
ENLARGED = (0.4, 1.3)  # bounds of its scale, against blur and staircases
BEHIND = 0.4  # how often an object passes behind those of the base


def load(
    root: folders.Root,
    split: str,
    *,
    readers_by_name: Mapping[str, Callable[..., readers.Dataset]],
    sources: Mapping[str, Mapping[str, Any]],
    bases: Sequence[str] = (),
    num_videos: int = 1000,
    num_frames: int = 40,
    objects: tuple[int, int] = (1, 3),
    light: float = 0.5,
    seed: int = 0,
    report: readers.Report = readers.refuse,
) -> readers.Dataset:
    """Composed videos; their frames are made when they are asked for.

    Args:
        split: "train", "val" or "test". No two splits share a video, but they share the
            material unless `sources` differ.
        sources: Options, with the split, of the readers of the datasets to compose of,
            e.g. `{"davis16": {"sequences": ("bear", "bus")}, "coco": {}}`. All must
            have the same categories, and objects come from all of them alike.
        bases: Of which of them to take what lies behind, in turn; one that is named
            twice has two turns. None: of all.
        num_videos: Video i is the same however many there are.
        num_frames: Of a video, or as many as its base has.
        objects: Fewest and most that are added to the annotated ones of the base;
            successive videos go through the range in turn. Each is of another video.
            The foremost one never leaves the frame.
        light: How far an object is brought to the mean and contrast of its base, at
            most; 0 leaves its colours, 1 may take all difference away.
        report: Is told of samples that cannot be read.

    Raises:
        ValueError: For unknown sources, settings out of range, or if there are not
            enough objects that can be cut out.
    """
    choices.known("split", split, moving_shapes.SPLITS)
    fewest, most = objects
    if not 1 <= fewest <= most <= 100 or num_videos < 1 or num_frames < 1:
        raise ValueError(
            f"objects={objects}, num_videos={num_videos}, num_frames={num_frames}: "
            "expected 1 or more of each, and objects as the fewest and the most, at "
            "most 100."
        )
    if not sources:
        raise ValueError(
            "sources is empty: name the datasets to compose of, with the options of "
            "their readers, e.g. sources={'davis16': {'split': 'train'}}."
        )
    parts = {}
    for name, options in sources.items():
        read = readers_by_name[choices.known("sources", name, readers_by_name)]
        options = {"split": "train", "report": report} | dict(options)
        parts[name] = read(root, **options)
    categories = [part.categories for part in parts.values()]
    if any(names != categories[0] for names in categories):
        raise ValueError(
            f"sources {', '.join(parts)} have different categories; give their readers "
            "the option categories='object'."
        )
    bases = [choices.known("bases", name, parts) for name in bases or parts]
    material = _Material(parts, report)
    videos = []
    for index in range(num_videos):
        turn, place = divmod(index, len(bases))
        name = bases[place]
        turn = turn * bases.count(name) + bases[:place].count(name)
        videos.append(
            _draw_video(
                np.random.default_rng((seed, moving_shapes.SPLITS.index(split), index)),
                material,
                name=f"{split}_{index:06d}",
                base=material.base(name, turn),
                num_frames=num_frames,
                objects=fewest + index % (most - fewest + 1),
                light=light,
            )
        )
    exhaustive = all(parts[name].exhaustive for name in bases)
    return readers.Dataset("composed", categories[0], videos, exhaustive)


class Placement(NamedTuple):
    """An instance in a composed video."""

    instance: cutouts.Instance
    id: int  # there
    motion: composition.Trajectory
    mirrored: bool
    offset: int  # of the first frame, in the instance's time there and back
    light: Float[np.ndarray, "2 3"]

    def layers(
        self, indices: Sequence[int], size: tuple[int, int], owner: int
    ) -> list[composition.Layer]:
        """Of the frames at `indices`; `size` is that of the composed frame."""
        source, frames = self.instance.video, self.instance.frames
        moments = [_there_and_back(self.offset + t, len(frames)) for t in indices]
        cutouts = {}
        for k in set(moments):
            mask = encoded_video.labels(source, frames[k]).masks[self.instance.id]
            image = source.frame(frames[k])
            cutouts[k] = composition.cut(image, mask, light=self.light)
        return [
            composition.Layer(
                cutouts[k],
                composition.placing(
                    self.motion.at(t),
                    anchor=self.instance.centres[k],
                    size=size,
                    mirrored=self.mirrored,
                ),
                owner,
            )
            for t, k in zip(indices, moments, strict=True)
        ]


def _there_and_back(t: int, length: int) -> int:
    """0, 1, ..., length - 1, length - 2, ..., 1, and again."""
    t %= max(2 * (length - 1), 1)
    return min(t, 2 * (length - 1) - t)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ComposedVideo:
    """One video; see `readers.Video`. The instances of the base keep their ids.

    Args:
        first: Frame of the base that is frame 0.
        camera: How a base that is a still is moved.
        placements: From back to front; the first `behind` of them lie behind the
            instances of the base.
    """

    name: str
    num_frames: int
    base: readers.Video
    first: int
    camera: composition.Trajectory | None
    placements: tuple[Placement, ...]
    behind: int

    annotated = True
    intrinsics = None

    @property
    def height(self) -> int:
        return self.base.height

    @property
    def width(self) -> int:
        return self.base.width

    @property
    def categories(self) -> Mapping[int, int]:
        added = {p.id: p.instance.category for p in self.placements}
        return {**self.base.categories, **added}

    @property
    def annotated_frames(self) -> Sequence[int]:
        return range(self.num_frames)  # the foremost one never leaves

    def instances(self, index: int) -> Collection[int]:
        return self.clip([index]).ids.tolist()

    def frame(self, index: int) -> UInt8[np.ndarray, "H W 3"]:
        return self.clip([index]).frames[0]

    def clip(self, indices: Sequence[int]) -> readers.RawClip:
        base = self._base(indices)
        frames, owners = base.frames, base.labels  # new arrays, to be laid over
        layers = [
            placement.layers(indices, (self.height, self.width), len(base.ids) + 1 + n)
            for n, placement in enumerate(self.placements, start=1)
        ]
        for t in range(len(indices)):
            stack = [of_one[t] for of_one in layers]
            own = (owners[t] > 0) & (owners[t] <= len(base.ids))
            if self.behind and own.any():
                before = composition.cut(frames[t], own)
                stack.insert(self.behind, composition.Layer(before, np.eye(3), 0))
            frames[t], owner = composition.compose(frames[t], stack)
            np.copyto(owners[t], owner, where=owner > 0)
        ids = np.array([0, *base.ids, 0, *(p.id for p in self.placements)])
        ignored = len(base.ids) + 1
        flat = owners.reshape(-1, self.width)
        counts = cv2.calcHist([flat], [0], None, [len(ids)], [0, len(ids)])
        seen = [n for n in counts.ravel().nonzero()[0] if n not in (0, ignored)]
        masks = owners == np.array(seen, np.uint16)[:, None, None, None]  # [N T H W]
        categories = np.array([self.categories[i] for i in ids[seen].tolist()], int)
        return readers.RawClip(
            frames, ids[seen], categories, masks, ignore=owners == ignored
        )

    def _base(self, indices: Sequence[int]) -> "_Base":
        for index in indices:
            if not 0 <= index < self.num_frames:
                raise IndexError(f"{self.name}: frame {index} of {self.num_frames}.")
        if self.camera is None:
            clip = self.base.clip([self.first + index for index in indices])
            return _Base(clip.frames, _label_maps(clip), clip.ids)
        still = self.base.clip([0])
        size = still.frames.shape[1:3]
        matrices = [
            composition.placing(
                self.camera.at(t), anchor=(np.array(size) - 1) / 2, size=size
            )
            for t in indices
        ]
        frame, labels = still.frames[0], _label_maps(still)[0]
        seen = composition.seen_by_camera
        return _Base(
            np.stack([seen(frame, matrix) for matrix in matrices]),
            np.stack([seen(labels, matrix, nearest=True) for matrix in matrices]),
            still.ids,
        )


class _Base(NamedTuple):
    """Frames before anything is laid over them."""

    frames: UInt8[np.ndarray, "T H W 3"]
    labels: UInt16[np.ndarray, "T H W"]  # 1 to N: instances, N + 1: ignored
    ids: Integer[np.ndarray, "N"]


def _label_maps(clip: readers.RawClip) -> UInt16[np.ndarray, "T H W"]:
    """Where instances overlap the last one is seen, and an ignored region before it."""
    labels = np.zeros(clip.ignore.shape, np.uint16)
    for number, mask in enumerate([*clip.masks, clip.ignore], start=1):
        labels[mask] = number
    return labels


Where = tuple[str, int]  # a source and the number of a video in it


class _Material:
    """What the sources hold, looked at when it is asked for, and once."""

    def __init__(self, parts: Mapping[str, readers.Dataset], report: readers.Report):
        self.parts, self.report = parts, report
        self.instances = functools.cache(self._instances)
        self.light = functools.cache(self._light)
        self.annotated = functools.cache(self._annotated)

    def video(self, where: Where) -> readers.Video:
        name, number = where
        return self.parts[name].videos[number]

    def base(self, name: str, turn: int) -> Where:
        """The annotated videos of a source in turn, but for broken ones."""
        annotated = self.annotated(name)
        for k in range(len(annotated)):
            where = name, annotated[(turn + k) % len(annotated)]
            if self.instances(where) is not None:
                return where
        raise ValueError(
            f"bases: of {len(self.parts[name].videos)} videos of {name!r} none is "
            "annotated and can be read. Look at them with --mode=check_data."
        )

    def _annotated(self, name: str) -> list[int]:
        videos = self.parts[name].videos
        return [k for k, video in enumerate(videos) if video.annotated]

    def drawn(
        self, rng: np.random.Generator, *, beside: Where
    ) -> Iterator[cutouts.Instance]:
        """Instances of other videos than one, no two of the same, all sources alike."""
        left = {
            name: rng.permutation(len(part.videos)).tolist()
            for name, part in self.parts.items()
        }
        while left := {name: numbers for name, numbers in left.items() if numbers}:
            name = list(left)[rng.integers(len(left))]
            where = name, left[name].pop()
            if where != beside and (found := self.instances(where)):
                yield found[rng.integers(len(found))]

    def _light(self, where: Where) -> Float[np.ndarray, "2 3"]:
        video = self.video(where)
        return composition.colours(video.frame(video.num_frames // 2))

    def _instances(self, where: Where) -> list[cutouts.Instance] | None:
        """Those of a video that can be cut out; None: it cannot be read."""
        video = self.video(where)
        try:
            return list(cutouts.find(video))
        except readers.BrokenSample as error:
            self.report(readers.Fault(video.name, "mask", str(error)))
            return None


def _draw_video(
    rng: np.random.Generator,
    material: _Material,
    *,
    name: str,
    base: Where,
    num_frames: int,
    objects: int,
    light: float,
) -> ComposedVideo:
    instances = list(itertools.islice(material.drawn(rng, beside=base), objects))
    behind = material.video(base)
    if len(instances) < objects:
        low, high = (f"{100 * share:g}" for share in cutouts.AREA)
        run = cutouts.LEAST_RUN
        raise ValueError(
            f"sources {', '.join(material.parts)}: {objects} objects are to be put "
            f"over {behind.name!r}, but {len(instances)} other videos have one that "
            f"can be cut out: one that covers {low} to {high} % of its frame, in one "
            f"piece and not along the border, in {run} frames in a row. Add "
            "sources, or lower objects."
        )
    still = behind.num_frames == 1
    num_frames = num_frames if still else min(num_frames, behind.num_frames)
    extent = math.sqrt(behind.height * behind.width)
    ids = itertools.count(1 + max(behind.categories, default=0))
    placements = []
    for instance in instances:
        scale = np.exp(rng.uniform(*np.log(SIZE))) * extent / instance.size
        placements.append(
            Placement(
                instance=instance,
                id=next(ids),
                motion=composition.draw_object_motion(
                    rng,
                    num_frames=num_frames,
                    scale=float(np.clip(scale, *ENLARGED)),
                    stays=instance is instances[-1],
                ),
                mirrored=bool(rng.random() < 0.5),
                offset=int(rng.integers(2 * len(instance.frames))),
                light=composition.matching_light(
                    instance.colours,
                    material.light(base),
                    degree=rng.uniform(0, light),
                ),
            )
        )
    return ComposedVideo(
        name=name,
        num_frames=num_frames,
        base=behind,
        first=int(rng.integers(behind.num_frames - num_frames + 1)) if not still else 0,
        camera=composition.draw_camera_motion(rng) if still else None,
        placements=tuple(placements),
        behind=int(rng.binomial(objects - 1, BEHIND)),
    )
