"""Writes a checkpoint as one .safetensors file with its config inside."""

import json
import pathlib

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from stemseg_jax import models
from stemseg_jax.conversion import release


def run(
    config: ConfigDict, *, checkpoint: str, output: str, half: bool = False
) -> None:
    """Writes what any checkpoint holds; it loads back without other flags.

    Raises:
        ValueError: If there is no checkpoint, it belongs to another model, or a value
            is beyond float16.
    """
    model = models.load(config, checkpoint)
    write(model, output, half=half, terms=models.terms(checkpoint))
    millions = models.size(model.variables) / 1e6
    logging.info("%s: %.2f M values", output, millions)


def write(
    model: models.Model, output: str | pathlib.Path, *, half: bool, terms: str = ""
) -> None:
    """A release of a model.

    The config goes without what names places on this machine: `data.root`,
    `data.packed`, `init_from` and `evaluation.ground_truth`.

    Args:
        half: Values as float16, which a file of half the size holds.
        terms: Of use, which go along.

    Raises:
        ValueError: A value is beyond float16.
    """
    variables = jax.device_get(model.variables)
    if half:
        variables = jax.tree.map_with_path(_half, variables)
    config = model.config.copy_and_resolve_references()
    with config.unlocked(), config.ignore_type():
        config.data.root, config.init_from = None, ""
        config.data.packed = config.evaluation.ground_truth = ""
    content = json.loads(config.to_json_best_effort())
    release.write(output, variables, content, terms=terms)


def _half(path, values: np.ndarray) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.floating):
        return values
    largest = np.abs(values).max(initial=0)
    if largest > np.finfo(np.float16).max:
        raise ValueError(
            f"{jax.tree_util.keystr(path, simple=True, separator='/')} has a value of "
            f"{largest:.3g}, which float16 cannot hold: leave --half out."
        )
    return values.astype(np.float16)
