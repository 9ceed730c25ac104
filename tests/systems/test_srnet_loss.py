"""`SRNet.loss` against the sum of its parts, on maps known by construction."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax import models
from stemseg_jax.ops import heatmap
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems.srnet import SRNet
from tests.systems import painted, painted_srnet, srnet_reference
from tests.systems.test_srnet_track import config_of

HEIGHT, WIDTH = 32, 64
LOSS = jax.jit(SRNet.loss, static_argnums=0)
SILENT = dict(jitter=0.0, dropped=0.0, spurious=0.0)


def pair(seed, instances, classes=6):
    """Whole cells of disjoint objects, some of which only one frame shows."""
    rng = np.random.default_rng(seed)
    owner = np.zeros((2, *painted.SIZE), int)
    for frame in owner:
        for number in range(1, instances + 1):
            top, left = rng.integers(0, 6), rng.integers(0, 12)
            frame[top : top + 3, left : left + 4] = number
    if instances > 1:
        owner[0][owner[0] == 1] = 0  # enters
        owner[1][owner[1] == 2] = 0  # leaves
    masks = owner[None] == np.arange(1, instances + 1)[:, None, None, None]
    return {
        "cells": rng.integers(40, 216, (2, *painted.SIZE, painted.NUMBERS)),
        "masks": masks,
        "categories": rng.integers(1, classes, instances),
        "ignore": rng.random((2, *painted.SIZE)) < 0.2,
    }


def batch_of(pairs, slots=5):
    def padded(values):
        values = np.asarray(values)
        rest = [(0, slots - len(values)), *[(0, 0)] * (values.ndim - 1)]
        return np.pad(values, rest)

    def large(values):
        return values.repeat(4, axis=-2).repeat(4, axis=-1)

    videos = [painted.Video(p["cells"], (HEIGHT, WIDTH)) for p in pairs]
    return ClipBatch(
        frames=jnp.asarray([[f.image for f in video.frames()] for video in videos]),
        masks=jnp.asarray(np.stack([padded(large(p["masks"])) for p in pairs])),
        valid=jnp.asarray([padded(np.ones(len(p["masks"]), bool)) for p in pairs]),
        categories=jnp.asarray([padded(p["categories"]) for p in pairs], jnp.int32),
        ignore=jnp.asarray(np.stack([large(p["ignore"]) for p in pairs])),
        intrinsics=jnp.full((len(pairs), 2, 3, 3), jnp.nan),
    )


def silent(name="ytvis", **changes):
    config = config_of(name, **changes)
    with config.unlocked():
        config.loss.heatmap_noise.update(SILENT)
    return config


def loss_of(config, batch, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(batch.valid))
    system = painted_srnet.system(config)
    return LOSS(system, {}, batch, keys)[:2]


def expected_terms(one, config):
    video = painted.Video(one["cells"], (HEIGHT, WIDTH))
    before, now = one["masks"].swapaxes(0, 1)
    seen = [np.argwhere(mask) for mask in before if mask.any()]
    heat = srnet_reference.render(
        [places.mean(axis=0) for places in seen],
        [np.ptp(places, axis=0) + 1 for places in seen],
        painted.SIZE,
    )
    return srnet_reference.loss(
        painted_srnet.said(video, config)(1, 0, heat),
        *(before, now, one["categories"]),
        one["ignore"][1] & ~now.any(axis=0),
        config,
    )


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("ytvis", {}),
        ("davis", dict(loss__target="and")),
        ("ytvis", dict(loss__overlap="dice")),
        ("davis", dict(model__mixing="xy")),
    ],
)
def test_equals_the_plain_form_term_by_term(name, changes):
    config = silent(name, **changes)
    pairs = [pair(0, 4), pair(1, 1), pair(2, 3), pair(3, 0)]
    total, report = loss_of(config, batch_of(pairs))
    each = [expected_terms(one, config) for one in pairs]
    assert report.terms.keys() == each[0].keys()
    for term, value in report.terms.items():
        mean = np.mean([terms[term] for terms in each])
        np.testing.assert_allclose(value, mean, rtol=5e-5, err_msg=term)
    weights = config.loss.weights.to_dict()
    assert report.weights == {term: weights[term] for term in report.terms}
    assert all(weight == 1 for weight in weights.values())
    summed = sum(float(value) for value in report.terms.values())
    np.testing.assert_allclose(total, summed, rtol=1e-6)


def test_half_covered_cells_are_the_objects_by_fraction_alone():
    """Masks whose left two pixels of each row's first cell are missing."""
    one = pair(12, 1)
    one["masks"][:] = False
    one["masks"][0, :, 2:5, 3:8] = True
    batch = batch_of([one])
    left = batch.masks.at[..., 12:14].set(False)  # half of column 3
    narrow = {**one, "masks": one["masks"] & (np.arange(16) != 3)}
    by_target = {
        target: loss_of(
            silent("davis", loss__target=target), batch._replace(masks=left)
        )[1].terms["overlap"]
        for target in ("and", "fraction")
    }
    for target, expected in (("and", narrow), ("fraction", one)):
        config = silent("davis", loss__target=target)
        whole = expected_terms(expected, config)["overlap"]
        np.testing.assert_allclose(by_target[target], whole, rtol=5e-5)
    assert abs(by_target["and"] - by_target["fraction"]) > 1e-3


