"""Draws the figures of the documentation with the package itself.

    python docs/figures/draw.py --output=docs/figures [--checkpoint=runs/shapes]

Those of a clip need a run of configs/moving_shapes.py (2000 updates of it drew those
that are here); without --checkpoint they are left as they are.
"""

import argparse
import pathlib

import matplotlib
import roads
from matplotlib import figure

from stemseg_jax import figures
from stemseg_jax.figures import clips, grouping, ideas

OF_FUNCTIONS = {
    "mixing.svg": ideas.mixings,
    "gaussian.svg": ideas.gaussians,
    "lovasz.svg": ideas.lovasz_hinge,
    "windows.svg": ideas.laid_windows,
}
OF_A_CLIP = {
    "volume.jpg": clips.volume,
    "embedding.png": clips.embedding,
    "clustering.jpg": grouping.clustering,
    "stitching.jpg": grouping.stitched,
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
    with matplotlib.rc_context(figures.STYLE):
        for name, draw in OF_FUNCTIONS.items():
            write(draw(), options.output / name)
        for name, road in roads.ROADS.items():
            write(roads.draw(road), options.output / f"road_{name}.svg")
        if options.checkpoint:
            seen = clips.look(options.checkpoint)
            for name, draw in OF_A_CLIP.items():
                write(draw(seen), options.output / name)


if __name__ == "__main__":
    main()
