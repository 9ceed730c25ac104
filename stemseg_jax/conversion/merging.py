"""Loaded weights into a model's variables, and what did not fit."""

import collections
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from stemseg_jax import choices
from stemseg_jax.conversion import sources

LINES = 12  # of each list in a message
# What a first convolution that is wider than the file's does with its input channels.
WIDENINGS = {
    # The file's come first; the others are not seen at the start.
    "zeros": lambda kernel, times, missing: np.pad(
        kernel, [(0, missing if axis == 2 else 0) for axis in range(4)]
    ),
    # All are seen as the file's, in turn: two frames at once give what the mean of both
    # would. Source: monodepth2's pose network.
    "repeat": lambda kernel, times, missing: np.tile(kernel, (1, 1, times, 1)) / times,
}


class Merged(NamedTuple):
    variables: dict[str, Any]
    report: str  # what did not fit; empty if everything did


def merge(
    loaded: sources.Loaded,
    variables: Mapping[str, Any],
    *,
    partial: bool = False,
    whole: bool = False,
    widen: str = "",
) -> Merged:
    """The model's variables with the loaded values in their places.

    Args:
        variables: The model's own, {"params": ..., ...}. What stays must be arrays;
            what is loaded needs a shape and a dtype only.
        partial: Take what fits and report the rest, instead of stopping.
        whole: Whether the file must hold the whole model (to run it), or the parts that
            such files hold (to start training from it).
        widen: A key of `WIDENINGS`, for a network with one convolution that has more
            input channels than the file's.

    Raises:
        ValueError: With all that does not fit, unless `partial`; or nothing fits; or
            there is not one convolution to widen; or values are NaN or infinite.
    """
    model = traverse_util.flatten_dict(dict(variables), sep="/")
    loaded = _with_norms_as_in(model, loaded)
    file = traverse_util.flatten_dict(loaded.variables, sep="/")
    if widen:
        choices.known("widen", widen, WIDENINGS)
        file |= _widened(file, model, widen, loaded.origin)
    missing = [
        path
        for path in model
        if path not in file and (whole or _concerns(loaded.parts, path))
    ]
    shapes = {
        path: f"{tuple(file[path].shape)} in the file, {tuple(model[path].shape)} here"
        for path in file.keys() & model.keys()
        if file[path].shape != model[path].shape
    }
    names = [*loaded.names.values(), *loaded.unknown]
    surplus = {loaded.names[path] for path in file if path not in model}
    problems = {
        "only in the file": _grouped(
            surplus.union(loaded.unknown), names, separator="."
        ),
        "only in the model": _grouped(missing, model, separator="/"),
        "of another shape": [f"{path}: {shapes[path]}" for path in sorted(shapes)],
    }
    report = _report(loaded.origin, problems)
    fitting = file.keys() & model.keys() - shapes.keys()
    if not fitting:
        report = f"{loaded.origin} holds nothing that the model has.\n{report}"
    if (report and not partial) or not fitting:
        raise ValueError(f"{report}\n{_way_out(loaded, whole)}")
    broken = sorted(path for path in fitting if not _finite(file[path]))
    if broken:
        raise ValueError(
            f"{loaded.origin} holds NaN or infinity in {len(broken)} of {len(fitting)} "
            f"arrays, the first is {loaded.names.get(broken[0], broken[0])}: such "
            "weights label nothing. Take another checkpoint."
        )
    merged = dict(model)
    for path in fitting:
        merged[path] = np.array(file[path], model[path].dtype, order="C")
    assert not any(isinstance(v, jax.ShapeDtypeStruct) for v in merged.values())
    return Merged(traverse_util.unflatten_dict(merged, sep="/"), report)


def _with_norms_as_in(
    model: Mapping[str, Any], loaded: sources.Loaded
) -> sources.Loaded:
    """The loaded, with each batch norm in the collections that the model has it in.

    One that is frozen is all "constants", as in every file of other programs; one that
    trains has parameters and "batch_stats".
    """
    file = traverse_util.flatten_dict(loaded.variables, sep="/")
    norms = _batch_norms(file) & _batch_norms(model)
    places = {_inside(path): path for path in model if _module(path) in norms}
    moved = {path: places.get(_inside(path), path) for path in file}
    variables = {moved[path]: value for path, value in file.items()}
    return loaded._replace(
        variables=traverse_util.unflatten_dict(variables, sep="/"),
        names={moved[path]: name for path, name in loaded.names.items()},
    )


