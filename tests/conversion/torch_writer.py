"""Writes what `torch.save` writes, without PyTorch, and also what it never would."""

import io
import pathlib
import pickle
import zipfile
from typing import Any, NamedTuple

import numpy as np

from stemseg_jax.conversion import pickles, torch_files

STORAGES = {np.dtype(t): name for name, t in pickles.STORAGES.items()}


class Global(NamedTuple):
    """A name that the reader of the pickle is to look up."""

    module: str
    name: str


class Call(NamedTuple):
    """A call that the reader of the pickle is to make; then its result is BUILT."""

    function: Any
    arguments: tuple = ()
    state: Any = None


class Storage(NamedTuple):
    key: str
    elements: np.ndarray
    view: Any = None


class Tensor(NamedTuple):
    storage: Storage
    offset: int
    shape: tuple
    strides: tuple


def tensor(key: str, values: Any) -> Tensor:
    values = np.asarray(values)
    strides = tuple(step // values.itemsize for step in values.strides)
    return Tensor(Storage(key, values.ravel(order="K")), 0, values.shape, strides)


class _Pickler(pickle._Pickler):
    def __init__(self, file, legacy: bool):
        super().__init__(file, protocol=2)
        self.legacy = legacy
        self.storages: dict[str, np.ndarray] = {}

    def save(self, value, **options):
        if isinstance(value, Global):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
            if value.state is not None:
                self.save(value.state)
                self.write(pickle.BUILD)
        elif isinstance(value, Tensor):
            rebuild = Global("torch._utils", "_rebuild_tensor_v2")
            hooks = Call(Global("collections", "OrderedDict"))
            self.save(Call(rebuild, (*value, False, hooks)))
        else:
            super().save(value, **options)

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        self.storages[value.key] = value.elements
        kind = Global("torch", STORAGES[value.elements.dtype])
        pid = ("storage", kind, value.key, "cpu", value.elements.size)
        return (*pid, value.view) if self.legacy else pid


def dumps(value: Any, *, legacy: bool = False) -> tuple[bytes, dict[str, np.ndarray]]:
    """The pickle and the storages it refers to."""
    file = io.BytesIO()
    pickler = _Pickler(file, legacy)
    pickler.dump(value)
    return file.getvalue(), pickler.storages


def write_zip(path: pathlib.Path, value: Any) -> pathlib.Path:
    data, storages = dumps(value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, elements in storages.items():
            archive.writestr(f"archive/data/{key}", elements.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


def write_legacy(path: pathlib.Path, value: Any) -> pathlib.Path:
    data, storages = dumps(value, legacy=True)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    parts = [pickle.dumps(torch_files.LEGACY_MAGIC, 2)]
    parts += [pickle.dumps(part, 2) for part in (1001, system)]
    parts += [data, pickle.dumps(list(storages), 2)]
    for elements in storages.values():
        parts += [np.int64(elements.size).tobytes(), elements.tobytes()]
    path.write_bytes(b"".join(parts))
    return path
