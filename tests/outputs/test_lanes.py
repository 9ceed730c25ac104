import numpy as np
import pytest

from stemseg_jax.formats import rle
from stemseg_jax.outputs import colours, lanes
from stemseg_jax.tracks import Track


@pytest.mark.parametrize(
    ("seen", "gap", "expected"),
    [
        ("", 0, []),
        ("....", 0, []),
        ("####", 0, [(0, 3)]),
        (".##..#", 0, [(1, 2), (5, 5)]),
        ("#.#..#", 0, [(0, 0), (2, 2), (5, 5)]),
        ("#.#..#", 1, [(0, 2), (5, 5)]),
        ("#.#..#", 2, [(0, 5)]),
    ],
)
def test_runs_by_hand(seen, gap, expected):
    assert lanes.runs(np.array([c == "#" for c in seen], bool), gap=gap) == expected


def test_a_lane_by_hand():
    """Frames at 0, 1, 2 and 6 seconds; the last one lasts until 10."""
    mask = rle.encode(np.ones((2, 2), bool))
    track = Track(3, 7, 0.25, (mask, None, mask, mask))
    (lane,) = lanes.lanes([track], {7: "traffic_light"}, [0, 1, 2, 6, 10])
    assert (lane.id, lane.name, lane.score, lane.frames) == (
        3,
        "traffic light",
        0.25,
        3,
    )
    assert lane.spans == ((0, 0, 0.0, 0.1), (2, 3, 0.2, 0.8))
    red, green, blue = colours.of_id(3)
    assert int(lane.colour[1:], 16) == 65536 * red + 256 * green + blue


def test_what_is_not_known_and_what_is_never_seen():
    (lane,) = lanes.lanes([Track(1, 0, np.nan, (None, None))], {}, [0, 1, 2])
    assert (lane.name, lane.score, lane.frames, lane.spans) == ("", None, 0, ())


def test_spans_are_no_more_than_a_screen_could_show():
    """Two hours of which every other frame is seen."""
    mask = rle.encode(np.ones((1, 1), bool))
    track = Track(1, 0, 1.0, (mask, None) * 100_000)
    (lane,) = lanes.lanes([track], {}, range(200_001))
    assert [(s.first, s.last) for s in lane.spans] == [(0, 199_998)]
