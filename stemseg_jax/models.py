"""A system with its weights, from nothing or from a checkpoint of any known form."""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import traverse_util
from jaxtyping import Int32, UInt8
from ml_collections import ConfigDict

from stemseg_jax import checkpoints, choices, systems, tracks
from stemseg_jax.conversion import loading, merging, packaged, parts, sources
from stemseg_jax.data.datasets import categories
from stemseg_jax.outputs import collector
from stemseg_jax.structures import ClipBatch, PackedClips, Variables
from stemseg_jax.systems import SYSTEMS, base
from stemseg_jax.tracking import continuity
from stemseg_jax.tracks import Frame, TrackStatistics

# Options of all systems that came after configs had been saved -> the value that stands
# for what was done before.
ADDED = {
    "selection.min_score": 0.0,
    "selection.min_frames": 1,
    "evaluation.also_at": (),
    "evaluation.every": 0,
    "evaluation.every_videos": 4,
    "optim.max_skipped": 0,
    "optim.allow_changes": False,
    "data.threads": 0,
    "data.aspects": (),
    "checkpoint_minutes": 0.0,
    "milestone_every": 0,
    "profile_steps": (),
}
PRECISION = jax.config.jax_default_matmul_precision
Tracked = tuple[collector.LabelCollector, dict[int, TrackStatistics]]


class Model(NamedTuple):
    """A system with weights."""

    config: ConfigDict  # with the conventions that belong to the weights
    system: base.System
    variables: Variables

    def labelled(
        self,
        frames: Iterator[Frame],
        *,
        settings: continuity.Continuity | None = None,
        maps: bool = False,
    ) -> tracks.LabelStream:
        """The labels of a video's frames as they become final; what is known of its
        tracks is the generator's return value.

        Args:
            settings: Whether shots are told apart, and lost tracks found again.
            maps: Whether frames come with what the network says of them.

        Raises:
            ValueError: If there is no frame, or frames differ in size.
        """

        def track(frames: Iterator[Frame]) -> tracks.LabelStream:
            return self.system.track(self.variables, frames, maps=maps)

        return continuity.labelled(track, frames, settings or continuity.Continuity())

    def track(
        self,
        images: Iterable[UInt8[np.ndarray, "H W 3"]],
        *,
        truth: Callable[[int], Int32[np.ndarray, "H W"]] | None = None,
    ) -> Tracked:
        """The same of RGB images, collected.

        Args:
            truth: Of the frame with an index, see `Frame`; read if the system asks.
        """
        frames = (
            Frame(index, image, truth and functools.partial(truth, index))
            for index, image in enumerate(images)
        )
        return collector.collect(self.labelled(frames))

    @property
    def categories(self) -> Mapping[int, str]:
        """What the model calls its classes; empty if they have no names."""
        model = self.config.model
        return categories.of_model(model.categories, model.num_classes)

    def digest(self) -> str:
        """Of config and weights: what has another one may label otherwise."""
        config = self.config.to_json_best_effort()
        return checkpoints.digest(jax.device_get(self.variables), config)


def changed(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """A config of its own with some options changed, e.g. {"selection.limit": 3}.

    Raises:
        ValueError: For an option that the config does not have, or of another type.
    """
    config = config.copy_and_resolve_references().lock()
    try:
        config.update_from_flattened_dict(changes)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"changes={dict(changes)}: {error}") from error
    return config


def set_precision(config: ConfigDict) -> None:
    """Products of inference as the authors' program has them, if the config asks for
    it; otherwise as they were at the start, which is faster and what training has."""
    # GPUs round the factors of products to 10 bits otherwise: masks would differ.
    exact = config.parity == "released"
    jax.config.update("jax_default_matmul_precision", "float32" if exact else PRECISION)


def build(config: ConfigDict) -> base.System:
    """The system a config describes.

    Raises:
        ValueError: For an unknown name or a value out of range.
    """
    name = choices.known("system", config.system, SYSTEMS)
    categories.of_model(config.model.categories, config.model.num_classes)
    return SYSTEMS[name].from_config(config)


