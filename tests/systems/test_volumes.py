"""What windows of a frame share, with the systems' own networks."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax import models
from stemseg_jax.systems import volumes

CASES = [
    ("davis", {}),  # a decoder for the seediness
    ("ytvis", {"model.remat": True}),  # one for classes and foreground
    ("davis16", {"model.dtype": "bfloat16"}),
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_maps_are_the_same_whether_convolutions_are_shared(name, changes):
    config = importlib.import_module(f"configs.{name}").get_config("smoke").unlock()
    config.num_frames, config.tracking.overlap = 4, 2
    config.update_from_flattened_dict(changes)
    _, system, variables = models.initial(config)
    images = np.random.default_rng(0).normal(size=(3, 64, 96, 3))

    def maps(shared):
        settings = system.network, variables
        encoded = volumes._encode(*settings, jnp.float32(images), shared=shared)
        window = (encoded[0], *encoded)  # as of a short video
        return volumes._decode(*settings, window, shared=shared)

    rough = config.model.dtype == "bfloat16"
    both = (jax.tree.leaves(maps(shared)) for shared in (True, False))
    for own, expected in zip(*both, strict=True):
        atol = (0.02 if rough else 1e-5) * np.abs(expected).max()
        np.testing.assert_allclose(own, expected, atol=atol)


def test_convolutions_are_shared_where_it_was_measured(monkeypatch):
    def shared(overlap):
        return [volumes._is_shared(rule, overlap) for rule in volumes.SHARE]

    assert shared(0) == [False, True, False]
    assert shared(1) == [True, True, False]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert shared(1) == [False, True, False]
