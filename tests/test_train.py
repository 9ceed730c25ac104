"""Training learns, logs, resumes to the same bits, and stops where it must."""

import json
import os
import signal

import jax
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import checkpoints, models, train
from stemseg_jax.data import pipeline


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
    train.run(config, str(tmp_path / "whole"))
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


def test_a_loss_that_is_not_finite_names_step_terms_and_clips(tmp_path):
    config = smoke_config(steps=5, learning_rate=float("inf"), clip_norm=0.0)
    with pytest.raises(FloatingPointError) as error:
        train.run(config, str(tmp_path))
    assert "step 2" in str(error.value)
    assert "moving_shapes/train_" in str(error.value)
    assert "lovasz" in str(error.value)
    with pytest.raises(ValueError, match="no checkpoint"):
        checkpoints.find(tmp_path)


def test_a_workdir_of_another_model_is_refused(tmp_path):
    config = smoke_config(steps=1)
    train.run(config, str(tmp_path))
    config.model.decoder_channels = (8, 8, 8, 8)
    config.optim.steps = 2
    with pytest.raises(ValueError, match="belongs to another model"):
        train.run(config, str(tmp_path))


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
