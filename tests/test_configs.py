"""Options have one default, whoever asks, and variants what they say."""

import dataclasses

import numpy as np
import pytest

from configs import davis, real_video, stemseg, target_aware_davis, ytvis
from stemseg_jax import optimization, options
from stemseg_jax.clustering import sequential
from stemseg_jax.data.clips import canvas, sampling, transforms
from stemseg_jax.ops import pixels
from stemseg_jax.tracking import stitching


def test_settings_and_configs_have_the_same_defaults():
    config = stemseg.get_config()
    size = dict(height=32, width=32)
    for settings, own_options in (
        (sequential.Settings(), config.clustering),
        (stitching.Settings(), {"rule": config.clustering.rule}),
        (pixels.Convention(), config.model.pixels),
        (sampling.Sampling(num_frames=8), config.data.sampling),
        (transforms.ScaleAndCrop(**size), config.data.scale_and_crop),
        (transforms.ColourJitter(), config.data.colour_jitter),
        (canvas.Canvas(**size), {"max_instances": config.data.max_instances}),
    ):
        own = dataclasses.asdict(settings)
        assert {name: own[name] for name in own_options} == dict(own_options)
    assert dataclasses.asdict(sequential.Settings()).keys() == {*config.clustering}


@pytest.mark.parametrize("size", [8, 16, 32])
@pytest.mark.parametrize("module", [davis, ytvis, target_aware_davis])
def test_a_larger_batch_sees_as_many_clips_at_rates_that_grow_with_it(module, size):
    small = module.get_config().optim
    config = module.get_config(f"batch{size}")
    options.check(config)
    large, times = config.optim, size / small.batch_size
    assert large.batch_size == size
    assert large.batch_size * large.steps == pytest.approx(
        small.batch_size * small.steps, rel=0.01
    )
    sgd = small.name == "sgd"
    before, after = optimization.schedule(small), optimization.schedule(large)
    for share in (0.5, 0.8, 0.999):  # after the warm-up, by the clips that were seen
        ratio = after(share * large.steps) / before(share * small.steps)
        assert ratio == pytest.approx(times if sgd else times**0.5, rel=0.05)
    assert times == 1 or after(0) < 0.01 * after(large.warmup_steps)


def test_variants_are_joined_by_commas():
    paper, both = ytvis.get_config("paper"), ytvis.get_config("paper,batch16")
    assert both.data.mixture == paper.data.mixture
    assert (both.optim.batch_size, both.optim.steps) == (16, paper.optim.steps // 8)
    assert ytvis.get_config("batch16,paper").to_dict() == both.to_dict()
    assert ytvis.get_config("batch8,smoke").model.backbone == "tiny"
    with pytest.raises(ValueError, match="variant='batch9' is unknown; known: "):
        ytvis.get_config("paper,batch9")


def test_averages_forget_by_clips_and_not_by_updates():
    small, large = real_video.get_config().optim, real_video.get_config("batch8").optim
    times = large.batch_size / small.batch_size
    np.testing.assert_allclose(large.average_decay, small.average_decay**times)
