"""Times of stamps that are sound, missing or wrong."""

import itertools
from fractions import Fraction

import numpy as np

from stemseg_jax.data.inputs.timestamps import Clock


def times(*stamps, **options):
    clock = Clock(Fraction(10), **options)
    return [clock.time(None if s is None else Fraction(s, 10)) * 10 for s in stamps]


def test_time_starts_with_the_first_frame_at_any_rate():
    assert times(5, 6, 9, 10) == [0, 1, 4, 5]


def test_a_missing_stamp_is_one_frame_after_the_one_before():
    assert times(5, None, None, 9) == [0, 1, 2, 4]
    assert times(None, None, 8, 9) == [0, 1, 2, 3]
    assert times(None, None) == [0, 1]


def test_stamps_that_do_not_grow_are_mended():
    assert times(5, 6, 6, 2, 8) == [0, 1, 2, 3, 4]
    assert times(5, 6, 7, 0, 1, 2) == [0, 1, 2, 3, 4, 5]  # it began anew


def test_any_stamps_give_times_that_grow():
    rng = np.random.default_rng(0)
    for _ in range(50):
        stamps = [None if s < 0 else int(s) for s in rng.integers(-5, 20, 30)]
        found = times(*stamps)
        assert found[0] == 0 and all(b > a for a, b in itertools.pairwise(found))


def test_of_a_late_start_the_origin_is_known():
    assert times(8, 9, origin=Fraction(5, 10)) == [3, 4]


def test_the_next_frame_is_expected():
    clock = Clock(Fraction(10))
    assert clock.expected == 0
    clock.time(Fraction(7))
    assert clock.expected == Fraction(1, 10)
