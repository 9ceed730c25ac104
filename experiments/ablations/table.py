"""The table and the plot of the ablations, from what runs left. See README.md.

    python experiments/ablations/table.py [--runs=runs/ablations]

With --runs their figures are put into figures.json first, row by row and seed by seed.
"""

import argparse
import json
import pathlib
import re

import numpy as np

from stemseg_jax.formats import whole
from stemseg_jax.outputs import report

HERE = pathlib.Path(__file__).parent
FIGURES = HERE / "figures.json"  # row -> seed -> what `studies` says of it
MAIN = "J&F-Mean"
COLUMNS = {
    "J": ("J-Mean", ".3f"),
    "F": ("F-Mean", ".3f"),
    "id switches": ("id switches", ".0f"),
    "covered": ("covered", ".3f"),
}  # title -> what is averaged, and its form
STEPS = 1000  # of the runs in the table
LEFT, TOP, WIDTH, LINE = 190, 10, 420, 22  # of the plot, in pixels
COLOUR, MEAN = "#1f77b4", "#d62728"

Figures = dict[str, dict[str, dict[str, float]]]


def collect(runs: pathlib.Path, found: Figures) -> None:
    for path in sorted(runs.glob("*/figures.json")):
        named = re.fullmatch(r"(.*)_(\d+)", path.parent.name)
        held = json.loads(path.read_text())
        if named is None or held["config"]["optim"]["steps"] != STEPS:
            print(f"left out: {path}, no run of {STEPS} updates")
            continue
        row, seed = named.groups()
        found.setdefault(row, {})[seed] = held["figures"]


def lines(found: Figures) -> list[dict[str, str]]:
    """The rows, the best one first."""
    rows = []
    for row in by_mean(found):
        seeds = found[row]
        line = {"row": f"`{row}`", "J&F": spread([s[MAIN] for s in seeds.values()])}
        line["of each seed"] = ", ".join(
            f"{seeds[seed][MAIN]:.3f}" for seed in sorted(seeds)
        )
        for title, (name, form) in COLUMNS.items():
            line[title] = f"{np.mean([one[name] for one in seeds.values()]):{form}}"
        rows.append(line)
    return rows


def spread(values: list[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{deviation}"


def by_mean(found: Figures) -> list[str]:
    mean = {
        row: np.mean([one[MAIN] for one in seeds.values()])
        for row, seeds in found.items()
    }
    return sorted(mean, key=mean.get, reverse=True)


def plot(found: Figures) -> str:
    """A line for each row: a dot for each seed, and a stroke for their mean."""
    rows = by_mean(found)
    every = [one[MAIN] for seeds in found.values() for one in seeds.values()]
    low, high = np.floor(min(every) * 20) / 20, np.ceil(max(every) * 20) / 20
    bottom = TOP + LINE * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}" '
        f'height="{bottom + 40}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]

    def across(value: float) -> float:
        return LEFT + WIDTH * (value - low) / (high - low)

    for tick in np.arange(low, high + 1e-9, 0.05):
        x = across(tick)
        parts.append(f'<path d="M{x:.1f} {TOP}V{bottom}" stroke="#ddd"/>')
        parts.append(text(x, bottom + 16, f"{tick:.2f}", "middle"))
    parts.append(text(LEFT + WIDTH / 2, bottom + 34, "J&amp;F", "middle"))
    for number, row in enumerate(rows):
        y = TOP + LINE * (number + 0.5)
        values = [one[MAIN] for one in found[row].values()]
        parts.append(text(LEFT - 10, y + 4, row, "end"))
        parts += [
            f'<circle cx="{across(value):.1f}" cy="{y:.1f}" r="4" fill="{COLOUR}" '
            'fill-opacity="0.6"/>'
            for value in values
        ]
        mean = across(float(np.mean(values)))
        stroke = f'd="M{mean:.1f} {y - 8:.1f}v16" stroke="{MEAN}" stroke-width="2"'
        parts.append(f"<path {stroke}/>")
    return "\n".join([*parts, "</svg>", ""])


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=pathlib.Path)
    options = parser.parse_args()
    found = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    if options.runs:
        collect(options.runs, found)
        written = json.dumps(found, indent=1, sort_keys=True) + "\n"
        whole.write_text(FIGURES, written)
    whole.write_text(HERE / "spread.svg", plot(found))
    print(report.markdown(lines(found)))


if __name__ == "__main__":
    main()