def test_weights_are_those_of_the_config():
    config = silent(loss__weights__smoothness=10.0, loss__weights__score=0.0)
    total, report = loss_of(config, batch_of([pair(0, 2)]))
    terms = {name: float(term) for name, term in report.terms.items()}
    weights = {"smoothness": 10, "score": 0}
    expected = sum(weights.get(name, 1) * term for name, term in terms.items())
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_padding_slots_change_nothing():
    pairs = [pair(4, 2), pair(5, 3)]
    totals = [loss_of(silent(), batch_of(pairs, slots=n))[0] for n in (3, 8)]
    np.testing.assert_allclose(*totals, rtol=1e-6)


def test_without_objects_the_objectness_goes_to_zero():
    config, one = silent("davis"), pair(6, 0)
    _, report = loss_of(config, batch_of([one]))
    terms = {name: float(term) for name, term in report.terms.items()}
    objectness = painted_srnet.said(
        painted.Video(one["cells"], (HEIGHT, WIDTH)), config
    )(1, 0, np.zeros(painted.SIZE)).objectness
    counted = ~one["ignore"][1]
    np.testing.assert_allclose(
        terms.pop("score"), np.square(objectness[counted]).mean(), rtol=5e-5
    )
    assert set(terms.values()) == {0.0}


def test_noise_is_that_of_a_clips_key_whatever_lies_beside_it():
    """With peaks that come and go the tracking term differs from key to key; a clip's
    own is the same alone and in a batch."""
    config = config_of("davis", loss__heatmap_noise__jitter=0.0)
    pairs = [pair(7, 2), pair(8, 2)]
    for one in pairs:  # at rest, so that a centre lies on its peak
        one["masks"][:] = False
        one["masks"][0, :, 1:6, 1:6] = one["masks"][1, :, 2:7, 8:13] = True
    system = painted_srnet.system(config)
    keys = jax.random.split(jax.random.key(3), 2)

    def tracking(pairs, keys):
        _, report, _ = LOSS(system, {}, batch_of(pairs), keys)
        return float(report.terms["tracking"])

    alone = [tracking(pairs[k : k + 1], keys[k : k + 1]) for k in (0, 1)]
    np.testing.assert_allclose(tracking(pairs, keys), np.mean(alone), rtol=1e-5)
    others = {
        tracking(pairs[:1], jax.random.split(jax.random.key(seed), 1))
        for seed in range(6)
    }
    assert len(others) > 1


def test_only_the_tracking_term_depends_on_the_noise():
    config, at_rest = config_of("ytvis"), pair(9, 4)
    at_rest["masks"][:, 1] = at_rest["masks"][:, 0]  # a centre lies on its peak
    (_, one), *others = (
        loss_of(config, batch_of([at_rest]), seed) for seed in range(6)
    )
    for _, other in others:
        for term in ("overlap", "smoothness", "score", "category"):
            assert one.terms[term] == other.terms[term]
    assert any(one.terms["tracking"] != o.terms["tracking"] for _, o in others)


def test_the_gradient_reaches_both_frames_and_is_finite():
    """Through the features of the past, too."""
    config = importlib.import_module("configs.srnet_moving_shapes").get_config("smoke")
    _, system, variables = models.initial(config)
    batch = batch_of([pair(10, 3, classes=5)])
    keys = jax.random.split(jax.random.key(0), 1)

    def loss(frames):
        heat = jnp.zeros((1, *painted.SIZE))
        maps = system.network.apply(variables, frames, heat)
        return sum(jnp.abs(x).sum() for x in maps)

    gradient = jax.jit(jax.grad(loss))(batch.frames.astype(jnp.float32) / 64)
    assert (jnp.abs(gradient).max(axis=(0, 2, 3, 4)) > 0).all()

    def total(params):
        return system.loss({**variables, "params": params}, batch, keys)[0]

    for leaf in jax.tree.leaves(jax.jit(jax.grad(total))(variables["params"])):
        assert jnp.isfinite(leaf).all()


def test_noise_settings_come_from_the_config():
    system = painted_srnet.system(silent())
    assert system.noise == heatmap.Noise(**SILENT)
    assert painted_srnet.system(config_of()).noise == heatmap.Noise()
