"""`STEmSeg.loss` against the sum of its parts, on maps known by construction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import davis, kitti_mots, ytvis
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems.stemseg import STEmSeg
from tests.systems import painted, stemseg_loss_reference

T, N, HEIGHT, WIDTH = 4, 5, 32, 64
LOSS = jax.jit(STEmSeg.loss, static_argnums=0)
CONFIGS = {"davis": davis, "ytvis": ytvis, "kitti_mots": kitti_mots}


def config_of(name, parity="paper", target="and"):
    config = CONFIGS[name].get_config("smoke")
    with config.unlocked():
        config.num_frames, config.tracking.overlap = T, 2
        config.parity, config.loss.target = parity, target
        config.model.num_classes = min(config.model.num_classes, painted.MAX_CLASSES)
    return config


def loss_of(config, batch):
    """The total, and the report with every term and its weight."""
    system = painted.system(config)
    keys = jax.random.split(jax.random.key(0), len(batch.valid))
    return LOSS(system, {}, batch, keys)[:2]


def clip(seed, instances, num_classes=3):
    """Arrays of one clip: ragged masks that overlap, and whole cells to ignore."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks = np.zeros((instances, T, HEIGHT, WIDTH), bool)
    for mask in masks:
        top, left = rng.integers(2, 18), rng.integers(2, 40)
        for k, frame in enumerate(mask):
            dy, dx = (y - top - 6) / 7, (x - left - 9 - 2 * k) / 9.5
            frame[:] = dy**2 + dx**2 < 1
    ignore = rng.random((T, HEIGHT // 4, WIDTH // 4)) < 0.2
    cells = rng.integers(40, 216, (T, *painted.SIZE, painted.NUMBERS))
    return {
        "cells": cells,
        "masks": masks,
        "categories": rng.integers(1, num_classes, instances),
        "ignore": ignore.repeat(4, axis=1).repeat(4, axis=2),
    }


def batch_of(clips, slots=N):
    """The clips as the pipeline gives them, with padding after their own instances."""

    def padded(values):
        values = np.asarray(values)
        rest = [(0, slots - len(values)), *[(0, 0)] * (values.ndim - 1)]
        return np.pad(values, rest)

    videos = [painted.Video(c["cells"], (HEIGHT, WIDTH)) for c in clips]
    images = [[frame.image for frame in video.frames()] for video in videos]
    valid = [padded(np.ones(len(c["masks"]), bool)) for c in clips]
    categories = [padded(c["categories"]) for c in clips]
    return ClipBatch(
        frames=jnp.asarray(np.stack(images)),
        masks=jnp.asarray(np.stack([padded(c["masks"]) for c in clips])),
        valid=jnp.asarray(np.stack(valid)),
        categories=jnp.asarray(np.stack(categories), jnp.int32),
        ignore=jnp.asarray(np.stack([c["ignore"] for c in clips])),
        intrinsics=jnp.full((len(clips), T, 3, 3), jnp.nan),
    )


def expected_terms(one, config):
    """What the plain form says of one clip."""
    video = painted.Video(one["cells"], (HEIGHT, WIDTH))
    return stemseg_loss_reference.terms(
        video.said(list(range(T)), config),
        *(one[name] for name in ("masks", "categories", "ignore")),
        free_std=config.model.mixing.count("f") * [config.model.free_dim_std],
        target=config.loss.target,
        released=config.parity == "released",
    )


def without_its_cells(one, index):
    """The same clip, one instance of which is too thin to own a cell."""
    masks = one["masks"].copy()
    masks[index, :, :, 1:] = False
    return {**one, "masks": masks}


@pytest.mark.parametrize(
    ("name", "parity", "target"),
    [
        ("davis", "paper", "and"),
        ("davis", "released", "and"),
        ("ytvis", "paper", "fraction"),
        ("ytvis", "released", "and"),
        ("kitti_mots", "paper", "and"),
    ],
)
def test_equals_the_plain_form_term_by_term(name, parity, target):
    config = config_of(name, parity, target)
    clips = [clip(0, 3), clip(1, 1), without_its_cells(clip(2, 3), 0), clip(3, 0)]
    total, report = loss_of(config, batch_of(clips))
    each = [expected_terms(one, config) for one in clips]
    assert report.terms.keys() == each[0].keys()
    for term, value in report.terms.items():
        mean = np.mean([terms[term] for terms in each])
        np.testing.assert_allclose(value, mean, rtol=2e-5, err_msg=term)
    weights = config.loss.weights.to_dict()
    assert report.weights == {term: weights[term] for term in report.terms}
    parts = [weights[term] * value for term, value in report.terms.items()]
    np.testing.assert_allclose(total, sum(parts), rtol=1e-6)


def test_weights_are_those_of_the_config():
    config = config_of("ytvis")
    given = dict(lovasz=2.0, smoothness=0.5, seediness=3.0, semantic=0, foreground=7.0)
    config.loss.weights.update(given)
    one = clip(4, 2)
    total, report = loss_of(config, batch_of([one]))
    expected = expected_terms(one, config)
    assert report.weights == given
    np.testing.assert_allclose(
        total, sum(given[term] * expected[term] for term in given), rtol=2e-5
    )


def test_the_released_target_is_and_whatever_the_config_says():
    one = clip(5, 2)
    totals = [
        loss_of(config_of("ytvis", "released", target), batch_of([one]))[0]
        for target in ("and", "fraction")
    ]
    assert totals[0] == totals[1]


def test_classes_of_instances_are_those_of_their_mean_logits():
    """The plain form on what the network says; the released program has cells."""
    config = config_of("ytvis", target="fraction")
    config.loss.classes_of = "instances"
    one = without_its_cells(clip(11, 3), 0)
    said = painted.Video(one["cells"], (HEIGHT, WIDTH)).said(list(range(T)), config)
    each = []
    for mask, category in zip(one["masks"], one["categories"], strict=True):
        cells = mask.reshape(T, HEIGHT // 4, 4, WIDTH // 4, 4).mean(axis=(2, 4)) >= 0.5
        if cells.any():
            mean = said.class_logits[cells].mean(axis=0)
            each.append(np.log(np.exp(mean).sum()) - mean[category])
    assert len(each) == 2
    _, report = loss_of(config, batch_of([one]))
    np.testing.assert_allclose(report.terms["semantic"], np.mean(each), rtol=1e-5)
    config.parity = "released"
    plain = loss_of(config_of("ytvis", "released"), batch_of([one]))
    assert loss_of(config, batch_of([one]))[0] == plain[0]


def assert_equal_terms(found, expected, rtol=1e-6):
    for term, value in expected.terms.items():
        np.testing.assert_allclose(found.terms[term], value, rtol, err_msg=term)


@pytest.mark.parametrize("parity", ["paper", "released"])
def test_padding_slots_change_nothing(parity):
    config, clips = config_of("ytvis", parity), [clip(6, 2), clip(7, 3)]
    _, exact = loss_of(config, batch_of(clips, slots=3))
    _, padded = loss_of(config, batch_of(clips, slots=9))
    assert_equal_terms(padded, exact)


def test_a_batch_is_the_mean_of_its_clips():
    config, clips = config_of("ytvis"), [clip(8, 3), clip(9, 1), clip(10, 0)]
    total, report = loss_of(config, batch_of(clips))
    alone = [loss_of(config, batch_of([one])) for one in clips]
    np.testing.assert_allclose(total, np.mean([t for t, _ in alone]), rtol=1e-6)
    for term, value in report.terms.items():
        mean = np.mean([r.terms[term] for _, r in alone])
        np.testing.assert_allclose(value, mean, rtol=1e-6, err_msg=term)


def test_what_is_said_of_ignored_background_changes_nothing():
    config, one = config_of("ytvis"), clip(11, 2)
    one["ignore"] &= ~one["masks"].any(axis=0)
    other = one["cells"].copy()
    ignored = stemseg_loss_reference.shrunk(one["ignore"], "and")
    heads = slice(painted.SEEDINESS, painted.NUMBERS)
    other[ignored, heads] = np.random.default_rng(1).integers(
        1, 255, other[ignored, heads].shape
    )
    _, before = loss_of(config, batch_of([one]))
    _, after = loss_of(config, batch_of([{**one, "cells": other}]))
    assert_equal_terms(after, before)
    _, counted = loss_of(
        config, batch_of([{**one, "cells": other, "ignore": one["ignore"] & False}])
    )
    for term in ("seediness", "semantic", "foreground"):
        assert abs(counted.terms[term] - before.terms[term]) > 1e-3
