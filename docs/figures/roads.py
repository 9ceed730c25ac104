"""The road of each system: what a video passes through, from left to right."""

from typing import NamedTuple

from matplotlib import figure, patches

WIDTH, HEIGHT, GAP = 1.5, 0.8, 0.32
COLOURS = {
    "data": "#e8e8e8",
    "modules": "#cfe3f5",
    "clustering": "#d8efd3",
    "tracking": "#fbe0c3",
}


class Stage(NamedTuple):
    """A box; its colour is the folder of the package that it is in."""

    folder: str
    text: str


class Road(NamedTuple):
    stages: tuple[Stage, ...]
    back: tuple[int, int, str] | None = None  # from and to a stage, for the next frame


def draw(road: Road) -> figure.Figure:
    step = WIDTH + GAP
    width = len(road.stages) * step - GAP
    bottom = -0.85 if road.back else -0.25
    fig = figure.Figure(figsize=(width, HEIGHT - bottom + 0.05))
    axis = fig.add_axes((0, 0, 1, 1))
    axis.set(xlim=(-0.05, width + 0.05), ylim=(bottom, HEIGHT + 0.05), aspect="equal")
    axis.axis("off")
    for k, stage in enumerate(road.stages):
        left = k * step
        axis.add_patch(
            patches.FancyBboxPatch(
                (left + 0.06, 0.06),
                WIDTH - 0.12,
                HEIGHT - 0.12,
                boxstyle="round,pad=0.06",
                facecolor=COLOURS[stage.folder],
                edgecolor="#666",
                linewidth=0.8,
            )
        )
        middle = left + WIDTH / 2
        axis.text(middle, HEIGHT / 2, stage.text, ha="center", va="center", size=8.5)
        axis.text(middle, -0.14, f"{stage.folder}/", ha="center", size=7, color="#666")
        if k:
            _arrow(axis, (left - GAP, HEIGHT / 2), (left, HEIGHT / 2))
    if road.back:
        start, end, said = road.back
        x, y = (k * step + WIDTH / 2 for k in (start, end))
        axis.plot([x, x, y, y], [-0.2, -0.55, -0.55, -0.2], color="#666", linewidth=0.9)
        _arrow(axis, (y, -0.4), (y, -0.17))
        axis.text((x + y) / 2, -0.75, said, ha="center", size=8, color="#444")
    return fig


def _arrow(axis, start, end):
    style = dict(arrowstyle="-|>", color="#666", linewidth=0.9, shrinkA=0, shrinkB=0)
    axis.annotate("", end, start, arrowprops=style)


FRAME = Stage("data", "frame")
WINDOW = Stage("data", "window of\n8 frames")
ENCODER = Stage("modules", "encoder:\nbackbone, FPN,\nframe by frame")
ROADS = {
    "stemseg": Road(
        (
            WINDOW,
            ENCODER,
            Stage("modules", "squeeze-expand\ndecoders, over\nspace and time"),
            Stage("modules", "embedding,\nbandwidth,\nseediness, class"),
            Stage("clustering", "sequential:\nseed by seed,\nwhole window"),
            Stage("tracking", "stitching: IoU\nin the frames\nthat are shared"),
        )
    ),
    "saliency": Road(
        (
            WINDOW,
            ENCODER,
            Stage("modules", "one squeeze-\nexpand decoder"),
            Stage("modules", "logit of the\nforeground"),
            Stage("tracking", "mean over\nwindows,\nthreshold"),
        )
    ),
    "srnet": Road(
        (
            FRAME,
            Stage("modules", "encoder"),
            Stage("modules", "decoder of\ntwo frames"),
            Stage("modules", "offsets to centre\nand to the\nlast centre, seeds"),
            Stage("clustering", "sequential,\nof one frame"),
            Stage("tracking", "association:\nwhom a centre\npoints at"),
        ),
        back=(5, 2, "to the next frame: coarse features, and centres as a heat map"),
    ),
    "causal_embedding": Road(
        (
            FRAME,
            Stage("modules", "encoder; one of\nits own for the\nforeground"),
            Stage("modules", "temporal model\nthat looks back"),
            Stage("modules", "embedding,\ndepth"),
            Stage("clustering", "mean shift over\nthe last frames"),
            Stage("tracking", "nearest means\nof known tracks"),
        ),
        back=(5, 2, "to the next frame: codes, embeddings and means"),
    ),
    "target_aware": Road(
        (
            FRAME,
            Stage("modules", "discovery,\nguided by the\nframe before"),
            Stage("clustering", "centres and\noffsets:\nproposals"),
            Stage("tracking", "a model of each\ntarget's looks,\nrefiner"),
            Stage("tracking", "verification:\nproposals take\nmasks' places"),
            Stage("tracking", "what is left\nover is new"),
        ),
        back=(5, 1, "to the next frame: foreground, and models that learn from masks"),
    ),
}
