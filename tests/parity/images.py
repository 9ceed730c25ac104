"""Frames and masks on their way into the network."""

import pathlib
import random
from typing import Any

import jax.numpy as jnp
import numpy as np

from stemseg_jax.data import readers
from stemseg_jax.data.clips import duplication, sampling, transforms
from stemseg_jax.geometry import SizeRule, padded
from stemseg_jax.losses import segmentation
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.ops import pixels
from stemseg_jax.tracking import windows
from tests import goldens
from tests.parity import figures
from tests.parity.figures import Figure

OVERLAPS = {"davis": 6, "ytvis": 4, "kittimots": 4}
IGNORE_CATEGORY = 3  # of KITTI-MOTS, there


def preproc(folder: pathlib.Path, name: str) -> list[Figure]:
    """Sizes, network input, masks, targets and the cutting of videos."""
    meta, arrays = goldens.load(folder, name)
    sizes = {
        f"{row['wh']} {row['min']}/{row['max']}": figures.equal(
            "", _sizes(row), (row["resized_wh"], row["padded_wh"])
        )
        for row in meta["resize_table"]
    }
    cuts = {
        f"{row['dataset']} {row['length']}": figures.equal("", _cut(row), row["clips"])
        for row in meta["clip_split"]
    }
    results = [
        figures.of_each("sizes", sizes),
        figures.of_each("windows of a video", cuts),
    ]
    for key in arrays:
        if key.endswith(".tensor"):
            given = meta[key.removesuffix(".tensor")]
            actual = np.moveaxis(_network_input(given), -1, 0)
            quantity = key.replace(".tensor", " (grey levels)")
            results.append(
                figures.absolute(quantity, actual, arrays[key], figures.GREY_LEVELS)
            )
    return results + _targets(meta["target"], arrays)


def _sizes(row: dict[str, Any]) -> tuple[list[int], list[int]]:
    rule = SizeRule(min_dim=row["min"], max_dim=row["max"])
    resized = rule.resized(*row["wh"][::-1])
    return list(resized[::-1]), list(padded(resized)[::-1])


def _cut(row: dict[str, Any]) -> list[list[int]]:
    overlap = row.get("overlap", OVERLAPS[row["dataset"]])
    parts = windows.windows(row["length"], row["clip"], overlap)
    return [list(window.frames) for window in parts]


def _network_input(given: dict[str, Any]) -> np.ndarray:
    frame = goldens.pixels(given["seed"], 1, *given["hw"])[:, ::-1]  # RGB
    rule = SizeRule(min_dim=given["min"], max_dim=given["max"])
    resized = rule.resized(*given["hw"])
    images = jnp.asarray(goldens.channels_last(frame))
    return np.asarray(pixels.prepare(images, resized, pixels.Convention())[0])


def _targets(given: dict[str, Any], arrays: dict[str, np.ndarray]) -> list[Figure]:
    """Masks at network size and at the stride of the losses."""
    masks, ignore = arrays["mask.in"] > 0, arrays["ignore.in"] > 0
    raw = readers.RawClip(
        frames=np.zeros((*ignore.shape, 3), np.uint8),
        ids=np.arange(len(masks)),
        categories=np.array(given["categories"]),
        masks=masks,
        ignore=ignore,
    )
    clip = transforms.resize(raw, tuple(given["resized_hw"]))
    margins = [
        (0, padded - size)
        for padded, size in zip(given["padded_hw"], given["resized_hw"], strict=True)
    ]
    padded = jnp.pad(clip.masks, [(0, 0), (0, 0), *margins])
    small = masks_ops.central_and(padded)
    small_ignore = masks_ops.central_and(jnp.pad(clip.ignore, [(0, 0), *margins]))
    categories = jnp.array(given["categories"], jnp.int32)
    classes = segmentation.labels(small, categories, categories > 0)
    full = segmentation.labels(jnp.asarray(masks), categories, categories > 0)
    ours = {
        "mask.resized": clip.masks,
        "ignore.resized": clip.ignore,
        "target.masks": small,
        "target.ignore": small_ignore,
        "target.semseg": classes,
        "semseg_from_input": full,
    }
    return [figures.different(key, ours[key], arrays[key]) for key in ours]


# -------------------------------------------------------------------------------- data


def data(folder: pathlib.Path, name: str) -> list[Figure]:
    """The instance duplicator, and what loaders make of a video.

    Which datasets, videos and starts are drawn is not compared: there a list is
    shuffled once by Python's generator, here a clip depends on seed and position alone.
    """
    meta, arrays = goldens.load(folder, name)
    results = [
        Figure("mixing, starts of clips", 0, np.inf, "not compared: drawn otherwise")
    ]
    for number, given in enumerate(meta["duplicator"]):
        results += _duplicated(f"dup{number}", given, arrays)
    for dataset, given in meta["loaders"].items():
        results += _loaded(dataset, given, arrays)
    return results


