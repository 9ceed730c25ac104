import math

import numpy as np
import pytest

from stemseg_jax.outputs import plots

NAN = math.nan


def test_series_by_step_and_the_later_of_two():
    records = [
        {"step": 4, "loss": 1.0},
        {"step": 2, "loss": 3, "name": "clip", "list": [1]},
        {"step": 4, "loss": 2.0},  # as after a resumption
        {"step": 4, "AP": 0.5},  # of a validation at the same step
    ]
    assert plots.series(records) == {"loss": [(2, 3.0), (4, 2.0)], "AP": [(4, 0.5)]}
    assert plots.series([]) == {}


def test_a_path_by_hand():
    drawn = plots.plot("loss", [(10, 4.0), (20, 1.0), (30, 3.0)])
    assert drawn.path == "M0 0L500 750L1000 250"
    assert (drawn.low, drawn.high, drawn.logarithmic) == (0, 4, False)
    assert drawn.points == ((10, 4.0), (20, 1.0), (30, 3.0)) and drawn.averaged == 1


def test_an_axis_holds_zero():
    below = plots.plot("decay", [(1, -2.0), (2, -1.0)])
    assert (below.low, below.high) == (-2, 0) and below.path == "M0 1000L1000 500"


def test_values_of_several_magnitudes_are_logarithmic():
    values = [(0, 100.0), (1, 10.0), (2, 1.0)]
    drawn = plots.plot("loss", values, logarithmic=True)
    assert drawn.logarithmic and (drawn.low, drawn.high) == (1, 100)
    assert drawn.path == "M0 0L500 500L1000 1000"
    assert not plots.plot("loss", values).logarithmic
    assert not plots.plot("loss", [(0, 2.0), (1, 1.0)], logarithmic=True).logarithmic
    assert not plots.plot("loss", [*values, (3, 0.0)], logarithmic=True).logarithmic


@pytest.mark.parametrize("wrong", [NAN, math.inf, -math.inf])
def test_what_is_not_finite_is_a_gap(wrong):
    drawn = plots.plot("loss", [(0, 2.0), (1, 1.0), (2, wrong), (3, 2.0), (4, 1.0)])
    assert drawn.path == "M0 0L250 500M750 0L1000 500"
    assert [step for step, _ in drawn.points] == [0, 1, 3, 4]


def test_one_value_is_a_dot_and_none_no_plot():
    assert plots.plot("AP", [(5, 0.0)]).path == "M0 1000h0"
    assert plots.plot("AP", [(4, NAN), (5, 0.5), (6, NAN)]).path == "M500 0h0"
    assert plots.plot("AP", []) is None
    assert plots.plot("AP", [(5, NAN)]) is None


def test_many_points_are_averaged():
    values = [(step, float(step % 2)) for step in range(1, 1001)]
    drawn = plots.plot("loss", values)
    assert drawn.averaged == 4 and len(drawn.points) == 250
    assert {value for _, value in drawn.points} == {0.5}
    steps = [step for step, _ in drawn.points]
    np.testing.assert_array_equal(steps, np.arange(4, 1001, 4))


def test_of_points_that_are_averaged_only_a_group_without_any_is_a_gap():
    values = [(step, NAN if step % 4 == 1 else 0.5) for step in range(1, 1001)]
    values[4:8] = [(step, NAN) for step in range(5, 9)]
    drawn = plots.plot("loss", values)
    assert {value for _, value in drawn.points} == {0.5}
    steps = [step for step, _ in drawn.points]
    np.testing.assert_array_equal(steps, [4, *range(12, 1001, 4)])
    assert drawn.path.count("M") == 2
