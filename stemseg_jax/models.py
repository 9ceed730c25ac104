"""A system with its weights, from nothing or from a file of any known form."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from stemseg_jax import checkpoints
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems import SYSTEMS, base


def build(config: ConfigDict) -> base.System:
    """The system a config describes.

    Raises:
        ValueError: For an unknown name or a value out of range.
    """
    if config.system not in SYSTEMS:
        raise ValueError(
            f"system={config.system!r} is unknown; known: {list(SYSTEMS)}."
        )
    return SYSTEMS[config.system].from_config(config)


def initial(config: ConfigDict) -> tuple[base.System, base.Variables]:
    """A system to train: fresh weights, or those of `init_from`."""
    if config.init_from:
        raise NotImplementedError
    system = build(config)
    variables = jax.jit(system.init)(jax.random.key(config.seed), blank_batch(config))
    return system, variables


def abstract(config: ConfigDict) -> tuple[base.System, base.Variables]:
    """The same with shapes in place of weights."""
    system = build(config)
    key = jax.random.key(config.seed)
    return system, jax.eval_shape(system.init, key, blank_batch(config))


def load(config: ConfigDict, checkpoint: str) -> tuple[base.System, base.Variables]:
    """A trained system.

    Raises:
        ValueError: If there is no checkpoint, or it belongs to another model.
    """
    path = pathlib.Path(checkpoint)
    if not path.exists():
        raise ValueError(
            f"{path}: no such checkpoint. Expected a run's folder, .safetensors, .pth "
            "or .pkl."
        )
    if path.is_dir():
        config = with_conventions_of(config, checkpoints.read_config(path))
        system, shapes = abstract(config)
        return system, checkpoints.restore_variables(path, shapes)
    raise NotImplementedError


def with_conventions_of(config: ConfigDict, saved: dict[str, Any]) -> ConfigDict:
    """The config with what belongs to the weights taken from the saved one."""
    config = config.copy_and_resolve_references()
    with config.unlocked():
        model = saved["model"]
        config.model.norm_epsilon = model["norm_epsilon"]
        config.model.stride_in_1x1 = model["stride_in_1x1"]
        config.model.pixels.update(model["pixels"])
    return config


def clips(batch: dict[str, Any]) -> ClipBatch:
    """The arrays of a batch of the pipeline."""
    return ClipBatch(*(batch[name] for name in ClipBatch._fields))


def size(params: Any) -> int:
    """Number of parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def blank_batch(config: ConfigDict) -> ClipBatch:
    """One clip of the smallest size; weights depend on nothing else of it."""
    T, H, W, N = config.num_frames, 96, 96, 1
    return ClipBatch(
        frames=jnp.zeros((1, T, H, W, 3), jnp.uint8),
        masks=jnp.zeros((1, N, T, H, W), bool),
        valid=jnp.zeros((1, N), bool),
        categories=jnp.zeros((1, N), jnp.int32),
        ignore=jnp.zeros((1, T, H, W), bool),
    )
