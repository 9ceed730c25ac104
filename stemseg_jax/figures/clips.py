"""Figures of a clip: what a trained network makes of a built-in video."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int32, UInt8
from matplotlib import figure, patches

from stemseg_jax import models
from stemseg_jax.clustering import sequential
from stemseg_jax.data import readers
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.modules.encoder import STRIDE
from stemseg_jax.ops import gaussian, mixing
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.outputs import colours, overlay, steady
from stemseg_jax.systems import stemseg
from stemseg_jax.tracking import windows

_cluster = jax.jit(sequential.cluster, static_argnames="settings")


class Window(NamedTuple):
    """A window of the video and what the network says of it."""

    start: int
    clip: readers.RawClip
    masks: Bool[np.ndarray, "N T h w"]  # of the clip, as training has them
    maps: stemseg.Maps
    bandwidths: Float[Array, "T h w E"]
    probabilities: Float[Array, "T h w"]  # of the foreground
    foreground: Bool[Array, "T h w"]


class Seen(NamedTuple):
    """Two windows of a video, by a network and by the same before training."""

    before: Window
    windows: tuple[Window, Window]
    mixing: mixing.Mixing
    clustering: sequential.Settings


class Instance(NamedTuple):
    """A true object of a window, and its Gaussian as training has it."""

    number: int
    mask: Bool[np.ndarray, "T h w"]  # has a cell
    centre: Float[np.ndarray, "E"]
    bandwidths: Float[np.ndarray, "E"]

    @property
    def reach(self) -> Float[np.ndarray, "E"]:
        """How far from the centre its probability is one half."""
        return np.sqrt(2 * np.log(2) / self.bandwidths)


def look(checkpoint: str, *, video: int = 0) -> Seen:
    """Two windows of a test video with three objects, clustered by the paper's rule.

    Args:
        checkpoint: A run of STEm-Seg, as configs/moving_shapes.py makes one.
        video: Which of the test videos, that no network was trained on; in the first
            one two objects meet.

    Raises:
        ValueError: There is no run, it is of another system, its windows share no
            frame, or what it began from (`init_from`) is not there any more.
    """
    config = models.saved_config(checkpoint)
    if config.system != "stemseg":
        raise ValueError(
            f"{checkpoint} is of the system {config.system!r}; the figures of a clip "
            "are of 'stemseg', e.g. a run of configs/moving_shapes.py."
        )
    size, overlap = config.num_frames, config.tracking.overlap
    if not overlap:
        raise ValueError(
            f"{checkpoint} has tracking.overlap=0: its windows share no frame in which "
            "they could be stitched. Take a run with at least 1."
        )
    model = models.load(config, checkpoint)
    length = 2 * size - overlap
    given = config.evaluation.options
    options = {
        name: given[name] for name in ("height", "width", "marked") if name in given
    }
    (shown,) = moving_shapes.load(
        *(None, "test"),
        num_videos=video + 1,
        num_frames=length,
        objects=(3, 3),
        **options,
    ).videos[video:]
    first, second = windows.starts(length, size, overlap)
    rule = {**config.clustering, "rule": "paper", "seeds": "seediness"}
    return Seen(
        _window(models.initial(config), shown, first, size),
        (_window(model, shown, first, size), _window(model, shown, second, size)),
        mixing.get(config.model.mixing),
        sequential.Settings(**rule),
    )


def _window(model, video, start, size) -> Window:
    clip = video.clip(range(start, start + size))
    frames = jnp.asarray(clip.frames[None])
    frames = model.system.network.encoder.convention.normalise(frames)
    maps = _maps(model.system.network, model.variables, frames)
    bandwidths = gaussian.bandwidths(maps.log_bandwidths, model.system.free_std)
    probabilities = maps.seediness
    if maps.foreground_logits is not None:
        probabilities = jax.nn.sigmoid(maps.foreground_logits)
    chosen = probabilities > model.system.tracking.foreground_threshold
    masks = masks_ops.TO_STRIDE[model.system.target](jnp.asarray(clip.masks))
    masks = np.asarray(masks)
    return Window(start, clip, masks, maps, bandwidths, probabilities, chosen)


@functools.partial(jax.jit, static_argnums=0)
def _maps(network: stemseg.Network, variables, frames) -> stemseg.Maps:
    return jax.tree.map(lambda x: x[0], network.apply(variables, frames))


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
    T, height, width, _ = window.clip.frames.shape
    width = 0.96 * width / height
    fig = figure.Figure(figsize=(8.6, 2.5))
    for axis, (title, frames) in zip(fig.subplots(1, 4), stacks.items(), strict=True):
        for t in reversed(range(T)):
            left, up = (shift * t / (T - 1) for shift in (0.91, 0.77))
            extent = (left, left + width, up, up + 0.96)
            axis.imshow(frames[t], extent=extent, zorder=-t, vmin=0, vmax=1)
            edge = patches.Rectangle((left, up), width, 0.96, fill=False)
            edge.set(edgecolor="white", linewidth=0.8, zorder=-t + 0.5)
            axis.add_patch(edge)
        axis.set(xlim=(0, width + 0.95), ylim=(0, 1.75), title=title)
        axis.axis("off")
    fig.subplots_adjust(wspace=0.03, left=0, right=1, bottom=0, top=0.88)
    return fig


def embedding(seen: Seen) -> figure.Figure:
    """The points of a clip and the Gaussian of each instance, before training and
    after it."""
    names = dimensions(seen.mixing)
    pairs = _pairs(names)
    fig = figure.Figure(figsize=(3.7 * len(pairs), 5.8), layout="constrained")
    axes = fig.subplots(2, len(pairs), squeeze=False)
    shown = {"before training": seen.before, "after it": seen.windows[0]}
    points = np.concatenate([np.asarray(w.maps.embeddings) for w in shown.values()])
    corners = np.reshape(
        [own.centre + [-own.reach, own.reach] for own in instances(seen.windows[0])],
        (-1, len(names)),
    )
    for column, pair in zip(axes.T, pairs, strict=True):
        limits = _limits(points[..., pair].reshape(-1, 2), corners[:, pair])
        (left, right), (bottom, top) = limits
        if names[pair[1]] == "y":  # as in a frame
            bottom, top = top, bottom
        for axis, (title, window) in zip(column, shown.items(), strict=True):
            _scatter(axis, window, pair)
            axis.set(xlabel=names[pair[0]], ylabel=names[pair[1]], title=title)
            axis.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    return fig


def dimensions(mixed: mixing.Mixing) -> list[str]:
    """What each dimension of an embedding is called."""
    plain = [f"plain {k + 1}" for k in range(mixed.plain)]
    return [*mixed.coordinates, *plain, *(f"free {k + 1}" for k in range(mixed.free))]


def _pairs(names: list[str]) -> list[list[int]]:
    """Dimensions to draw against each other: (x, y) first; x again with what is odd."""
    order = [names.index(name) for name in "xy" if name in names]
    rest = [k for k in range(len(names)) if k not in order]
    order += order[:1] * (len(rest) % 2) + rest
    return [order[k : k + 2] for k in range(0, len(order), 2)]


def _limits(
    points: Float[np.ndarray, "P 2"], corners: Float[np.ndarray, "C 2"]
) -> Float[np.ndarray, "2 2"]:
    """Left and right, bottom and top of a frame of 4:3 with nearly all points and all
    corners."""
    inner = np.concatenate([np.percentile(points, (0.5, 99.5), axis=0), corners])
    low, high = inner.min(axis=0), inner.max(axis=0)
    half = np.array([4, 3]) * 0.55 * ((high - low) / [4, 3]).max()
    middle = (low + high) / 2
    return np.stack([middle - half, middle + half], axis=1)


def _scatter(axis, window: Window, pair: list[int]) -> None:
    points = np.asarray(window.maps.embeddings)
    known = instances(window)
    background = ~window.masks.any(axis=0)
    groups = [(background, "#bbbbbb", 0.2)]
    groups += [(own.mask, colour(own.number), 0.5) for own in known]
    for mask, fill, alpha in groups:
        across, up = points[mask][::2][:, pair].T
        axis.scatter(across, up, 3, color=fill, alpha=alpha, lw=0)
    for own in known:
        width, height = 2 * own.reach[pair]
        ellipse = patches.Ellipse(own.centre[pair], width, height, fill=False)
        ellipse.set(edgecolor=0.6 * colour(own.number), linewidth=1.8)
        axis.add_patch(ellipse)
        axis.plot(*own.centre[pair], "+", color=0.6 * colour(own.number), zorder=3)


def colour(number: int) -> Float[np.ndarray, "3"]:
    """Of an object or a slot, which count from 0."""
    return np.array(colours.of_id(number + 1)) / 255


def instances(window: Window) -> list[Instance]:
    """The true objects that have a cell: mean embeddings and mean bandwidths."""
    points = [np.asarray(x) for x in (window.maps.embeddings, window.bandwidths)]
    return [
        Instance(number, mask, *(of_all[mask].mean(axis=0) for of_all in points))
        for number, mask in enumerate(window.masks)
        if mask.any()
    ]


def clusters(window: Window, settings: sequential.Settings) -> sequential.Clusters:
    """What clustering makes of the window, on its own foreground."""
    E = window.maps.embeddings.shape[-1]
    return _cluster(
        *(x.reshape(-1, E) for x in (window.maps.embeddings, window.bandwidths)),
        *(window.maps.seediness.ravel(), window.foreground.ravel()),
        settings=settings,
    )


def slots(window: Window, settings: sequential.Settings) -> Int32[np.ndarray, "T h w"]:
    """The slot of each cell, or -1."""
    found = clusters(window, settings)
    return np.asarray(found.labels).reshape(window.foreground.shape)


def painted(
    window: Window, slots: Int32[np.ndarray, "T h w"]
) -> UInt8[np.ndarray, "T H W 3"]:
    """Grey frames with the cells of each slot."""
    full = (slots + 1).repeat(STRIDE, axis=1).repeat(STRIDE, axis=2)
    grey = window.clip.frames.mean(axis=-1, keepdims=True).astype(np.uint8)
    return np.stack(
        [
            overlay.draw(frame.repeat(3, axis=-1), labels, opacity=0.6)
            for frame, labels in zip(grey, full, strict=True)
        ]
    )
