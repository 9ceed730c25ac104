"""The authors' configurations, and systems with the weights of the recipe."""

import importlib
from collections.abc import Callable, Mapping
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
DATASETS = {"davis19": "DAVIS", "ytvis": "YOUTUBE_VIS", "kitti_mots": "KITTI_MOTS"}
BACKBONES = {"R-50-FPN": "resnet50", "R-101-FPN": "resnet101"}
DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


# Their options that are one of ours.
OPTIONS = {
    "INPUT.NUM_FRAMES": "num_frames",
    "INPUT.MIN_DIM": "data.min_dim",
    "INPUT.MAX_DIM": "data.max_dim",
    "INPUT.IMAGE_MEAN": "model.pixels.mean",
    "INPUT.IMAGE_STD": "model.pixels.std",
    "MODEL.USE_SEEDINESS_HEAD": "model.seediness_decoder",
    "MODEL.EMBEDDING_DIM_MODE": "model.mixing",
    "MODEL.EMBEDDINGS.INTER_CHANNELS": "model.decoder_channels",
    "MODEL.SEMSEG.INTER_CHANNELS": "model.semantic_channels",
    "MODEL.SEMSEG.FOREGROUND_CHANNEL": "model.foreground",
    "MODEL.BACKBONE.FREEZE_AT_STAGE": "model.freeze_stages",
    "MODEL.RESNETS.STRIDE_IN_1X1": "model.stride_in_1x1",
    "TRAINING.FREEZE_BACKBONE": "model.freeze_backbone",
    "TRAINING.BATCH_SIZE": "optim.batch_size",
    "TRAINING.MAX_ITERATIONS": "optim.steps",
    "TRAINING.INITIAL_LR": "optim.learning_rate",
    "TRAINING.MOMENTUM": "optim.momentum",
    "TRAINING.NESTEROV": "optim.nesterov",
    "TRAINING.WEIGHT_DECAY": "optim.weight_decay",
    "TRAINING.LOSSES.WEIGHT_SEMSEG": "loss.weights.semantic",
    "TRAINING.LOSSES.EMBEDDING.WEIGHT_LOVASZ": "loss.weights.lovasz",
    "TRAINING.LOSSES.EMBEDDING.WEIGHT_VARIANCE_SMOOTHNESS": "loss.weights.smoothness",
    "TRAINING.LOSSES.EMBEDDING.WEIGHT_SEEDINESS": "loss.weights.seediness",
    "CLUSTERING.MIN_SEEDINESS_PROB": "clustering.min_seediness",
    "CLUSTERING.PRIMARY_PROB_THRESHOLD": "clustering.primary_threshold",
    "CLUSTERING.SECONDARY_PROB_THRESHOLD": "clustering.secondary_threshold",
}
# Those that are more than one of ours, or none.
OTHERS = {
    "INPUT.BGR_INPUT",
    "INPUT.NUM_CLASSES",
    "MODEL.BACKBONE.TYPE",
    "MODEL.EMBEDDINGS.EMBEDDING_SIZE",
    "MODEL.SEEDINESS.INTER_CHANNELS",
    "MODEL.USE_SEMSEG_HEAD",
    "TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS",
}


def config(
    theirs: str,
    *,
    backbone: str = "R-50-FPN",
    over: Mapping[str, Any] | None = None,
    **changes: Any,
) -> ConfigDict:
    """Our config for theirs of that name, with `parity` "released".

    Windows that are too short for the config's overlap get the largest that fits: one
    clip by itself has none.

    Args:
        backbone: In their words; the fixtures use a smaller one than the configs.
        over: What a case changes of their configuration, nested as there.
        changes: Values by path, "data__min_dim" for `config.data.min_dim`; they count
            more than `over`.

    Raises:
        ValueError: `over` has an option with no counterpart here.
    """
    ours = importlib.import_module(f"configs.{CONFIGS[theirs]}").get_config()
    changes = {path.replace("__", "."): value for path, value in changes.items()}
    translated = translate(over or {}, ours)
    with ours.unlocked():
        ours.update_from_flattened_dict(
            {"parity": "released", "model.backbone": BACKBONES[backbone]}
            | translated
            | changes
        )
        if "tracking.overlap" not in {**translated, **changes}:
            ours.tracking.overlap = min(ours.tracking.overlap, ours.num_frames - 1)
    return ours


def translate(over: Mapping[str, Any], ours: ConfigDict) -> dict[str, Any]:
    """Their options as ours, by path.

    Args:
        ours: The config that they change.
    """
    theirs = traverse_util.flatten_dict(dict(over), sep=".")
    theirs = {k: tuple(v) if isinstance(v, list) else v for k, v in theirs.items()}
    data = f"DATA.{DATASETS[ours.evaluation.dataset]}"
    options = OPTIONS | {
        f"{data}.INFERENCE_FRAME_OVERLAP": "tracking.overlap",
        f"{data}.MAX_INFERENCE_TRACKS": "selection.limit",
    }
    if unknown := sorted(theirs.keys() - options.keys() - OTHERS):
        raise ValueError(
            f"over: {', '.join(unknown)}: no such option here; known: "
            f"{', '.join(sorted(options.keys() | OTHERS))}."
        )
    found = {options[key]: theirs[key] for key in theirs.keys() & options.keys()}
    model = ours.model
    if "INPUT.BGR_INPUT" in theirs:
        found["model.pixels.order"] = "bgr" if theirs["INPUT.BGR_INPUT"] else "rgb"
    if "MODEL.BACKBONE.TYPE" in theirs:
        found["model.backbone"] = BACKBONES[theirs["MODEL.BACKBONE.TYPE"]]
    if theirs.keys() & {"MODEL.USE_SEMSEG_HEAD", "INPUT.NUM_CLASSES"}:
        semantic = theirs.get("MODEL.USE_SEMSEG_HEAD", model.num_classes > 0)
        classes = theirs.get("INPUT.NUM_CLASSES", model.num_classes or 2)
        found["model.num_classes"] = classes if semantic else 0
        found["tracking.foreground_threshold"] = 0.5 if semantic else 0.25

    # One value here, several there, or one that follows from another.
    spec = mixing.get(found.get("model.mixing", model.mixing))
    width = found.get("model.decoder_channels", tuple(model.decoder_channels))
    for key, one in (
        ("MODEL.EMBEDDINGS.EMBEDDING_SIZE", spec.dimensions),
        ("MODEL.SEEDINESS.INTER_CHANNELS", width),
    ):
        if theirs.get(key, one) != one:
            raise ValueError(f"over: {key}={theirs[key]}; here it can only be {one}.")
    stds = theirs.get("TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS", ())
    if len(set(stds)) > 1 or (stds and len(stds) != spec.free):
        raise ValueError(f"over: FREE_DIM_STDS={stds} for {spec.free} free dimensions.")
    return found | ({"model.free_dim_std": stds[0]} if stds else {})


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
