"""The causal embedding on real frames of KITTI-MOTS, where they are."""

import jax
import numpy as np

from configs import causal_kitti
from stemseg_jax import models
from stemseg_jax.data import pipeline
from stemseg_jax.formats import images


def config_of(shared):
    config = causal_kitti.get_config("smoke").unlock()
    config.num_frames = 3
    config.data.root = str(shared / "data")
    config.data.mixture = dict(kitti_mots=1.0)
    config.data.options = dict(kitti_mots=dict(classes=("car",), sequences=("0001",)))
    config.loss.parts = ("embedding", "foreground")
    return config.lock()


def test_the_loss_is_finite_with_an_assumed_camera(shared):
    config = config_of(shared)
    packed = models.clips(next(pipeline.training_batches(config, batch_size=1)))
    batch = packed.unpacked()
    assert np.isfinite(batch.intrinsics).all() and batch.masks.any()
    _, system, variables = models.initial(config)
    keys = jax.random.split(jax.random.key(0), 1)
    total, report, _ = jax.jit(system.loss)(variables, batch, keys)
    assert np.isfinite(total) and report.terms.keys() == {*config.loss.weights}
    assert report.terms["view"] > 0 and report.terms["attraction"] > 0


def test_frames_are_labelled_and_have_a_depth(shared):
    config = config_of(shared)
    video = shared / "data/KITTI_MOTS/training/image_02/0001"
    model = models.initial(config)
    labels, _ = model.track(images.read_rgb(f) for f in sorted(video.glob("*.png")))
    assert len(labels) == 3
    depth = labels.depth(2)
    assert depth.shape == (375, 1242) and (depth > 0).all()
