"""Two processes of one machine, as two hosts: what they do, and how they end."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import checkpoints, hosts, models
from stemseg_jax.formats import whole

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 240  # for all that is waited for; it takes a fraction
TRAINING = (
    "--config=configs/moving_shapes.py:smoke",
    "--config.optim.batch_size=2",  # in one pass: a loop is slow if not optimised
    "--config.optim.schedule=constant",
    "--config.log_every=1",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the runs below, and of the programs that these compile."""
    return tmp_path_factory.mktemp("hosts")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Command:
    """The command line in processes of its own; what they say is kept in files."""

    def __init__(self, folder, name, *arguments, devices=1, own=((),)):
        environment = {
            **os.environ,
            "STEMSEG_CACHE": str(folder / "compiled"),
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        command = (sys.executable, "-m", "stemseg_jax.main", *arguments)
        self._logs = [folder / f"{name}.{number}.log" for number in range(len(own))]
        self.processes = [
            subprocess.Popen(
                [*command, *some],
                cwd=ROOT,
                env=environment,
                stdout=log.open("w"),
                stderr=subprocess.STDOUT,
            )
            for some, log in zip(own, self._logs, strict=True)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def ended(self, seconds=SECONDS) -> list[int]:
        """The exit codes, once all have ended."""
        end = time.monotonic() + seconds
        try:
            return [p.wait(end - time.monotonic()) for p in self.processes]
        except subprocess.TimeoutExpired:
            pytest.fail("\n".join(self.said()))

    def said(self) -> list[str]:
        return [log.read_text() for log in self._logs]


def two(folder, name, *arguments) -> Command:
    place = f"--coordinator=127.0.0.1:{free_port()}"
    own = [(f"--host={number}",) for number in range(2)]
    return Command(folder, name, *arguments, "--hosts=2", place, own=own)


def lines_of(workdir: pathlib.Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def await_steps(command: Command, workdir: pathlib.Path, count: int):
    end = time.monotonic() + SECONDS
    while len(lines_of(workdir)) < count:
        if time.monotonic() > end or any(
            p.poll() is not None for p in command.processes
        ):
            pytest.fail("\n".join(command.said()))
        time.sleep(0.02)


@pytest.fixture(scope="module")
def stopped(folder):
    """A run of two whose second host was told to stop: its folder and its last step."""
    workdir = folder / "shared"
    steps = "--config.optim.steps=1000"
    with two(folder, "stop", *TRAINING, steps, f"--workdir={workdir}") as run:
        await_steps(run, workdir, 2)
        run.processes[1].send_signal(signal.SIGTERM)
        assert run.ended() == [128 + signal.SIGTERM] * 2, run.said()
    return workdir, int(checkpoints.find(workdir).name)


@pytest.fixture(scope="module")
def resumed(folder, stopped):
    """The same run, two updates later."""
    workdir, step = stopped
    more = f"--config.optim.steps={step + 2}"
    with two(folder, "resume", *TRAINING, more, f"--workdir={workdir}") as run:
        assert run.ended() == [0, 0], run.said()
    assert f"Resumed at step {step} " in run.said()[1]
    return workdir, step + 2


def test_a_signal_to_one_host_stops_all_at_one_step(stopped):
    workdir, step = stopped
    assert [line["step"] for line in lines_of(workdir)] == list(range(1, step + 1))


def test_two_hosts_end_where_one_does(folder, resumed):
    workdir, steps = resumed
    alone = folder / "alone"
    more = f"--config.optim.steps={steps}"
    with Command(
        folder, "alone", *TRAINING, more, f"--workdir={alone}", devices=2
    ) as run:
        assert run.ended() == [0], run.said()
    for ours, one in zip(lines_of(workdir), lines_of(alone), strict=True):
        np.testing.assert_allclose(ours["loss"], one["loss"], rtol=1e-4)
    config = moving_shapes.get_config("smoke")
    parameters = [
        jax.tree.leaves(models.load(config, str(path)).variables["params"])
        for path in (workdir, alone)
    ]
    for ours, one in zip(*parameters, strict=True):
        np.testing.assert_allclose(ours, one, atol=1e-5)


def test_two_hosts_share_the_videos_of_an_evaluation(folder, resumed):
    workdir, _ = resumed
    arguments = (
        *TRAINING,
        "--mode=evaluate",
        f"--checkpoint={workdir}",
        "--config.evaluation.options.num_videos=3",
    )
    figures = []
    for name, start in (("both", two), ("one", Command)):
        with start(folder, name, *arguments, f"--workdir={folder / name}") as run:
            assert set(run.ended()) == {0}, run.said()
        figures.append(json.loads((folder / name / "scores.json").read_text()))
    assert figures[0] == figures[1]


def test_a_host_that_dies_ends_the_others_with_a_word(folder):
    workdir = folder / "killed"
    steps = "--config.optim.steps=100000"
    with two(folder, "kill", *TRAINING, steps, f"--workdir={workdir}") as run:
        await_steps(run, workdir, 1)
        run.processes[1].kill()
        first, second = run.ended(seconds=60)
    assert first not in (0, None) and second == -signal.SIGKILL
    assert "Another host has ended" in run.said()[0] or "died" in run.said()[0]


def test_what_one_host_may_not_do_none_does(folder, resumed):
    """Here: to begin in a folder that is in use, which the first one alone sees."""
    workdir, _ = resumed
    arguments = (*TRAINING, f"--workdir={workdir}")
    with whole.lock(workdir, "train"), two(folder, "locked", *arguments) as run:
        assert run.ended() == [1, 1], run.said()
    first, second = run.said()
    assert "another train is at work here" in first
    assert "OtherHost: Host 0: ValueError:" in second


@pytest.mark.parametrize(
    ("count", "index", "address"),
    [
        ("2", None, "here:1"),
        ("2", 2, "here:1"),
        ("2", 0, ""),
        ("two", 0, "here:1"),
        ("", 0, "here:1"),
        ("2", 0, "here:http"),
    ],
)
def test_flags_that_contradict_each_other_are_named(count, index, address):
    with pytest.raises(ValueError, match="expected how many"):
        hosts.join(count, index, address)


def test_a_port_in_use_is_named():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of this host cannot be used"):
            hosts.join("2", 0, f"127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:1"])
def test_a_coordinator_that_does_not_answer_is_named(address, monkeypatch):
    monkeypatch.setattr(hosts, "PATIENCE", 0.1)
    with pytest.raises(hosts.OtherHost, match=f"{address}: nobody answered"):
        hosts.join("2", 1, address)


@pytest.mark.parametrize(
    ("environment", "several"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "8"}, False),  # a shell in an allocation
        ({"SLURM_STEP_NUM_TASKS": "8"}, True),
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "t-0,t-1"}, True),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
    ],
)
def test_clusters_are_known_by_their_environment(environment, several, monkeypatch):
    for name in ("SLURM_STEP_NUM_TASKS", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    joined = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: joined.append(1))
    hosts.join()
    assert bool(joined) == several


def test_alone_nothing_is_asked():
    assert hosts.is_first()
    assert hosts.gathered("mine") == ["mine"]
    with pytest.raises(KeyError, match="own"), hosts.together():
        raise KeyError("own")


def test_only_what_is_about_other_hosts_is_put_in_other_words(monkeypatch):
    lost = jax.errors.JaxRuntimeError("UNKNOWN: Gloo AllGather failed: closed by peer")
    for error, count in ((lost, 1), (jax.errors.JaxRuntimeError("no memory"), 2)):
        monkeypatch.setattr(jax, "process_count", lambda count=count: count)
        with pytest.raises(jax.errors.JaxRuntimeError), hosts.explained():
            raise error
    with pytest.raises(hosts.OtherHost, match="Another host"), hosts.explained():
        raise lost
