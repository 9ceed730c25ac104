"""An unpickler that builds numbers, strings, containers and arrays, and nothing else.

A pickle is a program: it names functions and has them called. Here every name it may
use stands for a harmless stand-in of ours; any other name ends the reading. Nothing is
imported, looked up or executed on a file's behalf, so a hostile file is only an error.

Nor can it ask for endless work: few bytes can nest tuples that hold one another twice,
sixty times over, which nobody may hash, print or walk through copy by copy.
"""

import io
import pickle
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
    "ComplexFloatStorage": np.complex64,
    "ComplexDoubleStorage": np.complex128,
}
NUMBERS = "?biufc"  # kinds of NumPy type that hold numbers
MOST_COPIED = 2**31  # values and bytes that the calls of a file are given


class Refused(Exception):
    """A pickle asks for more than is allowed."""


class Storage(NamedTuple):
    """A run of elements that lies elsewhere in the file; tensors are views of it."""

    key: str
    dtype: np.dtype
    offset: int  # of a storage that views another, in elements
    size: int  # in elements


class Tensor(NamedTuple):
    """What a pickle says of a tensor; offset and strides are in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class Pickled(NamedTuple):
    value: Any  # with tensors still as `Tensor`
    storages: dict[str, np.dtype]  # key -> type of elements


def load(file: io.BufferedIOBase) -> Pickled:
    """The object of the next pickle in `file`.

    Raises:
        Refused: The pickle names anything but a tensor or a container.
        Exception: Damaged pickles raise what Python's unpickler raises.
    """
    unpickler = _Unpickler(_Complete(file), encoding="latin1")
    return Pickled(unpickler.load(), unpickler.storages)


def resolve(value: Any, elements: Callable[[Storage], np.ndarray]) -> Any:
    """`value` with plain containers, and arrays where its tensors were.

    Args:
        elements: Gives the elements of a storage as a flat array.
    """
    done: dict[int, Any] = {}  # a container may hold another twice, even itself

    def visit(value: Any) -> Any:
        if isinstance(value, Tensor):
            return _view(value, elements(value.storage))
        if isinstance(value, Storage):
            return elements(value)
        if isinstance(value, _Array):
            if id(value) not in done:
                done[id(value)] = value.array()
            return done[id(value)]
        if isinstance(value, (tuple, set, frozenset)) and type(value) in _IMMUTABLE:
            if id(value) not in done:
                done[id(value)] = type(value)(map(visit, value))
            return done[id(value)]
        if isinstance(value, (dict, list)):
            if id(value) not in done:
                if isinstance(value, dict):
                    done[id(value)] = plain = {}
                    plain.update((visit(k), visit(v)) for k, v in value.items())
                else:
                    done[id(value)] = plain = []
                    plain.extend(map(visit, value))
            return done[id(value)]
        if value is None or isinstance(value, _PLAIN):
            return value
        raise Refused(f"it holds a {type(value).__name__.lstrip('_')}")

    return visit(value)


_IMMUTABLE = (tuple, set, frozenset)
_PLAIN = (bool, int, float, complex, str, bytes, bytearray)


def _view(tensor: Tensor, elements: np.ndarray) -> np.ndarray:
    shape, strides = tensor.shape, tensor.strides
    counted = [tensor.offset, *shape, *strides]
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in counted):
        raise Refused(f"it holds a malformed tensor: {reprlib.repr(tuple(tensor))}")
    steps = sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    # Checked, because NumPy would read whatever memory lies there.
    if 0 not in shape and tensor.offset + steps >= elements.size:
        raise Refused(
            f"it holds a tensor of shape {shape} that reaches beyond its storage "
            f"of {elements.size} elements"
        )
    if 0 in shape:
        return np.zeros(shape, elements.dtype)
    return np.lib.stride_tricks.as_strided(
        elements[tensor.offset :],
        shape,
        [step * elements.itemsize for step in strides],
        writeable=False,
    )


class _Complete:
    """A file that ends with an error, and not with less than was asked for."""

    def __init__(self, file: io.BufferedIOBase):
        self._file = file
        start = file.tell()
        self._size = file.seek(0, io.SEEK_END)
        file.seek(start)

    def read(self, count: int) -> bytes:
        if count > self._size - self._file.tell():
            raise EOFError(f"{count} more bytes expected")
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("a line has no end")
        return line


class _Unpickler(pickle._Unpickler):
    """Python's own, and not the one in C, which cannot be told what may be a key."""

    dispatch = pickle._Unpickler.dispatch.copy()

    def __init__(self, file: _Complete, **options: Any):
        super().__init__(file, **options)
        self.storages: dict[str, np.dtype] = {}
        self.copied = 0

    def load_setitem(self):
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self):
        _check_keys(self.stack[::2])
        super().load_setitems()

    def load_dict(self):
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_additems(self):
        _check_keys(self.stack)
        super().load_additems()

    def load_frozenset(self):
        _check_keys(self.stack)
        super().load_frozenset()

    def load_reduce(self):
        self._count(self.stack[-1])
        super().load_reduce()

    def load_build(self):
        state = self.stack[-1]
        if isinstance(state, tuple | list):  # of an array, which encodes text
            self._count(part for part in state if isinstance(part, str))
        super().load_build()

    def _instantiate(self, klass: Any, args: Sequence[Any]):
        self._count(args)
        super()._instantiate(klass, args)

    def _count(self, copied: Iterable[Any]):
        self.copied += sum(len(one) for one in copied if isinstance(one, Sized))
        if self.copied > MOST_COPIED:
            raise Refused(f"its calls copy more than {MOST_COPIED} values")

    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise Refused(
            f"it asks for {module}.{name}, which is neither a tensor nor a container"
        )

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(size), *rest):
                offset = 0
                if rest and rest[0] is not None:  # a storage that views another
                    _, offset, size = rest[0]
                self.storages[key] = dtype
                return Storage(key, dtype, int(offset), int(size))
        raise Refused(f"it refers to something unknown: {reprlib.repr(pid)}")


