"""Figures of what a network says of a clip: each output as a map over frames."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib import figure

from stemseg_jax.figures import clips
from stemseg_jax.ops import gaussian

COLUMNS = 4  # frames that are shown


def components(seen: clips.Seen) -> figure.Figure:
    """The embedding, dimension by dimension."""
    window = seen.windows[0]
    points = np.asarray(window.maps.embeddings)
    most = np.abs(points).max()
    style = dict(cmap="coolwarm", vmin=-most, vmax=most)
    names = clips.dimensions(seen.mixing)
    rows = {name: points[..., k] for k, name in enumerate(names)}
    return _over_frames(window, rows, "embedding", style, outline="black")


def seediness(seen: clips.Seen) -> figure.Figure:
    """The foreground, and seediness beside what it is trained to be: the probability
    of a cell under the Gaussian of its own object, and 0 in the background."""
    window = seen.windows[0]
    target = np.zeros(window.foreground.shape, np.float32)
    for own in clips.instances(window):
        said = jnp.asarray(own.centre), jnp.asarray(own.bandwidths)
        p = gaussian.probabilities(window.maps.embeddings, *said)
        target = np.where(own.mask, p, target)
    rows = {
        "foreground": window.probabilities,
        "seediness": window.maps.seediness,
        "what it is\ntrained to be": target,
    }
    return _over_frames(window, rows, "probability, seediness", dict(vmin=0, vmax=1))


def bandwidths(seen: clips.Seen) -> figure.Figure:
    """The bandwidths that are predicted, as standard deviations of the embedding."""
    window = seen.windows[0]
    V = seen.mixing.bandwidths
    deviations = np.asarray(window.bandwidths) ** -0.5
    names = clips.dimensions(seen.mixing)[:V]
    rows = {f"σ of {name}": deviations[..., k] for k, name in enumerate(names)}
    label = "standard deviation"
    if seen.mixing.free:
        label += f"\n(free dimensions: {deviations[..., V:].mean():.2g})"
    style = dict(vmin=0, vmax=np.percentile(deviations[..., :V], 99))
    return _over_frames(window, rows, label, style)


def _over_frames(
    window: clips.Window,
    rows: dict[str, Any],
    label: str,
    style: dict[str, Any],
    outline: str = "white",
) -> figure.Figure:
    """Frames, and below them a row for each map; true objects have an outline."""
    T, height, width, _ = window.clip.frames.shape
    chosen = np.linspace(0, T - 1, min(T, COLUMNS)).round().astype(int)
    cell = 1.85
    size = (cell * len(chosen) + 1.6, (cell * height / width + 0.1) * (len(rows) + 1))
    fig = figure.Figure(figsize=size, layout="constrained")
    axes = fig.subplots(len(rows) + 1, len(chosen), squeeze=False)
    for column, t in zip(axes.T, chosen, strict=True):
        column[0].imshow(window.clip.frames[t])
        column[0].set_title(f"frame {window.start + t}")
        for axis, values in zip(column[1:], rows.values(), strict=True):
            shown = axis.imshow(values[t], **style)
            for mask in window.masks[:, t]:
                if mask.any():
                    _outline(axis, mask, outline)
        for axis in column:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    for axis, name in zip(axes[:, 0], ("frames", *rows), strict=True):
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    fig.colorbar(shown, ax=axes[1:], label=label, shrink=0.8, aspect=30)
    return fig


def _outline(axis, mask, colour: str) -> None:
    h, w = mask.shape
    around = np.arange(-1, w + 1), np.arange(-1, h + 1)
    axis.contour(*around, np.pad(mask, 1), [0.5], colors=colour, linewidths=0.9)
    axis.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5))
