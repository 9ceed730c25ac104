"""Torch files and pickles are read exactly, and nothing in them is executed."""

import os
import pathlib
import pickle
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from stemseg_jax.conversion import loading, pickles, torch_files
from tests.conversion import torch_writer
from tests.conversion.torch_writer import Call, Global, Storage, Tensor

GOLDENS = pathlib.Path(__file__).parents[1] / "parity/goldens"
READ = {"zip": torch_files.read_zip, "legacy": torch_files.read_legacy}
WRITE = {"zip": torch_writer.write_zip, "legacy": torch_writer.write_legacy}
FORMS = sorted(READ)
ROOT = pathlib.Path(__file__).parents[2]

forms = pytest.mark.parametrize("form", FORMS)


def stored(tmp_path, value, form="zip"):
    return READ[form](WRITE[form](tmp_path / f"{form}.pth", value))


# ------------------------------------------------------------------------ what is read


def test_the_authors_serialisation(tmp_path):
    with np.load(GOLDENS / "legacy_checkpoint.npz") as arrays:
        path = tmp_path / "davis.pth"
        path.write_bytes(arrays["file_bytes"].tobytes())
        content = torch_files.read_legacy(path)
        model = {k[6:]: arrays[k] for k in arrays if k.startswith("model.")}
    assert list(content) == [
        "model",
        "optimizer",
        "lr_scheduler",
        "logger",
        "iterations",
    ]
    assert content["model"].keys() == model.keys()
    for name, expected in model.items():
        actual = content["model"][name]
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        np.testing.assert_array_equal(actual, expected)


@forms
@pytest.mark.parametrize("dtype", pickles.STORAGES.values(), ids=pickles.STORAGES)
def test_every_type_of_element(tmp_path, form, dtype):
    values = np.array([[0, 1, 3], [7, 5, 0]]).astype(dtype)
    actual = stored(tmp_path, {"x": torch_writer.tensor("0", values)}, form)["x"]
    assert actual.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(actual, values)


@forms
def test_views_share_their_storage(tmp_path, form):
    storage = Storage("7", np.arange(24, dtype=np.float32))
    value = {
        "offset": Tensor(storage, 10, (3,), (1,)),
        "transposed": Tensor(storage, 0, (6, 4), (1, 6)),
        "every_second": Tensor(storage, 1, (4,), (2,)),
        "expanded": Tensor(storage, 5, (3, 2), (0, 1)),
        "scalar": Tensor(storage, 23, (), ()),
        "empty": Tensor(storage, 24, (0, 3), (3, 1)),
    }
    x = stored(tmp_path, value, form)
    flat = storage.elements
    np.testing.assert_array_equal(x["offset"], flat[10:13])
    np.testing.assert_array_equal(x["transposed"], flat.reshape(4, 6).T)
    np.testing.assert_array_equal(x["every_second"], flat[1:9:2])
    np.testing.assert_array_equal(x["expanded"], [flat[5:7]] * 3)
    assert x["scalar"] == 23 and x["scalar"].shape == ()
    assert x["empty"].shape == (0, 3)
    assert np.shares_memory(x["offset"], x["transposed"])
    assert not x["offset"].flags.writeable


def test_a_storage_that_views_another(tmp_path):
    """Very old files have those."""
    storage = Storage("0", np.arange(9, dtype=np.int64), ("1", 4, 3))
    path = torch_writer.write_legacy(tmp_path / "x", Tensor(storage, 1, (2,), (1,)))
    np.testing.assert_array_equal(torch_files.read_legacy(path), [5, 6])


@forms
def test_containers_come_back_plain(tmp_path, form):
    metadata = Call(Global("collections", "OrderedDict"), ([["", {"version": 1}]],))
    value = {
        "state": Call(
            Global("collections", "OrderedDict"), (), {"_metadata": metadata}
        ),
        "list": [1, (2.5, None, True), "text", b"bytes"],
        "set": {1, 2},
        "size": Call(Global("torch", "Size"), ([2, 3],)),
        "parameter": Call(
            Global("torch._utils", "_rebuild_parameter"),
            (torch_writer.tensor("0", np.ones(2, np.float32)), True, None),
        ),
    }
    content = stored(tmp_path, value, form)
    assert content["state"] == {} and type(content["state"]) is dict
    assert content["list"] == value["list"]
    assert content["set"] == {1, 2} and content["size"] == (2, 3)
    np.testing.assert_array_equal(content["parameter"], [1, 1])


