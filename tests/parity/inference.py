"""Whole videos: from frames to result files."""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.ops import gaussian, pixels, resize
from stemseg_jax.outputs import collector
from stemseg_jax.systems import stemseg, volumes
from stemseg_jax.tracking import windows
from stemseg_jax.tracks import Frame
from tests import goldens
from tests.parity import figures, grouping, released, results
from tests.parity.figures import Figure

STRIDE = 4


class Window(NamedTuple):
    """What the network says of a window, one entry per distinct frame."""

    frames: list[int]
    embeddings: np.ndarray  # [T h w E]
    bandwidths: np.ndarray  # without those of free dimensions
    seediness: np.ndarray


def inference(folder: pathlib.Path, name: str) -> list[Figure]:
    """Maps of windows, foreground, classes, labels, tracks and files."""
    meta, arrays = goldens.load(folder, name)
    config = _config(meta)
    system, variables = released.load(config, salt=meta["salt"])
    images = goldens.pixels(meta["seed"], meta["length"], meta["h"], meta["w"])
    images = goldens.channels_last(images[:, ::-1])  # RGB

    maps, foreground, logits = _maps(system, variables, images)
    frames = (Frame(index, image) for index, image in enumerate(images))
    labels, statistics = collector.collect(system.track(variables, frames))
    labels = np.stack([labels.labels(index) for index in range(len(images))])

    compared = [
        figures.equal("windows", [w.frames for w in maps], meta["clip_frames"]),
        *_compared_maps(maps, arrays, meta.get("tsub", 1)),
        *_compared_scores(meta, arrays, foreground, logits),
    ]
    expected = arrays["label_map"].astype(np.int32)
    threshold = system.tracking.foreground_threshold
    near = np.abs(foreground - threshold) < figures.THRESHOLD
    near |= _near_a_cluster(system, maps, foreground > threshold)
    excused = near & (labels != expected)
    compared.append(figures.different("labels", labels, expected, near=near))
    compared += _compared_tracks(meta, statistics, spare=2 * int(excused.sum()))
    given = {**meta, "image_hw": (meta["h"], meta["w"])}
    files = results.Files(meta["dataset"], labels, statistics, given, uncertain=excused)
    return compared + files.compared(meta["result"], arrays)


def _config(meta: Mapping[str, Any]) -> Any:
    changes = {
        "num_frames": meta["frames"],
        "evaluation__min_dim": meta["min"],
        "evaluation__max_dim": meta["max"],
        "clustering__min_seediness": meta["min_seediness"],
        "tracking__full_size": meta["resize_embeddings"],
    }
    if "overlap" in meta:
        changes["tracking__overlap"] = meta["overlap"]
    return released.config(
        meta["base"],
        backbone=meta.get("backbone", "R-50-FPN"),
        over=meta.get("over"),
        **changes,
    )


def _maps(
    system: stemseg.STEmSeg, variables: Any, images: np.ndarray
) -> tuple[list[Window], np.ndarray, np.ndarray | None]:
    """The windows of a video; foreground and class logits of its frames.

    Foreground is a probability, at the resolution of the clustering.
    """
    network = system.network
    resized = system.sizes.resized(*images.shape[1:3])
    prepared = pixels.prepare(jnp.asarray(images), resized, network.encoder.convention)
    overlap, share = system.tracking.overlap, system.tracking.share_convolutions
    shared = volumes._is_shared(share, overlap)
    encoded = [
        one
        for frame in prepared
        for one in volumes._encode(network, variables, frame[None], shared=shared)
    ]
    count, foreground, logits = np.zeros(len(images)), 0.0, 0.0
    found = []
    for window in windows.windows(len(images), network.num_frames, overlap):
        places = np.array(window.frames)
        own = tuple(encoded[k] for k in places)
        maps = volumes._decode(network, variables, own, shared=shared)
        maps = jax.tree.map(np.asarray, maps)
        semantic = maps.foreground_logits is not None
        # Of frame 0, repeated before a short video, the last; the semantic maps of all.
        last = np.flatnonzero(np.diff(places, append=len(images)))
        used = np.arange(len(places)) if semantic else last
        spread = np.zeros((len(images), len(used)), np.float32)
        spread[places[used], np.arange(len(used))] = 1
        count += spread.sum(axis=1)
        scores = maps.foreground_logits if semantic else maps.seediness
        foreground = foreground + np.tensordot(spread, scores[used], 1)
        if semantic:
            logits = logits + np.tensordot(spread, maps.class_logits[used], 1)
        bandwidths = gaussian.bandwidths(jnp.asarray(maps.log_bandwidths))
        found.append(
            Window(
                places[last].tolist(),
                maps.embeddings[last],
                np.asarray(bandwidths)[last],
                maps.seediness[last][..., None],
            )
        )
    foreground = foreground / count[:, None, None]
    if not semantic:
        return found, foreground, None
    logits = logits / count[:, None, None, None]
    if system.tracking.full_size:
        foreground = _enlarged(foreground[..., None])[..., 0]
        logits = _enlarged(logits)
    return found, np.asarray(jax.nn.sigmoid(foreground)), logits


