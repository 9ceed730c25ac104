"""Writes a model's network as StableHLO, to be called where our code is not:
`--mode=export`. docs/export.md is the page for those who call it."""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from absl import logging
from flax import traverse_util
from ml_collections import ConfigDict

from stemseg_jax import __version__, choices, export_weights, models
from stemseg_jax.formats import whole
from stemseg_jax.geometry import MULTIPLE
from stemseg_jax.ops import pixels
from stemseg_jax.structures import Variables
from stemseg_jax.systems import steps

PLATFORMS = ("cpu", "cuda", "tpu")
WRITER = "--mode=export"  # of the folder, which it alone replaces
FREE = ("b", f"{MULTIPLE}*h", f"{MULTIPLE}*w")  # batch, height and width
WEIGHTS = "weights.safetensors"


def run(
    config: ConfigDict,
    *,
    checkpoint: str,
    output: str,
    platforms: Sequence[str] = PLATFORMS,
    size: Sequence[int] = (),
) -> None:
    """Writes each step of the network, the weights, and what to know of them.

    A step is one file for all platforms. Weights are its first argument: the programs
    of several sizes share them on the device, and files stay small.

    Args:
        size: Height and width of frames, or batch, height and width; what is not given
            is free.

    Raises:
        ValueError: A platform is unknown, the size is none, there is no checkpoint or
            it belongs to another model, or there is a folder that is not ours.
    """
    platforms = tuple(choices.known("--platforms", p, PLATFORMS) for p in platforms)
    if not platforms:
        raise ValueError(f"--platforms names none; known: {sorted(PLATFORMS)}.")
    frames = _frames(size)
    with whole.folder(output, WRITER) as partial:
        model = models.load(config, checkpoint)
        terms = models.terms(checkpoint)
        export_weights.write(model, partial / WEIGHTS, half=False, terms=terms)
        manifest = {
            "stemseg_jax": __version__,
            "jax": jax.__version__,
            "platforms": platforms,
            "system": model.config.system,
            "weights": {"file": WEIGHTS, "terms": terms},
            "categories": dict(model.categories),
            "frames": _about_frames(model.config),
            "steps": {},
        }
        for name, step in model.system.steps(model.variables, frames).items():
            program = _program(name, step, model.variables, platforms)
            file = partial / f"{name}.stablehlo"
            file.write_bytes(program.serialize())
            manifest["steps"][name] = {
                "file": file.name,
                "calling_convention_version": program.calling_convention_version,
                "takes": _told(step.takes, step.meaning),
                "gives": _told(step.gives(model.variables), step.meaning),
            }
        (partial / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        sizes = {file.name: file.stat().st_size for file in partial.glob("[!.]*")}
    files = (f"{name} ({size / 1e6:.2f} MB)" for name, size in sorted(sizes.items()))
    logging.info("%s: %s", output, ", ".join(files))


def _frames(size: Sequence[int]) -> jax.ShapeDtypeStruct:
    """[B H W 3]"""
    if size and (
        len(size) not in (2, 3) or min(size) < 1 or any(n % MULTIPLE for n in size[-2:])
    ):
        raise ValueError(
            f"--size={','.join(map(str, size))}: expected height,width of frames, both "
            f"multiples of {MULTIPLE}, or batch,height,width; without it all are free."
        )
    sides = (*FREE[: 3 - len(size)], *size, 3)
    shape = jax.export.symbolic_shape(", ".join(map(str, sides)))
    return jax.ShapeDtypeStruct(shape, jnp.uint8)


def _program(
    name: str, step: steps.Step, variables: Variables, platforms: Sequence[str]
) -> jax.export.Exported:
    """Takes weights by the names they have in their file, and arrays by theirs."""

    def call(weights: steps.Arrays, arrays: steps.Arrays) -> steps.Arrays:
        return step.apply(traverse_util.unflatten_dict(weights, sep="/"), arrays)

    call.__name__ = name
    shapes = jax.eval_shape(traverse_util.flatten_dict, variables)
    shapes = {"/".join(path): x for path, x in shapes.items()}
    with _without_source_files():
        return jax.export.export(jax.jit(call), platforms=platforms)(shapes, step.takes)


@contextlib.contextmanager
def _without_source_files() -> Iterator[None]:
    """Programs name where each operation comes from, and so folders of this machine."""
    option = "jax_traceback_in_locations_limit"
    limit = getattr(jax.config, option)
    jax.config.update(option, 0)
    try:
        yield
    finally:
        jax.config.update(option, limit)


def _told(shapes: steps.Shapes, meaning: Mapping[str, str]) -> dict[str, Any]:
    """What the manifest says of arrays."""
    return {
        name: {
            "shape": ", ".join(map(str, shapes[name].shape)),
            "dtype": shapes[name].dtype.name,
            "meaning": meaning[name],
        }
        for name in sorted(shapes, key=[*meaning].index)
    }


def _about_frames(config: ConfigDict) -> dict[str, Any]:
    """How frames come as the model is used to them."""
    convention = pixels.Convention.from_config(config.model.pixels)
    mean = convention.mean if convention.order == "rgb" else convention.mean[::-1]
    return {
        "colours": "RGB",
        "shorter_side": config.evaluation.min_dim,
        "longer_side_at_most": config.evaluation.max_dim,
        "multiple_of": MULTIPLE,
        "padding": [round(value) for value in mean],  # below and on the right
    }
