"""Tracks from masks that any method found frame by frame: the script of
--mode=track_masks."""

import collections
import pathlib
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jaxtyping import Array, Bool, UInt8
from ml_collections import ConfigDict
from tqdm import tqdm

from stemseg_jax import choices, models, score, tasks
from stemseg_jax.conversion import merging, parts
from stemseg_jax.data import found_masks
from stemseg_jax.data.datasets import folders
from stemseg_jax.data.found_masks import FoundMask, FoundVideo
from stemseg_jax.formats import davis_png, images, rle, whole
from stemseg_jax.modules import backbones, crop_embedding
from stemseg_jax.ops import crops, pixels
from stemseg_jax.outputs import collector
from stemseg_jax.tracking import linking
from stemseg_jax.tracks import Track, TrackStatistics, VideoTracks

WRITER = "--mode=track_masks"
# How much alike objects must be is a matter of the cue; chosen on training videos, see
# experiments/linking.
LINKINGS = {
    cue: linking.Linking(by=cue, min_similarity=least, patience=patience)
    for cue, least, patience in (
        ("overlap", 0.0, 5),
        ("flow", 0.0, 5),
        ("looks", 0.3, 20),
    )
}
SIDE = 128  # pixels of the crops that looks are of
SLOTS = 8  # crops are embedded in multiples of it, each a program


def run(
    *,
    masks: str,
    by: str,
    task: str,
    output: str,
    frames: str | None = None,
    ground_truth: str | None = None,
    listing: str | None = None,
    checkpoint: str = "real",
    config: ConfigDict | None = None,
    json_file: str | None = None,
) -> None:
    """Links the masks of each video, writes the task's result files to `output`, and
    scores them if there is a `ground_truth`.

    Args:
        masks: See `found_masks.read`, as for `listing`.
        by: A key of `LINKINGS`.
        frames: The folder of the videos' frames, a folder a video; of one video, its
            own.
        checkpoint, config: As of `looks_of`.

    Raises:
        ValueError: What is missing among masks, frames and annotations, or does not
            fit.
    """
    settings = LINKINGS[choices.known("link", by, LINKINGS)]
    form = tasks.FORMS[choices.known("task", task, tasks.FORMS)]
    truth = pathlib.Path(ground_truth) if ground_truth else None
    if form.numbered and not truth:
        raise ValueError(
            f"--task={task} calls videos by the numbers of an annotation file: name it "
            "by --ground_truth."
        )
    if by != "overlap" and not frames:
        raise ValueError(f"--link={by} looks at the frames: name them by --frames.")
    if json_file and not truth:
        raise ValueError("--json takes the scores: name annotations by --ground_truth.")
    found = found_masks.read(
        pathlib.Path(masks), listing=pathlib.Path(listing) if listing else None
    )
    look = looks_of(checkpoint, config) if by == "looks" else None

    def videos() -> Iterator[VideoTracks]:
        for video in tqdm(found, desc="track", unit="video"):
            pictures = None
            if frames and by != "overlap":
                pictures = _pictures(pathlib.Path(frames), video, alone=len(found) == 1)
            tracks = tracked(
                video, pictures, settings, look=look, limit=form.max_tracks
            )
            _check(tracks, task, form)
            yield tracks

    with whole.folder(output, WRITER) as partial:
        results = form.write(partial, videos(), truth)
    if truth:
        score.figures(
            task=task,
            ground_truth=truth,
            results=pathlib.Path(output) / results.relative_to(partial),
            json_file=json_file,
        )


def tracked(
    video: FoundVideo,
    pictures: Iterable[UInt8[np.ndarray, "H W 3"]] | None,
    settings: linking.Linking,
    *,
    look: linking.Look | None = None,
    limit: int | None = None,
) -> VideoTracks:
    """The tracks of one video: the largest if there are more than `limit`.

    A track's category is that of most of its masks (of several the lowest), and its
    score their mean score.
    """
    kept: dict[int, dict[int, FoundMask]] = {}  # of each id: frame -> mask
    seen: list[list[FoundMask]] = []

    def found() -> Iterator[linking.Found]:
        pixels_of = pictures or [None] * len(video.frames)
        for index, picture in zip(range(len(video.frames)), pixels_of, strict=True):
            seen.append(video.masks(index))
            decoded = [rle.decode(one.mask) for one in seen[-1]]
            empty = np.zeros((0, video.height, video.width), bool)
            yield linking.Found(np.array(decoded) if decoded else empty, picture)

    for index, ids in enumerate(linking.linked(found(), settings, look=look)):
        for number, mask in zip(ids.tolist(), seen[index], strict=True):
            kept.setdefault(number, {})[index] = mask
    statistics = {number: _statistics(masks) for number, masks in kept.items()}
    chosen = collector.select(statistics, by="pixels", limit=limit or len(kept))
    tracks = (
        Track(
            one.id,
            _category(kept[one.label].values()),
            one.score,
            tuple(
                kept[one.label][t].mask if t in kept[one.label] else None
                for t in range(len(video.frames))
            ),
        )
        for one in chosen
    )
    return VideoTracks(
        video.name, video.height, video.width, len(video.frames), tuple(tracks)
    )


