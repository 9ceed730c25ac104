"""Our own release form: a .safetensors file with the config in its metadata.

Beside the config stand the digests of all tensors and of itself: a file that is not
what was written is refused. There, too, are the terms of use, if there are any.
"""

import hashlib
import itertools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from absl import logging
from flax import traverse_util

from stemseg_jax.conversion import sources
from stemseg_jax.formats import whole

FORMAT = "stemseg_jax 2"
UNPROVEN = "stemseg_jax"  # from before digests


class Evaluation(msgspec.Struct, frozen=True):
    dataset: str = ""


class Config(msgspec.Struct):
    """What every config has; `options` knows the rest."""

    system: str
    model: dict[str, Any]
    evaluation: Evaluation = Evaluation()


def write(
    path: str | pathlib.Path,
    variables: dict[str, Any],
    config: dict[str, Any],
    *,
    terms: str = "",
) -> None:
    """Writes variables and the config they belong to; a file is whole or not there.

    Args:
        variables: {"params": ..., "constants": ...}; tensors are called "params/...".
        config: What JSON can say.
        terms: On which the weights may be used.
    """
    flat = traverse_util.flatten_dict(variables, sep="/")
    tensors = {name: np.array(value, order="C") for name, value in flat.items()}
    text = json.dumps(config)
    metadata = {
        "format": FORMAT,
        "config": text,
        "digests": json.dumps(_digests(tensors, text)),
    }
    if terms:
        metadata["terms"] = terms
    with whole.file(path) as partial:
        partial.write_bytes(safetensors.numpy.save(tensors, metadata))


def read(path: pathlib.Path) -> sources.Loaded | dict[str, np.ndarray]:
    """A release, or the tensors of any other .safetensors file.

    Raises:
        ValueError: The file is damaged, or not what was written.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # also what a type that NumPy does not know leads to
        raise ValueError(f"{path} is damaged or truncated ({error})") from error
    form = metadata.get("format")
    if form not in (FORMAT, UNPROVEN):
        return tensors
    if form == UNPROVEN:
        logging.warning("%s is from before digests: it is not verified.", path)
    else:
        _verify(path, tensors, metadata)
    for name in tensors:
        above = {*itertools.accumulate(name.split("/")[:-1], "{}/{}".format)}
        if inside := above & tensors.keys():
            raise ValueError(f"{path} is damaged: {name} is inside of {inside.pop()}.")
    return sources.Loaded(
        origin=f"{path} (a release of ours)",
        variables=traverse_util.unflatten_dict(tensors, sep="/"),
        names={name: name for name in tensors},
        unknown=(),
        parts=(),
        conventions=None,
        config=_config(path, metadata),
    )


def terms(path: pathlib.Path) -> str:
    """On which terms a release may be used; empty if it names none, and of all else."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("terms", "")
    except (OSError, safetensors.SafetensorError):
        return ""


def _config(path: pathlib.Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        config = json.loads(metadata["config"])
        msgspec.convert(config, Config)
    except (KeyError, RecursionError, ValueError, msgspec.ValidationError) as error:
        raise ValueError(
            f"{path} is damaged: it carries no config ({error}). Download or copy it "
            "again."
        ) from error
    return config


def _digests(tensors: Mapping[str, np.ndarray], config: str) -> dict[str, str]:
    """SHA-256 of each tensor with its type and shape, and of the config ("")."""
    return {"": hashlib.sha256(config.encode()).hexdigest()} | {
        name: _digest(value) for name, value in tensors.items()
    }


def _digest(value: np.ndarray) -> str:
    of = hashlib.sha256(f"{value.dtype} {value.shape}".encode())
    of.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8))
    return of.hexdigest()


def _verify(
    path: pathlib.Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    found = _digests(tensors, metadata.get("config", ""))
    try:
        digests = metadata.get("digests", "")
        expected = msgspec.json.decode(digests, type=dict[str, str])
    except (msgspec.MsgspecError, RecursionError):
        expected = {}
    if changed := sorted(dict(found.items() ^ expected.items())):
        raise ValueError(
            f"{path} is damaged: {changed[0] or 'its config'} is not what was written. "
            "Download or copy it again."
        )
