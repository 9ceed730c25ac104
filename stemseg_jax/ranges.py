"""What an option may be: each range knows its values, and says in words which.

A flag is no number here, text is no list, and what int32 or float32 cannot hold, NaN
and infinity included, is in no range.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

MOST_WHOLE = 2**31 - 1
MOST_REAL = 3.4e38
Bound = int | float | None


@runtime_checkable
class Range(Protocol):
    """`str` of it completes "expected ..."."""

    def holds(self, value: Any) -> bool: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Whole:
    least: int = 0
    most: int = MOST_WHOLE
    multiple: int = 1

    def holds(self, value: Any) -> bool:
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        return self.least <= value <= self.most and value % self.multiple == 0

    def __str__(self) -> str:
        number = "a whole number"
        if self.multiple > 1:
            number = f"a multiple of {self.multiple}"
        if self.most == MOST_WHOLE:
            return f"{number} of at least {self.least}"
        return f"{number} from {self.least} to {self.most}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Real:
    """Numbers; `above` and `below` themselves are not in the range."""

    least: Bound = None
    above: Bound = None
    most: Bound = None
    below: Bound = None

    def holds(self, value: Any) -> bool:
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return (
            abs(value) <= MOST_REAL
            and (self.least is None or self.least <= value)
            and (self.above is None or self.above < value)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        bounds = {
            "of at least": self.least,
            "above": self.above,
            "of at most": self.most,
            "below": self.below,
        }
        words = [f"{word} {n}" for word, n in bounds.items() if n is not None]
        return " ".join(["a finite number", " and ".join(words)]).strip()


PROBABILITY = Real(least=0, most=1)


@dataclasses.dataclass(frozen=True)
class Flag:
    def holds(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "True or False"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    empty: bool = True  # it may be

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and (self.empty or bool(value))

    def __str__(self) -> str:
        return "text" if self.empty else "text that is not empty"


ADDRESS = re.compile(r"[a-zA-Z][\w+.-]*://")  # of what is no file system


@dataclasses.dataclass(frozen=True)
class Place:
    """Of a file or folder, or nothing."""

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and not ADDRESS.match(value)

    def __str__(self) -> str:
        return (
            "a path as text; a bucket has to be mounted, e.g. by gcsfuse or s3fs "
            "(docs/training.md)"
        )


PLACE = Place()


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of some values, which are known by type, too: True is not 1."""

    values: Collection[Any]

    def holds(self, value: Any) -> bool:
        return any(type(v) is type(value) and v == value for v in self.values)

    def __str__(self) -> str:
        return "one of " + ", ".join(map(repr, self.values))


@dataclasses.dataclass(frozen=True)
class Maybe:
    """None, or what another range holds."""

    of: Range

    def holds(self, value: Any) -> bool:
        return value is None or self.of.holds(value)

    def __str__(self) -> str:
        return f"{self.of}, or none"


@dataclasses.dataclass(frozen=True)
class Each:
    """A list or tuple, each entry of it in a range."""

    of: Range
    _: dataclasses.KW_ONLY
    lengths: Collection[int] = ()  # none: any
    rising: bool = False  # no entry is less than the one before

    def holds(self, value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and (not self.lengths or len(value) in self.lengths)
            and all(map(self.of.holds, value))
            and (not self.rising or list(value) == sorted(value))
        )

    def __str__(self) -> str:
        lengths = " or ".join(map(str, self.lengths))
        count = f"{lengths} values" if lengths else "a list of values"
        order = "in rising order, " * self.rising
        return f"{count}, {order}each {self.of}"


@dataclasses.dataclass(frozen=True)
class Table:
    """Any names, each with a value in a range."""

    of: Range

    def holds(self, value: Any) -> bool:
        return isinstance(value, Mapping) and all(
            isinstance(name, str) and self.of.holds(own) for name, own in value.items()
        )

    def __str__(self) -> str:
        return f"names, each with {self.of}"
