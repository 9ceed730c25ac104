"""A run that is killed again and again, as a real process."""

import signal
import time

import jax
import numpy as np
import pytest

from stemseg_jax import checkpoints
from tests.commands import Command, updates

KILLED = 20  # times
STEPS = 80
DEVICES = 2  # a pass for each clip would be slow without optimisation
TRAINING = (
    "--config=configs/moving_shapes.py:smoke",
    f"--config.optim.steps={STEPS}",
    "--config.checkpoint_every=1",
)


def arrays(workdir):
    return jax.tree.leaves(checkpoints.read(workdir).variables)


@pytest.mark.slow
def test_it_ends_in_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    two = {"devices": DEVICES}
    with Command(tmp_path, "whole", *TRAINING, f"--workdir={whole}", **two) as run:
        assert run.ended(1000) == [0], run.said()
    rng = np.random.default_rng(0)
    for number in range(KILLED):
        kind = (signal.SIGTERM, signal.SIGKILL)[number % 2]
        with Command(
            tmp_path, f"{number}", *TRAINING, f"--workdir={killed}", **two
        ) as run:
            run.await_steps(killed, len(updates(killed)) + 1)
            time.sleep(rng.uniform(0, 1))
            run.processes[0].send_signal(kind)
            codes = {signal.SIGTERM: 128 + kind, signal.SIGKILL: -kind}
            assert run.ended() == [codes[kind]], run.said()
    assert len(updates(killed)) < STEPS  # it was never at its end
    with Command(tmp_path, "last", *TRAINING, f"--workdir={killed}", **two) as run:
        assert run.ended(1000) == [0], run.said()
    for ours, one in zip(arrays(killed), arrays(whole), strict=True):
        np.testing.assert_array_equal(ours, one)
    assert [u["loss"] for u in updates(killed)] == [u["loss"] for u in updates(whole)]
