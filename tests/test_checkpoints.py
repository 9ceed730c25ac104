"""What is saved comes back; what belongs to another model is refused by name."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from stemseg_jax import checkpoints


class State(NamedTuple):
    step: jnp.ndarray
    params: dict
    collections: dict
    average: dict


CONFIG = ConfigDict({"model": {"pixels": {"order": "rgb"}}})


def state(width=2, *, average=True, name="head"):
    weights = {name: {"kernel": jnp.arange(3.0 * width).reshape(3, width)}}
    averaged = {name: {"kernel": weights[name]["kernel"] + 100}}
    constants = {"constants": {"time_scale": jnp.float32(1)}}
    return State(
        step=jnp.int32(7),
        params=weights,
        collections=constants,
        average={"params": averaged, **constants} if average else {},
    )


def save(folder, saved, step=7):
    with checkpoints.Checkpoints(folder / "checkpoints") as manager:
        manager.save(step, saved, CONFIG)


def test_a_state_comes_back_with_its_config(tmp_path):
    save(tmp_path, state())
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as manager:
        assert manager.latest() == 7
        assert manager.config() == CONFIG.to_dict()
        restored = manager.restore(state())
    np.testing.assert_array_equal(
        restored.params["head"]["kernel"], state().params["head"]["kernel"]
    )
    assert restored.step == 7


def test_the_latest_checkpoints_are_kept(tmp_path):
    with checkpoints.Checkpoints(tmp_path, keep=2) as manager:
        for step in (1, 2, 3):
            manager.save(step, state(), CONFIG)
    assert sorted(d.name for d in tmp_path.iterdir() if d.name.isdigit()) == ["2", "3"]


@pytest.mark.parametrize("average", [True, False])
def test_weights_alone_are_the_averaged_ones_if_there_are_any(tmp_path, average):
    save(tmp_path, state(average=average))
    for path in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "7"):
        variables = checkpoints.read_variables(path)
        assert variables["params"]["head"]["kernel"][0, 0] == (100 if average else 0)
        assert variables["constants"]["time_scale"] == 1


class OldState(NamedTuple):
    step: jnp.ndarray
    params: dict
    constants: dict
    average: dict


@pytest.mark.parametrize("average", [True, False])
def test_weights_of_a_run_from_before_collections(tmp_path, average):
    new = state(average=average)
    old = OldState(new.step, new.params, new.collections, new.average.get("params", {}))
    save(tmp_path, old)
    variables = checkpoints.read_variables(tmp_path)
    assert variables["params"]["head"]["kernel"][0, 0] == (100 if average else 0)
    assert variables["constants"]["time_scale"] == 1


def test_another_model_is_refused_with_both_sides(tmp_path):
    save(tmp_path, state())
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as manager:
        with pytest.raises(ValueError, match=r"checkpoint \(3, 2\), model \(3, 5\)"):
            manager.restore(state(width=5))
        with pytest.raises(ValueError, match="only in the model.*tail"):
            manager.restore(state(name="tail"))


def test_a_folder_without_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: no checkpoint"):
        checkpoints.find(tmp_path)
