import re
from xml.etree import ElementTree

import pytest

from stemseg_jax.outputs import curves

NAME = "{http://www.w3.org/2000/svg}"


def test_by_hand():
    """Axes from 0; the plane is 420 x 230 pixels from (70, 20)."""
    drawn = curves.svg(
        {"a < b": [(0, 0), (5, 1), (10, 4)], "c": [(2, 4), (10, 4)]},
        x="updates",
        y="loss",
    )
    root = ElementTree.fromstring(drawn)
    first, second = root.findall(f"{NAME}polyline")
    assert first.get("points") == "70.0,250.0 280.0,192.5 490.0,20.0"
    assert second.get("points") == "154.0,20.0 490.0,20.0"
    assert first.get("stroke") != second.get("stroke")
    texts = {text.text: text for text in root.iter(f"{NAME}text")}
    assert {"updates", "loss", "a < b", "c", "0", "2.5", "10", "4"} <= texts.keys()
    # Both end at one point; their names do not lie over each other.
    heights = [int(texts[name].get("y")) for name in ("a < b", "c")]
    assert heights[1] - heights[0] == curves.LINE


def test_names_are_moved_apart_in_their_order():
    assert curves.apart([30.0, 10.0, 12.0, 60.0], 15) == [40.0, 10.0, 25.0, 60.0]


def test_below_zero_and_of_one_point():
    drawn = curves.svg({"a": [(1.0, -2.0)]}, x="x", y="y")
    (points,) = re.findall('points="(.*?)"', drawn)
    assert points == "490.0,250.0"
    curves.svg({"a": [(0.0, 0.0)]}, x="x", y="y")  # a plane without extent


@pytest.mark.parametrize("given", [{}, {"a": []}, {str(n): [(0, 0)] for n in range(8)}])
def test_nothing_to_draw_is_refused(given):
    with pytest.raises(ValueError, match="expected 1 to 7 curves"):
        curves.svg(given, x="x", y="y")
