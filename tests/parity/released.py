"""The authors' configurations, and systems with the weights of the recipe."""

import importlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from ml_collections import ConfigDict

from stemseg_jax import models
from stemseg_jax.conversion import merging, sources
from stemseg_jax.ops import mixing
from stemseg_jax.systems import base
from tests import goldens

CONFIGS = {
    "davis_1": "davis",
    "davis_2": "davis_stage2",
    "youtube_vis": "ytvis",
    "kitti_mots_1": "kitti_mots",
    "kitti_mots_2": "kitti_mots_stage2",
}
BACKBONES = {"R-50-FPN": "resnet50", "R-101-FPN": "resnet101"}
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def config(theirs: str, *, backbone: str = "R-50-FPN", **changes: Any) -> ConfigDict:
    """Our config for theirs of that name, with `parity` "released".

    Args:
        backbone: In their words; the fixtures use a smaller one than the configs.
        changes: Values by path, "data__min_dim" for `config.data.min_dim`.
    """
    ours = importlib.import_module(f"configs.{CONFIGS[theirs]}").get_config()
    changes = {path.replace("__", "."): value for path, value in changes.items()}
    with ours.unlocked():
        ours.update_from_flattened_dict(
            {"parity": "released", "model.backbone": BACKBONES[backbone], **changes}
        )
    return ours


def load(ours: ConfigDict, *, salt: str) -> tuple[base.System, base.Variables]:
    """The system of a config, with the weights that the recipe gives it."""
    system, model = models.abstract(ours)
    tensors = goldens.state_dict(checkpoint_shapes(ours), salt=salt)
    merged = merging.merge(sources.convert(tensors, "recipe"), model, whole=True)
    return system, jax.tree.map(jnp.asarray, merged.variables)


def their_layout(ours: ConfigDict) -> Callable[[Any], dict[str, np.ndarray]]:
    """Brings a tree of parameters to the names and axes of their state dict."""
    shapes = checkpoint_shapes(ours)
    one = np.ones((), np.float32)
    tensors = {key: np.broadcast_to(one, shape) for key, shape in shapes.items()}
    names = sources.convert(tensors, "recipe").names

    def turn(params: Any) -> dict[str, np.ndarray]:
        flat = traverse_util.flatten_dict({"params": params}, sep="/")
        return {names[path]: _out_in_space(np.asarray(x)) for path, x in flat.items()}

    return turn


def _out_in_space(value: np.ndarray) -> np.ndarray:
    if value.ndim < 4:
        return value
    return value.transpose(value.ndim - 1, value.ndim - 2, *range(value.ndim - 2))


def checkpoint_shapes(ours: ConfigDict) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the authors' checkpoint for a config."""
    model = ours.model
    spec = mixing.get(model.mixing)
    outputs = {"conv_embedding": spec.dimensions, "conv_variance": spec.bandwidths}
    if not model.seediness_decoder:
        outputs["conv_seediness"] = 1
    decoders = [("embedding_head", model.decoder_channels, outputs)]
    if model.seediness_decoder:
        decoders.append(("seediness_head", model.decoder_channels, {"conv_out": 1}))
    if model.num_classes:
        classes = {"conv_out": model.num_classes + model.foreground}
        decoders.append(("semseg_head", model.semantic_channels, classes))
    shapes = goldens.backbone_shapes(DEPTHS[model.backbone])
    for decoder in decoders:
        shapes |= goldens.decoder_shapes(*decoder)
    return shapes
