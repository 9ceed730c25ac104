"""Figures of how points are grouped: clustering, and stitching of two windows."""

import math

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib import figure

from stemseg_jax.clustering import sequential
from stemseg_jax.figures import clips
from stemseg_jax.modules.encoder import STRIDE
from stemseg_jax.ops import gaussian
from stemseg_jax.tracking import matching, stitching

_stitched = jax.jit(
    stitching.stitch, static_argnames=("num_slots", "max_alive", "settings")
)


def clustering(seen: clips.Seen, *, most: int = 6) -> figure.Figure:
    """Seed by seed: the best point that is left, what is near it, what it takes.

    Args:
        most: Seeds that are shown; the last row says why there are no more.
    """
    window = seen.windows[0]
    found = clips.clusters(window, seen.clustering)
    labels = np.asarray(found.labels).reshape(window.foreground.shape)
    steps = min(int(found.valid.sum()), most)
    fig = figure.Figure(figsize=(8.6, 1.0 * (steps + 1)), layout="constrained")
    axes = fig.subplots(steps + 1, 3, squeeze=False)
    titles = (
        "seediness of what is left",
        "probability around the seed",
        "taken so far",
    )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for k, (left, middle, right) in enumerate(axes):
        unassigned = np.asarray(window.foreground) & ((labels < 0) | (labels >= k))
        seediness = np.where(unassigned, window.maps.seediness, -np.inf)
        seed = np.unravel_index(seediness.argmax(), seediness.shape)
        last = len(labels) - 1
        shown = (seed[0], last if seed[0] <= last / 2 else 0)  # and another
        if k < steps:
            said = found.centres[k], found.bandwidths[k]
            p = np.asarray(gaussian.probabilities(window.maps.embeddings, *said))
            _show(middle, p[shown, :])
            left.set_ylabel(f"seed {k + 1},\nframes {shown[0]}, {shown[1]}", fontsize=8)
        else:
            words = _why_no_more(found, steps, seediness[seed], seen.clustering)
            middle.text(0.5, 0.5, words, ha="center", va="center")
            middle.axis("off")
        _show(left, np.where(unassigned, seediness, np.nan)[shown, :])
        if unassigned.any():
            left.plot(seed[2], seed[1], "x", color="red", markersize=6)
        taken = np.where(labels < min(k + 1, steps), labels, -1)
        _show(right, clips.painted(window, taken)[shown, :])
    return fig


def _why_no_more(found, steps, best, settings: sequential.Settings) -> str:
    if further := int(found.valid.sum()) - steps:
        return f"{further} more follow."
    if best == -np.inf:
        return "No foreground is left:\nthe search ends."
    if steps == settings.max_instances:
        return f"All {steps} slots are taken:\nthe search ends."
    least = settings.min_seediness
    return f"The best seed left has {best:.2f},\nbelow {least}: the search ends."


def _show(axis, images) -> None:
    """Frames beside each other, in cells."""
    cmap = matplotlib.colormaps["viridis"].with_extremes(bad="#eeeeee")
    scale = 1 if images.ndim == 3 else STRIDE
    height, width = (side / scale for side in images.shape[1:3])
    for k, image in enumerate(images):
        left = k * (width + 1) - 0.5
        extent = (left, left + width, height - 0.5, -0.5)
        axis.imshow(image, extent=extent, cmap=cmap, vmin=0, vmax=1)
    axis.set(xlim=(-0.5, left + width), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def stitched(seen: clips.Seen) -> figure.Figure:
    """Two windows, the IoU of their tracklets in the shared frames, and the tracks."""
    first, second = seen.windows
    own = [clips.slots(window, seen.clustering) for window in seen.windows]
    shared = first.start + len(own[0]) - second.start
    tracks, iou = _stitch(own, seen, shared)
    length = second.start - first.start + len(own[1])
    every = math.ceil(length / 6)
    fig = figure.Figure(figsize=(8.6, 2.75))
    columns = math.ceil(length / every)
    grid = fig.add_gridspec(4, columns, height_ratios=[1, 1, 0.15, 1], hspace=0.1)
    fig.subplots_adjust(left=0.09, right=0.83, wspace=0.04, top=1, bottom=0.07)
    others = np.where(own[1] < 0, -1, own[1] + len(iou))
    for row, window, labels, begin, name in (
        (0, first, own[0], 0, "window 1"),
        (1, second, others, 0, "window 2"),
        (3, first, tracks[0] - 1, 0, "tracks"),
        (3, second, tracks[1] - 1, shared, ""),
    ):
        painted = clips.painted(window, labels)
        offset = window.start - first.start
        for column, place in enumerate(range(-offset, length - offset, every)):
            if not begin <= place < len(painted):
                continue
            axis = fig.add_subplot(grid[row, column])
            axis.imshow(painted[place])
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if name:
                axis.set_ylabel(name, rotation=0, ha="right", va="center")
                name = ""
            if row == 3:
                frame = f"frame {window.start + place}"
                axis.set_xlabel(frame, fontsize=7, labelpad=2)
    if iou.size:
        _show_table(fig.add_axes((0.87, 0.45, 0.13, 0.38)), iou)
    return fig


def _stitch(own, seen: clips.Seen, shared: int):
    """Track ids of both windows, and the IoU of their tracklets."""
    K = seen.clustering.max_instances
    nothing = jnp.zeros(own[0].shape, jnp.int32)
    tracks, previous, known, next_id = [], nothing, 0, jnp.int32(1)
    for labels, window in zip(own, seen.windows, strict=True):
        found = _stitched(
            *(previous, jnp.asarray(labels, jnp.int32), window.foreground),
            *(jnp.int32(known), next_id),
            num_slots=K,
            max_alive=2 * K,
            settings=stitching.Settings(rule="paper"),
        )
        tracks.append(np.asarray(found.labels))
        previous = jnp.concatenate([found.labels[-shared:], nothing[shared:]])
        known, next_id = shared, found.next_id
    counts = matching.joint_counts(
        jnp.asarray(own[0][-shared:], jnp.int32),
        jnp.asarray(own[1][:shared], jnp.int32),
        num_rows=int(own[0].max()) + 1,
        num_columns=int(own[1].max()) + 1,
    )
    return tracks, np.asarray(matching.iou(counts))


def _show_table(axis, iou) -> None:
    axis.imshow(iou, cmap="Greens", vmin=0, vmax=1.3)
    most = max(iou.shape)
    for (y, x), value in np.ndenumerate(iou):
        if most <= 5:  # else there is no room
            axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6)
    axis.set(xticks=[], yticks=[], title="IoU in the\nshared frames")
    axis.spines[:].set_visible(False)
    rows, columns = iou.shape
    squares = [(-0.75, y, clips.colour(y)) for y in range(rows)]
    squares += [(x, rows - 0.25, clips.colour(rows + x)) for x in range(columns)]
    for x, y, colour in squares:
        axis.plot(x, y, "s", color=colour, clip_on=False, markersize=min(5, 40 / most))