def _enlarged(maps: np.ndarray) -> np.ndarray:
    size = maps.shape[1] * STRIDE, maps.shape[2] * STRIDE
    return np.asarray(resize.linear(jnp.asarray(maps, jnp.float32), size))


def _compared_maps(
    maps: list[Window], arrays: Mapping[str, np.ndarray], step: int
) -> list[Figure]:
    return [
        figures.relative(
            f"window {number}: {field}",
            getattr(window, field)[::step],
            goldens.channels_last(arrays[f"clip{number}.{field}"], axis=0),
            figures.ACTIVATIONS,
        )
        for number, window in enumerate(maps)
        for field in ("embeddings", "bandwidths", "seediness")
    ]


def _compared_scores(
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    foreground: np.ndarray,
    logits: np.ndarray | None,
) -> list[Figure]:
    """Foreground and classes; the fixtures hold every so manieth pixel."""
    compared = []
    if "fg_prob" in arrays:
        expected = arrays["fg_prob"]
        step = foreground.shape[1] // expected.shape[1]
        compared.append(
            figures.relative(
                "foreground",
                foreground[:, ::step, ::step],
                expected,
                figures.ACTIVATIONS,
            )
        )
    size = meta["fg_mask_shape"]
    mask = np.unpackbits(arrays["fg_mask"], count=int(np.prod(size))).reshape(size)
    threshold = 0.25 if logits is None else 0.5
    near = np.abs(foreground - threshold) < figures.THRESHOLD
    compared.append(
        figures.different("foreground mask", foreground > threshold, mask, near=near)
    )
    if "multiclass" in arrays:
        expected = arrays["multiclass"]
        if expected.ndim == 3:
            best = np.sort(logits, axis=-1)
            near = best[..., -1] - best[..., -2] < figures.THRESHOLD
            classes = logits.argmax(axis=-1)
            compared.append(figures.different("classes", classes, expected, near=near))
        else:
            step = logits.shape[1] // expected.shape[2]
            compared.append(
                figures.relative(
                    "class logits",
                    logits[:, ::step, ::step],
                    goldens.channels_last(expected),
                    figures.ACTIVATIONS,
                )
            )
    return compared


def _near_a_cluster(
    system: stemseg.STEmSeg, maps: list[Window], foreground: np.ndarray
) -> np.ndarray:
    """Pixels about a threshold of the clustering in the window that labels them."""
    near = np.zeros(foreground.shape, bool)
    done: set[int] = set()
    constants = np.float32(system.free_std) ** -2
    for window in maps:
        parts = window[1:]
        if system.tracking.full_size:
            parts = [_enlarged(part) for part in parts]
        embeddings, bandwidths, seediness = parts
        constant = np.broadcast_to(constants, (*bandwidths.shape[:-1], len(constants)))
        bandwidths = np.concatenate([bandwidths, constant], axis=-1)
        clusters = grouping.cluster(
            embeddings.reshape(-1, embeddings.shape[-1]),
            bandwidths.reshape(-1, bandwidths.shape[-1]),
            seediness.ravel(),
            foreground[window.frames].ravel(),
            settings=system.clustering,
        )
        own = grouping.near_a_threshold(embeddings, clusters, system.clustering)
        for place, index in enumerate(window.frames):
            if index not in done:
                near[index] = own[place]
        done.update(window.frames)
    return near & foreground


def _compared_tracks(
    meta: Mapping[str, Any], statistics: Mapping[int, Any], *, spare: int
) -> list[Figure]:
    """Pixels and lifetimes of tracks; `spare` pixels may have changed sides."""
    theirs = {int(k): v for k, v in meta["point_counts"].items() if int(k) > 0}
    ours = {label: track.pixels for label, track in statistics.items()}
    moved = sum(abs(ours.get(k, 0) - theirs.get(k, 0)) for k in ours.keys() | theirs)
    lifetimes = {int(k): v for k, v in meta["lifetimes"].items() if int(k) > 0}
    ours = {label: track.last - track.first for label, track in statistics.items()}
    other = {k for k in ours.keys() | lifetimes if ours.get(k) != lifetimes.get(k)}
    return [
        Figure("pixels of tracks", moved, spare),
        Figure("lifetimes of tracks", len(other), spare),
    ]
