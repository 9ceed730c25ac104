"""Options changed at random: refused by name, or a model and clips that can be."""

import importlib
import math

import hypothesis
import pytest
from hypothesis import strategies as st

from stemseg_jax import models, optimization, options, ranges
from stemseg_jax.data import pipeline
from tests.fuzz import harness

SYSTEMS = {
    "causal_embedding": "causal_moving_shapes",
    "srnet": "srnet_moving_shapes",
    "stemseg": "moving_shapes",
}
ODD = tuple(v for v in harness.ODD_VALUES if v != "\ud800") + (2, 8, 31, 33, 96, 2.5)


def config_of(system):
    return importlib.import_module(f"configs.{SYSTEMS[system]}").get_config("smoke")


def places(tree, above=()):
    """Paths of all options and sections of a config."""
    for key, value in tree.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from places(value, (*above, key))


@pytest.mark.parametrize("system", SYSTEMS)
@hypothesis.given(data=st.data())
def test_one_option_changed(system, data):
    config = config_of(system).unlock()
    path = data.draw(st.sampled_from(sorted(places(config.to_dict()))), "option")
    optional = ".".join(path).startswith((*options.SECTIONS, "benchmark.changes."))
    nothing = isinstance(options.required(system).get(".".join(path)), ranges.Maybe)
    *sections, option = path
    section = config
    for name in sections:
        section = section[name]
    before = section[option]
    action = data.draw(st.sampled_from(("odd", "near", "gone", "misspelt")), "action")
    with config.ignore_type():
        if action == "odd":
            section[option] = data.draw(st.sampled_from(ODD), "value")
        elif action == "near":
            section[option] = data.draw(st.sampled_from(near(before)), "value")
        else:
            del section[option]
        if action == "misspelt":
            section[f"{option}s"] = before
    after = section.get(option)  # numbers may have become of the option's kind

    def run():
        options.check(config)
        system = models.build(config)
        pipeline.check(config)
        rate = optimization.schedule(config.optim)
        assert all(math.isfinite(rate(step)) for step in (0, 1, config.optim.steps))
        if path[0] in ("model", "num_frames"):
            models.abstract(config)  # its shapes
        return system

    harness.verdict(
        run,
        form="config",
        names=(option, ".".join(sections) or option),
        right=lambda _: optional if action == "gone" else alike(before, after, nothing),
    )


def near(value) -> tuple:
    """Values of the same kind, as a slip of the hand makes them."""
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int | float):
        return value + 1, value - 1, 2 * value, value / 2, -value
    if isinstance(value, str):
        return value[:-1], value + "x", value.upper(), "dice", "xy", "paper", "cosine"
    if isinstance(value, tuple):
        return value[::-1], value[:-1], value * 2, (*value, *value[-1:])
    return (value,)


def alike(before, value, nothing) -> bool:
    """Whether a value can stand in the place of another at all."""
    if value is None or before is None:
        return nothing
    if isinstance(before, tuple | list):
        return isinstance(value, tuple | list)
    if isinstance(before, float):
        return type(value) in (int, float) and math.isfinite(value)
    return type(value) is type(before)
