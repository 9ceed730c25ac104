"""Draws the figures of the documentation with the package itself.

    python docs/figures/draw.py --output=docs/figures [--checkpoint=runs/shapes]

Those of a clip need a run of configs/moving_shapes.py (2000 updates of it drew those
that are here); without --checkpoint they are left as they are.
"""

import argparse
import pathlib

import clips
import grouping
import ideas
import matplotlib
import roads
from matplotlib import figure

STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "figure.dpi": 100,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "stemseg_jax",  # the same figure is the same file
}


def write(drawn: figure.Figure, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    undated = dict(metadata={"Date": None}) if path.suffix == ".svg" else {}
    drawn.savefig(path, bbox_inches="tight", pad_inches=0.12, dpi=150, **undated)
    print(path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", help="a run of configs/moving_shapes.py")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    options = parser.parse_args(arguments)
    with matplotlib.rc_context(STYLE):
        for name, draw in ideas.FIGURES.items():
            write(draw(), options.output / name)
        for name, road in roads.ROADS.items():
            write(roads.draw(road), options.output / f"road_{name}.svg")
        if options.checkpoint:
            seen = clips.look(options.checkpoint)
            for name, draw in (clips.FIGURES | grouping.FIGURES).items():
                write(draw(seen), options.output / name)


if __name__ == "__main__":
    main()
