"""What is saved comes back; what belongs to another model is refused by name."""

import errno
import resource
import shutil
import threading
from typing import NamedTuple
from unittest import mock

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
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
        assert checkpoints.config(manager.folder) == CONFIG.to_dict()
        step, restored = manager.restore(state())
    np.testing.assert_array_equal(
        restored.params["head"]["kernel"], state().params["head"]["kernel"]
    )
    assert restored.step == step == 7


def test_the_latest_checkpoints_are_kept(tmp_path):
    with checkpoints.Checkpoints(tmp_path, keep=2) as manager:
        for step in (1, 2, 3):
            manager.save(step, state(), CONFIG)
    assert sorted(d.name for d in tmp_path.iterdir() if d.name.isdigit()) == ["2", "3"]


def test_milestones_stay(tmp_path):
    with checkpoints.Checkpoints(tmp_path, keep=1, milestones=4) as manager:
        for step in (2, 4, 6, 8, 9, 10):
            manager.save(step, state(), CONFIG)
    kept = sorted(int(d.name) for d in tmp_path.iterdir() if d.name.isdigit())
    assert kept == [4, 8, 10]


def test_a_run_saves_by_updates_milestones_and_the_clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])
    due = checkpoints.Due(5, 7, 0, minutes=2.0)
    saved = []
    for step in range(1, 21):
        now[0] += 31.0 if step > 14 else 1.0
        if due(step, late=due.late()):
            saved.append(step)
    assert saved == [5, 7, 10, 14, 15, 19, 20]  # four steps are more than two minutes
    due = checkpoints.Due(5, minutes=0.0)
    assert not due.late() and not due(1, late=False)


def test_hosts_that_agreed_before_the_last_save_do_not_save_twice():
    due = checkpoints.Due(100, minutes=1.0)
    saved = [step for step in range(2, 10) if due(step, late=step in (4, 5))]
    assert saved == [4]


@pytest.mark.parametrize("average", [True, False])
def test_weights_alone_are_the_averaged_ones_if_there_are_any(tmp_path, average):
    save(tmp_path, state(average=average))
    for path in (tmp_path, tmp_path / "checkpoints", tmp_path / "checkpoints" / "7"):
        variables = checkpoints.read(path).variables
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
    variables = checkpoints.read(tmp_path).variables
    assert variables["params"]["head"]["kernel"][0, 0] == (100 if average else 0)
    assert variables["constants"]["time_scale"] == 1


def test_another_model_is_refused_with_both_sides(tmp_path):
    save(tmp_path, state())
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as manager:
        with pytest.raises(ValueError, match=r"checkpoint \(3, 2\), model \(3, 5\)"):
            manager.restore(state(width=5))
        with pytest.raises(ValueError, match="only in the model.*tail"):
            manager.restore(state(name="tail"))


def test_arrays_are_hashed_side_by_side():
    arrays = {name: np.ones(3) for name in "ab"}
    both = threading.Barrier(2, timeout=20)

    def meet(array):
        both.wait()
        return "met"

    with mock.patch.object(checkpoints, "_digest", meet):
        assert {d["sha256"] for d in checkpoints._digests(arrays).values()} == {"met"}


def test_a_folder_without_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"{tmp_path}: no checkpoint"):
        checkpoints.find(tmp_path)


def two_steps(folder):
    with checkpoints.Checkpoints(folder / "checkpoints") as manager:
        manager.save(7, state(), CONFIG)
        manager.save(8, state(), CONFIG)
    return folder / "checkpoints" / "8"


def flip(folder, step):
    """One bit of a kernel, such that orbax cannot see it."""
    with checkpoints.Checkpoints(folder) as manager:
        changed = state()
        weights = changed.average["params"]["head"]
        kernel = np.array(weights["kernel"])
        kernel.view(np.uint8)[0, 0] ^= 1
        weights["kernel"] = jnp.asarray(kernel)
        digests = (folder / str(step) / "digests" / "metadata").read_text()
        shutil.rmtree(folder / str(step))
        manager._manager.reload()
        manager.save(step, changed, CONFIG)
    (folder / str(step) / "digests" / "metadata").write_text(digests)


