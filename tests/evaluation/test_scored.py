import math

import pytest

from stemseg_jax.evaluation.scored import main_figure


def test_one_figure_says_which_result_is_better():
    assert main_figure({"J&F-Mean": 0.5, "J-Mean": 0.4}) == 0.5
    assert main_figure({"AP": 0.2, "AP50": 0.4}) == 0.2
    classes = {"car sMOTSA": 0.6, "car MOTSA": 0.7, "pedestrian sMOTSA": 0.2}
    assert main_figure(classes) == pytest.approx(0.4)
    assert main_figure(classes | {"pedestrian sMOTSA": -math.inf}) == 0.6
    assert main_figure({"AP": math.nan}) == -math.inf
