"""Curves over one axis, as a picture in SVG that reads without a program of ours."""

from collections.abc import Mapping, Sequence
from xml.sax import saxutils

import numpy as np

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b")
LEFT, TOP, WIDTH, HEIGHT = 70, 20, 420, 230  # of the plane, in pixels
NAMES = 190  # pixels on its right for what the curves are called,
LINE = 15  # with so many from one to the next
TICKS = 5

Curve = Sequence[tuple[float | int, float | int]]  # (x, y)


def svg(curves: Mapping[str, Curve], *, x: str, y: str) -> str:
    """Curves with their names at their ends; both axes begin at 0 or below.

    Args:
        x, y: What the axes are, with units.

    Raises:
        ValueError: There is no curve, one without points, or more than there are
            colours.
    """
    if not curves or not all(map(len, curves.values())) or len(curves) > len(COLOURS):
        lengths = {name: len(curve) for name, curve in curves.items()}
        raise ValueError(
            f"points of each curve: {lengths}; expected 1 to {len(COLOURS)} curves of "
            "a point or more."
        )
    points = np.concatenate([np.asarray(curve, float) for curve in curves.values()])
    low, high = np.minimum(points.min(axis=0), 0), points.max(axis=0)
    span = np.where(high > low, high - low, 1)

    def place(point):
        across, up = (np.asarray(point) - low) / span
        return float(LEFT + WIDTH * across), float(TOP + HEIGHT * (1 - up))

    bottom = TOP + HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + NAMES}" '
        f'height="{bottom + 45}" font-family="sans-serif" font-size="12">',
        f'<path d="M{LEFT} {TOP}V{bottom}H{LEFT + WIDTH}" fill="none" stroke="#888"/>',
        _text(LEFT + WIDTH / 2, bottom + 38, x, anchor="middle"),
        _text(LEFT + 6, TOP - 6, y),
    ]
    for share in np.linspace(0, 1, TICKS):
        across, up = place(low + share * span)
        value = low + share * span
        parts.append(_text(across, bottom + 18, f"{value[0]:.4g}", anchor="middle"))
        parts.append(_text(LEFT - 6, up + 4, f"{value[1]:.3g}", anchor="end"))
    ends = [place(curve[-1])[1] for curve in curves.values()]
    heights = apart(ends, LINE)
    for (name, curve), height, colour in zip(
        curves.items(), heights, COLOURS, strict=False
    ):
        path = " ".join("{:.1f},{:.1f}".format(*place(point)) for point in curve)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>')
        parts.append(_text(LEFT + WIDTH + 8, height + 4, name, colour=colour))
    return "\n".join([*parts, "</svg>", ""])


def apart(heights: Sequence[float], least: int) -> list[float]:
    """The same, in their order, moved down so far that each two are `least` apart."""
    order = np.argsort(heights, kind="stable")
    moved = np.array(heights, float)
    for before, after in zip(order, order[1:], strict=False):
        moved[after] = max(moved[after], moved[before] + least)
    return moved.tolist()


def _text(x, y, words: str, *, anchor: str = "start", colour: str = "#222") -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{colour}">'
        f"{saxutils.escape(words)}</text>"
    )
