"""Figures of functions alone, without a network."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import figure, patches

from stemseg_jax.losses import lovasz
from stemseg_jax.ops import gaussian, mixing
from stemseg_jax.tracking import windows

BLUE, RED, GREEN, GREY = "#1f77b4", "#d62728", "#2ca02c", "#999999"
SIZE = (3, 24, 40)  # frames, rows and columns of the maps


def mixings() -> figure.Figure:
    """What each mixing function adds, dimension by dimension."""
    columns = ["t", "y", "x", "", "", ""]
    fig = figure.Figure(figsize=(7.6, 4.3))
    fig.subplots_adjust(hspace=0.35, wspace=0.15)
    axes = fig.subplots(len(mixing.MIXINGS), len(columns))
    for row, (name, mixed) in zip(axes, mixing.MIXINGS.items(), strict=True):
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", family="monospace")
        grid = np.asarray(mixed.grid(SIZE))
        places = ["tyx".index(letter) for letter in mixed.coordinates]
        places += range(3, 3 + mixed.plain + mixed.free)
        for axis in row:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for k, place in enumerate(places):
            frames = np.concatenate(grid[..., k], axis=1)
            row[place].imshow(
                frames, cmap="coolwarm", vmin=-1.7, vmax=1.7, aspect="auto"
            )
            predicted = k < mixed.bandwidths
            row[place].spines[:].set(
                visible=True,
                color=BLUE if predicted else RED,
                linestyle="-" if predicted else (0, (2, 2)),
                linewidth=1.8,
            )
    for axis, title in zip(axes[0], ["t", "y", "x"], strict=False):
        axis.set_title(title)
    axes[0, 4].set_title("nothing is added")
    for y, text, colour in (
        (0.05, "bandwidth predicted", BLUE),
        (0.0, "free: bandwidth constant", RED),
    ):
        fig.text(0.9, y, text, color=colour, ha="right")
    fig.text(0.125, 0.05, "each strip: three frames of a clip, of 24 x 40 cells;")
    fig.text(0.125, 0.0, "blue is below 0, red above")
    return fig


def gaussians() -> figure.Figure:
    """How far a centre reaches, by its bandwidth and by the rule."""
    fig = figure.Figure(figsize=(8.2, 2.7), layout="constrained")
    left, right = fig.subplots(1, 2, sharey=True)
    away = jnp.linspace(0, 1.2, 200)
    for sigma, colour in ((0.15, BLUE), (0.32, GREEN), (0.6, RED)):
        p = gaussian.probabilities(
            away[:, None], jnp.zeros(1), jnp.array([sigma**-2], jnp.float32)
        )
        left.plot(away, p, color=colour, label=f"σ = {sigma}, 1/σ² = {sigma**-2:.1f}")
        left.plot([sigma * np.sqrt(2 * np.log(2))] * 2, [0, 0.5], ":", color=colour)
    left.set(xlabel="distance from the centre, embedding units", ylabel="probability")
    right.set_xlabel("d: the same, in units of σ")
    d = jnp.linspace(0, 4, 200)
    paper = gaussian.probabilities(d[:, None], jnp.zeros(1), jnp.ones(1))
    right.plot(d, paper, color=BLUE, label="paper and training: exp(-d²/2)")
    right.plot(d, jnp.exp(-d / 2), color=RED, label="released: exp(-d/2)")
    for axis in (left, right):
        axis.axhline(0.5, color=GREY, linewidth=0.8, zorder=0)
        axis.set(ylim=(0, 1.02), xlim=(0, None))
        axis.legend(frameon=False)
    return fig


def lovasz_hinge() -> figure.Figure:
    """The loss of two points, 1 - IoU of their signs, and the weights of more."""
    fig = figure.Figure(figsize=(8.6, 2.8), layout="constrained")
    axes = fig.subplots(1, 3)
    labels = jnp.array([True, False])
    span = jnp.linspace(-2, 2, 81)
    first, second = jnp.meshgrid(span, span, indexing="xy")
    pairs = jnp.stack([first, second], axis=-1)
    hinge = np.asarray(jax.vmap(jax.vmap(lambda x: lovasz.hinge(x, labels)))(pairs))
    intersection = pairs[..., 0] > 0
    union = 1 + (pairs[..., 1] > 0)
    titles = ("1 - IoU of the signs", "Lovász hinge")
    for axis, values, title in zip(
        axes, (1 - intersection / union, hinge), titles, strict=False
    ):
        shown = axis.imshow(
            values, origin="lower", extent=(-2, 2, -2, 2), cmap="viridis", vmax=3
        )
        axis.set(title=title, xlabel="logit of the object's point")
    axes[0].set_ylabel("logit of the background's point")
    axes[1].contour(span, span, hinge, levels=[0.5, 1, 1.5, 2, 2.5], colors="w")
    fig.colorbar(shown, ax=axes[:2], shrink=0.8)
    labels = np.arange(12) % 4 == 1  # 3 of 12 points belong to the object
    logits = jnp.where(labels, 1.0, -1.0) * jnp.linspace(-2, 0.9, 12)  # worst first
    weights = np.abs(jax.grad(lovasz.hinge)(logits, jnp.asarray(labels)))
    colours = np.where(labels, GREEN, GREY)
    axes[2].bar(np.arange(1, 13), weights, color=colours)
    axes[2].set(title="weight of each error", xlabel="rank, the largest error first")
    axes[2].text(12.5, 0.9 * weights.max(), "object", color=GREEN, ha="right")
    axes[2].text(12.5, 0.8 * weights.max(), "background", color="#666", ha="right")
    return fig


def laid_windows() -> figure.Figure:
    """The windows of a video of 21 frames, and of one that is shorter than one."""
    fig = figure.Figure(figsize=(8.2, 1.9), layout="constrained")
    left, right = fig.subplots(1, 2, width_ratios=[21, 9])
    for axis, length in ((left, 21), (right, 5)):
        for row, window in enumerate(windows.windows(length, 8, 4)):
            for place in range(window.start, window.end):
                known = place < window.new
                axis.add_patch(
                    patches.Rectangle(
                        (place, -row),
                        0.92,
                        0.8,
                        facecolor="#bcd5ea" if known else BLUE,
                        hatch="////" if place < 0 else None,
                        edgecolor="white",
                    )
                )
        first = min(0, length - 8)
        axis.set(xlim=(first - 0.2, max(length, first + 8) + 0.2), yticks=[])
        axis.set(ylim=(-row - 0.3, 1), xlabel="frame")
        axis.set_xticks([k + 0.46 for k in range(0, length, 4)], range(0, length, 4))
        axis.spines["left"].set_visible(False)
    left.set_title("21 frames in windows of 8 that share 4; the last is moved back")
    right.set_title("5 frames: frame 0 is repeated")
    return fig
