"""Two processes of one machine, as two hosts: what they do, and how they end."""

import json
import signal
import socket

import jax
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import checkpoints, hosts, models
from stemseg_jax.formats import whole
from tests.commands import Command, updates

TRAINING = (
    "--config=configs/moving_shapes.py:smoke",
    "--config.optim.batch_size=2",  # in one pass: a loop is slow if not optimised
    "--config.optim.schedule=constant",
    "--config.evaluation.every=3",
    "--config.evaluation.every_videos=3",
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


def two(folder, name, *arguments) -> Command:
    place = f"--coordinator=127.0.0.1:{free_port()}"
    own = [(f"--host={number}",) for number in range(2)]
    return Command(folder, name, *arguments, "--hosts=2", place, own=own)


@pytest.fixture(scope="module")
def stopped(folder):
    """A run of two whose second host was told to stop: its folder and its last step."""
    workdir = folder / "shared"
    steps = "--config.optim.steps=1000"
    with two(folder, "stop", *TRAINING, steps, f"--workdir={workdir}") as run:
        run.await_steps(workdir, 2)
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
    assert [line["step"] for line in updates(workdir)] == list(range(1, step + 1))


def test_two_hosts_end_where_one_does(folder, resumed):
    workdir, steps = resumed
    alone = folder / "alone"
    more = f"--config.optim.steps={steps}"
    with Command(
        folder, "alone", *TRAINING, more, f"--workdir={alone}", devices=2
    ) as run:
        assert run.ended() == [0], run.said()
    for ours, one in zip(updates(workdir), updates(alone), strict=True):
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
    steps = "--config.optim.steps=100000", "--config.evaluation.every=0"
    with two(folder, "kill", *TRAINING, *steps, f"--workdir={workdir}") as run:
        run.await_steps(workdir, 1)
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
        ("2", 0, "here:99999"),
        ("2", 0, ":8476"),
        ("auto", 1, ""),
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


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("host.cluster:8476", ("host.cluster", 8476)),
        ("[::1]:8476", ("::1", 8476)),
        ("host", ("", 0)),
        ("host:0", ("host", 0)),
    ],
)
def test_addresses(address, parts):
    assert hosts._parts(address) == parts


def test_a_folder_that_is_another_one_on_each_host_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(hosts, "SIGHT", 0.1)
    monkeypatch.setattr(hosts, "gathered", lambda own: ["17 on first: stemseg"])
    monkeypatch.setattr(hosts, "is_first", lambda: False)
    for text in (None, "16 on second: stemseg"):
        if text:
            (tmp_path / "lock").write_text(text)
        with pytest.raises(
            ValueError, match="not the same folder here as on the first"
        ):
            hosts._refuse_unshared(tmp_path / "lock")
    (tmp_path / "lock").write_text("17 on first: stemseg")
    hosts._refuse_unshared(tmp_path / "lock")


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
