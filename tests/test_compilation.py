"""Compiled programs are kept for the next start, and told of."""

import os
import pathlib
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax import caches, compilation

PROGRAM = """
import jax, jax.numpy as jnp
from stemseg_jax import compilation
print(compilation.keep())
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
with compilation.watch() as found:
    print(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.eye(3)).tolist())
print(len(found.programs), found.from_disk)
"""


def start(tmp_path, **environment):
    """The lines that a new process prints, and what it complains about."""
    root = str(pathlib.Path(__file__).parents[1])
    own = {"PYTHONPATH": root, "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    clean = {k: v for k, v in os.environ.items() if k != "STEMSEG_CACHE"}
    clean.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=clean | own | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def test_a_second_start_takes_programs_from_disk_and_gives_the_same(tmp_path):
    (place, first, counts), _ = start(tmp_path, STEMSEG_CACHE=str(tmp_path / "kept"))
    assert pathlib.Path(place).parent == tmp_path / "kept"
    count, from_disk = map(int, counts.split())
    assert count > 0 and from_disk == 0
    (_, second, counts), said = start(tmp_path, STEMSEG_CACHE=str(tmp_path / "kept"))
    assert counts == f"{count} {count}" and second == first
    assert "machine" not in said  # XLA is sure that they were made for this processor


def test_by_default_they_lie_in_the_users_cache(tmp_path):
    (place, *_), _ = start(tmp_path)
    assert pathlib.Path(place).parent == tmp_path / ".cache" / "stemseg_jax"
    (place, *_), _ = start(tmp_path, XDG_CACHE_HOME=str(tmp_path / "x"))
    assert pathlib.Path(place).parent == tmp_path / "x" / "stemseg_jax"


def test_who_told_jax_where_to_keep_them_is_left_alone(tmp_path):
    told = str(tmp_path / "told")
    (place, *_), _ = start(tmp_path, JAX_COMPILATION_CACHE_DIR=told)
    assert place == told
    assert not (tmp_path / ".cache").exists()


def test_off_keeps_nothing(tmp_path):
    (place, *_), _ = start(tmp_path, STEMSEG_CACHE="off")
    assert place == "None" and not any(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_told_and_nothing_else(tmp_path):
    (tmp_path / "file").touch()
    lines, said = start(tmp_path, STEMSEG_CACHE=str(tmp_path / "file"))
    assert lines[0] == "None" and len(lines) == 3
    assert "Compiled programs are not kept" in said and "STEMSEG_CACHE=off" in said


def test_what_was_used_longest_ago_goes(tmp_path):
    for number, name in enumerate("abcd"):
        file = tmp_path / f"jax-{number % 2}" / f"{name}-cache"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(10))
        os.utime(file, (1000 - number, 1000 - number))
    (tmp_path / "jax-0" / "other").write_bytes(bytes(99))
    caches.shrink(tmp_path.glob("jax-*/*-cache"), 25)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["a-cache", "b-cache", "other"]


def test_each_program_is_told_once_from_any_thread():
    def work(size):
        jax.jit(lambda x: x * 3 + size)(np.zeros(size, np.float32))

    told = []
    with compilation.watch(lambda *program: told.append(program)) as found:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found.programs == told
    assert [name for name, _ in told] == 5 * ["<lambda>"]
    assert found.seconds == pytest.approx(sum(seconds for _, seconds in told))
    work(7)
    assert len(told) == 5  # nobody watches any more


def test_what_was_compiled_reads_as_a_sentence():
    found = compilation.Compiled()
    assert str(found) == "nothing"
    found.programs.append(("_encode", 2.0))
    assert str(found) == "1 program in 2.0 s (_encode 2.0 s)"
    found.programs += [("_decode", 3.04), ("_label", 0.5)]
    found.from_disk = 2
    expected = "3 programs in 5.5 s (_decode 3.0 s, _encode 2.0 s), 2 from disk"
    assert str(found) == expected


def test_nothing_compiled_is_nothing_told():
    double = jax.jit(lambda x: x * 2)
    x = jnp.ones(3)
    double(x)
    with compilation.watch() as found:
        double(x)
    assert not found.programs


def test_a_folder_that_others_can_write_is_not_used(tmp_path, caplog):
    place = tmp_path / compilation._machine()
    place.mkdir()
    place.chmod(0o777)
    assert compilation.keep(tmp_path) is None
    assert "others can write there" in caplog.text