def test_a_list_may_hold_itself(tmp_path):
    path = tmp_path / "x.pkl"
    endless = [1]
    endless.append(endless)
    path.write_bytes(pickle.dumps(endless))
    content = torch_files.read_pickle(path)
    assert content[0] == 1 and content[1] is content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_arrays(tmp_path, protocol):
    arrays = {
        "c": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.arange(4, dtype=">i4"),
        "number": np.float64(2.5),
        "empty": np.zeros((0, 3), np.float16),
        "bool": np.array([True, False]),
    }
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": arrays}, protocol))
    content = torch_files.read_pickle(path)["model"]
    for name, expected in arrays.items():
        np.testing.assert_array_equal(content[name], expected)
        assert content[name].dtype == expected.dtype.newbyteorder("=")


def test_an_array_of_python_2(tmp_path):
    path = tmp_path / "old.pkl"
    dtype = Call(Global("numpy", "dtype"), ("f4", 0, 1), (3, "<", *[None] * 3, -1, 0))
    raw = np.array([1, 2], "<f4").tobytes().decode("latin1")
    array = Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        (Global("numpy", "ndarray"), (0,), "b"),
        (1, (2,), dtype, False, raw),
    )
    path.write_bytes(torch_writer.dumps({"w": array})[0])
    np.testing.assert_array_equal(torch_files.read_pickle(path)["w"], [1, 2])


@pytest.mark.torch
@forms
@pytest.mark.parametrize("protocol", [2, 3])
def test_as_torch_reads_it(tmp_path, form, protocol):
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 5, 6, generator=generator)
    value = {
        "base": base,
        "permuted": base.permute(2, 0, 1),
        "slice": base[1:3, ::2, 4],
        "expanded": base[:, :1].expand(4, 7, 6),
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "bool": base > 0,
        "int": {"i64": torch.arange(7)[2:], "u8": torch.arange(9).byte().view(3, 3).T},
        "scalar": torch.tensor(0.1),
        "parameter": torch.nn.Parameter(base[0]),
        "optimizer": torch.optim.SGD([torch.zeros(3)], 0.1).state_dict(),
        "module": torch.nn.BatchNorm2d(4).state_dict(),
    }
    path = tmp_path / "x.pth"
    torch.save(
        value,
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=form == "zip",
    )
    expected = torch.load(path, weights_only=True, map_location="cpu")
    compare(READ[form](path), expected)


@pytest.mark.torch
@forms
def test_torch_reads_our_test_files(tmp_path, form):
    torch = pytest.importorskip("torch")
    value = {"x": torch_writer.tensor("0", np.arange(6.0).reshape(2, 3).T)}
    path = WRITE[form](tmp_path / "x.pth", value)
    expected = torch.load(path, weights_only=True)
    compare(READ[form](path), expected)


