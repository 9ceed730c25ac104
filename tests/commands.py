"""The command line in processes of its own."""

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SECONDS = 240  # for all that is waited for; it takes a fraction


class Command:
    """One process for each of `own` arguments; what they say is kept in files.

    Programs that XLA compiled lie in `folder`, for the next command there.
    """

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

    def await_steps(self, workdir: pathlib.Path, count: int) -> None:
        """Until the log of a run has so many updates."""
        end = time.monotonic() + SECONDS
        while len(updates(workdir)) < count:
            dead = any(process.poll() is not None for process in self.processes)
            if dead or time.monotonic() > end:
                pytest.fail("\n".join(self.said()))
            time.sleep(0.02)


def updates(workdir: pathlib.Path) -> list[dict]:
    """Of a run's log, what is no validation; a line may be half written."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    lines = [json.loads(line) for line in text.rpartition("\n")[0].splitlines()]
    return [line for line in lines if "loss" in line]
