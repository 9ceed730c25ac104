"""Our own release form: a .safetensors file with the config in its metadata."""

import json
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from stemseg_jax.conversion import sources
from stemseg_jax.formats import whole

FORMAT = "stemseg_jax"


def write(
    path: str | pathlib.Path, variables: dict[str, Any], config: dict[str, Any]
) -> None:
    """Writes variables and the config they belong to; a file is whole or not there.

    Args:
        variables: {"params": ..., "constants": ...}; tensors are called "params/...".
        config: What JSON can say.
    """
    flat = traverse_util.flatten_dict(variables, sep="/")
    tensors = {name: np.array(value, order="C") for name, value in flat.items()}
    metadata = {"format": FORMAT, "config": json.dumps(config)}
    with whole.file(path) as partial:
        safetensors.numpy.save_file(tensors, partial, metadata)


def read(path: pathlib.Path) -> sources.Loaded | dict[str, np.ndarray]:
    """A release, or the tensors of any other .safetensors file.

    Raises:
        ValueError: The file is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is damaged or truncated ({error})") from error
    if metadata.get("format") != FORMAT:
        return tensors
    return sources.Loaded(
        origin=f"{path} (a release of ours)",
        variables=traverse_util.unflatten_dict(tensors, sep="/"),
        names={name: name for name in tensors},
        unknown=(),
        parts=(),
        conventions=None,
        config=json.loads(metadata["config"]),
    )
