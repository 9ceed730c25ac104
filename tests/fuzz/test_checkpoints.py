"""Files of a checkpoint damaged at random: named, and the one before it is taken."""

import shutil
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from ml_collections import ConfigDict

from stemseg_jax import checkpoints
from stemseg_jax.conversion import loading, release
from tests.conversion import torch_writer
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


TENSORS = {
    "backbone.body.layer1.0.conv1.weight": np.arange(24, dtype=np.float32).reshape(
        4, 6, 1, 1
    ),
    "backbone.body.layer1.0.bn1.bias": np.ones(4, np.float32),
}
CONFIG = {"system": "stemseg", "model": {"mixing": "xyff"}}
VARIABLES = {"params": {"head": {"kernel": kernel(0)}}, "constants": {"a": np.ones(2)}}


def write_release(path):
    release.write(path, VARIABLES, CONFIG)


def write_torch(path):
    named = enumerate(TENSORS.items())
    tensors = {name: torch_writer.tensor(str(n), v) for n, (name, v) in named}
    torch_writer.write_zip(path, {"model": tensors})


@pytest.mark.parametrize("write", [write_release, write_torch])
@hypothesis.given(data=st.data())
def test_weights_of_a_file_are_those_that_were_written(tmp_path_factory, write, data):
    path = tmp_path_factory.getbasetemp() / "weights.file"
    whole = path.with_name("sound.file")
    write(whole)
    sound = loading.load(whole)
    path.write_bytes(data.draw(harness.damaged(whole.read_bytes()), "bytes"))
    harness.verdict(
        lambda: loading.load(path),
        form=write.__name__.removeprefix("write_") + " file",
        names=(path.name,),
        right=lambda loaded: (
            loaded.config == sound.config
            and all(
                jax.tree.leaves(jax.tree.map(same, loaded.variables, sound.variables))
            )
        ),
    )


def same(one, other) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)
