"""Weights of TensorFlow.js: a manifest in JSON beside the files that hold the numbers.

Source: the format of the tensorflowjs converter, "Graph model", weightsManifest.
"""

import json
import math
import pathlib
from typing import Any

import numpy as np

DTYPES = {"float32": "<f4", "int32": "<i4"}  # others are of quantised models


def read(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a model.json and the files that it names, by name.

    Raises:
        ValueError: It is no such manifest, or a file is missing, cut or too long.
    """
    try:
        groups = json.loads(path.read_bytes())["weightsManifest"]
        return {
            name: tensor
            for group in groups
            for name, tensor in _group(path, group).items()
        }
    except Exception as error:  # a damaged manifest leads to nearly any
        raise ValueError(
            f"{path} is no manifest of TensorFlow.js weights, or a damaged one "
            f"({type(error).__name__}: {error}). Expected the model.json of a "
            "converted model, with its weight files beside it."
        ) from error


def _group(path: pathlib.Path, group: dict[str, Any]) -> dict[str, np.ndarray]:
    """The tensors of files that are to be read as one, one after the other."""
    parts = []
    for name in group["paths"]:
        file = path.parent / pathlib.PurePath(name).name
        if not file.is_file():
            raise ValueError(f"{file} is named in it, but not there")
        parts.append(file.read_bytes())
    content = b"".join(parts)
    tensors, start = {}, 0
    for entry in group["weights"]:
        name, shape = entry["name"], entry["shape"]
        if not all(isinstance(size, int) and size >= 0 for size in shape):
            raise ValueError(f"{name} has a shape of {shape}")
        if "quantization" in entry or entry["dtype"] not in DTYPES:
            raise ValueError(f"{name} is {entry['dtype']}, quantised or unknown")
        end = start + 4 * math.prod(shape)
        if end > len(content):
            raise ValueError(f"{name} ends at byte {end}, its files at {len(content)}")
        values = np.frombuffer(content[start:end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(shape)
        start = end
    if start != len(content):
        raise ValueError(
            f"its tensors end at byte {start}, its files at {len(content)}"
        )
    return tensors
