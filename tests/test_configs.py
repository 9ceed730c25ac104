"""Options have one default, whoever asks."""

import dataclasses

from configs import stemseg
from stemseg_jax.clustering import sequential
from stemseg_jax.data.clips import canvas, sampling, transforms
from stemseg_jax.ops import pixels
from stemseg_jax.tracking import stitching


def test_settings_and_configs_have_the_same_defaults():
    config = stemseg.get_config()
    size = dict(height=32, width=32)
    for settings, options in (
        (sequential.Settings(), config.clustering),
        (stitching.Settings(), {"rule": config.clustering.rule}),
        (pixels.Convention(), config.model.pixels),
        (sampling.Sampling(num_frames=8), config.data.sampling),
        (transforms.ScaleAndCrop(**size), config.data.scale_and_crop),
        (transforms.ColourJitter(), config.data.colour_jitter),
        (canvas.Canvas(**size), {"max_instances": config.data.max_instances}),
    ):
        own = dataclasses.asdict(settings)
        assert {name: own[name] for name in options} == dict(options)
    assert dataclasses.asdict(sequential.Settings()).keys() == {*config.clustering}
