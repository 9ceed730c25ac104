"""The stream of batches: what it depends on and what it does not."""

import itertools

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import defaults
from stemseg_jax.data import pipeline

SHAPES = {
    "num_videos": 5,
    "num_frames": 7,
    "height": 40,
    "width": 64,
    "objects": (2, 3),
}


def config_of(**data) -> ConfigDict:
    """The default configuration on small clips of built-in data."""
    config = defaults.get_config()
    config.num_frames = 4
    config.data.update(
        mixture=ConfigDict({"moving_shapes": 1.0}),
        options=ConfigDict({"moving_shapes": SHAPES}),
        min_dim=32,
        max_dim=64,
        max_instances=4,
        workers=0,
    )
    config.data.update(data)
    return config


def take(config, count, **options):
    options = {"batch_size": 2} | options
    return list(itertools.islice(pipeline.training_batches(config, **options), count))


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch["names"] == other["names"]
        for name in pipeline.ARRAYS:
            np.testing.assert_array_equal(batch[name], other[name])


def test_a_batch_has_the_promised_shapes():
    (batch,) = take(config_of(), 1)
    assert batch["frames"].shape == (2, 4, 32, 64, 3)
    assert batch["masks"].shape == (2, 4, 4, 32, 64)
    assert batch["valid"].shape == batch["categories"].shape == (2, 4)
    assert batch["ignore"].shape == (2, 4, 32, 64)
    assert len(batch["names"]) == 2 and batch["names"][0].startswith("moving_shapes/")
    assert batch["dropped"] == 0
    assert (batch["masks"].any(axis=(2, 3, 4)) == batch["valid"]).all()
    assert ((batch["categories"] > 0) == batch["valid"]).all()


def test_a_resumed_stream_goes_on_at_its_position():
    assert_same(take(config_of(), 5)[3:], take(config_of(), 2, start_step=3))


def test_workers_change_nothing():
    assert_same(take(config_of(), 3), take(config_of(workers=2), 3))


def test_processes_share_the_batches_of_one():
    whole = take(config_of(), 3)
    parts = [take(config_of(), 3, process_index=p, process_count=2) for p in range(2)]
    for batch, *halves in zip(whole, *parts, strict=True):
        assert batch["names"] == halves[0]["names"] + halves[1]["names"]


def test_the_seed_decides():
    other = config_of()
    other.seed = 2
    assert take(config_of(), 1)[0]["names"] != take(other, 1)[0]["names"]


def test_an_unknown_dataset_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="davis20.*known are.*davis19"):
        take(config_of(mixture={"davis20": 1.0}), 1)


def test_too_long_clips_are_refused_with_the_longest_video():
    config = config_of()
    config.num_frames = 8
    with pytest.raises(ValueError, match="none of 5 videos.*longest has 7"):
        take(config, 1)