def of_tracks(tracks: VideoTracks) -> FoundVideo:
    """The same masks frame by frame, as if nothing were known of their identities."""

    def masks(index: int) -> list[FoundMask]:
        return [
            FoundMask(mask, one.score, one.category)
            for one in tracks.tracks
            if (mask := one.segmentations[index]) is not None and rle.areas([mask])[0]
        ]

    frames = [davis_png.frame_name(t) for t in range(tracks.num_frames)]
    return FoundVideo(tracks.name, tracks.height, tracks.width, frames, masks)


def looks_of(checkpoint: str, config: ConfigDict | None = None) -> linking.Look:
    """What masks look like to the backbone of a checkpoint: the mean of its last map
    over a crop around each.

    Args:
        config: That of a checkpoint which carries none.

    Raises:
        ValueError: There is no checkpoint, or it has no module `body`.
    """
    loaded = models.read(checkpoint)
    config = config or models.saved_config(checkpoint)
    config = models.with_conventions(config, loaded, "body", "body")
    network = crop_embedding.CropEmbedding(backbones.from_config(config.model))
    convention = pixels.Convention.from_config(config.model.pixels)
    blank = jnp.zeros((1, SIDE, SIDE, 3))
    fresh = jax.eval_shape(network.init, jax.random.key(0), blank)
    body = parts.take(loaded, "body", "body")
    variables = jax.device_put(merging.merge(body, fresh, whole=True).variables)

    @jax.jit
    def embed(image: UInt8[Array, "H W 3"], masks: Bool[Array, "N H W"]):
        extent = jnp.array(image.shape[:2], jnp.float32)
        image = convention.normalise(image)
        boxes = crops.boxes(masks, extent)
        found = network.apply(variables, crops.cut(image, boxes, side=SIDE))
        return jnp.where(crops.shown(boxes)[:, None], found, 0)  # is like nothing

    def look(image, masks):
        padding = -len(masks) % SLOTS
        padded = np.pad(masks, ((0, padding), (0, 0), (0, 0)))
        return np.asarray(embed(image, padded))[: len(masks)]

    return look


def _pictures(
    root: pathlib.Path, video: FoundVideo, *, alone: bool
) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames that masks were found in, by their names."""
    own = root / video.name
    folder = root if alone and not own.is_dir() else own
    by_name = {path.stem: path for path in folders.image_files(folder)}
    if lacking := [name for name in by_name if name not in set(video.frames)]:
        raise ValueError(
            f"{video.name}: {len(lacking)} frames of {folder} have no masks, the first "
            f"is {lacking[0]}; expected an image of zeros where nothing was found."
        )
    for name in video.frames:
        if name not in by_name:
            raise ValueError(
                f"{folder}: no image {name} for the masks of {video.name}, frame "
                f"{name}. Frames and masks go by the same names."
            )
        picture = images.read_rgb(by_name[name])
        size = video.height, video.width
        images.check_size(picture.shape[:2], size, by_name[name], "its masks are")
        yield picture


def _check(tracks: VideoTracks, task: str, form: tasks.Form) -> None:
    if not tracks.tracks:
        logging.warning(
            "%s: no masks were found (255 is void in a palette image).", tracks.name
        )
    if form.classes and any(not one.category for one in tracks.tracks):
        raise ValueError(
            f"{tracks.name}: --task={task} has classes, numbered from 1, but a mask "
            "has none, as all of palette images: a COCO file has them."
        )


def _category(masks: Iterable[FoundMask]) -> int:
    counts = collections.Counter(one.category for one in masks)
    return min(counts, key=lambda category: (-counts[category], category))


def _statistics(masks: dict[int, FoundMask]) -> TrackStatistics:
    return TrackStatistics(
        pixels=int(rle.areas([one.mask for one in masks.values()]).sum()),
        first=min(masks),
        last=max(masks),
        score=float(np.mean([one.score for one in masks.values()])),
    )