def abstract(config: ConfigDict) -> tuple[base.System, Variables]:
    """The system with shapes in place of weights."""
    system = build(config)
    key = jax.random.key(config.seed)
    return system, jax.eval_shape(system.init, key, blank_batch(config))


def initial(config: ConfigDict) -> Model:
    """A model to train: fresh weights, and in their place what `init_from` holds.

    Raises:
        ValueError: If `init_from` does not fit and `init_partial` is off.
    """
    starts = parts.starts(config.to_dict()["init_from"])
    files = {file: read(file) for file in {start.file for start in starts.values()}}
    loaded, seen = {}, set()
    for part, start in starts.items():
        file, module = files[start.file], start.module or part
        kind = module.rpartition("/")[2]
        config = with_conventions(config, file, part, module, further=kind in seen)
        seen.add(kind)
        loaded[part] = parts.take(file, part, module) if part else file
    system = build(config)
    variables = _fresh(system, jax.random.key(config.seed), blank_batch(config))
    for part, weights in loaded.items():
        if part:
            _refuse_other_part(part, variables)
        merged = merging.merge(
            weights,
            variables,
            partial=config.init_partial,
            widen=starts[part].widen,
        )
        variables = merged.variables
        logging.info("Weights of %s from %s", part or "the network", weights.origin)
        if merged.report:
            logging.warning("%s", merged.report)
    return Model(config, system, variables)


def _refuse_other_part(part: str, variables: Variables) -> None:
    known = traverse_util.flatten_dict(variables["params"], sep="/")
    if not any(path.startswith(f"{part}/") for path in known):
        raise ValueError(
            f"init_from: the network has no part {part!r}; it has "
            f"{', '.join(sorted(variables['params']))}."
        )


def load(config: ConfigDict, checkpoint: str) -> Model:
    """A trained model; the config's own architecture, the checkpoint's conventions.

    Raises:
        ValueError: If there is no checkpoint, or it belongs to another model.
    """
    loaded = read(checkpoint)
    if terms := packaged.terms(checkpoint):
        logging.info("Weights %s, %s", checkpoint, terms)
    of = loaded.config["system"] if loaded.config else config.system
    if of != config.system:
        raise ValueError(
            f"{loaded.origin} is of the system {of!r}, but the config's is "
            f"{config.system!r}: name a config of {of!r}, or leave --config out."
        )
    config = with_conventions(config, loaded)
    system, variables = abstract(config)
    merged = merging.merge(loaded, variables, whole=True)
    return Model(config, system, jax.device_put(merged.variables))


def read(checkpoint: str) -> sources.Loaded:
    """Weights under our names.

    Args:
        checkpoint: A run's folder or one of its checkpoints, .safetensors, .pth, .pkl,
            a model.json of TensorFlow.js, one of these in an installed package, as
            package:NAME/PATH, or "real": the weights in this package.

    Raises:
        ValueError: If it is none of these.
    """
    path = packaged.locate(checkpoint)
    if not path.exists():
        raise ValueError(
            f"{path}: no such checkpoint. Expected a run's folder, a .safetensors, "
            f".pth or .pkl file, or {', '.join(packaged.SHIPPED)}, which comes with "
            "stemseg_jax; docs/model_zoo.md says where others are."
        )
    if path.is_file():
        return loading.load(path)
    saved = checkpoints.read(path)
    names = traverse_util.flatten_dict(saved.variables, sep="/")
    return sources.Loaded(
        origin=f"{saved.folder} (a run of ours)",
        variables=saved.variables,
        names={name: name for name in names},
        unknown=(),
        parts=(),
        conventions=None,
        config=saved.config,
    )