def compare(actual, expected):
    torch = sys.modules["torch"]
    if isinstance(expected, torch.Tensor):
        assert actual.shape == tuple(expected.shape)
        if expected.dtype == torch.bfloat16:
            assert actual.dtype == ml_dtypes.bfloat16
            actual, expected = actual.astype(np.float32), expected.float()
        expected = expected.detach().numpy()
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)
    elif isinstance(expected, dict):
        assert list(actual) == list(expected)
        for key in expected:
            compare(actual[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        for one, other in zip(actual, expected, strict=True):
            compare(one, other)
    else:
        assert actual == expected


# --------------------------------------------------------------------- what is refused


class Trap:
    """Anything a pickle could call; reading it would leave a mark."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def traps(mark):
    write = f"open({str(mark)!r}, 'w')"
    yield "posix.system", Trap(os.system, f"touch {mark}")
    yield "builtins.eval", Trap(eval, write)
    yield "builtins.exec", Trap(exec, write)
    yield "builtins.open", Trap(open, str(mark), "w")
    yield "builtins.getattr", Trap(getattr, dict, "clear")
    yield "numpy.save", Call(Global("numpy", "save"), (str(mark), 1))
    yield "torch.load", Call(Global("torch", "load"), (str(mark),))
    yield "torch.hub", Global("torch", "hub.load")
    yield "operator.attrgetter", Call(Global("operator", "attrgetter"), ("x",))


TRAPS = [name for name, _ in traps("mark")]


@pytest.mark.parametrize("name", TRAPS)
@pytest.mark.parametrize("form", [*FORMS, "pickle"])
def test_a_booby_trap_is_refused_and_does_nothing(tmp_path, name, form):
    mark = tmp_path / "mark"
    value = {"model": {"w": 1}, "trap": dict(traps(mark))[name]}
    path = tmp_path / "trapped.pth"
    if form == "pickle":
        path.write_bytes(torch_writer.dumps(value)[0])
        read = torch_files.read_pickle
    else:
        WRITE[form](path, value)
        read = READ[form]
    with pytest.raises(ValueError) as caught:
        read(path)
    message = str(caught.value)
    assert "trapped.pth was refused: it asks for " in message
    assert name.rpartition(".")[2] in message
    assert "neither a tensor nor a container. Nothing was executed." in message
    assert not mark.exists()


def test_a_trap_in_any_spelling(tmp_path):
    """INST, OBJ and STACK_GLOBAL name a function too."""
    path = tmp_path / "x.pkl"
    for opcodes in (
        b"(S'ls'\nios\nsystem\n.",
        b"(cos\nsystem\nS'ls'\no.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.",
    ):
        path.write_bytes(opcodes)
        with pytest.raises(ValueError, match="it asks for os.system"):
            torch_files.read_pickle(path)


def test_allowed_functions_cannot_be_changed(tmp_path):
    """BUILD would otherwise set attributes of what it is given."""
    for function in (
        Global("torch._utils", "_rebuild_tensor_v2"),
        Global("collections", "OrderedDict"),
        Global("torch", "FloatStorage"),
        Global("numpy", "ndarray"),
    ):
        for state in ({"x": 1}, (None, {"__defaults__": (1,), "_call": 2})):
            data = torch_writer.dumps(function)[0][:-1]
            data += torch_writer.dumps(state)[0][2:-1] + pickle.BUILD + pickle.STOP
            path = tmp_path / "x.pkl"
            path.write_bytes(data)
            with pytest.raises(ValueError, match="refused|damaged"):
                torch_files.read_pickle(path)
    test_views_share_their_storage(tmp_path, "zip")


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}, []], dtype=object),
        np.array(["text"]),
        np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]),
        np.zeros(2, dtype="datetime64[s]"),
    ],
    ids=["object", "text", "records", "dates"],
)
def test_arrays_of_anything_but_numbers_are_refused(tmp_path, array):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(array))
    with pytest.raises(ValueError, match="not numbers"):
        torch_files.read_pickle(path)


@forms
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (7,), (1,)), (6, (), ()), (0, (3, 3), (3, 1)), (0, (2,), (10**12,))],
)
def test_no_tensor_reaches_beyond_its_storage(tmp_path, form, offset, shape, strides):
    storage = Storage("0", np.zeros(6, np.float32))
    with pytest.raises(ValueError, match="reaches beyond its storage of 6 elements"):
        stored(tmp_path, Tensor(storage, offset, shape, strides), form)


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(-1, (2,), (1,)), (0, (2,), (-1,)), (0, (2, 2), (1,)), (0, (2.0,), (1,))],
)
def test_malformed_tensors_are_refused(tmp_path, offset, shape, strides):
    storage = Storage("0", np.zeros(6, np.float32))
    with pytest.raises(ValueError, match="malformed tensor"):
        stored(tmp_path, Tensor(storage, offset, shape, strides))


@forms
def test_a_truncated_file_is_named(tmp_path, form):
    tensors = {f"w{k}": torch_writer.tensor(str(k), np.ones(50)) for k in range(3)}
    path = WRITE[form](tmp_path / "whole.pth", {"model": tensors})
    whole = path.read_bytes()
    short = tmp_path / "short.pth"
    for end in range(0, len(whole) - 1, 97):
        short.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="short.pth is (damaged or )?truncated"):
            READ[form](short)
    short.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="short.pth is"):
        READ[form](short)


def test_a_truncated_legacy_file_says_where(tmp_path):
    path = torch_writer.write_legacy(
        tmp_path / "x.pth", torch_writer.tensor("key", np.ones(4))
    )
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError) as caught:
        torch_files.read_legacy(path)
    assert f"storage key ends at byte {size}, the file at byte {size - 8}" in str(
        caught.value
    )


def test_big_endian_files_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps({}))
        archive.writestr("x/byteorder", "big")
    with pytest.raises(ValueError, match="it is not little-endian"):
        torch_files.read_zip(path)


def test_other_archives_are_refused(tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(ValueError, match="it is no archive of torch.save"):
        torch_files.read_zip(path)


def test_a_wrong_checksum_is_refused(tmp_path):
    tensors = {"w": torch_writer.tensor("0", np.arange(50.0))}
    path = torch_writer.write_zip(tmp_path / "x.pth", tensors)
    content = bytearray(path.read_bytes())
    place = content.index(np.float64(7).tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.pth was refused: .*data/0 .*checksum"):
        loading.read(path)


def nested(end: bytes) -> bytes:
    """(t, t) of (t, t) of ... sixty times over, and what is done with it."""
    twice = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    return b"\x80\x02)" + twice + end


@pytest.mark.parametrize(
    "end",
    {
        "value": b".",
        "key": b"qd}hdNs.",
        "keys": b"qd}(hdNu.",
        "dict": b"qd(hdNd.",
        "set": b"qdc__builtin__\nset\n](hde\x85R.",
        "ordered dict": b"qdccollections\nOrderedDict\n](](hdNee\x85R.",
        "type": b"cnumpy\ndtype\nqd0hd\x85R.",
        "persistent id": b"Q.",
        "tensor": b"qd0ctorch._utils\n_rebuild_tensor\n(hdK\x00hdhdtR.",
    }.items(),
    ids=lambda item: item[0],
)
def test_nesting_does_not_multiply_work(tmp_path, end):
    path = tmp_path / "x.pkl"
    path.write_bytes(nested(end[1]))
    code = (
        "from stemseg_jax.conversion import loading\n"
        f"try: loading.read({str(path)!r})\n"
        "except ValueError as error: assert 'x.pkl' in str(error)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=ROOT)


TEXT = b"X\xe8\x03\x00\x00" + b"a" * 1000 + b"q\x020X\x06\x00\x00\x00latin1q\x030"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\nq\x040"
ARRAY += b"cnumpy\ndtype\nX\x02\x00\x00\x00u1\x85Rq\x050"


@pytest.mark.parametrize(
    "call",
    [
        b"h\x01h\x02h\x03\x86R",  # REDUCE
        b"(h\x01h\x02h\x03o",  # OBJ
        b"(h\x02h\x03i_codecs\nencode\n",  # INST
        b"h\x04)R(K\x01K\x00h\x05\x89h\x02tb",  # BUILD of an array
    ],
)
def test_calls_cannot_copy_without_end(tmp_path, monkeypatch, call):
    monkeypatch.setattr(pickles, "MOST_COPIED", 10_000)
    path = tmp_path / "x.pkl"
    named = b"c_codecs\nencode\nq\x010" + TEXT + ARRAY
    path.write_bytes(b"\x80\x02" + named + b"](" + 20 * call + b"e.")
    with pytest.raises(ValueError, match="its calls copy more than"):
        loading.read(path)


def test_a_length_beyond_the_file_is_not_believed(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"a.")
    with pytest.raises(ValueError, match="x.pkl is damaged or truncated.*more bytes"):
        loading.read(path)
