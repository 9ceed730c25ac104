"""What kind of file it is, is found out."""

import pickle

import numpy as np
import pytest
import safetensors.numpy

from stemseg_jax.conversion import loading
from tests.conversion import test_tfjs_files, torch_writer

NAME = "body.stem.conv1.weight"
KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)


def check(path):
    loaded = loading.load(path)
    kernel = loaded.variables["params"]["body"]["stem"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel, KERNEL.transpose(2, 3, 1, 0))
    assert str(path) in loaded.origin


@pytest.mark.parametrize("kind", loading.READERS)
def test_kinds_are_found_out(tmp_path, kind):
    path = tmp_path / "weights"  # no suffix to go by
    tensor = torch_writer.tensor("0", KERNEL)
    if kind == "torch zip":
        torch_writer.write_zip(path, {NAME: tensor})
    elif kind == "torch legacy":
        torch_writer.write_legacy(path, {NAME: tensor})
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({NAME: KERNEL}))
    elif kind == "TensorFlow.js manifest":
        path = test_tfjs_files.write(tmp_path, {NAME: KERNEL})
    else:
        safetensors.numpy.save_file({NAME: KERNEL}, path)
    assert loading.kind_of(path) == kind
    check(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda d: {"model": d, "optimizer": {"state": {}}, "iterations": 7},
        lambda d: {"state_dict": {f"module.{k}": v for k, v in d.items()}, "epoch": 3},
        lambda d: {"model": d, "__author__": "Detectron2 Model Zoo"},
    ],
)
def test_the_state_dict_is_found(tmp_path, wrap):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(wrap({NAME: KERNEL})))
    check(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [KERNEL], {"model": {}}, KERNEL])
def test_no_state_dict(tmp_path, content):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"x\.pkl holds no state dict"):
        loading.load(path)


def test_no_weight_file(tmp_path):
    path = tmp_path / "x.pth"
    path.write_text("<html>404 Not Found</html>")
    with pytest.raises(ValueError) as caught:
        loading.load(path)
    message = str(caught.value)
    assert "x.pth is no weight file: it begins with b'<html>404 Not Fo'" in message
    assert "torch zip, torch legacy, pickle, safetensors" in message


@pytest.mark.parametrize("missing", ["nowhere.pth", "."])
def test_no_file(tmp_path, missing):
    with pytest.raises(ValueError, match="is not there, or no file"):
        loading.load(tmp_path / missing)