def terms(checkpoint: str) -> str:
    """On which terms weights may be used; empty if none are known.

    Those of a run are the terms of all that it began from (`init_from`). What of this
    cannot be asked any more is named in a warning.
    """
    found, files = [], [checkpoint]
    for file in files:  # they become more on the way
        try:
            if own := packaged.terms(file):
                found.append(own)
            elif not (path := packaged.locate(file)).is_file():
                begun = parts.starts(checkpoints.config(path).get("init_from", ""))
                files += [s.file for s in begun.values() if s.file not in files]
        except ValueError as error:
            logging.warning("The terms of %s, if any, are not known: %s", file, error)
    return "; ".join(dict.fromkeys(found))


def saved_config(checkpoint: str) -> ConfigDict:
    """The config that a run's folder or a release carries; no device is touched.

    Raises:
        ValueError: If it carries none, as files of other programs do.
    """
    path = packaged.locate(checkpoint)
    saved = checkpoints.config(path) if path.is_dir() else read(checkpoint).config
    if saved is None:
        raise ValueError(
            f"{checkpoint} carries no config: name the one that goes with it by "
            "--config=FILE (docs/model_zoo.md)."
        )
    saved = _with_tuples(saved)
    added = ADDED | systems.ADDED.get(str(saved.get("system")), {})
    for option, before in added.items():
        section, _, name = option.rpartition(".")
        own = saved.get(section) if section else saved
        if isinstance(own, dict):
            own.setdefault(name, before)
    config = ConfigDict(saved)
    if "categories" not in config.model:  # from before it was an option of the model
        dataset = config.get("evaluation", {}).get("dataset", "")
        scored = categories.CATEGORIES.get(dataset)
        fits = scored and max(scored) + 1 == config.model.get("num_classes")
        config.model.categories = dataset if fits else ""
    return config


def _with_tuples(value: Any) -> Any:
    """As configs have them; JSON has lists."""
    if isinstance(value, dict):
        return {name: _with_tuples(inner) for name, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def with_conventions(
    config: ConfigDict,
    loaded: sources.Loaded,
    part: str = "",
    module: str = "",
    *,
    further: bool = False,
) -> ConfigDict:
    """The config with what belongs to the weights: how they expect pixels, where their
    backbone strides, what it adds to variances; `sources.OWNERS` has all.

    Args:
        part: The only one that takes weights from the file; empty: all do.
        module: What the file calls it.
        further: Whether the config has those of another backbone already.

    Raises:
        ValueError: A further backbone expects something else than `config.model` says.
    """
    if loaded.conventions is None:
        own = _saved_conventions(loaded.config)
    else:
        own = loaded.conventions.options()
    if part:
        last = module.rpartition("/")[2]
        own = {name: own[name] for name in own if sources.OWNERS[name] == last}
    changed = _with_model(config, own)
    if not further or changed.model == config.model:
        return changed
    fed = {k: v for k, v in config.model.to_dict().items() if k in own}
    raise ValueError(
        f"init_from.{part}: {loaded.origin} expects {own}, but the model's is {fed}: "
        "take files of one kind for all backbones."
    )


def with_saved_conventions(config: ConfigDict, saved: dict[str, Any]) -> ConfigDict:
    """The same from the config that one of our checkpoints carries."""
    return _with_model(config, _saved_conventions(saved))


def _saved_conventions(saved: dict[str, Any]) -> dict[str, Any]:
    return {
        name: saved["model"][name] for name in sources.OWNERS & saved["model"].keys()
    }


def _with_model(config: ConfigDict, changes: dict[str, Any]) -> ConfigDict:
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.model.update({k: v for k, v in changes.items() if k in config.model})
    return config


# Runs once: optimising hundreds of random draws takes minutes and saves nothing.
@functools.partial(
    jax.jit,
    static_argnums=0,
    compiler_options={"xla_backend_optimization_level": 0},
)
def _fresh(system: base.System, key: jax.Array, batch: ClipBatch) -> Variables:
    return system.init(key, batch)


def clips(batch: dict[str, Any]) -> PackedClips:
    """The arrays of a batch of the pipeline."""
    return PackedClips(**{k: v for k, v in batch.items() if k in PackedClips._fields})


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
