"""Figures of a clip: what a trained network makes of a built-in video."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
from matplotlib import figure, patches

from stemseg_jax import models
from stemseg_jax.clustering import sequential
from stemseg_jax.data import readers
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.ops import gaussian
from stemseg_jax.outputs import colours, overlay, steady
from stemseg_jax.systems import stemseg
from stemseg_jax.tracking import windows

VIDEO = 0  # of the test videos: three objects, two of which meet
STRIDE = 4
OBJECT = [np.array(colours.of_id(n)) / 255 for n in range(1, 13)]


class Window(NamedTuple):
    """A window of the video and what the network says of it."""

    start: int
    clip: readers.RawClip
    maps: stemseg.Maps
    bandwidths: jax.Array  # [T h w E]
    foreground: jax.Array  # bool [T h w]


class Seen(NamedTuple):
    before: Window  # by the network as it began
    windows: tuple[Window, Window]
    clustering: sequential.Settings


def look(checkpoint: str) -> Seen:
    """Two windows of a video that the network was not trained on."""
    config = models.saved_config(checkpoint)
    model = models.load(config, checkpoint)
    given = config.evaluation.options
    options = {
        name: given[name] for name in ("height", "width", "marked") if name in given
    }
    (video,) = moving_shapes.load(
        None, "test", num_videos=VIDEO + 1, objects=(3, 3), **options
    ).videos[VIDEO:]
    size, overlap = config.num_frames, config.tracking.overlap
    first, second = windows.starts(2 * size - overlap, size, overlap)
    rule = {**config.clustering, "rule": "paper"}
    return Seen(
        _window(models.initial(config), video, first, size),
        (_window(model, video, first, size), _window(model, video, second, size)),
        sequential.Settings(**rule),
    )


def _window(model, video, start, size) -> Window:
    clip = video.clip(range(start, start + size))
    frames = model.system.network.encoder.convention.normalise(clip.frames[None])
    maps = jax.jit(model.system.network.apply)(model.variables, frames)
    maps = jax.tree.map(lambda x: x[0], maps)
    bandwidths = gaussian.bandwidths(maps.log_bandwidths, model.system.free_std)
    threshold = model.system.tracking.foreground_threshold
    chosen = jax.nn.sigmoid(maps.foreground_logits) > threshold
    return Window(start, clip, maps, bandwidths, chosen)


def volume(seen: Seen) -> figure.Figure:
    """A clip as a volume: its frames, what is said of them, and its objects."""
    window = seen.windows[0]
    principal = steady.PrincipalColours()
    said = [np.asarray(x) for x in (window.maps.embeddings, window.maps.seediness)]
    stacks = {
        "frames": window.clip.frames,
        "embeddings, as colours": [principal.next(frame) for frame in said[0]],
        "seediness": said[1],
        "objects of the window": painted(window, slots(window, seen.clustering)),
    }
    fig = figure.Figure(figsize=(8.6, 2.5))
    for axis, (title, frames) in zip(fig.subplots(1, 4), stacks.items(), strict=True):
        for t in reversed(range(0, len(frames))):
            left, up = 0.13 * t, 0.11 * t
            extent = (left, left + 1.6, up, up + 0.96)
            axis.imshow(frames[t], extent=extent, zorder=-t, vmin=0, vmax=1)
            edge = patches.Rectangle((left, up), 1.6, 0.96, fill=False, zorder=-t + 0.5)
            edge.set(edgecolor="white", linewidth=0.8)
            axis.add_patch(edge)
        axis.set(xlim=(0, 2.55), ylim=(0, 1.75), title=title)
        axis.axis("off")
    fig.subplots_adjust(wspace=0.03, left=0, right=1, bottom=0, top=0.88)
    return fig


def embedding(seen: Seen) -> figure.Figure:
    """The points of a clip and the Gaussian of each instance, before training and
    after it."""
    fig = figure.Figure(figsize=(7.4, 5.8), layout="constrained")
    axes = fig.subplots(2, 2)
    named = (("before training", seen.before), ("after it", seen.windows[0]))
    for row, (title, window) in zip(axes, named, strict=True):
        for axis, (across, up), names in zip(
            row, ((1, 0), (2, 3)), (("x", "y"), ("free 1", "free 2")), strict=True
        ):
            _scatter(axis, window, across, up)
            axis.set(xlabel=names[0], ylabel=names[1], title=title, aspect="equal")
    for axis in axes[:, 0]:  # as in a frame
        axis.set(xlim=(-2.3, 2.3), ylim=(1.7, -1.7))
    for axis in axes[:, 1]:
        axis.set(xlim=(-2, 2), ylim=(-1.48, 1.48))
    return fig


def _scatter(axis, window: Window, across: int, up: int) -> None:
    points = np.asarray(window.maps.embeddings)
    masks = window.clip.masks[:, :, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    groups = [(~masks.any(axis=0), "#bbbbbb", 0.2)]
    groups += [(mask, OBJECT[n], 0.5) for n, mask in enumerate(masks)]
    for mask, colour, alpha in groups:
        own = points[mask][::2]
        axis.scatter(own[:, across], own[:, up], 3, color=colour, alpha=alpha, lw=0)
    for n, mask in enumerate(masks):
        centre = points[mask].mean(axis=0)
        deviation = np.asarray(window.bandwidths)[mask].mean(axis=0) ** -0.5
        reach = 2 * np.sqrt(2 * np.log(2)) * deviation  # width where p = 0.5
        ellipse = patches.Ellipse(
            (centre[across], centre[up]), reach[across], reach[up], fill=False
        )
        ellipse.set(edgecolor=0.6 * OBJECT[n], linewidth=1.8)
        axis.add_patch(ellipse)
        axis.plot(centre[across], centre[up], "+", color=0.6 * OBJECT[n], zorder=3)


def clusters(window: Window, settings, most: int) -> sequential.Clusters:
    E = window.maps.embeddings.shape[-1]
    limited = dataclasses.replace(settings, max_instances=most)
    return sequential.cluster(
        *(x.reshape(-1, E) for x in (window.maps.embeddings, window.bandwidths)),
        *(window.maps.seediness.ravel(), window.foreground.ravel()),
        settings=limited,
    )


def slots(window: Window, settings, most: int | None = None) -> np.ndarray:
    found = clusters(window, settings, most or settings.max_instances)
    return np.asarray(found.labels).reshape(window.foreground.shape)


def painted(window: Window, slots: np.ndarray) -> np.ndarray:
    """Grey frames with the cells of each label."""
    full = (slots + 1).repeat(STRIDE, axis=1).repeat(STRIDE, axis=2)
    grey = window.clip.frames.mean(axis=-1, keepdims=True).astype(np.uint8)
    return np.stack(
        [
            overlay.draw(frame.repeat(3, axis=-1), labels, opacity=0.6)
            for frame, labels in zip(grey, full, strict=True)
        ]
    )


FIGURES = {"volume.jpg": volume, "embedding.png": embedding}
