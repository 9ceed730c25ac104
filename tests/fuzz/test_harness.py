"""The harness itself: what it lets through, and what it does not."""

import json

import hypothesis
import pytest

from tests.fuzz import harness


def fail(error):
    raise error


def test_clear_errors_and_right_results_pass():
    assert harness.verdict(lambda: 3, form="test", right=lambda n: n == 3) == "right"
    clear = harness.verdict(
        lambda: fail(ValueError("a.json: no")), form="test", names=("a.json",)
    )
    assert clear == "clear error"


@pytest.mark.parametrize(
    ("run", "problem"),
    [
        (lambda: fail(ValueError("no")), "none of .* in the message"),
        (lambda: fail(ValueError("a.json" + "\n" * 40)), "no message, but a text"),
        (lambda: 4, "taken for sound: 4"),
    ],
)
def test_silence_and_stacks_do_not(run, problem):
    with pytest.raises(AssertionError, match=problem):
        harness.verdict(run, form="test", names=("a.json",), right=lambda n: n == 3)


def test_other_errors_are_stacks():
    with pytest.raises(KeyError):
        harness.verdict(lambda: {}["a"], form="test")


@hypothesis.given(harness.mutated({"a": [1, {"b": "c"}]}))
def test_mutations_can_be_written(content):
    json.dumps(content)


@hypothesis.given(harness.damaged(b"0123456789"))
def test_damage_is_bytes(data):
    assert isinstance(data, bytes)
