"""Any weight file to variables of our network: what it is, is found out."""

import pathlib
from typing import Any

import numpy as np

from stemseg_jax.conversion import release, sources, tfjs_files, torch_files

READERS = {
    "torch zip": torch_files.read_zip,
    "torch legacy": torch_files.read_legacy,
    "pickle": torch_files.read_pickle,
    "safetensors": release.read,
    "TensorFlow.js manifest": tfjs_files.read,
}
WRAPPERS = ("model", "state_dict", "model_state")  # keys that hold the state dict


def load(path: str | pathlib.Path) -> sources.Loaded:
    """The weights in a file, under our names.

    A torch file (zip or legacy), a pickle of arrays, a .safetensors file, be it our
    release or another's state dict, or the model.json of a TensorFlow.js model.

    Raises:
        ValueError: The file is damaged, refused, or of none of the known kinds.
    """
    content = read(path)
    if isinstance(content, sources.Loaded):
        return content
    return sources.convert(_state_dict(content, path), str(path))


def read(path: str | pathlib.Path) -> Any:
    """The content of a file as it is: containers of arrays, or a release of ours.

    Raises:
        ValueError: As `load`.
    """
    path = pathlib.Path(path)
    return READERS[kind_of(path)](path)


def kind_of(path: pathlib.Path) -> str:
    """The key of `READERS` for a file, from its first bytes.

    Raises:
        ValueError: It is none of them.
    """
    if not path.is_file():
        raise ValueError(f"{path} is not there, or no file.")
    with path.open("rb") as file:
        start = file.read(32)
    if start.startswith(b"PK\x03\x04"):
        return "torch zip"
    if start.startswith(torch_files.LEGACY_START):
        return "torch legacy"
    if start[8:9] == b"{":
        return "safetensors"
    if start.startswith(b"\x80"):
        return "pickle"
    if start.startswith(b"{"):
        return "TensorFlow.js manifest"
    raise ValueError(
        f"{path} is no weight file: it begins with {start[:16]!r}, as none of "
        f"{', '.join(READERS)} does."
    )


def _state_dict(content: Any, path: str | pathlib.Path) -> dict[str, np.ndarray]:
    for key in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    tensors = {
        name: value
        for name, value in (content.items() if isinstance(content, dict) else ())
        if isinstance(name, str) and isinstance(value, np.ndarray)
    }
    if not tensors:
        raise ValueError(f"{path} holds no state dict, that is, no tensors by name.")
    return tensors
