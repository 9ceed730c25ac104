"""Files of a checkpoint damaged at random: named, and the one before it is taken."""

import shutil
from typing import NamedTuple

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from ml_collections import ConfigDict

from stemseg_jax import checkpoints
from tests.fuzz import harness


class State(NamedTuple):
    step: jnp.ndarray
    params: dict
    collections: dict
    average: dict


def state(step):
    kernel = jnp.arange(300.0).reshape(3, 100) + step
    params = {"head": {"kernel": kernel, "bias": jnp.ones(4, jnp.bfloat16)}}
    return State(jnp.int32(step), params, {"constants": {"scale": jnp.ones(3)}}, {})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    with checkpoints.Checkpoints(folder / "checkpoints") as manager:
        for step in (1, 2):
            manager.save(step, state(step), ConfigDict({"model": {"step": step}}))
    return folder


def damage(run, copy, data, steps):
    """Copies the run and damages one file of its last checkpoint."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    if len(steps) == 1:
        shutil.rmtree(copy / "checkpoints" / "1")
    files = sorted(f for f in (copy / "checkpoints" / "2").rglob("*") if f.is_file())
    names = [str(file.relative_to(copy)) for file in files]
    file = copy / data.draw(st.sampled_from(names), "file")
    if data.draw(st.integers(0, 4), "how") == 0:
        file.unlink()
    else:
        file.write_bytes(data.draw(harness.damaged(file.read_bytes()), "bytes"))


def kernel(step):
    return np.asarray(state(step).params["head"]["kernel"])


@pytest.mark.parametrize("steps", [(1, 2), (2,)])
@hypothesis.given(data=st.data())
def test_weights_are_those_of_a_sound_checkpoint(run, tmp_path_factory, steps, data):
    copy = tmp_path_factory.getbasetemp() / "weights"
    damage(run, copy, data, steps)

    def right(saved: checkpoints.Saved) -> bool:
        step = int(saved.folder.name)
        found = saved.variables["params"]["head"]["kernel"]
        return np.array_equal(found, kernel(step)) and saved.config == {
            "model": {"step": step}
        }

    outcome = harness.verdict(
        lambda: checkpoints.read(copy),
        form="checkpoint",
        names=(str(copy),),
        right=right,
    )
    assert outcome == "right" or len(steps) == 1


@pytest.mark.parametrize("steps", [(1, 2), (2,)])
@hypothesis.given(data=st.data())
def test_a_run_goes_on_from_a_sound_checkpoint(run, tmp_path_factory, steps, data):
    copy = tmp_path_factory.getbasetemp() / "resumed"
    damage(run, copy, data, steps)

    def resume():
        with checkpoints.Checkpoints(copy / "checkpoints") as manager:
            return manager.restore(state(0))

    outcome = harness.verdict(
        resume,
        form="resumed run",
        names=(str(copy),),
        right=lambda found: np.array_equal(
            found[1].params["head"]["kernel"], kernel(found[0])
        ),
    )
    assert outcome == "right" or len(steps) == 1