def _batch_norms(paths: Iterable[str]) -> set[str]:
    """Modules that keep a variance."""
    return {_module(path) for path in paths if path.endswith("/var")}


def _module(path: str) -> str:
    return _inside(path).rpartition("/")[0]


def _inside(path: str) -> str:
    """Without the collection."""
    return path.partition("/")[2]


def _way_out(loaded: sources.Loaded, whole: bool) -> str:
    if not whole:
        return (
            "Take the config that goes with the file, or what fits with "
            "--config.init_partial=True."
        )
    if loaded.config:
        return "Leave --config out: the checkpoint carries the one that fits."
    return "Name the config that goes with the file (docs/model_zoo.md)."


def _finite(values: Any) -> bool:
    return bool(np.isfinite(np.asarray(values, np.float32)).all())


def _concerns(parts: tuple[str, ...], path: str) -> bool:
    inside = f"{_inside(path)}/"
    return not parts or any(inside.startswith(f"{part}/") for part in parts)


def _widened(
    file: Mapping[str, np.ndarray], model: Mapping[str, Any], rule: str, origin: str
) -> dict[str, np.ndarray]:
    """The one kernel [h w in out] of the file with fewer input channels, widened."""
    narrow = {
        path: (value.shape[2], model[path].shape[2])
        for path, value in file.items()
        if path in model and len(value.shape) == len(model[path].shape) == 4
        if value.shape[2] < model[path].shape[2]
        if value.shape[:2] + value.shape[3:]
        == model[path].shape[:2] + model[path].shape[3:]
    }
    if len(narrow) != 1:
        raise ValueError(
            f"widen={rule!r} of {origin}: expected one convolution with more input "
            f"channels than in the file, found {', '.join(narrow) or 'none'}."
        )
    ((path, (inputs, wanted)),) = narrow.items()
    if rule == "repeat" and wanted % inputs:
        raise ValueError(
            f"widen='repeat' of {origin}: {path} has {wanted} input channels, which is "
            f"no multiple of the file's {inputs}; take widen='zeros'."
        )
    return {
        path: WIDENINGS[rule](np.asarray(file[path]), wanted // inputs, wanted - inputs)
    }


def _report(origin: str, problems: Mapping[str, list[str]]) -> str:
    if not any(problems.values()):
        return ""
    lines = [f"{origin} does not fit the model."]
    for title, entries in problems.items():
        if entries:
            lines.append(f"  {title}:")
            lines += [f"    {entry}" for entry in entries[:LINES]]
            if len(entries) > LINES:
                lines.append(f"    and {len(entries) - LINES} more")
    return "\n".join(lines)


def _grouped(
    names: Iterable[str], among: Iterable[str], *, separator: str
) -> list[str]:
    """Names as few lines: whole subtrees as one, and those that differ in numbers.

    With `among` all names of that side, 255 names "body/stage3_block6/conv1/kernel",
    ... become "body/stage3_block6..22/* (255)".
    """
    names = sorted(names)
    missing = collections.Counter(_beginnings(names, separator))
    present = collections.Counter(_beginnings(among, separator))
    groups = collections.defaultdict(list)
    for name in names:
        head = next(
            head
            for head in _beginnings([name], separator)
            if missing[head] == present[head]
        )
        groups[re.sub(r"\d+", "#", head)].append((head, name))
    return [_title(group, members, separator) for group, members in groups.items()]


def _beginnings(names: Iterable[str], separator: str) -> Iterator[str]:
    """ "a", "a.b" and "a.b.c" of "a.b.c"."""
    for name in names:
        yield from itertools.accumulate(
            name.split(separator), lambda head, part: head + separator + part
        )


def _title(group: str, members: list[tuple[str, str]], separator: str) -> str:
    numbers = zip(
        *(map(int, re.findall(r"\d+", head)) for head, _ in members), strict=True
    )
    for values in (sorted(set(column)) for column in numbers):
        text = str(values[0]) if len(values) == 1 else f"{values[0]}..{values[-1]}"
        group = group.replace("#", text, 1)
    if any(head != name for head, name in members):
        group += separator + "*"
    return group if len(members) == 1 else f"{group} ({len(members)})"
