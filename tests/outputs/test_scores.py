"""Every word that a system scores by is explained."""

import importlib

import pytest

from stemseg_jax import models
from stemseg_jax.outputs import collector
from stemseg_jax.systems import SYSTEMS, stemseg_options


def test_all_words_are_explained():
    rules = set(stemseg_options.OPTIONS["tracking.score"].values)
    own = {getattr(system, "score", "size") for system in SYSTEMS.values()}
    assert collector.SCORES.keys() == rules | own


@pytest.mark.parametrize("system", SYSTEMS)
def test_each_system_has_one(system):
    name = {
        "causal_embedding": "causal_kitti",
        "saliency": "davis16",
        "srnet": "srnet_ytvis",
        "stemseg": "ytvis",
        "target_aware": "target_aware_ytvis",
    }[system]
    config = importlib.import_module(f"configs.{name}").get_config("smoke")
    built = models.build(config)
    word = config.tracking.score if system == "stemseg" else built.score
    assert word in collector.SCORES
