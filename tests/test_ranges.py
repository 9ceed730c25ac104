"""Each range holds what it says, and nothing that only looks like it."""

import pytest

from stemseg_jax.ranges import (
    PROBABILITY,
    Each,
    Flag,
    Maybe,
    OneOf,
    Real,
    Table,
    Text,
    Whole,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("own", "inside", "outside"),
    [
        (Whole(least=1), (1, 2**31 - 1), (0, -1, 2**31, 1.0, True, "1", None, NAN)),
        (Whole(most=96, multiple=32), (0, 32, 96), (31, 128, -32)),
        (Real(), (0, -1.5, 3e38), (NAN, INF, -INF, 1e39, 10**400, True, "1", None)),
        (Real(above=0, most=1), (1, 1e-9), (0, -0.0, 1.1)),
        (Real(least=0, below=1), (0, 0.999), (1, -1e-9)),
        (PROBABILITY, (0, 1, 0.5), (-0.1, 1.1, NAN)),
        (Flag(), (True, False), (0, 1, "True", None)),
        (Text(), ("", "a"), (None, 1, ("a",))),
        (Text(empty=False), ("a",), ("", None)),
        (OneOf((2, "a")), (2, "a"), (2.0, True, "b", [], None)),
        (OneOf((0, 1)), (0, 1), (True, False)),
        (Maybe(Flag()), (None, True), (0, "")),
        (Each(Flag()), ((), [True]), ((1,), "", None, {})),
        (Each(Whole(), lengths=(0, 2)), ((), (1, 1)), ((1,), (1, 2, 3), (1, True))),
        (Each(Real(), lengths=(2,), rising=True), ((1, 1), (0, 2)), ((2, 1),)),
        (Table(Real(least=0)), ({}, {"body": 0.1}), ({"body": -1}, {1: 1}, [])),
    ],
)
def test_a_range_holds_what_it_says(own, inside, outside):
    assert str(own) and "\n" not in str(own)
    for value in inside:
        assert own.holds(value), value
    for value in outside:
        assert not own.holds(value), value


def test_ranges_say_themselves():
    assert str(Whole(least=1)) == "a whole number of at least 1"
    assert str(Whole(most=96, multiple=32)) == "a multiple of 32 from 0 to 96"
    assert str(Real()) == "a finite number"
    assert str(Real(least=0, below=1)) == "a finite number of at least 0 and below 1"
    assert str(Maybe(Each(Flag(), lengths=(0, 2)))) == (
        "0 or 2 values, each True or False, or none"
    )
