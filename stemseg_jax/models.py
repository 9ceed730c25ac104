"""A system with its weights, from nothing or from a checkpoint of any known form."""

import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from flax import traverse_util
from ml_collections import ConfigDict

from stemseg_jax import checkpoints
from stemseg_jax.conversion import loading, merging, sources
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems import SYSTEMS, base


class Model(NamedTuple):
    """A system with weights."""

    config: ConfigDict  # with the conventions that belong to the weights
    system: base.System
    variables: base.Variables


def build(config: ConfigDict) -> base.System:
    """The system a config describes.

    Raises:
        ValueError: For an unknown name or a value out of range.
    """
    if config.system not in SYSTEMS:
        raise ValueError(
            f"system={config.system!r} is unknown; known: {sorted(SYSTEMS)}."
        )
    return SYSTEMS[config.system].from_config(config)


def abstract(config: ConfigDict) -> tuple[base.System, base.Variables]:
    """The system with shapes in place of weights."""
    system = build(config)
    key = jax.random.key(config.seed)
    return system, jax.eval_shape(system.init, key, blank_batch(config))


def initial(config: ConfigDict) -> Model:
    """A model to train: fresh weights, and in their place what `init_from` holds.

    Raises:
        ValueError: If `init_from` does not fit and `init_partial` is off.
    """
    loaded = read(config.init_from) if config.init_from else None
    if loaded:
        config = with_conventions(config, loaded)
    system = build(config)
    variables = _fresh(system, jax.random.key(config.seed), blank_batch(config))
    if loaded:
        merged = merging.merge(loaded, variables, partial=config.init_partial)
        variables = merged.variables
        logging.info("Weights from %s", loaded.origin)
        if merged.report:
            logging.warning("%s", merged.report)
    return Model(config, system, variables)


def load(config: ConfigDict, checkpoint: str) -> Model:
    """A trained model; the config's own architecture, the checkpoint's conventions.

    Raises:
        ValueError: If there is no checkpoint, or it belongs to another model.
    """
    loaded = read(checkpoint)
    config = with_conventions(config, loaded)
    system, variables = abstract(config)
    merged = merging.merge(loaded, variables, whole=True)
    return Model(config, system, jax.device_put(merged.variables))


def read(checkpoint: str) -> sources.Loaded:
    """Weights under our names.

    Args:
        checkpoint: A run's folder or one of its checkpoints, .safetensors, .pth, .pkl.

    Raises:
        ValueError: If it is none of these.
    """
    path = pathlib.Path(checkpoint)
    if not path.exists():
        raise ValueError(
            f"{path}: no such checkpoint. Expected a run's folder, or a .safetensors, "
            ".pth or .pkl file; docs/model_zoo.md says where published ones are."
        )
    if path.is_file():
        return loading.load(path)
    variables = checkpoints.read_variables(path)
    names = traverse_util.flatten_dict(variables, sep="/")
    return sources.Loaded(
        origin=f"{checkpoints.find(path)} (a run of ours)",
        variables=variables,
        names={name: name for name in names},
        unknown=(),
        parts=(),
        conventions=None,
        config=checkpoints.read_config(path),
    )


def saved_config(checkpoint: str) -> ConfigDict:
    """The config that a run's folder or a release carries.

    Raises:
        ValueError: If it carries none, as files of other programs do.
    """
    loaded = read(checkpoint)
    if loaded.config is None:
        raise ValueError(
            f"{loaded.origin} carries no config: name the one that goes with it by "
            "--config=FILE (docs/model_zoo.md)."
        )
    return ConfigDict(loaded.config)


def with_conventions(config: ConfigDict, loaded: sources.Loaded) -> ConfigDict:
    """The config with what belongs to the weights: how they expect pixels, and where
    their backbone strides and what it adds to variances."""
    own = loaded.conventions
    if own is None:
        return with_saved_conventions(config, loaded.config)
    changes = {
        "pixels": {"order": own.order, "mean": own.mean, "std": own.std},
        "norm_epsilon": own.norm_epsilon,
        "stride_in_1x1": own.stride_in_1x1,
    }
    if own.free_dim_std is not None:
        changes["free_dim_std"] = own.free_dim_std
    return _with_model(config, changes)


def with_saved_conventions(config: ConfigDict, saved: dict[str, Any]) -> ConfigDict:
    """The same from the config that one of our checkpoints carries."""
    names = ("pixels", "norm_epsilon", "stride_in_1x1", "free_dim_std")
    return _with_model(config, {name: saved["model"][name] for name in names})


def _with_model(config: ConfigDict, changes: dict[str, Any]) -> ConfigDict:
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.update(changes)
    return config


# Runs once: optimising hundreds of random draws takes minutes and saves nothing.
@functools.partial(
    jax.jit,
    static_argnums=0,
    compiler_options={"xla_backend_optimization_level": 0},
)
def _fresh(system: base.System, key: jax.Array, batch: ClipBatch) -> base.Variables:
    return system.init(key, batch)


def clips(batch: dict[str, Any]) -> ClipBatch:
    """The arrays of a batch of the pipeline."""
    return ClipBatch(**{k: v for k, v in batch.items() if k in ClipBatch._fields})


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
        intrinsics=jnp.full((1, T, 3, 3), jnp.nan),
    )
