"""JSON files, read as the types that were declared for them.

What does not fit is named by its place in the file, e.g. `$.annotations[3].bboxes[0]`.
"""

import codecs
import gzip
import pathlib
import re
import typing
import zipfile
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from stemseg_jax.formats import files

Report = Callable[[str, str, str], None]  # where, kind of fault, what is wrong

Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # what NumPy counts with
Side = Annotated[int, Meta(ge=1, le=65535)]  # pixels; the most that JPEG has
Name = Annotated[str, Meta(min_length=1)]  # of a file
Count = Annotated[int, Meta(ge=0, le=10**6)]  # frames

MOST_PIXELS = 2**26  # of a frame; a file may say it has more than memory can hold

MOST_UNPACKED = 2**32  # bytes of a .gz or .zip
PIECE = 2**20  # bytes


def size_fault(height: int, width: int) -> str | None:
    """What is wrong with the size of a frame, if anything."""
    if height * width <= MOST_PIXELS:
        return None
    return f"is {height} x {width}, more than the {MOST_PIXELS} pixels that are read."


def refuse(where: str, kind: str, what: str) -> None:
    """The `report` that ends the reading with the first fault."""
    raise ValueError(f"{where}: {what}")


def read(file: pathlib.Path, kind: Any, *, report: Report = refuse) -> Any:
    """The content of a .json, a .json.gz, or a .zip as it is handed in.

    Args:
        kind: What the whole file is declared as.
        report: Is told each entry (of a list that `kind` has as a field) that does not
            fit. If it does not raise, the entry is left out.

    Raises:
        ValueError: No such file, one that is not JSON, or not of this kind; names the
            file and the place in it.
    """
    file = pathlib.Path(file)
    data = _content(file)
    try:
        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.ValidationError as error:
            if report is refuse or "[" not in str(error):  # not of one entry
                raise
            return _entry_by_entry(file, data, kind, report)
    except msgspec.ValidationError as error:
        raise ValueError(f"{file}: {_misfit(error)}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(_unreadable(file, _near(error, data))) from error


def _entry_by_entry(file: pathlib.Path, data: bytes, kind: Any, report: Report) -> Any:
    """The file without the entries that do not fit."""
    parts = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    kept = {}
    for field in msgspec.structs.fields(kind):
        entry = _entry(field.type)
        if field.encode_name not in parts:
            continue
        try:
            raw = parts[field.encode_name]
            if entry is None or bytes(raw) == b"null":
                kept[field.name] = msgspec.json.decode(raw, type=field.type)
                continue
            entries = msgspec.json.decode(raw, type=list[msgspec.Raw])
        except msgspec.ValidationError as error:
            what = _misfit(error, f"$.{field.encode_name}")
            raise ValueError(f"{file}: {what}") from error
        kept[field.name] = []
        for index, one in enumerate(entries):
            try:
                kept[field.name].append(msgspec.json.decode(one, type=entry))
            except msgspec.ValidationError as error:
                place = f"$.{field.encode_name}[{index}]"
                report(str(file), "annotation", _misfit(error, place))
    try:
        return kind(**kept)
    except TypeError as error:  # a part is missing
        raise ValueError(f"{file}: {error}") from error


def _entry(kind: Any) -> Any:
    """What a list is declared to hold, `list[X]` or `list[X] | None`; else None."""
    for one in (kind, *typing.get_args(kind)):
        if typing.get_origin(one) is list:
            return typing.get_args(one)[0]
    return None


def _misfit(error: ValueError, above: str = "$") -> str:
    """msgspec's words, with the place in front."""
    what, _, place = str(error).partition(" - at `$")
    advice = (
        "Correct it." if place or above != "$" else "Is it the file that was meant?"
    )
    return f"{above}{place.rstrip('`')}: {what[:1].lower()}{what[1:]}. {advice}"


def _near(error: Exception, data: bytes) -> str:
    if (place := re.search(r"\(byte (\d+)\)", str(error))) is None:
        return str(error)
    end = int(place[1]) + 10
    near = data[max(0, end - 40) : end].decode("utf-8", "replace")
    return f"{error}, near {near!r}; JSON has no NaN, Infinity or comments"


def _content(file: pathlib.Path) -> bytes:
    """UTF-8, without the mark that may stand in front."""
    try:
        data = _unpacked(file).removeprefix(codecs.BOM_UTF8)
        if not data.isascii():  # msgspec looks at no more than what is declared
            _check_utf_8(data)
    except Exception as error:  # of a dozen kinds in archives that are damaged
        raise ValueError(_unreadable(file, error)) from error
    return data


def _check_utf_8(data: bytes) -> None:
    """Piece by piece: the whole text may take four times the memory of its bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), PIECE):
        decoder.decode(data[start : start + PIECE])
    decoder.decode(b"", final=True)


def _unpacked(file: pathlib.Path) -> bytes:
    files.regular(file)
    if file.suffix == ".gz":
        with gzip.open(file) as stream:
            data = stream.read(MOST_UNPACKED + 1)
    elif file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive, archive.open("results.json") as part:
            data = part.read(MOST_UNPACKED + 1)
    else:
        return file.read_bytes()
    if len(data) > MOST_UNPACKED:
        raise ValueError(f"more than {MOST_UNPACKED} bytes once unpacked")
    return data


def _unreadable(file: pathlib.Path, why: object) -> str:
    return f"{file}: no readable JSON ({why}). Copy or write the file again."