def _check_keys(keys: Iterable[Any]) -> None:
    """What is hashed is no container, whose hash can take for ever."""
    for key in keys:
        small = isinstance(key, int) and abs(key) < 2**64
        if not small and not isinstance(key, str | bytes | float | None):
            raise Refused(f"it has a {type(key).__name__} as a key")


def _hashed(make: Callable) -> Callable:
    def checked(items: Iterable[Any] = ()):
        items = list(items)
        _check_keys(items)
        return make(items)

    return checked


class _StandIn:
    """A function that pickles call by a name of their own, and cannot change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable):
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)

    def __setstate__(self, state: Any):
        raise Refused("it tries to change a function")


class _StorageType(NamedTuple):
    dtype: np.dtype


class _Dict(dict):
    """An OrderedDict, of which attributes such as a state dict's `_metadata` drop."""

    __slots__ = ()

    def __init__(self, items: Iterable[Any] = ()):
        items = list(items)
        _check_keys(key for key, _ in items)
        super().__init__(items)

    def __setstate__(self, state: Any):
        pass


class _Dtype:
    """Stands for a numpy.dtype; NumPy's own could be told to hold objects."""

    __slots__ = ("dtype",)

    def __init__(self, name: Any, *flags: Any):
        if not isinstance(name, str):
            raise Refused("it holds an array of an unknown type")
        self.dtype = np.dtype(name)
        if self.dtype.kind not in NUMBERS:
            raise Refused(f"it holds an array of {name!r}, not numbers")

    def __setstate__(self, state: Any):
        _, order, subtype, names, fields, *_ = state
        if (subtype, names, fields) != (None, None, None):
            raise Refused("it holds an array of records, not numbers")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands for a numpy.ndarray; pickles make it empty first and fill it then."""

    __slots__ = ("dtype", "order", "raw", "shape")

    def __setstate__(self, state: Any):
        _, shape, dtype, is_fortran, raw = state
        self.fill(raw, dtype, shape, "F" if is_fortran else "C")

    def fill(self, raw: Any, dtype: _Dtype, shape: Any, order: str) -> "_Array":
        self.dtype, self.shape, self.order = dtype.dtype, shape, order
        # Python 2 wrote byte strings, which arrive as text.
        self.raw = raw.encode("latin1") if isinstance(raw, str) else raw
        return self

    def array(self) -> np.ndarray:
        flat = np.frombuffer(self.raw, self.dtype)
        native = flat.astype(self.dtype.newbyteorder("="), copy=False)
        return native.reshape(self.shape, order=self.order)


def _tensor(storage: Storage, offset: int, shape: tuple, strides: tuple, *rest: Any):
    if not isinstance(storage, Storage) or (len(rest) > 2 and rest[2]):
        raise Refused("it holds a tensor of an unknown kind")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"it holds bytes written as {reprlib.repr(encoding)}")
    return text.encode("latin1")


def _scalar(dtype: _Dtype, raw: Any) -> _Array:
    return _Array().fill(raw, dtype, (), "C")


def _frombuffer(raw: Any, dtype: _Dtype, shape: Any, order: str) -> _Array:
    return _Array().fill(raw, dtype, shape, order)


def _allowed() -> Mapping[tuple[str, str], Any]:
    table: dict[tuple[str, str], Any] = {
        ("torch._utils", "_rebuild_tensor"): _StandIn(_tensor),
        ("torch._utils", "_rebuild_tensor_v2"): _StandIn(_tensor),
        ("torch._utils", "_rebuild_parameter"): _StandIn(lambda data, *_: data),
        ("torch", "Size"): _StandIn(tuple),
        ("collections", "OrderedDict"): _StandIn(_Dict),
        ("_codecs", "encode"): _StandIn(_latin1),
        ("numpy", "dtype"): _StandIn(_Dtype),
        ("numpy", "ndarray"): "ndarray",
    }
    for module in ("torch", "torch.cuda"):
        for name, dtype in STORAGES.items():
            table[module, name] = _StorageType(np.dtype(dtype))
    for module in ("builtins", "__builtin__"):
        table[module, "bytes"] = _StandIn(lambda: b"")  # how none are written
        table[module, "set"] = _StandIn(_hashed(set))
        table[module, "frozenset"] = _StandIn(_hashed(frozenset))
    for module in ("numpy.core", "numpy._core"):  # before and since NumPy 2
        table[f"{module}.multiarray", "_reconstruct"] = _StandIn(lambda *_: _Array())
        table[f"{module}.multiarray", "scalar"] = _StandIn(_scalar)
        table[f"{module}.numeric", "_frombuffer"] = _StandIn(_frombuffer)
    return table


_ALLOWED = _allowed()