def _duplicated(case: str, given: dict[str, Any], arrays: dict) -> list[Figure]:
    masks = arrays[f"{case}.masks_in"] > 0
    frames = goldens.pixels(given["pixels_seed"], len(masks), *given["hw"])[:, ::-1]
    clip = readers.RawClip(
        frames=goldens.channels_last(frames),
        ids=np.array([1]),
        categories=np.array([1]),
        masks=masks[None],
        ignore=np.zeros(masks.shape, bool),
    )
    rng = random.Random(given["python_random_seed"])
    result = duplication.duplicate(rng, clip)
    happened = len(result.ids) == 2
    results = [figures.equal(f"{case}: duplicated", happened, given["duplicated"])]
    if happened and given["duplicated"]:
        ours = {"orig": result.masks[0], "copy": result.masks[1]}
        ours["image0"] = result.frames[0, ..., ::-1]  # BGR there
        results += [
            figures.different(f"{case}: {key}", ours[key], arrays[f"{case}.{key}"])
            for key in ours
        ]
    return results


def _loaded(dataset: str, given: dict[str, Any], arrays: dict) -> list[Figure]:
    """The first clip of a loader; of the others, which frames they have."""
    spans = {
        f"clip {number}": _positions(clip["images"], given["sequences"])
        for number, clip in enumerate(given["clips"])
    }
    results = [figures.of_each(f"{dataset}: frames of clips", spans)]

    first = given["clips"][0]
    index, frames = _frames(first["images"], given["sequences"])
    _, length, instances = given["sequences"][index]
    instances = {number: instances[number] for number in sorted(instances, key=int)}
    size = length, *given["hw"]
    images = goldens.pixels(given["data_seed"] + index, *size)[frames][:, ::-1]
    tubes = goldens.tubes(given["data_seed"] + 50 + index, len(instances), *size) > 0
    for tube, (_, present) in zip(tubes, instances.values(), strict=True):
        tube[np.setdiff1d(np.arange(length), present)] = False
    order = [list(instances).index(str(number)) for number in first["instances"]]
    tubes, categories = tubes[order][:, frames], np.array(first["categories"])
    ignored = categories == (IGNORE_CATEGORY if dataset == "mots" else -1)
    clip = readers.RawClip(
        frames=goldens.channels_last(images),
        ids=np.array(first["instances"])[~ignored],
        categories=categories[~ignored],
        masks=tubes[~ignored],
        ignore=tubes[ignored].any(axis=0),
    )
    if dataset == "davis":
        clip = transforms.mark_unlabelled(clip)
    expected = {
        key: arrays[f"video_{dataset}.{key}"]
        for key in ("masks", "ignore", "images_t0")
    }
    clip = transforms.resize(clip, expected["masks"].shape[-2:])
    images = np.asarray(pixels.Convention().normalise(jnp.asarray(clip.frames[0])))
    return [
        *results,
        figures.equal(
            f"{dataset}: categories", clip.categories.tolist(), given["category_ids"]
        ),
        figures.different(f"{dataset}: masks", clip.masks, expected["masks"]),
        figures.different(f"{dataset}: ignore", clip.ignore, expected["ignore"]),
        figures.absolute(
            f"{dataset}: image (grey levels)",
            np.moveaxis(images, -1, 0),
            expected["images_t0"],
            1.0,
        )._replace(note="training frames stay whole grey levels here"),
    ]


def _frames(images: list[str], sequences: list) -> tuple[int, list[int]]:
    """Which sequence the images are of, and which frames of it."""
    paths = [pathlib.PurePath(image) for image in images]
    names = [name for name, *_ in sequences]
    return names.index(paths[0].parent.name), [int(path.stem) for path in paths]


def _positions(images: list[str], sequences: list) -> Figure:
    """Whether frames lie as ours would, counted without those that have no instance."""
    index, frames = _frames(images, sequences)
    _, _, instances = sequences[index]
    annotated = sorted({t for _, present in instances.values() for t in present})
    positions = [annotated.index(t) for t in frames]
    span = positions[-1] - positions[0]
    rule = sampling.Sampling(num_frames=len(frames), span=(span, span))
    rng = np.random.default_rng(0)  # nothing is left to chance
    ours = rule.positions(rng, positions[-1] + 1, starts=[positions[0]])
    return figures.equal("", ours, positions)
