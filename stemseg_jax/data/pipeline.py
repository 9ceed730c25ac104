"""Batches of training clips, drawn from a weighted mixture of datasets by grain.

What a clip is depends on the seed and its position in the stream alone: neither the
number of worker processes, nor that of the hosts, nor an interruption changes it.
"""

import functools
import multiprocessing
import os
import pathlib
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

import cv2
import grain
import ml_collections
import numpy as np
from absl import flags, logging

from stemseg_jax import geometry
from stemseg_jax.data import readers
from stemseg_jax.data.clips import (
    canvas,
    clip_sampler,
    duplication,
    sampling,
    stills,
    transforms,
)
from stemseg_jax.data.datasets import DATASETS

ENDLESS = 2**40  # clips
MOST_THREADS = 8  # without worker processes, unless the config says how many
READ_AHEAD = 8  # clips


def training_batches(
    config: ml_collections.ConfigDict,
    *,
    batch_size: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    passes: int = 1,
) -> Iterator[dict]:
    """Endless batches of clips, from batch number `start_step` on.

    Each is a dict of NumPy arrays named as the fields of `structures.PackedClips`, and
    of `names` (one "dataset/video:frames" a clip), `dropped` (instances beyond
    `max_instances`) and `skipped` (broken samples that others stand in for).

    Args:
        config: The whole configuration; `data`, `num_frames`, `seed`, `parity` and
            `model.pixels` are read.
        batch_size: Clips of all processes together; each yields its share of them.
        passes: So many equal parts does a batch have, and each process a share of each.

    Clips of a batch lie on one canvas. So weights hold over many batches; with a single
    canvas they do within every few clips.

    Differs from the authors' code in: weights hold so soon, and all of a
    large dataset is drawn from; there a list of clips is drawn up at the start, from
    the first samples of a dataset that is larger than its share.
    """
    if batch_size % (process_count * passes):
        raise ValueError(
            f"batch_size={batch_size} cannot be split over {process_count} processes "
            f"and {passes} passes; use a multiple of both."
        )
    check(config)
    data = config.data
    streams = _streams(config)
    stream = streams[0].clips
    share = batch_size // process_count
    if process_count > 1 or len(streams) > 1:
        places = functools.partial(
            _place, index=process_index, count=process_count, passes=passes, share=share
        )
        picked = _Picked(streams, batch_size=batch_size, place=places)
        stream = grain.MapDataset.range(ENDLESS).map(picked)
    stream = stream[start_step * share :]

    # Clips come from the workers one by one, without empty slots, which would be most
    # of what has to be copied; they are put together in a thread of this process.
    workers = data.workers
    threads = data.threads or min(MOST_THREADS, os.cpu_count() or 1)
    examples = stream.to_iter_dataset(
        grain.ReadOptions(
            num_threads=0 if workers else threads,
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


def _place(number: int, *, index: int, count: int, passes: int, share: int) -> int:
    """Where in the stream clip `number` of a process stands.

    Each pass has one block for each process, and these take turns from batch to batch:
    a mixture may have a period, and no process shall read one dataset alone.
    """
    batch, rest = divmod(number, share)
    block, offset = divmod(rest, share // passes)
    turn = block * count + (index + batch) % count
    return batch * share * count + turn * (share // passes) + offset


class _Weighted(NamedTuple):
    """A stream of clips, and its share of a larger one."""

    clips: grain.MapDataset
    weight: float


class _Picked(grain.transforms.Map):
    """Clips of a process, by their numbers; those of a batch lie on one canvas.

    Args:
        streams: Of each canvas.
        place: Where in the stream of all processes a clip of this one stands.
    """

    def __init__(
        self,
        streams: Sequence[_Weighted],
        *,
        batch_size: int,
        place: Callable[[int], int],
    ):
        self._streams = [stream.clips for stream in streams]
        self._batch_size = batch_size
        self._place = place
        self._plan = grain.MapDataset.mix(
            [
                grain.MapDataset.range(len(stream) // batch_size).map(
                    functools.partial(_numbered, number)
                )
                for number, stream in enumerate(self._streams)
            ],
            weights=[stream.weight for stream in streams],
        )

    def map(self, element: int) -> dict:
        batch, offset = divmod(self._place(int(element)), self._batch_size)
        number, own = self._plan[batch]
        return self._streams[number][own * self._batch_size + offset]


def _numbered(stream: int, batch: int) -> tuple[int, int]:
    return stream, int(batch)


def check(config: ml_collections.ConfigDict) -> None:
    """Whether clips can be what `config` says of them; nothing is read.

    Raises:
        ValueError: They cannot, as the options that contradict each other.
    """
    _check(config.data)
    for name in config.data.mixture:
        for size in canvas_sizes(config.data):
            _recipe(name, config, size)


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
    options = ml_collections.ConfigDict(config.data.options.get(name, {})).to_dict()
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
    if data.motion not in ("", *stills.MOTIONS):
        raise ValueError(
            f"config.data.motion={data.motion!r}: known are "
            f"{', '.join(stills.MOTIONS)}, or '' to follow config.parity."
        )
    if not data.mixture or min(data.mixture.values()) <= 0:
        raise ValueError(
            f"config.data.mixture={dict(data.mixture)}: expected at least one dataset "
            f"with a weight above 0, e.g. {{'davis19': 1.0}}."
        )


def canvas_sizes(data: ml_collections.ConfigDict) -> list[geometry.Size]:
    """(height, width) of what clips lie on."""
    if data.aspects:
        return canvas.sizes(data.aspects, _size_rule(data))
    height, width = geometry.padded((data.min_dim, data.max_dim))
    return [(data.height or height, data.width or width)]


def _size_rule(data: ml_collections.ConfigDict) -> geometry.SizeRule | None:
    if not data.min_dim:
        return None
    return geometry.SizeRule(min_dim=data.min_dim, max_dim=data.max_dim)


def _streams(config: ml_collections.ConfigDict) -> list[_Weighted]:
    """The endless mixed clips of each canvas that has any, and its share of all clips.

    A dataset has its weight over all canvases together.
    """
    sizes = canvas_sizes(config.data)
    of_canvases: list[list[_Weighted]] = [[] for _ in sizes]
    for name, weight in config.data.mixture.items():
        for number, stream in _of_dataset(name, weight, config, sizes).items():
            of_canvases[number].append(stream)
    if not any(of_canvases):
        raise ValueError(
            f"config.data.synthesised is off, but {', '.join(config.data.mixture)} "
            "hold still images alone; name a dataset of videos in config.data.mixture."
        )
    mixed = []
    for streams in of_canvases:
        if streams:
            clips, weights = zip(*streams, strict=True)
            mixed.append(_Weighted(grain.MapDataset.mix(clips, weights), sum(weights)))
    return mixed


def _of_dataset(
    name: str,
    weight: float,
    config: ml_collections.ConfigDict,
    sizes: Sequence[geometry.Size],
) -> dict[int, _Weighted]:
    """The clips of a dataset, by the number of the canvas that they lie on."""
    data = config.data
    dataset = load(config, name)
    if not data.synthesised and all(v.num_frames == 1 for v in dataset.videos):
        return {}
    samplers = clip_sampler.on_canvases(
        dataset,
        [_recipe(name, config, size) for size in sizes],
        sizes=_size_rule(data),
        skip_broken=data.skip_broken,
    )
    total = sum(len(sampler.owners) for sampler in samplers if sampler)
    streams = {}
    for number, (sampler, size) in enumerate(zip(samplers, sizes, strict=True)):
        if sampler is None:
            continue
        share = len(sampler.owners) / total
        seed = f"{config.seed} {name}"
        if len(sizes) > 1:
            seed += f" {size}"
            logging.info(
                "%s: %.1f %% of the clips lie on %d x %d", name, 100 * share, *size
            )
        stream = _stream(sampler, seed=zlib.crc32(seed.encode()))
        streams[number] = _Weighted(stream, weight * share)
    return streams


def _stream(sampler: clip_sampler.ClipSampler, *, seed: int) -> grain.MapDataset:
    """The endless shuffled clips of one sampler."""
    source = grain.MapDataset.source(sampler.owners).seed(seed)
    # Endless in practice, yet a length that Python can hold after mixing.
    epochs = ENDLESS // len(sampler.owners)
    return source.shuffle().repeat(epochs).random_map(sampler)


def _recipe(
    name: str, config: ml_collections.ConfigDict, size: geometry.Size
) -> clip_sampler.Recipe:
    """What `config.data` says of the clips of a dataset on a canvas of a size."""
    data = config.data
    sides = dict(height=size[0], width=size[1])
    motions = stills.MOTIONS[data.motion or config.parity]
    changes = _transforms(data, sides)
    of_videos = [duplication.Duplicate()] if name in data.duplicate else []
    of_videos += [
        change
        for change in changes
        if config.parity != "released"  # the authors augment stills only
        or not isinstance(change, transforms.Flip | transforms.Reverse)
    ]
    return clip_sampler.Recipe(
        sampling=_sampling(name, config),
        video_transforms=tuple(of_videos),
        still_transforms=tuple(changes),
        canvas=canvas.Canvas(
            **sides,
            max_instances=data.max_instances,
            fill=_mean_colour(config.model.pixels),
        ),
        motion=motions.get(name, motions[""]),
        assumed_camera=tuple(map(float, data.assumed_camera)) or None,
    )


def _sampling(name: str, config: ml_collections.ConfigDict) -> sampling.Sampling:
    options = dict(config.data.sampling)
    span = config.data.span.get(name)
    try:
        return sampling.Sampling(
            num_frames=config.num_frames,
            span=None if span is None else tuple(span),
            gaps=tuple(map(float, options.pop("gaps"))),
            **options,
        )
    except ValueError as error:
        raise ValueError(
            f"config.data.sampling or config.data.span.{name} with "
            f"num_frames={config.num_frames}: {error}"
        ) from error


def _transforms(
    data: ml_collections.ConfigDict, size: Mapping[str, int]
) -> list[transforms.Transform]:
    """Those that `config.data.transforms` names."""
    sizes = _size_rule(data)
    known = {
        "keep_aspect": transforms.KeepAspect(**size, sizes=sizes),
        "resize": transforms.Resize(**size),
        "scale_and_crop": transforms.ScaleAndCrop(**size, **data.scale_and_crop),
        "flip": transforms.Flip(probability=0.5 * data.flip),
        "reverse": transforms.Reverse(probability=0.5 * data.reverse),
        "colour_jitter": transforms.ColourJitter(**data.colour_jitter),
    }
    if unknown := [name for name in data.transforms if name not in known]:
        raise ValueError(
            f"config.data.transforms names {', '.join(unknown)}; known are "
            f"{', '.join(known)}."
        )
    for name in ("flip", "reverse"):
        if data[name] and name not in data.transforms:
            raise ValueError(
                f"config.data.{name} is on, but config.data.transforms has no "
                f"{name!r} in its order."
            )
    return [known[name] for name in data.transforms]


def _mean_colour(pixels: ml_collections.ConfigDict) -> tuple[int, ...]:
    rgb = pixels.mean if pixels.order == "rgb" else pixels.mean[::-1]
    return tuple(round(channel) for channel in rgb)


def _collate(examples: Sequence[dict], *, max_instances: int) -> dict:
    """The arrays of `PackedClips` from clips whose instances are not padded yet."""
    ignore = np.stack([example["ignore"] for example in examples])
    masks = np.zeros((len(examples), max_instances, *ignore.shape[1:]), np.uint8)
    valid = np.zeros((len(examples), max_instances), bool)
    categories = np.zeros((len(examples), max_instances), np.int32)
    for b, example in enumerate(examples):
        count = len(example["masks"])
        masks[b, :count] = example["masks"]
        valid[b, :count] = True
        categories[b, :count] = example["categories"]
    whole = ["frames", "intrinsics", "within"]
    if examples[0]["clean"] is not None:
        whole.append("clean")
    return {key: np.stack([example[key] for example in examples]) for key in whole} | {
        "masks": masks,
        "valid": valid,
        "categories": categories,
        "ignore": ignore,
        "names": [example["name"] for example in examples],
        "dropped": sum(example["dropped"] for example in examples),
        "skipped": [reason for example in examples for reason in example["skipped"]],
    }


def _start_worker(index: int, count: int):
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    """A parent that is killed cannot tell its workers, which would wait for ever."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _log_skipped(batches: Iterator[dict]) -> Iterator[dict]:
    """Names each broken sample once."""
    known = set()
    for batch in batches:
        for reason in batch["skipped"]:
            if reason not in known:
                known.add(reason)
                logging.warning("left out (%d so far): %s", len(known), reason)
        yield batch
