"""The losses of target-aware discovery, against plain NumPy, on networks whose maps
are known."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import centres
from stemseg_jax.ops import mask_noise
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems.target_aware import TargetAware
from tests.systems import painted_target_aware as painted
from tests.systems.test_target_aware_track import config_of

LOSS = jax.jit(TargetAware.loss, static_argnums=0)


def batch_of(videos, classes=2):
    """Clips [B T H W 3] with their boxes as masks, in three slots."""
    frames = np.stack([painted.paint(video) for video in videos]).astype(np.uint8)
    B, T, H, W, _ = frames.shape
    masks = np.zeros((B, 3, T, H, W), bool)
    for b, video in enumerate(videos):
        for t, things in enumerate(video):
            for n, (top, left, height, width) in enumerate(things.values()):
                masks[b, n, t, top : top + height, left : left + width] = True
    valid = masks.any(axis=(2, 3, 4))
    return ClipBatch(
        frames=jnp.asarray(frames),
        masks=jnp.asarray(masks),
        valid=jnp.asarray(valid),
        categories=jnp.asarray(np.where(valid, classes, 0).astype(np.int32)),
        ignore=jnp.zeros((B, T, H, W), bool).at[:, :, :3, :5].set(True),
        intrinsics=jnp.full((B, T, 3, 3), jnp.nan),
    )


VIDEOS = [
    [{1: (4 + t, 6, 13, 14), 3: (16, 40 - t, 14, 13)} for t in range(2)],
    [{2: (8, 20 + t, 14, 16)} for t in range(2)],
    [{}, {}],
]


def test_discovery_by_hand():
    system = painted.system(config_of())
    batch = batch_of(VIDEOS)
    keys = jax.random.split(jax.random.key(0), 3)
    total, report, rest = LOSS(system, {"params": {}}, batch, keys)
    assert not rest
    noise = system.noise
    terms = np.zeros((3, 3))
    for b in range(3):
        image = np.float64(batch.frames[b, 1])
        masks = np.asarray(batch.masks[b, :, 1])
        key = jax.random.split(keys[b])[0]
        seen = np.asarray(batch.masks[b, :, 0]).any(axis=0)
        before = np.asarray(mask_noise.disturb(key, jnp.asarray(seen), noise))
        logits, heat, offsets = painted.maps(
            image, np.concatenate([image, before[..., None]], axis=-1)
        )
        there = masks.any(axis=0)
        counts = ~(np.asarray(batch.ignore[b, 1]) & ~there)
        logits = logits[..., 0]
        entropy = np.logaddexp(0, logits) - logits * there
        wanted = centres.targets(batch.masks[b, :, 1])
        squared = np.square(heat - wanted.heatmap)
        steps = np.abs(offsets - wanted.offsets).sum(axis=-1) / 2
        terms[b] = (
            entropy[counts].mean(),
            squared[counts].mean(),
            steps[there].mean() if there.any() else 0,
        )
    expected = dict(
        zip(("foreground", "centre", "offset"), terms.mean(axis=0), strict=True)
    )
    assert report.terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(report.terms[name], value, rtol=1e-4, err_msg=name)
    weighed = expected["foreground"] + 200 * expected["centre"]
    np.testing.assert_allclose(total, weighed + 0.01 * expected["offset"], rtol=1e-4)


@pytest.mark.parametrize("part", ["refiner", "embedding"])
def test_the_other_parts_are_finite_and_empty_clips_and_slots_change_nothing(part):
    config = config_of("embedding" if part == "embedding" else "refiner")
    system = painted.system(config, Plain)
    videos = [
        [{1: (4 + t, 6, 13, 14), 3: (16, 40 - t, 14, 13)} for t in range(3)],
        [{}, {}, {}],
    ]
    keys = jax.random.split(jax.random.key(1), 2)
    loss = functools.partial(LOSS, system)
    total, report, _ = loss({"params": {}}, batch_of(videos), keys)
    (name,) = report.terms
    assert name == {"refiner": "refinement", "embedding": "triplet"}[part]
    # The clip without an object costs nothing: the mean is half of the other's. In one
    # program: a model for training is badly conditioned, and others round it otherwise.
    twice = jax.tree.map(lambda x: x[jnp.array([0, 0])], (batch_of(videos), keys))
    alone, _, _ = loss({"params": {}}, *twice)
    assert np.isfinite(total) and total > 0
    np.testing.assert_allclose(total, alone / 2, rtol=1e-3)
    # Whatever lies in a slot that is not valid does not count.
    batch = batch_of(videos)
    full = batch._replace(masks=batch.masks.at[:, 2].set(True))
    assert not batch.valid[:, 2].any()
    np.testing.assert_allclose(loss({"params": {}}, full, keys)[0], total, rtol=1e-3)


@pytest.mark.parametrize(
    ("min_box", "small", "enough"),
    [
        (12, (19, 10, 11, 12), (19, 10, 12, 12)),
        (1, (19, 10, 8, 12), (19, 10, 9, 12)),  # its crop would show nothing
        (1, (19, 10, 0, 0), (19, 10, 9, 12)),
    ],
)
def test_what_is_too_small_is_not_compared(min_box, small, enough):
    system = painted.system(config_of("embedding", loss__min_box=min_box))
    large = {1: (2, 2, 13, 14), 3: (16, 40, 14, 13)}
    keys = jax.random.split(jax.random.key(1), 1)

    def loss(box, known=3):
        batch = batch_of([[large | {5: box}] * 3])
        batch = batch._replace(valid=jnp.arange(3)[None] < known)
        return float(LOSS(system, {"params": {}}, batch, keys)[0])

    np.testing.assert_allclose(loss(small), loss(small, known=2), rtol=1e-6)
    assert abs(loss(enough) - loss(small)) > 1e-3


class Plain(painted.PaintedNetwork):
    def refine(self, maps, scores, size):
        return jax.image.resize(8 * scores - 4, (*scores.shape[:2], *size), "linear")


class Classes(painted.PaintedNetwork):
    """Four of them; what is an object is of class 2."""

    def discover(self, images, before, keys=None):
        maps = super().discover(images, before, keys)
        zeros = jnp.zeros_like(maps.logits)
        return maps._replace(
            logits=jnp.concatenate([zeros, zeros, maps.logits, zeros], axis=-1)
        )


def test_classes_have_a_cross_entropy():
    config = config_of("ytvis", model__num_classes=4, model__categories="")
    system = painted.system(config, Classes)
    keys = jax.random.split(jax.random.key(0), 3)
    _, report, _ = LOSS(system, {"params": {}}, batch_of(VIDEOS), keys)
    others, _, _ = LOSS(system, {"params": {}}, batch_of(VIDEOS, classes=1), keys)
    assert np.isfinite(report.terms["foreground"])
    # What is said to be class 2 is better called 2 than 1.
    assert report.total() < others