def test_a_flipped_bit_is_seen_and_the_checkpoint_before_it_is_taken(tmp_path, caplog):
    two_steps(tmp_path)
    flip(tmp_path / "checkpoints", 8)
    with caplog.at_level("WARNING"):
        saved = checkpoints.read(tmp_path)
    assert saved.folder.name == "7"
    assert "checkpoints/8 is damaged" in caplog.text
    with pytest.raises(ValueError, match="/8 is damaged.*not what was saved"):
        checkpoints.read(tmp_path / "checkpoints" / "8")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config/metadata", ""),
        ("config/metadata", "{}"),
        ("config/metadata", '{"model": {"pixels": {"order": "bgr"}}}'),
        ("digests/metadata", None),
        ("digests/metadata", "{"),
        ("state/_METADATA", None),
        ("state/_METADATA", '{"tree_metadata": {}'),
        ("state/manifest.ocdbt", None),
        ("state/manifest.ocdbt", ""),
    ],
)
def test_a_damaged_checkpoint_is_named_in_a_line(tmp_path, file, content):
    last = two_steps(tmp_path)
    if content is None:
        (last / file).unlink()
    else:
        (last / file).write_text(content)
    assert checkpoints.read(tmp_path).folder.name == "7"
    with pytest.raises(ValueError) as caught:
        checkpoints.read(last)
    assert f"{last} is damaged" in str(caught.value)
    assert str(caught.value).count("\n") == 1


def test_a_resumed_run_sets_a_damaged_checkpoint_aside(tmp_path):
    last = two_steps(tmp_path)
    (last / "state" / "manifest.ocdbt").write_text("")
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as manager:
        step, _ = manager.restore(state())
        assert step == manager.latest() == 7
        manager.save(8, state(), CONFIG)
    assert checkpoints.find(tmp_path) == last
    assert (last.with_name("8.damaged") / "state").is_dir()


def test_a_run_without_a_sound_checkpoint_is_not_begun_again(tmp_path):
    two_steps(tmp_path)
    for step in "78":
        (tmp_path / "checkpoints" / step / "state" / "manifest.ocdbt").unlink()
    with (
        checkpoints.Checkpoints(tmp_path / "checkpoints") as manager,
        pytest.raises(ValueError, match=r"(?s)/8 is damaged.*/7 is damaged.*No other"),
    ):
        manager.restore(state())
    assert {"7", "8"} <= {d.name for d in (tmp_path / "checkpoints").iterdir()}


def test_weights_that_are_not_finite_are_refused(tmp_path):
    broken = state()
    broken.average["params"]["head"]["kernel"] *= np.nan
    save(tmp_path, broken)
    with pytest.raises(ValueError, match="average/params/head/kernel holds NaN"):
        checkpoints.read(tmp_path)


def test_a_checkpoint_from_before_digests_is_read_with_a_warning(tmp_path, caplog):
    save(tmp_path, state())
    folder = tmp_path / "checkpoints" / "7"
    shutil.rmtree(folder / "digests")
    text = (folder / "_CHECKPOINT_METADATA").read_text()
    (folder / "_CHECKPOINT_METADATA").write_text(text.replace('"digests"', '"other"'))
    with caplog.at_level("WARNING"):
        assert checkpoints.read(tmp_path).folder == folder
    assert "before digests" in caplog.text


@pytest.mark.parametrize("fails", ["save", "wait_until_finished"])
def test_a_full_disk_is_an_error_that_names_the_checkpoint(tmp_path, fails):
    save(tmp_path, state())
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        mock.patch.object(ocp.CheckpointManager, fails, side_effect=full),
        pytest.raises(OSError, match=r"/8 could not be saved .*No space.*there: 7"),
        checkpoints.Checkpoints(tmp_path / "checkpoints") as manager,
    ):
        manager.save(8, state(), CONFIG)
    assert checkpoints.read(tmp_path).folder.name == "7"


def test_an_error_of_something_else_is_not_called_a_full_disk(tmp_path):
    other = ValueError("of something else")
    with (
        mock.patch.object(ocp.CheckpointManager, "save", side_effect=other),
        pytest.raises(OSError, match="/8 could not be saved .*of something") as caught,
        checkpoints.Checkpoints(tmp_path / "checkpoints") as manager,
    ):
        manager.save(8, state(), CONFIG)
    assert "room" not in str(caught.value)


def test_a_disk_that_is_really_full(tmp_path):
    save(tmp_path, state())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = state()
    noise = np.random.default_rng(0).random((500, 500), np.float32)
    large.params["head"]["kernel"] = jnp.asarray(noise)
    with (
        pytest.raises(
            OSError, match="/8 could not be saved .*Still there: 7. Make room"
        ),
        checkpoints.Checkpoints(tmp_path / "checkpoints") as manager,
    ):
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
            manager.save(8, large, CONFIG)
            manager.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoints.read(tmp_path).folder.name == "7"


def test_a_checkpoint_that_did_not_appear_is_an_error(tmp_path):
    with (
        pytest.raises(OSError, match="/7 was not written"),
        checkpoints.Checkpoints(tmp_path) as manager,
    ):
        manager.save(7, state(), CONFIG)
        manager._manager.wait_until_finished()
        shutil.rmtree(tmp_path / "7")
