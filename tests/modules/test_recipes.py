import functools

import pytest

from stemseg_jax.modules.recipes import Recipe


def test_makes_what_a_partial_makes():
    assert Recipe(pow, 2)(5) == functools.partial(pow, 2)(5) == 32
    assert Recipe(int, base=2)("101") == 5


def test_equals_another_of_the_same_parts():
    one, other = Recipe(int, base=2), Recipe(int, base=2)
    assert one == other and hash(one) == hash(other)
    assert Recipe(max, one, key=abs) == Recipe(max, other, key=abs)


@pytest.mark.parametrize(
    "other",
    [
        Recipe(int, base=3),
        Recipe(float, base=2),
        Recipe(int, 2),
        functools.partial(int, base=2),
    ],
)
def test_differs_from_another_function_or_argument(other):
    assert Recipe(int, base=2) != other
