"""What a line of the log says."""

import collections
import json

import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import run_log


def config_of(**changes):
    config = moving_shapes.get_config("smoke").unlock()
    config.update(changes)
    return config


def metrics(loss, clips, *, not_finite=False):
    return {"loss": loss, "not_finite": not_finite, "clips": clips}


def batch(*names, dropped=0, skipped=()):
    return {"names": names, "dropped": dropped, "skipped": skipped}


def written(tmp_path, config, steps, after=lambda log: None):
    with run_log.Log(tmp_path, config, 0) as log:
        with log.compilation((64, 96)):
            pass
        for number, (found, clips) in enumerate(steps, start=1):
            with log.waiting():
                pass
            log.step(number, found, clips, rate=lambda step: 0.1)
        log.check()
        after(log)
    text = (tmp_path / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_datasets_are_told_apart_and_what_was_left_out_is_counted(tmp_path):
    steps = [
        (
            metrics(2.0, np.array([[1.0, 3.0]])),
            batch("a/x:0", "b/y:1", dropped=2, skipped=("broken",)),
        ),
        (metrics(4.0, np.array([[5.0, 3.0]])), batch("a/x:0", "a/z:1", dropped=1)),
    ]
    (line,) = written(tmp_path, config_of(log_every=2), steps)
    assert line["loss"] == 3 and line["learning_rate"] == 0.1
    assert line["loss/a"] == pytest.approx((1 + 4) / 2)  # by updates
    assert line["loss/b"] == 3
    assert line["dropped_instances"] == 3 and line["left_out_samples"] == 1
    assert 0 <= line["seconds_waited"] < 1
    assert line["clips_per_second"] == pytest.approx(
        config_of().optim.batch_size * line["steps_per_second"]
    )


def test_updates_that_were_not_made_do_not_count(tmp_path):
    steps = [
        (metrics(2.0, np.array([[2.0]])), batch("a/x:0")),
        (metrics(np.nan, np.array([[np.nan]]), not_finite=True), batch("b/y:0")),
    ]
    config = config_of(log_every=2)
    config.optim.max_skipped = 1
    (line,) = written(tmp_path, config, steps)
    assert line["not_finite"] == 1 and line["loss"] == line["loss/a"] == 2
    assert "loss/b" not in line


def test_clips_of_several_passes_are_in_the_order_of_their_names(tmp_path):
    steps = [
        (metrics(0.0, np.array([[1.0, 2.0], [3.0, 4.0]])), batch(*"abcd")),
    ]
    (line,) = written(tmp_path, config_of(log_every=1), steps)
    assert [line[f"loss/{name}"] for name in "abcd"] == [1, 2, 3, 4]


def test_clips_are_those_of_this_host(tmp_path, monkeypatch):
    each = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    monkeypatch.setattr(run_log.jax, "process_index", lambda: 1)
    found = run_log._by_dataset(each, ["a/0", "b/1", "a/2", "b/3"])
    assert found == {"loss/a": 5, "loss/b": 6}
    assert run_log._by_dataset(None, ["a/0"]) == {}


def test_a_line_is_of_all_hosts(tmp_path, monkeypatch):
    other = {"loss": 2.0, "loss/b": 6.0, "seconds_waited": 9.0}
    counts = collections.Counter(dropped_instances=4, not_finite=0)
    monkeypatch.setattr(
        run_log.hosts, "gathered", lambda own: [own] + [(other, counts)] * bool(own)
    )
    steps = [(metrics(2.0, np.array([[2.0]])), batch("a/x:0", dropped=1))]
    (line,) = written(tmp_path, config_of(log_every=1), steps)
    assert line["loss"] == line["loss/a"] == 2 and line["loss/b"] == 6
    assert line["dropped_instances"] == 5 and line["seconds_waited"] == 9
    assert "not_finite" not in line


def test_a_validation_is_a_line_of_its_own(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    figures = {"J&F-Mean": 0.5, "AP": np.nan}
    steps = [(metrics(1.0, None), batch("a/x:0"))]
    lines = written(
        *(tmp_path, config_of(log_every=1), steps),
        lambda log: log.validated(1, figures, picture),
    )
    assert lines[1] == {"step": 1, "validation/J&F-Mean": 0.5}
