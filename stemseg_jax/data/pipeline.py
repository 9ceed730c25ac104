"""Batches of training clips, drawn from a weighted mixture of datasets by grain.

What a clip is depends on the seed and its position in the stream alone: neither the
number of worker processes, nor that of the hosts, nor an interruption changes it.
"""

import functools
import os
import pathlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any

import cv2
import grain
import ml_collections
import numpy as np
from absl import flags, logging

from stemseg_jax.data import clips, duplication, readers, synthetic
from stemseg_jax.data.datasets import DATASETS

ARRAYS = ("frames", "masks", "valid", "categories", "ignore")  # as in ClipBatch
ENDLESS = 2**40  # clips
READ_THREADS = min(8, os.cpu_count() or 1)  # without worker processes
READ_AHEAD = 8  # clips


def training_batches(
    config: ml_collections.ConfigDict,
    *,
    batch_size: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict]:
    """Endless batches of clips, from batch number `start_step` on.

    Each is a dict of NumPy arrays named as the fields of `structures.ClipBatch`, and
    of `names` (one "dataset/video:frames" a clip), `dropped` (instances beyond
    `max_instances`) and `skipped` (broken samples that others stand in for).

    Args:
        config: The whole configuration; `data`, `num_frames`, `seed`, `parity` and
            `model.pixels` are read.
        batch_size: Clips of all processes together; each yields every n-th of them.

    Differs from the authors' code in: weights hold within every few clips, and all of a
    large dataset is drawn from; there a list of clips is drawn up at the start, from
    the first samples of a dataset that is larger than its share.
    """
    if batch_size % process_count:
        raise ValueError(
            f"batch_size={batch_size} cannot be split over {process_count} processes; "
            f"use a multiple."
        )
    data = config.data
    _check(data)
    settings = clips.ClipSettings(
        num_frames=config.num_frames,
        height=data.height or -(-data.min_dim // 32) * 32,
        width=data.width or -(-data.max_dim // 32) * 32,
        min_dim=data.min_dim,
        max_dim=data.max_dim,
        max_instances=data.max_instances,
        flip=data.flip,
        reverse=data.reverse,
        fill=_mean_colour(config.model.pixels),
    )
    streams = [
        _stream(name, load(config, name), settings, config) for name in data.mixture
    ]
    stream = grain.MapDataset.mix(streams, weights=list(data.mixture.values()))
    share = batch_size // process_count
    stream = stream[process_index::process_count][start_step * share :]

    # Clips come from the workers one by one, without empty slots, which would be most
    # of what has to be copied; they are put together in a thread of this process.
    workers = data.workers
    examples = stream.to_iter_dataset(
        grain.ReadOptions(
            num_threads=0 if workers else READ_THREADS,
            prefetch_buffer_size=0 if workers else READ_AHEAD,
        )
    )
    if workers:
        if not flags.FLAGS.is_parsed():  # grain reads a flag of absl
            flags.FLAGS.mark_as_parsed()
        examples = examples.mp_prefetch(
            grain.MultiprocessingOptions(
                num_workers=workers, per_worker_buffer_size=READ_AHEAD // workers + 1
            ),
            worker_init_fn=_start_worker,
        )
    else:
        cv2.setNumThreads(0)  # the threads above keep the cores busy
    collate = functools.partial(_collate, max_instances=data.max_instances)
    batches = examples.batch(share, drop_remainder=True, batch_fn=collate)
    batches = grain.experimental.ThreadPrefetchIterDataset(
        batches, prefetch_buffer_size=1
    )
    return _log_skipped(iter(batches))


def load(
    config: ml_collections.ConfigDict,
    name: str,
    *,
    split: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> readers.Dataset:
    """Reads one dataset of the table, from its folder or as packed.

    Args:
        split: In place of the one in `config.data.options`, or "train".
        options: Of the reader, in place of those in `config.data.options`.
    """
    data = config.data
    own_split, own_options = reader_options(config, name)
    split = split or own_split
    options = own_options if options is None else dict(options)
    if data.packed:
        from stemseg_jax.data.packed import reader  # imports TFDS, which takes a second

        folder = pathlib.Path(data.packed)
        return reader.load(folder, f"{name}_{split}", options=options)
    if data.skip_broken:
        options["report"] = _log_fault
    return DATASETS[name](data.root or None, split, **options)


def reader_options(
    config: ml_collections.ConfigDict, name: str
) -> tuple[str, dict[str, Any]]:
    """The split and the options that `config.data.options` has for a dataset."""
    options = dict(config.data.options.get(name, {}))
    return options.pop("split", "train"), options


def _log_fault(fault: readers.Fault):
    logging.warning("left out: %s: %s", fault.where, fault.what)


def _check(data: ml_collections.ConfigDict):
    unknown = sorted(set(data.mixture) - set(DATASETS))
    if unknown:
        raise ValueError(
            f"config.data.mixture names {', '.join(unknown)}, which is not a dataset; "
            f"known are {', '.join(sorted(DATASETS))}."
        )
    unread = sorted({*data.span, *data.options, *data.duplicate} - set(DATASETS))
    if unread:
        raise ValueError(
            f"config.data.span, options or duplicate name {', '.join(unread)}, which "
            f"is not a dataset; known are {', '.join(sorted(DATASETS))}."
        )
    if data.motion not in ("", *synthetic.MOTIONS):
        raise ValueError(
            f"config.data.motion={data.motion!r}: known are "
            f"{', '.join(synthetic.MOTIONS)}, or '' to follow config.parity."
        )
    if not data.mixture or min(data.mixture.values()) <= 0:
        raise ValueError(
            f"config.data.mixture={dict(data.mixture)}: expected at least one dataset "
            f"with a weight above 0, e.g. {{'davis19': 1.0}}."
        )


def _mean_colour(pixels: ml_collections.ConfigDict) -> tuple[int, ...]:
    rgb = pixels.mean if pixels.order == "rgb" else pixels.mean[::-1]
    return tuple(round(channel) for channel in rgb)


def _stream(
    name: str,
    dataset: readers.Dataset,
    settings: clips.ClipSettings,
    config: ml_collections.ConfigDict,
) -> grain.MapDataset:
    """The endless shuffled clips of one dataset."""
    data = config.data
    motions = synthetic.MOTIONS[data.motion or config.parity]
    sampler = ClipSampler(
        dataset,
        settings,
        span=tuple(data.span.get(name, (settings.num_frames - 1,) * 2)),
        motion=motions.get(name, motions[""]),
        duplicate=name in data.duplicate,
        augment_videos=config.parity != "released",  # the authors augment stills only
        skip_broken=data.skip_broken,
    )
    seed = zlib.crc32(f"{config.seed} {name}".encode())
    source = grain.MapDataset.source(sampler.owners).seed(seed)
    # Endless in practice, yet a length that Python can hold after mixing.
    epochs = ENDLESS // len(sampler.owners)
    return source.shuffle().repeat(epochs).random_map(sampler)


class ClipSampler:
    """Draws clips of one dataset.

    Args:
        span: Bounds of the distance from a clip's first to its last frame.
        motion: How stills move.
        duplicate: Whether videos of one instance get a second one.
        skip_broken: Whether to draw anew where a sample cannot be read.

    Raises:
        ValueError: No video is long enough for a clip.
    """

    ATTEMPTS = 20  # before giving up

    def __init__(
        self,
        dataset: readers.Dataset,
        settings: clips.ClipSettings,
        *,
        span: tuple[int, int],
        motion: synthetic.Motion = synthetic.PAPER,
        duplicate: bool = False,
        augment_videos: bool = True,
        skip_broken: bool = False,
    ):
        if span[0] > span[1] or span[0] < settings.num_frames - 1:
            raise ValueError(
                f"config.data.span.{dataset.name}={span}: expected (lowest, highest) "
                f"distance from first to last frame, at least "
                f"{settings.num_frames - 1} for {settings.num_frames} frames."
            )
        self.dataset = dataset
        self.settings = settings
        self.span = span
        self.motion = motion
        self.duplicate = duplicate
        self.augment_videos = augment_videos
        self.skip_broken = skip_broken
        self.segments = _segments(dataset, settings.num_frames, skip_broken=skip_broken)
        lengths = [len(frames) for _, frames in self.segments]
        # One entry a frame: long videos are drawn in proportion to their length.
        self.owners = np.repeat(np.arange(len(self.segments)), lengths)

    def __call__(self, segment: np.integer, rng: np.random.Generator) -> dict:
        """A clip of the segment, or of another one if it has nothing to learn from."""
        skipped = []
        for _ in range(self.ATTEMPTS):
            try:
                example = self.draw(int(segment), rng)
                if len(example["masks"]):
                    return example | {"skipped": skipped}
            except readers.BrokenSample as error:
                if not self.skip_broken:
                    raise
                skipped.append(str(error))
            segment = rng.choice(self.owners)
        raise ValueError(
            f"dataset {self.dataset.name!r}: {self.ATTEMPTS} samples in a row are "
            f"broken or without instances{', the last: ' if skipped else ''}"
            f"{''.join(skipped[-1:])}. Look at it with --mode=check_data."
        )

    def draw(self, segment: int, rng: np.random.Generator) -> dict:
        """One clip of a segment."""
        number, frames = self.segments[segment]
        video = self.dataset.videos[number]
        still = video.num_frames == 1
        if still:
            indices = frames
        else:
            positions = clips.sample_positions(
                rng, len(frames), num_frames=self.settings.num_frames, span=self.span
            )
            indices = [frames[position] for position in positions]
        clip = video.clip(indices)
        if self.duplicate and len(clip.ids) == 1 and not still:
            clip = duplication.duplicate(rng, clip)
        size = self.settings.resized(*clip.frames.shape[1:3])
        if still:
            clip = synthetic.clip_from_still(
                rng,
                clip,
                num_frames=self.settings.num_frames,
                size=size,
                motion=self.motion,
                fill=self.settings.fill,
            )
        else:
            clip = clips.resize(clip, size)
        if not self.dataset.exhaustive:
            clip = clips.mark_unlabelled(clip)
        if still or self.augment_videos:
            clip = clips.augment(rng, clip, self.settings)
        name = f"{self.dataset.name}/{video.name}:{','.join(map(str, indices))}"
        placed = clips.place(clip, self.settings)
        # Eight pixels a byte on the way from the workers.
        return placed._asdict() | {
            "name": name,
            "masks": np.packbits(placed.masks, axis=-1),
            "ignore": np.packbits(placed.ignore, axis=-1),
        }


def _segments(
    dataset: readers.Dataset, num_frames: int, *, skip_broken: bool
) -> list[tuple[int, Sequence[int]]]:
    """(number of the video, frames) wherever a clip can be cut."""

    def annotated_frames(video: readers.Video) -> Sequence[int]:
        try:
            if frames := video.annotated_frames:
                return frames
            raise readers.BrokenSample(
                f"{dataset.name}, video {video.name!r}: no frame is annotated. Take it "
                f"out of the list, or set config.data.skip_broken=True."
            )
        except readers.BrokenSample as error:
            if not skip_broken:
                raise
            logging.warning("left out: %s", error)
            return ()

    if not any(video.annotated for video in dataset.videos):
        raise ValueError(
            f"dataset {dataset.name!r}: none of {len(dataset.videos)} videos is "
            f"annotated. Choose an annotated split with config.data.options."
        )
    # Some readers look into every mask for this, which waits for the disk most of all.
    with futures.ThreadPoolExecutor() as pool:
        annotated = list(pool.map(annotated_frames, dataset.videos))
    segments = [
        (number, segment)
        for number, frames in enumerate(annotated)
        for segment in clips.segments(frames, max_gap=dataset.max_gap)
        if len(segment) >= num_frames or dataset.videos[number].num_frames == 1
    ]
    if not segments:
        raise ValueError(
            f"dataset {dataset.name!r}: none of {len(annotated)} videos has "
            f"{num_frames} annotated frames (the longest has "
            f"{max(map(len, annotated))}). Lower config.num_frames."
        )
    used = len({number for number, _ in segments})
    if used < len(annotated):
        logging.info(
            "%s: clips come from %d of %d videos, the others have too few frames",
            *(dataset.name, used, len(annotated)),
        )
    return segments


def _collate(examples: Sequence[dict], *, max_instances: int) -> dict:
    """The arrays of `ClipBatch` from clips whose instances are not padded yet."""
    frames = np.stack([example["frames"] for example in examples])
    ignore = np.stack([_unpacked(example["ignore"]) for example in examples])
    masks = np.zeros((len(examples), max_instances, *ignore.shape[1:]), bool)
    valid = np.zeros((len(examples), max_instances), bool)
    categories = np.zeros((len(examples), max_instances), np.int32)
    for b, example in enumerate(examples):
        count = len(example["masks"])
        masks[b, :count] = _unpacked(example["masks"])
        valid[b, :count] = True
        categories[b, :count] = example["categories"]
    return {
        "frames": frames,
        "masks": masks,
        "valid": valid,
        "categories": categories,
        "ignore": ignore,
        "names": [example["name"] for example in examples],
        "dropped": sum(example["dropped"] for example in examples),
        "skipped": [reason for example in examples for reason in example["skipped"]],
    }


def _unpacked(bits: np.ndarray) -> np.ndarray:
    return np.unpackbits(bits, axis=-1).view(bool)


def _start_worker(index: int, count: int):
    cv2.setNumThreads(0)


def _log_skipped(batches: Iterator[dict]) -> Iterator[dict]:
    """Names each broken sample once."""
    known = set()
    for batch in batches:
        for reason in batch["skipped"]:
            if reason not in known:
                known.add(reason)
                logging.warning("left out (%d so far): %s", len(known), reason)
        yield batch
