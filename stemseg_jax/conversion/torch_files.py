"""Files of PyTorch and of detectron2's model zoo, read without PyTorch.

Tensors are views of the mapped file. The newer form has a checksum for each storage,
which is verified; the others have none. Nothing in a file is executed (see `pickles`).
"""

import functools
import io
import pathlib
import pickle
import reprlib
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from stemseg_jax.conversion import pickles

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = pickle.dumps(LEGACY_MAGIC, protocol=2)
LEGACY_VERSION = 1001


def read_zip(path: pathlib.Path) -> Any:
    """A file of `torch.save` since PyTorch 1.6: a zip archive of a pickle and storages.

    Raises:
        ValueError: The file is damaged, or holds more than tensors and containers.
    """

    def read() -> Any:
        mapped = _map(path)
        with zipfile.ZipFile(path) as archive:
            infos = {i.filename.partition("/")[2]: i for i in archive.infolist()}
        if "data.pkl" not in infos or "constants.pkl" in infos:
            raise pickles.Refused("it is no archive of torch.save")

        @functools.cache
        def member(name: str) -> np.ndarray:
            return _member(mapped, infos[name])

        if "byteorder" in infos and member("byteorder").tobytes() != b"little":
            raise pickles.Refused("it is not little-endian")
        value = pickles.load(io.BytesIO(member("data.pkl"))).value
        return pickles.resolve(
            value, lambda storage: _elements(member(f"data/{storage.key}"), 0, storage)
        )

    return _read(path, read)


def read_legacy(path: pathlib.Path) -> Any:
    """A file of `torch.save` before PyTorch 1.6: five pickles, then the storages.

    Raises:
        ValueError: The file is damaged, or holds more than tensors and containers.
    """

    def read() -> Any:
        mapped = _map(path)
        with path.open("rb") as file:
            magic, version, system = (pickles.load(file).value for _ in range(3))
            if (magic, version) != (LEGACY_MAGIC, LEGACY_VERSION):
                raise pickles.Refused(
                    f"its version is unknown: {reprlib.repr(version)}"
                )
            if not system["little_endian"]:
                raise pickles.Refused("it is not little-endian")
            value, dtypes = pickles.load(file)
            keys = pickles.load(file).value
            start = file.tell()
        starts = {}
        for key in keys:
            count = mapped[start : start + 8]
            if count.size < 8:
                raise _Truncated(key, start + 8, mapped.size)
            starts[key] = start + 8
            start += 8 + int(count.view("<i8")[0]) * dtypes[key].itemsize
        return pickles.resolve(
            value, lambda storage: _elements(mapped, starts[storage.key], storage)
        )

    return _read(path, read)


def read_pickle(path: pathlib.Path) -> Any:
    """A plain pickle of NumPy arrays, as Caffe2 and detectron2 publish weights.

    Raises:
        ValueError: The file is damaged, or holds more than arrays and containers.
    """

    def read() -> Any:
        def elements(storage: pickles.Storage):
            raise pickles.Refused("it holds a tensor without its elements")

        with path.open("rb") as file:
            return pickles.resolve(pickles.load(file).value, elements)

    return _read(path, read)


def _read(path: pathlib.Path, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except pickles.Refused as error:
        raise ValueError(
            f"{path} was refused: {error}. Nothing was executed."
        ) from error
    except _Truncated as error:
        raise ValueError(f"{path} is truncated: {error}") from error
    except Exception as error:  # damaged pickles raise nearly anything
        raise ValueError(
            f"{path} is damaged or truncated, or no weight file "
            f"({type(error).__name__}: {error})"
        ) from error


class _Truncated(Exception):
    def __init__(self, key: str, end: int, size: int):
        super().__init__(f"storage {key} ends at byte {end}, the file at byte {size}")


def _map(path: pathlib.Path) -> np.ndarray:
    return np.asarray(np.memmap(path, np.uint8, mode="r"))


def _elements(mapped: np.ndarray, start: int, storage: pickles.Storage) -> np.ndarray:
    start += storage.offset * storage.dtype.itemsize
    end = start + storage.size * storage.dtype.itemsize
    if not 0 <= start <= end <= mapped.size:
        raise _Truncated(storage.key, end, mapped.size)
    return mapped[start:end].view(storage.dtype)


def _member(mapped: np.ndarray, info: zipfile.ZipInfo) -> np.ndarray:
    """The bytes of a member, which follow its own header, and are what was written."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise pickles.Refused("it is compressed, which torch.save never does")
    header = mapped[info.header_offset : info.header_offset + 30].tobytes()
    name, extra = struct.unpack("<26xHH", header)
    start = info.header_offset + 30 + name + extra
    found = mapped[start : start + info.file_size]
    if found.size < info.file_size:
        raise _Truncated(info.filename, start + info.file_size, mapped.size)
    if zlib.crc32(found) != info.CRC:
        raise pickles.Refused(f"{info.filename} in it has another checksum (CRC)")
    return found
