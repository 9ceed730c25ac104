"""What each option of a config may be, checked once, before anything is done with it.

Defaults and meanings stand in configs/, and a system's own ranges beside it; a test
holds them together: an option without a range does not pass.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict

from stemseg_jax import optimization
from stemseg_jax.conversion import parts
from stemseg_jax.data.clips import sampling, stills
from stemseg_jax.data.datasets import DATASETS, categories
from stemseg_jax.evaluation import METRICS, mots
from stemseg_jax.modules import norms
from stemseg_jax.modules.backbones import BACKBONES
from stemseg_jax.ranges import (
    PLACE,
    PROBABILITY,
    Each,
    Flag,
    Maybe,
    OneOf,
    Range,
    Real,
    Table,
    Text,
    Whole,
)
from stemseg_jax.systems import OPTIONS, SYSTEMS

LINES = 8  # of a message
SIDE = 2**14  # pixels of the longest side that is not a slip of the hand
SPLIT = Text(empty=False)


class Start:
    """A file with weights, or one for each part: see `parts.starts`."""

    def holds(self, value: Any) -> bool:
        if isinstance(value, str):
            return PLACE.holds(value)
        return isinstance(value, Mapping) and all(
            isinstance(name, str) and name and PLACE.holds(name)
            for of in value.values()
            for name in (of.values() if isinstance(of, Mapping) else [of])
        )

    def __str__(self) -> str:
        return (
            "a file, or for each part a file or dict(file=..., module=..., ...), in a "
            "file system that is mounted"
        )


class Aspect:
    """Width to height of frames."""

    def holds(self, value: Any) -> bool:
        return isinstance(value, str) and bool(
            re.fullmatch(r"[1-9]\d?:[1-9]\d?", value)
        )

    def __str__(self) -> str:
        return "width:height, such as '16:9'"


class Variants:
    """(name, changes of the config) of what is compared."""

    def holds(self, value: Any) -> bool:
        return (
            isinstance(value, list | tuple)
            and len(value) > 0
            and all(isinstance(v, list | tuple) and len(v) == 2 for v in value)
            and all(isinstance(n, str) and isinstance(c, Mapping) for n, c in value)
        )

    def __str__(self) -> str:
        return "one or more pairs (name, changes of the config)"


class Changes:
    """Options and their values in place of the config's."""

    def holds(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    def __str__(self) -> str:
        return "options with the values that they are changed to"


class Sources:
    """Datasets, with the options of their readers."""

    def holds(self, value: Any) -> bool:
        return isinstance(value, Mapping) and all(
            name in READERS
            and isinstance(given, Mapping)
            and all(
                option in own and own[option].holds(of) for option, of in given.items()
            )
            for name, given in value.items()
            for own in [{"split": SPLIT, **READERS.get(name, {})}]
        )

    def __str__(self) -> str:
        return "datasets by name, each with options of its reader"


SHARED: Mapping[str, Range] = {
    "system": OneOf(tuple(SYSTEMS)),
    "parity": OneOf(("paper", "released")),
    "seed": Whole(),
    "init_from": Start(),
    "init_partial": Flag(),
    "num_frames": Whole(least=1, most=1024),
    "model.backbone": OneOf(tuple(BACKBONES)),
    "model.norm": OneOf(tuple(norms.NORMS)),
    "model.norm_epsilon": Real(least=0, most=1),
    "model.stride_in_1x1": Flag(),
    "model.freeze_stages": Whole(most=64),
    "model.freeze_backbone": Flag(),
    "model.fpn_channels": Whole(least=1, most=2**14),
    "model.num_classes": Whole(most=2**16),
    "model.categories": OneOf(("", *categories.CATEGORIES)),
    "model.dtype": OneOf(("float32", "bfloat16", "float16")),
    "model.remat": Flag(),
    "model.pixels.order": OneOf(("bgr", "rgb")),
    "model.pixels.mean": Each(Real(least=0, most=255), lengths=(3,)),
    "model.pixels.std": Each(Real(above=0, most=255), lengths=(3,)),
    "selection.limit": Whole(),
    "selection.by": OneOf(("lifetime", "pixels")),
    "selection.min_score": PROBABILITY,
    "selection.min_frames": Whole(least=1),
    "selection.category_from": OneOf(("logits", "votes")),
    "data.root": Maybe(PLACE),
    "data.packed": PLACE,
    "data.sampling.rule": OneOf(tuple(sampling.RULES)),
    "data.sampling.gaps": Each(Real(least=0)),
    "data.sampling.start": OneOf(("any", "entry")),
    "data.sampling.annotated": Flag(),
    "data.sampling.empty": Flag(),
    "data.transforms": Each(Text(empty=False)),
    "data.min_dim": Whole(most=SIDE),
    "data.max_dim": Whole(least=1, most=SIDE),
    "data.aspects": Each(Aspect()),
    "data.height": Whole(most=SIDE, multiple=32),
    "data.width": Whole(most=SIDE, multiple=32),
    "data.flip": Flag(),
    "data.reverse": Flag(),
    "data.scale_and_crop.scale": Each(
        Real(above=0, most=16), lengths=(2,), rising=True
    ),
    "data.colour_jitter.probability": PROBABILITY,
    "data.colour_jitter.brightness": PROBABILITY,
    "data.colour_jitter.contrast": PROBABILITY,
    "data.colour_jitter.saturation": PROBABILITY,
    "data.colour_jitter.hue": Real(least=0, most=0.5),
    "data.colour_jitter.clean": Flag(),
    "data.assumed_camera": Each(Real(), lengths=(0, 4)),
    "data.motion": OneOf(("", *stills.MOTIONS)),
    "data.synthesised": Flag(),
    "data.duplicate": Each(OneOf(tuple(DATASETS))),
    "data.skip_broken": Flag(),
    "data.max_instances": Whole(least=1, most=2**12),
    "data.workers": Whole(most=1024),
    "data.threads": Whole(most=1024),
    "optim.name": OneOf(tuple(optimization.OPTIMIZERS)),
    "optim.batch_size": Whole(least=1, most=2**16),
    "optim.clips_per_device": Whole(least=1, most=2**16),
    "optim.steps": Whole(least=1),
    "optim.learning_rate": Real(above=0),
    "optim.schedule": OneOf(tuple(optimization.SCHEDULES)),
    "optim.warmup_steps": Whole(),
    "optim.rates": Table(Real(least=0)),
    "optim.momentum": Real(least=0, below=1),
    "optim.nesterov": Flag(),
    "optim.weight_decay": Real(least=0),
    "optim.decay_norms": Flag(),
    "optim.clip_norm": Real(least=0),
    "optim.max_skipped": Whole(),
    "optim.allow_changes": Flag(),
    "optim.average_decay": Real(least=0, below=1),
    "log_every": Whole(least=1),
    "checkpoint_every": Whole(least=1),
    "checkpoint_minutes": Real(least=0),
    "milestone_every": Whole(),
    "profile_steps": Each(Whole(least=1), lengths=(0, 2), rising=True),
    "keep_checkpoints": Whole(least=1),
    "evaluation.dataset": OneOf(("", *DATASETS)),
    "evaluation.split": SPLIT,
    "evaluation.ground_truth": PLACE,
    "evaluation.task": OneOf(("", *METRICS)),
    "evaluation.every": Whole(),
    "evaluation.every_videos": Whole(least=1),
    "evaluation.also_at": Each(Whole(least=1, most=SIDE), lengths=(0, 2)),
    "evaluation.min_dim": Whole(least=1, most=SIDE),
    "evaluation.max_dim": Whole(least=1, most=SIDE),
    "demo.caption": Text(),
    "demo.variants": Variants(),
    "benchmark.changes": Changes(),
}
_NAMES = Maybe(Each(Text(empty=False)))
_CATEGORIES = {"categories": Maybe(OneOf(("object", *categories.CATEGORIES)))}
_DAVIS = {
    "resolution": Text(empty=False),
    "exhaustive": Flag(),
    "sequences": Each(Text(empty=False)),
}
_MOTS = {"sequences": _NAMES, "labels": OneOf(("txt", "png"))}
_AREA = {"min_area": Whole()}
# Of the readers of datasets; which of them a config names is up to it.
READERS: Mapping[str, Mapping[str, Range]] = {
    "moving_shapes": {
        "num_videos": Whole(least=1),
        "num_frames": Whole(least=1),
        "height": Whole(least=1, most=SIDE),
        "width": Whole(least=1, most=SIDE),
        "seed": Whole(),
        "objects": Each(Whole(least=1, most=100), lengths=(2,), rising=True),
        "radius": Each(Real(above=0, most=1), lengths=(2,), rising=True),
        "categories": Whole(least=1, most=100),
        "marked": Flag(),
    },
    "layered_world": {
        "num_videos": Whole(least=1),
        "num_frames": Whole(least=1),
        "height": Whole(least=1, most=SIDE),
        "width": Whole(least=1, most=SIDE),
        "seed": Whole(),
        "objects": Each(Whole(least=1, most=100), lengths=(2,), rising=True),
        "speed": Real(least=0, most=10),
    },
    "composed": {
        "sources": Sources(),
        "bases": Each(OneOf(tuple(DATASETS))),
        "num_videos": Whole(least=1),
        "num_frames": Whole(least=1),
        "objects": Each(Whole(least=1, most=100), lengths=(2,), rising=True),
        "light": PROBABILITY,
        "seed": Whole(),
    },
    **dict.fromkeys(("davis16", "davis17", "davis19"), _DAVIS),
    **dict.fromkeys(("ytvis", "ytvis21", "ovis", "own"), _CATEGORIES),
    "kitti_mots": {
        **_MOTS,
        "mots_challenge": _NAMES,
        "classes": Each(OneOf(tuple(categories.KITTI_MOTS.values()))),
    },
    "mots_challenge": _MOTS,
    "coco": {
        **_CATEGORIES,
        "also": Table(Text(empty=False)),
        "year": Whole(least=2000, most=2100),
    },
    "pascal_voc": {
        **_CATEGORIES,
        **_AREA,
        "year": Whole(least=2000, most=2100),
    },
    "mapillary": {
        **_AREA,
        "version": OneOf(("v1.2", "v2.0")),
        "max_instances": Whole(least=1, most=2**12),
        "shrink": Whole(least=1, most=64),
    },
}
SCHEDULES: Mapping[str, Range] = {
    "start": Whole(),
    "steps": Whole(least=1),
    "factor": Real(above=0),
    "milestones": Each(Whole(), rising=True),
    "power": Real(above=0),
    "total": Whole(least=1),
}
# What these hold is up to a config, and may be nothing.
SECTIONS = (
    "data.mixture",
    "data.options",
    "data.span",
    "optim.schedule_options",
    "evaluation.options",
)
# Sections that say what a model is; a config that weights carry is checked for these.
MODEL = (
    "system",
    "parity",
    "seed",
    "num_frames",
    "model.",
    "loss.",
    "clustering.",
    "tracking.",
    "selection.",
    "evaluation.min_dim",
    "evaluation.max_dim",
)


def required(system: str) -> dict[str, Range]:
    """The options that every config of a system has."""
    return {**SHARED, **OPTIONS[system]}


def optional(dataset: str) -> dict[str, Range]:
    """Those that a config may have.

    Args:
        dataset: That of `evaluation.dataset`.
    """
    of_readers = {
        f"data.options.{name}.{option}": own
        for name, options in READERS.items()
        for option, own in {"split": SPLIT, **options}.items()
    }
    per_dataset = {
        "data.mixture": Real(above=0),
        "data.span": Each(Whole(), lengths=(2,), rising=True),
    }
    return {
        **of_readers,
        **{f"{to}.{name}": per_dataset[to] for to in per_dataset for name in DATASETS},
        **{f"optim.schedule_options.{name}": own for name, own in SCHEDULES.items()},
        **{
            f"evaluation.options.{name}": own
            for name, own in READERS.get(dataset, {}).items()
        },
    }


def check(config: ConfigDict, *, origin: str = "", overridden: bool = False) -> None:
    """Refuses what no run can mean.

    Args:
        origin: The weights that carry the config, if it is theirs. It may be of another
            version, so that only what a model is built from has to be known.
        overridden: Whether it was sound, and then changed.

    Raises:
        ValueError: Options that are unknown, missing or out of their range, or that
            contradict each other: all of them, each with what was expected.
    """
    given = config.to_dict()
    system, systems = given.get("system"), SHARED["system"]
    if not systems.holds(system):
        raise ValueError(f"system={system!r}: expected {systems}.")
    needed = required(system)
    evaluation = given.get("evaluation")
    dataset = evaluation.get("dataset") if isinstance(evaluation, Mapping) else None
    known = {**needed, **optional(dataset if isinstance(dataset, str) else "")}
    flat = dict(_flat(given, known))
    if origin:
        known, needed, flat = (
            {n: own for n, own in table.items() if n.startswith(MODEL)}
            for table in (known, needed, flat)
        )
    problems = list(_problems(flat, known))
    missing = [name for name in needed if name not in flat]
    missing += [name for name in SECTIONS if not origin and not _has(given, name)]
    if missing:
        problems.append(f"{', '.join(missing[:LINES])}: missing.")
    if not problems and not origin:
        problems += _contradictions(config)
        for name, changes in (
            ("benchmark.changes", flat["benchmark.changes"]),
            *((f"demo.variants: {n!r}", c) for n, c in flat["demo.variants"]),
        ):
            found = _problems(dict(_flat(changes, known)), known)
            problems += [f"{name}: {problem}" for problem in found]
    if problems:
        if len(problems) > LINES:
            problems[LINES:] = [f"and {len(problems) - LINES} more"]
        if origin and not overridden:
            problems.append(
                f"{origin} carries this config, which is damaged or of another "
                "version: name one that goes with it by --config=FILE."
            )
        raise ValueError("\n".join(problems))


def _flat(tree: Mapping, known: Mapping, above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of options, down to the known ones."""
    for key, value in tree.items():
        name = f"{above}{key}"
        section = any(other.startswith(f"{name}.") for other in known)
        if isinstance(value, Mapping) and (section or name in SECTIONS):
            yield from _flat(value, known, f"{name}.")
        else:
            yield name, value


def _has(tree: Any, name: str) -> bool:
    return not name or (
        isinstance(tree, Mapping)
        and (key := name.partition(".")[0]) in tree
        and _has(tree[key], name.partition(".")[2])
    )


def _problems(flat: Mapping[str, Any], known: Mapping[str, Range]) -> Iterator[str]:
    for name, value in flat.items():
        if name not in known:
            yield _unknown(name, value, known)
        elif not known[name].holds(value):
            yield f"{name}={value!r}: expected {known[name]}."


def _unknown(name: str, value: Any, known: Mapping[str, Range]) -> str:
    if inside := [n for n in known if n.startswith(f"{name}.")]:
        return f"{name}={value!r}: expected options of it, such as {inside[0]}."
    if nearest := difflib.get_close_matches(name, known, n=1):
        return f"{name} is no option; the nearest one is {nearest[0]}."
    section = name.rpartition(".")[0]
    own = [n for n in known if n.rpartition(".")[0] == section]
    return f"{name} is no option; there are {', '.join(own)}."


def _contradictions(config: ConfigDict) -> Iterator[str]:
    """Options that are each in their range, but not together."""
    optim, data = config.optim, config.data
    for name in ("data", "evaluation"):
        if config[name].min_dim > config[name].max_dim:
            yield (
                f"{name}.min_dim={config[name].min_dim} is more than "
                f"{name}.max_dim={config[name].max_dim}."
            )
    if not data.min_dim and not (data.height and data.width):
        yield "data.min_dim=0: without it data.height and data.width are needed."
    if data.aspects and (data.height or data.width or not data.min_dim):
        yield (
            f"data.aspects={tuple(data.aspects)}: they follow from data.min_dim and "
            "data.max_dim, and leave no place for data.height and data.width; set one "
            "or the other."
        )
    if data.aspects and "keep_aspect" not in data.transforms:
        yield (
            f"data.aspects={tuple(data.aspects)} are those of frames that keep theirs: "
            "data.transforms lacks 'keep_aspect'."
        )
    if optim.warmup_steps > optim.steps:
        yield (
            f"optim.warmup_steps={optim.warmup_steps} is more than all "
            f"optim.steps={optim.steps}."
        )
    if optim.batch_size % optim.clips_per_device:
        yield (
            f"optim.batch_size={optim.batch_size} is no multiple of "
            f"optim.clips_per_device={optim.clips_per_device}."
        )
    if data.sampling.gaps and not any(data.sampling.gaps):
        yield "data.sampling.gaps: expected a weight above 0 among them."
    task, also_at = config.evaluation.task, config.evaluation.also_at
    if also_at and task not in mots.BENCHMARKS:
        yield (
            f"evaluation.also_at={also_at}: evaluation.task={task!r} is scored at full "
            f"size alone; {', '.join(mots.BENCHMARKS)} at a second one, too."
        )
    yield from _refusal(optimization.schedule, optim)
    yield from _refusal(parts.starts, config.to_dict()["init_from"])


def _refusal(check: Callable, *arguments: Any) -> Iterator[str]:
    try:
        check(*arguments)
    except ValueError as error:
        yield str(error)
