"""Figures of how points are grouped: clustering, and stitching of two windows."""

import clips
import jax.numpy as jnp
import numpy as np
from matplotlib import figure

from stemseg_jax.ops import gaussian
from stemseg_jax.tracking import matching, stitching

OTHERS = 4  # colours that the tracklets of the second window are after


def clustering(seen: clips.Seen) -> figure.Figure:
    """Seed by seed: the best point that is left, what is near it, what it takes."""
    window = seen.windows[0]
    found = clips.clusters(window, seen.clustering, seen.clustering.max_instances)
    steps = int(found.valid.sum())
    fig = figure.Figure(figsize=(8.6, 1.0 * (steps + 1)), layout="constrained")
    axes = fig.subplots(steps + 1, 3, squeeze=False)
    taken = np.full(window.foreground.shape, -1)
    titles = (
        "seediness of what is left",
        "probability around the seed",
        "taken so far",
    )
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for k, (left, middle, right) in enumerate(axes):
        unassigned = np.asarray(window.foreground) & (taken < 0)
        seediness = np.where(unassigned, window.maps.seediness, -np.inf)
        seed = np.unravel_index(seediness.argmax(), seediness.shape)
        shown = (seed[0], 7 if seed[0] < 4 else 0)  # the seed's frame and another
        if k < steps:
            said = found.centres[k], found.bandwidths[k]
            p = np.asarray(gaussian.probabilities(window.maps.embeddings, *said))
            _show(middle, p[shown, :])
            left.set_ylabel(f"seed {k + 1},\nframes {shown[0]}, {shown[1]}", fontsize=8)
            taken = clips.slots(window, seen.clustering, k + 1)
        else:
            least = seen.clustering.min_seediness
            words = f"The best seed left has {seediness[seed]:.2f},\nbelow {least}: "
            middle.text(0.5, 0.5, words + "the search ends.", ha="center", va="center")
            middle.axis("off")
        _show(left, np.where(unassigned, seediness, np.nan)[shown, :])
        left.plot(seed[2], seed[1], "x", color="red", markersize=6)
        _show(right, clips.painted(window, taken)[shown, :])
    return fig


def _show(axis, images) -> None:
    """Frames beside each other, in cells."""
    scale = 1 if images.ndim == 3 else clips.STRIDE
    height, width = (side / scale for side in images.shape[1:3])
    for k, image in enumerate(images):
        left = k * (width + 1) - 0.5
        extent = (left, left + width, height - 0.5, -0.5)
        axis.imshow(image, extent=extent, vmin=0, vmax=1)
    axis.set(xlim=(-0.5, left + width), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def stitched(seen: clips.Seen) -> figure.Figure:
    """Two windows, the IoU of their tracklets in the shared frames, and the tracks."""
    first, second = seen.windows
    own = [clips.slots(window, seen.clustering) for window in seen.windows]
    shared = first.start + len(own[0]) - second.start
    tracks, iou = _stitch(own, seen, shared)
    fig = figure.Figure(figsize=(8.6, 2.75))
    columns = (second.start + len(own[1])) // 2  # every other frame is shown
    grid = fig.add_gridspec(4, columns, height_ratios=[1, 1, 0.15, 1], hspace=0.1)
    fig.subplots_adjust(left=0.09, right=0.83, wspace=0.04, top=1, bottom=0.07)
    others = np.where(own[1] < 0, -1, own[1] + OTHERS)
    for row, window, labels, begin, name in (
        (0, first, own[0], 0, "window 1"),
        (1, second, others, 0, "window 2"),
        (3, first, tracks[0] - 1, 0, "tracks"),
        (3, second, tracks[1] - 1, shared, ""),
    ):
        painted = clips.painted(window, labels)
        for t in range(begin, len(painted), 2):
            axis = fig.add_subplot(grid[row, (window.start - first.start + t) // 2])
            axis.imshow(painted[t])
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if t == begin:
                axis.set_ylabel(name, rotation=0, ha="right", va="center")
            if row == 3:
                axis.set_xlabel(f"frame {window.start + t}", fontsize=7, labelpad=2)
    if iou.size:
        _show_table(fig.add_axes((0.87, 0.45, 0.13, 0.38)), iou)
    return fig


def _stitch(own, seen: clips.Seen, shared: int):
    """Track ids of both windows, and the IoU of their tracklets."""
    K = seen.clustering.max_instances
    nothing = jnp.zeros(own[0].shape, jnp.int32)
    tracks, previous, known, next_id = [], nothing, 0, jnp.int32(1)
    for labels, window in zip(own, seen.windows, strict=True):
        found = stitching.stitch(
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
        num_rows=own[0].max() + 1,
        num_columns=own[1].max() + 1,
    )
    return tracks, np.asarray(matching.iou(counts))


def _show_table(axis, iou) -> None:
    axis.imshow(iou, cmap="Greens", vmin=0, vmax=1.3)
    for (y, x), value in np.ndenumerate(iou):
        axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=6)
    axis.set(xticks=[], yticks=[], title="IoU in the\nshared frames")
    axis.spines[:].set_visible(False)
    rows, columns = iou.shape
    squares = [(-0.75, y, clips.OBJECT[y]) for y in range(rows)]
    squares += [(x, rows - 0.25, clips.OBJECT[x + OTHERS]) for x in range(columns)]
    for x, y, colour in squares:
        axis.plot(x, y, "s", color=colour, clip_on=False, markersize=5)


FIGURES = {"clustering.jpg": clustering, "stitching.jpg": stitched}
