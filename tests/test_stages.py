"""Every system tells the parts of its `track`, and they run."""

import importlib

import numpy as np
import pytest

from stemseg_jax import benchmark

WINDOWS = ["preprocess", "encode, first convolutions", "decode heads", "add up windows"]
LABELS = ["cluster", "stitch", "cluster, stitch, sum up"]
SLOW = pytest.mark.slow
CASES = [
    ("davis16", {}, [*WINDOWS, "label, sum up"]),
    pytest.param("ytvis", {"parity": "released"}, [*WINDOWS, *LABELS], marks=SLOW),
    pytest.param("davis", {"clustering.rule": "refined"}, [*WINDOWS, *LABELS],
                 marks=SLOW),
    pytest.param("srnet_moving_shapes", {}, ["step"], marks=SLOW),
    pytest.param("causal_moving_shapes", {}, ["step"], marks=SLOW),
    pytest.param("target_aware_moving_shapes", {}, ["step"], marks=SLOW),
]  # fmt: skip


@pytest.mark.parametrize("name, changes, expected", CASES)
def test_the_parts_of_a_system_run_one_after_the_other(name, changes, expected):
    config = importlib.import_module(f"configs.{name}").get_config("smoke").unlock()
    config.update_from_flattened_dict({"init_from": "", **changes})
    model = benchmark.untrained(config)
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (config.num_frames + 1, 64, 96, 3), np.uint8)
    timer = benchmark.Timer(peak=1.0, repeats=1)
    rows = list(benchmark.stages(model, list(video), timer))
    assert [row["stage"].rpartition(" (")[0] for row in rows] == expected
    for row in rows:
        assert 0 < row["from"] <= row["median (s)"] <= row["to"]
        if row["GFLOP"] is not None:
            share = row["GFLOP"] / row["median (s)"]
            assert row["of the peak"] == pytest.approx(share)
    counted = {row["stage"].split()[0] for row in rows if row["GFLOP"]}
    assert counted >= {"encode,", "decode"} & {name.split()[0] for name in expected}
