"""Options have one default, whoever asks."""

import dataclasses

from configs import stemseg
from stemseg_jax.clustering import sequential
from stemseg_jax.ops import pixels


def test_settings_and_configs_have_the_same_defaults():
    config = stemseg.get_config()
    for settings, options in (
        (sequential.Settings(), config.clustering),
        (pixels.Convention(), config.model.pixels),
    ):
        assert dataclasses.asdict(settings) == options.to_dict()
