"""What a user may name."""

from collections.abc import Collection


def known(option: str, value: str, names: Collection[str]) -> str:
    """The value, if it is one of the names.

    Raises:
        ValueError: Otherwise; says the option and lists the names.
    """
    if value not in names:
        raise ValueError(f"{option}={value!r} is unknown; known: {sorted(names)}.")
    return value
