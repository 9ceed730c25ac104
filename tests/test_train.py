"""Training learns, logs, resumes to the same bits, and stops where it must."""

import json
import os
import signal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import linen as nn

from configs import moving_shapes
from stemseg_jax import checkpoints, models, optimization, train
from stemseg_jax.data import pipeline
from stemseg_jax.formats import whole
from stemseg_jax.modules import norms
from stemseg_jax.structures import LossReport
from stemseg_jax.systems import SYSTEMS

pytestmark = pytest.mark.usefixtures("compiled_once")


def smoke_config(**optim):
    config = moving_shapes.get_config("smoke").unlock()
    config.optim.update(optim)
    return config


def records(workdir):
    return [json.loads(s) for s in (workdir / "metrics.jsonl").read_text().splitlines()]


def weights(config, workdir):
    return jax.tree.leaves(models.load(config, str(workdir)).variables["params"])


def test_the_loss_falls(tmp_path):
    config = smoke_config(steps=40, warmup_steps=5)
    train.run(config, str(tmp_path))
    losses = [record["loss"] for record in records(tmp_path)]
    assert len(losses) == 40
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_a_resumed_run_ends_in_the_same_bits(tmp_path):
    config = smoke_config(steps=4, schedule="constant")
    config.profile_steps = (3, 3)
    train.run(config, str(tmp_path / "whole"))
    assert len(list((tmp_path / "whole/profile").rglob("*.xplane.pb"))) == 1
    config.profile_steps = ()
    for steps in (2, 4):
        config.optim.steps = steps
        train.run(config, str(tmp_path / "parts"))
    for a, b in zip(
        weights(config, tmp_path / "whole"),
        weights(config, tmp_path / "parts"),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert [r["step"] for r in records(tmp_path / "parts")] == [1, 2, 3, 4]


def test_canvases_have_an_update_each_and_resume_to_the_same_bits(tmp_path, caplog):
    caplog.set_level("INFO", "absl")  # flags, once parsed, have set its own level

    def run(workdir, steps):
        config = smoke_config(steps=steps, schedule="constant")
        config.log_every = 4
        config.data.aspects = ("16:9", "9:16")
        config.data.options.layered_world = dict(
            height=96, width=64, num_videos=4, num_frames=12, objects=(1, 2)
        )
        config.data.mixture = dict(moving_shapes=0.5, layered_world=0.5)
        config.data.span = {}
        train.run(config, str(workdir))
        return weights(config, workdir)

    unbroken = run(tmp_path / "whole", 4)
    for size in ("64 x 128", "128 x 64"):
        assert caplog.text.count(f"Compiled the update for {size}") == 1
    (line,) = records(tmp_path / "whole")
    assert line["step"] == 4 and line["loss/moving_shapes"] and line["seconds_waited"]
    run(tmp_path / "parts", 3)
    for a, b in zip(unbroken, run(tmp_path / "parts", 4), strict=True):
        np.testing.assert_array_equal(a, b)


def test_checkpoints_come_by_the_clock_and_milestones_stay(tmp_path):
    def kept(**options):
        config = smoke_config(steps=5, schedule="constant")
        config.update(checkpoint_every=100, **options)
        workdir = tmp_path / str(options)
        train.run(config, str(workdir))
        return {path.name for path in checkpoints.steps(workdir / "checkpoints")}

    assert kept(keep_checkpoints=9) == {"5"}
    # Each update takes longer than that, but there is one between two of them.
    assert kept(keep_checkpoints=9, checkpoint_minutes=1e-6) == {"2", "4", "5"}
    assert kept(keep_checkpoints=1, milestone_every=3) == {"3", "5"}


def test_an_interrupted_run_saves_and_says_so(tmp_path, monkeypatch):
    config = smoke_config(steps=50)
    batches = pipeline.training_batches

    def interrupted(*args, **kwargs):
        for number, batch in enumerate(batches(*args, **kwargs)):
            if number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch

    monkeypatch.setattr(pipeline, "training_batches", interrupted)
    with pytest.raises(SystemExit) as stopped:
        train.run(config, str(tmp_path))
    assert stopped.value.code == 128 + signal.SIGTERM
    assert checkpoints.find(tmp_path).name == "3"


def test_updates_that_are_not_finite_stop_a_run_in_the_end(tmp_path, caplog):
    config = smoke_config(
        steps=5, learning_rate=float("inf"), clip_norm=0.0, max_skipped=2
    )
    with pytest.raises(FloatingPointError) as error:
        train.run(config, str(tmp_path))
    said = str(error.value)
    assert "step 3: the update is not finite" in said
    assert "moving_shapes/train_" in said and "lovasz" in said
    assert "So were the 2 updates before it. (optim.max_skipped=2)" in said
    skipped = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()]
    assert [message.partition(":")[0] for message in skipped] == ["step 1", "step 2"]
    assert all("moving_shapes/train_" in message for message in skipped)
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoints.find(tmp_path)


