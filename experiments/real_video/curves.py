"""Draws how the rows of run.py learnt. See README.md."""

import argparse
import json
import pathlib

import numpy as np

from stemseg_jax.formats import whole
from stemseg_jax.outputs import curves

LOGGED = 5  # lines of the log in the mean of a point: a hundred updates


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="run.py's")
    parser.add_argument("--rows", required=True)
    parser.add_argument("--term", default="lovasz", help="of the loss")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="an SVG")
    options = parser.parse_args()
    drawn = {
        row: curve(options.runs / row / "metrics.jsonl", options.term)
        for row in options.rows.split(",")
    }
    picture = curves.svg(drawn, x="updates", y=options.term)
    whole.write_text(options.output, picture)


def curve(file: pathlib.Path, term: str) -> list[tuple[float, float]]:
    """Means over `LOGGED` lines; what is left over at the end is left out."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    points = np.array([(line["step"], line[term]) for line in lines if term in line])
    whole_groups = points[: len(points) // LOGGED * LOGGED]
    return [tuple(group) for group in whole_groups.reshape(-1, LOGGED, 2).mean(axis=1)]


if __name__ == "__main__":
    main()
