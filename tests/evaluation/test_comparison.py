"""The bootstrap interval on results whose answer is known."""

import numpy as np
import pytest

from stemseg_jax.evaluation import comparison
from stemseg_jax.evaluation.scored import Scored


def scored(values, names=None):
    """A metric that is the mean over videos."""
    values = np.asarray(values, float)

    def figures(weights=None):
        return {"mean": float(np.average(values, weights=weights))}

    names = names or tuple(f"v{k}" for k in range(len(values)))
    return Scored(names, figures, table=lambda: [], report=dict)


def test_a_result_does_not_differ_from_itself():
    result = scored([0.1, 0.9, 0.4])
    row = comparison.compare(result, result)["mean"]
    assert row.first == row.second == pytest.approx(1.4 / 3)
    assert (row.difference, row.low, row.high) == (0, 0, 0)


def test_a_figure_that_one_result_lacks_is_left_out():
    one, other = scored([0.1, 0.9]), scored([0.2, 0.9])
    more = other._replace(figures=lambda w=None: {"AP": 1.0, **other.figures(w)})
    expected = comparison.compare(one, other)
    assert comparison.compare(one, more) == expected
    assert comparison.compare(more, one).keys() == expected.keys() == {"mean"}


def test_a_constant_gain_is_certain():
    values = np.random.default_rng(0).random(20)
    row = comparison.compare(scored(values), scored(values + 0.1))["mean"]
    assert row.difference == pytest.approx(0.1)
    assert row.low == pytest.approx(0.1) and row.high == pytest.approx(0.1)


def test_pairs_are_drawn_together():
    """Videos differ much, results little: only the latter matters."""
    rng = np.random.default_rng(1)
    difficulty, gain = rng.random(50), rng.normal(0.02, 0.05, 50)
    one, other = scored(difficulty), scored(difficulty + gain)
    row = comparison.compare(one, other, samples=4000)["mean"]
    # Of the normal approximation of the mean's distribution.
    half_width = 1.96 * gain.std() / np.sqrt(50)
    assert row.low == pytest.approx(gain.mean() - half_width, abs=0.1 * half_width)
    assert row.high == pytest.approx(gain.mean() + half_width, abs=0.1 * half_width)


def test_the_same_seed_gives_the_same_interval():
    one, other = map(scored, np.random.default_rng(2).random((2, 30)))
    assert comparison.compare(one, other) == comparison.compare(one, other)
    assert comparison.compare(one, other) != comparison.compare(one, other, seed=1)


def test_draws_without_the_figure_do_not_count():
    def with_first(weights=None):
        exists = weights is None or weights[0] > 0
        return {"figure": 1.0 if exists else -np.inf}

    result = scored([0.1, 0.2])._replace(figures=with_first)
    row = comparison.compare(result, result)["figure"]
    assert (row.difference, row.low, row.high) == (0, 0, 0)


def test_different_videos_cannot_be_compared():
    with pytest.raises(ValueError, match="different videos: cat, dog"):
        comparison.compare(scored([1], ("dog",)), scored([1], ("cat",)))
