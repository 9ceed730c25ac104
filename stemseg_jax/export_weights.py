"""Writes a checkpoint as one .safetensors file with its config inside."""

import json

from absl import logging
from ml_collections import ConfigDict

from stemseg_jax import models
from stemseg_jax.conversion import release


def run(config: ConfigDict, *, checkpoint: str, output: str) -> None:
    """Writes what any checkpoint holds; it loads back without other flags.

    Raises:
        ValueError: If there is no checkpoint, or it belongs to another model.
    """
    model = models.load(config, checkpoint)
    release.write(
        output, model.variables, json.loads(model.config.to_json_best_effort())
    )
    millions = models.size(model.variables) / 1e6
    logging.info("%s: %.2f M values", output, millions)