def test_an_update_that_is_not_finite_changes_nothing(tmp_path, monkeypatch):
    """As if its rate had been 0: plain gradient descent remembers nothing else."""
    config = smoke_config(
        steps=4, name="sgd", momentum=0.0, nesterov=False, average_decay=0.0
    )
    config.optim.max_skipped = 1
    ends = []
    for rate in (np.inf, 0.0):
        monkeypatch.setattr(
            optimization,
            "schedule",
            lambda optim, rate=rate: lambda i: jnp.where(i == 1, rate, 1e-3),
        )
        workdir = tmp_path / str(rate)
        train.run(config, str(workdir))
        ends.append(weights(config, workdir))
    for a, b in zip(*ends, strict=True):
        np.testing.assert_array_equal(a, b)
    lines = records(tmp_path / "inf")
    assert [line.get("not_finite", 0) for line in lines] == [0, 1, 0, 0]
    assert ["loss" in line for line in lines] == [True, False, True, True]
    assert not any("not_finite" in line for line in records(tmp_path / "0.0"))


def test_a_second_run_in_a_workdir_is_told(tmp_path):
    with (
        whole.lock(tmp_path, "train"),
        pytest.raises(ValueError, match=f"another train is at work.*{os.getpid()} on"),
    ):
        train.run(smoke_config(steps=1), str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == [".train.lock"]


def test_a_workdir_of_another_model_is_refused(tmp_path):
    config = smoke_config(steps=1)
    train.run(config, str(tmp_path))
    config.model.decoder_channels = (8, 8, 8, 8)
    config.optim.steps = 2
    with pytest.raises(ValueError, match="belongs to another model"):
        train.run(config, str(tmp_path))


def test_a_run_goes_on_with_what_it_began_with_unless_asked(tmp_path):
    train.run(smoke_config(steps=1), str(tmp_path))
    other = smoke_config(steps=2, batch_size=1)
    other.seed += 1
    other.log_every = 2  # may change
    with pytest.raises(
        ValueError, match=r"goes on with other .*: seed was 42, is 43; "
    ):
        train.run(other, str(tmp_path))
    with pytest.raises(ValueError, match=r"optim\.batch_size was 2, is 1"):
        train.run(other, str(tmp_path))
    assert checkpoints.find(tmp_path).name == "1"
    other.data.aspects = ("4:3",)
    with pytest.raises(ValueError, match=r"data\.aspects was \[\], is \['4:3'\]"):
        train.run(other, str(tmp_path))
    other.data.aspects = ()
    other.optim.allow_changes = True
    train.run(other, str(tmp_path))
    assert checkpoints.find(tmp_path).name == "2"


def test_a_checkpoint_of_step_0_is_not_begun_over(tmp_path):
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as manager:
        manager.save(0, {"params": {"w": np.ones(2)}}, smoke_config())
    with pytest.raises(ValueError, match="checkpoints/0 belongs to another model"):
        train.run(smoke_config(), str(tmp_path))
    assert (tmp_path / "checkpoints" / "0").is_dir()


def update_on(devices, *, monkeypatch, tmp_path):
    """Weights after one update of eight clips."""
    config = smoke_config(
        steps=1, batch_size=8, learning_rate=1e-2, name="sgd", average_decay=0.0
    )
    monkeypatch.setattr(jax, "devices", lambda: jax.local_devices()[:devices])
    config.optim.warmup_steps = 0
    workdir = tmp_path / f"{devices}"
    train.run(config, str(workdir))
    monkeypatch.undo()
    return weights(config, workdir), records(workdir)[0]


def test_one_device_equals_eight(tmp_path, monkeypatch):
    eight, eight_log = update_on(8, monkeypatch=monkeypatch, tmp_path=tmp_path)
    one, one_log = update_on(1, monkeypatch=monkeypatch, tmp_path=tmp_path)
    np.testing.assert_allclose(one_log["loss"], eight_log["loss"], rtol=1e-5)
    for a, b in zip(one, eight, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6, rtol=2e-5)


class Network(nn.Module):
    """One weight, batch statistics, and a count of the passes it has seen."""

    @nn.compact
    def __call__(self, brightness):
        passes = self.variable("memory", "passes", lambda: jnp.int32(0))
        self.variable("constants", "third", lambda: jnp.float32(1 / 3))
        if self.is_mutable_collection("batch_stats") and not self.is_initializing():
            passes.value += 1
        x = norms.BatchNorm(momentum=0.5, name="norm")(brightness[:, None])
        return nn.Dense(1, name="head")(x)


class Remembering:
    """A system whose collections change: batch statistics and a memory."""

    @classmethod
    def from_config(cls, config):
        return cls()

    @staticmethod
    def brightness(batch):
        return batch.frames.astype(jnp.float32).mean(axis=(1, 2, 3, 4))

    def init(self, key, batch):
        return Network().init(key, self.brightness(batch))

    def loss(self, variables, batch, keys):
        mutable = ["batch_stats", "memory"]
        out, changed = Network().apply(
            variables, self.brightness(batch), mutable=mutable
        )
        report = LossReport({"size": jnp.square(out - 1).mean()}, {"size": 1.0})
        others = {k: v for k, v in variables.items() if k != "params"}
        return report.total(), report, {**others, **changed}

    def frozen_modules(self):
        return ()

    def track(self, variables, frames): ...

    def steps(self, variables, frames): ...

    def stages(self, variables, images): ...


@pytest.fixture
def remembering(monkeypatch):
    def config(**optim):
        chosen = smoke_config(batch_size=4, average_decay=0.5, **optim)
        chosen.system = "remembering"
        return chosen

    monkeypatch.setitem(SYSTEMS, "remembering", Remembering)
    return config


def state_of(workdir):
    """Parameters, collections and averages of the last checkpoint."""
    variables = checkpoints.read(workdir).variables
    with checkpoints.Checkpoints(workdir / "checkpoints") as saved:
        step = saved.latest()
    metadata = ocp.PyTreeCheckpointer().restore(
        workdir / "checkpoints" / str(step) / "state"
    )
    return metadata["collections"], variables


def test_collections_go_through_passes_updates_and_averages(tmp_path, remembering):
    config = remembering(steps=2, clips_per_device=2)
    with mock.patch.object(jax, "devices", lambda: jax.local_devices()[:1]):
        train.run(config, str(tmp_path))
    stream = pipeline.training_batches(config, batch_size=4)
    mean, averaged = 0.0, 0.0
    for update in range(2):
        brightness = next(stream)["frames"].mean(axis=(1, 2, 3, 4))
        for clips in brightness.reshape(2, 2):  # two passes of two clips
            mean = 0.5 * mean + 0.5 * clips.mean()
        decay = min(0.5, (1 + update) / (10 + update))
        averaged = decay * averaged + (1 - decay) * mean
    collections, averages = state_of(tmp_path)
    assert collections["memory"]["passes"] == 4
    np.testing.assert_allclose(
        collections["batch_stats"]["norm"]["mean"], [mean], rtol=1e-5
    )
    assert averages["memory"]["passes"] == 4  # a count has no average
    np.testing.assert_allclose(
        averages["batch_stats"]["norm"]["mean"], [averaged], rtol=1e-5
    )
    assert averages["constants"]["third"] == np.float32(1 / 3)  # not rounded


def test_collections_resume_to_the_same_bits(tmp_path, remembering):
    train.run(remembering(steps=4, schedule="constant"), str(tmp_path / "whole"))
    for steps in (2, 4):
        config = remembering(steps=steps, schedule="constant")
        train.run(config, str(tmp_path / "parts"))
    whole, parts = state_of(tmp_path / "whole"), state_of(tmp_path / "parts")
    jax.tree.map(np.testing.assert_array_equal, whole, parts)
    assert whole[0]["memory"]["passes"] == 4


def test_batch_statistics_are_those_of_the_global_batch(
    tmp_path, remembering, monkeypatch
):
    found = []
    for devices in (1, 4):
        config = remembering(steps=1, clips_per_device=4 // devices)
        monkeypatch.setattr(jax, "devices", lambda n=devices: jax.local_devices()[:n])
        train.run(config, str(tmp_path / str(devices)))
        monkeypatch.undo()
        monkeypatch.setitem(SYSTEMS, "remembering", Remembering)
        found.append(state_of(tmp_path / str(devices))[0]["batch_stats"]["norm"])
    jax.tree.map(
        lambda one, four: np.testing.assert_allclose(one, four, rtol=1e-5), *found
    )


class Drawing(Remembering):
    """A system whose loss is what it draws: of each clip, a number from its key."""

    def loss(self, variables, batch, keys):
        _, report, collections = super().loss(variables, batch, keys)
        drawn = jax.vmap(jax.random.uniform)(keys).mean()
        report = LossReport({"size": 0 * report.total() + drawn}, report.weights)
        return report.total(), report, collections


def test_what_a_clip_draws_does_not_depend_on_how_a_batch_is_divided(
    tmp_path, remembering, monkeypatch
):
    found = []
    for devices, clips in ((1, 4), (1, 1), (2, 1)):
        config = remembering(steps=2, clips_per_device=clips)
        monkeypatch.setitem(SYSTEMS, "remembering", Drawing)
        monkeypatch.setattr(jax, "devices", lambda n=devices: jax.local_devices()[:n])
        workdir = tmp_path / f"{devices}_{clips}"
        train.run(config, str(workdir))
        found.append([record["loss"] for record in records(workdir)])
        monkeypatch.undo()
        monkeypatch.setitem(SYSTEMS, "remembering", Drawing)
    np.testing.assert_allclose(found, [found[0]] * 3, rtol=1e-6)
    assert found[0][0] != found[0][1]  # each update draws anew
