"""Mutated inputs lead to a clear error or a right result: never a stack, never silence.

A case says what it runs and what would be right:

    harness.verdict(
        lambda: coco_json.read_results(file),
        form="result file",
        names=(file.name,),
        right=lambda entries: entries == sound,
    )
"""

import collections
import contextlib
import faulthandler
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import hypothesis
from hypothesis import strategies as st

CLEAR = (ValueError, FloatingPointError, OSError)  # `main` prints these without a stack
MOST_LINES = 12  # of a message
SECONDS = 60  # after which a case counts as endless, and the tests end with its stack

# form -> outcome -> number of cases; printed by `make fuzz`
OUTCOMES: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)

# Always the same few in CI; as many new ones as STEMSEG_FUZZ says in `make fuzz`.
CASES = int(os.environ.get("STEMSEG_FUZZ", 0))
hypothesis.settings.register_profile(
    "fuzz",
    max_examples=CASES or 40,
    derandomize=not CASES,
    deadline=None,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
hypothesis.settings.load_profile("fuzz")
# For tests whose cases take a quarter of a second.
slow = hypothesis.settings(max_examples=hypothesis.settings().max_examples // 4)


def verdict(
    run: Callable[[], Any],
    *,
    form: str,
    names: Sequence[str] = (),
    right: Callable[[Any], bool] = lambda result: True,
    clear: tuple[type[Exception], ...] = CLEAR,
) -> str:
    """Runs a case, and asserts that it ends as it may; gives "clear error" or "right".

    Any other exception passes through, and hypothesis shows the input that raised it.

    Args:
        form: What kind of input it is, for the table.
        names: What a clear message has to hold, e.g. the name of the file or option;
            one of these is enough.
        right: Whether the result is one that the input, as it is, stands for.
        clear: The kinds of error that are shown as one message.
    """
    try:
        with ends(SECONDS):
            result = run()
    except clear as error:
        message = str(error)
        assert not names or any(name in message for name in names), (
            f"none of {names} in the message: {type(error).__name__}: {message}"
        )
        assert message.count("\n") < MOST_LINES, f"no message, but a text: {message}"
        outcome = "clear error"
    else:
        assert right(result), f"taken for sound: {str(result)[:400]}"
        outcome = "right"
    OUTCOMES[form][outcome] += 1
    return outcome


@contextlib.contextmanager
def ends(seconds: float) -> Iterator[None]:
    """What does not end in time ends the process, even in C code, and shows where."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def table() -> list[str]:
    """Cases by form and outcome, a line each."""
    columns = ("clear error", "right")
    rows = [("form", "cases", *columns)]
    for form, counts in sorted(OUTCOMES.items()):
        rows.append((form, counts.total(), *(counts[column] for column in columns)))
    total = sum(OUTCOMES.values(), collections.Counter())
    rows.append(("all", total.total(), *(total[column] for column in columns)))
    return [f"{form:24}" + "".join(f"{n:>13}" for n in rest) for form, *rest in rows]


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that were cut, flipped, overwritten, lengthened or repeated, or none."""
    place = draw(st.integers(0, len(data)))
    some = draw(st.binary(min_size=1, max_size=8))
    length = draw(st.integers(1, max(1, len(data) // 2)))
    mutations = {
        "none": lambda: data,
        "cut": lambda: data[:place],
        "lost": lambda: data[:place] + data[place + length :],
        "zeroed": lambda: (
            data[:place] + bytes(len(data[place:][:length])) + data[place + length :]
        ),
        "overwritten": lambda: data[:place] + some + data[place + len(some) :],
        "inserted": lambda: data[:place] + some + data[place:],
        "repeated": lambda: data[:place] + data[place : place + length] + data[place:],
        "flipped": lambda: (
            data[:place]
            + bytes(byte ^ 1 << some[0] % 8 for byte in data[place : place + 1])
            + data[place + 1 :]
        ),
    }
    return mutations[draw(st.sampled_from(sorted(mutations)))]()


ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 0.5, -1e-9, 1e9, 1e308, 2**31, 2**32, 2**63, 2**64),
    *(10**30, -(2**63) - 1, "", "1", "..", "\ud800", "\0", [], {}, [[]], [None]),
    *([1e9, 1e9, -1e9, 0, 5, 5], {"size": [1, 1], "counts": "1"}, {"id": 1}),
    *(float("nan"), float("inf"), float("-inf")),
)


@st.composite
def mutated(draw: st.DrawFn, content: Any, odd: Sequence[Any] = ODD_VALUES) -> Any:
    """JSON-like content of which up to three places were changed or taken away."""
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(list(_paths(content))))
        action = draw(st.sampled_from(("replace", "remove", "repeat", "nest")))
        value = draw(st.sampled_from(odd))
        depth = draw(st.sampled_from((1, 10, 200)))  # three times at most
        content = _changed(content, path, action, value, depth)
    return content


def _paths(content: Any, prefix: tuple = ()) -> Iterator[tuple]:
    yield prefix
    if isinstance(content, dict):
        places = list(content.items())
    elif isinstance(content, list):
        places = list(enumerate(content[:20]))
    else:
        return
    for key, value in places:
        yield from _paths(value, (*prefix, key))


def _changed(content: Any, path: tuple, action: str, value: Any, depth: int) -> Any:
    if not path:
        if action == "nest":
            for _ in range(depth):
                content = [content]
            return content
        return value
    key, *rest = path
    content = content.copy()
    if rest or action in ("replace", "nest"):
        content[key] = _changed(content[key], tuple(rest), action, value, depth)
    elif action == "remove":
        del content[key]
    elif isinstance(content, list):
        content.insert(key, content[key])
    else:
        content[f"{key} "] = content[key]
    return content
