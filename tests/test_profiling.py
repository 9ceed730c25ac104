import jax
import jax.numpy as jnp
import pytest

from stemseg_jax import profiling


def traces(folder, steps, updates):
    """How many traces there are, before each update and in the end."""
    found = []

    def count():
        found.append(len(list((folder / "profile").rglob("*.xplane.pb"))))

    with profiling.Trace(folder, steps) as trace:
        for step in updates:
            trace.before(step)
            count()
            trace.after(step, {"loss": jnp.ones(3).sum()})
    count()
    return found


@pytest.mark.parametrize(
    "steps, updates, expected",
    [
        ((2, 3), range(1, 6), [0, 0, 0, 1, 1, 1]),
        ((2, 2), range(1, 4), [0, 0, 1, 1]),
        ((2, 9), range(1, 4), [0, 0, 0, 1]),  # the run ends before
        ((2, 4), range(4, 6), [0, 1, 1]),  # it goes on in between
        ((2, 3), range(4, 6), [0, 0, 0]),
        ((), range(1, 3), [0, 0, 0]),
    ],
)
def test_the_updates_from_first_to_last_are_one_trace(
    tmp_path, steps, updates, expected
):
    assert traces(tmp_path, steps, updates) == expected


def test_a_run_that_fails_leaves_the_profiler_free(tmp_path):
    with (
        pytest.raises(RuntimeError, match="lost"),
        profiling.Trace(tmp_path, (1, 9)) as trace,
    ):
        trace.before(1)
        raise RuntimeError("lost")
    assert traces(tmp_path / "next", (1, 1), [1]) == [0, 1]


def test_other_hosts_record_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    assert traces(tmp_path, (1, 1), [1]) == [0, 0]
