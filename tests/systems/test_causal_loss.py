"""`CausalEmbedding.loss` against the sum of its parts, on maps that are known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax import models
from stemseg_jax.losses import depth, discriminative
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems.causal_embedding import CausalEmbedding
from tests.systems import painted_causal
from tests.systems.test_causal_track import SIZE, config_of

LOSS = jax.jit(CausalEmbedding.loss, static_argnums=0)
CAMERA = np.array([[40, 0, 31.5], [0, 40, 15.5], [0, 0, 1]], np.float32)


def batch_of(T=3, B=2, N=4, seed=0, camera=CAMERA):
    rng = np.random.default_rng(seed)
    owner = np.zeros((B, T, *SIZE), int)
    for clip in owner:
        for frame in clip:
            for number in range(1, N):  # the last slot is padding
                top, left = rng.integers(0, 22), rng.integers(0, 50)
                frame[top : top + 9, left : left + 12] = number
    masks = owner[:, None] == np.arange(1, N + 1)[:, None, None, None]
    return ClipBatch(
        frames=jnp.asarray(rng.integers(0, 256, (B, T, *SIZE, 3)), jnp.uint8),
        masks=jnp.asarray(masks),
        valid=jnp.asarray(np.arange(N) < N - 1)[None].repeat(B, 0),
        categories=jnp.ones((B, N), jnp.int32),
        ignore=jnp.asarray(rng.random((B, T, *SIZE)) < 0.2),
        intrinsics=jnp.broadcast_to(camera, (B, T, 3, 3)),
    )


class MovingNetwork(painted_causal.PaintedNetwork):
    """Says of each pair how its colours differ."""

    def motion(self, clean):
        return motions(clean)


def motions(clean):
    steps = (clean[:, 1:] - clean[:, :-1]).mean(axis=(2, 3))
    return jnp.concatenate([steps, -steps], axis=-1) / 10


def painted(config):
    system = painted_causal.system(config)
    network = system.network
    fields = {
        field.name: getattr(network, field.name)
        for field in dataclasses.fields(network)
        if field.name not in ("parent", "name")
    }
    return dataclasses.replace(system, network=MovingNetwork(**fields))


def loss_of(config, batch):
    keys = jax.random.split(jax.random.key(0), len(batch.valid))
    return LOSS(painted(config), {}, batch, keys)[:2]


BOTH = ("embedding", "foreground")


@pytest.mark.parametrize("span", ["clip", "frame"])
def test_is_the_weighted_sum_of_its_parts(span):
    config = config_of(loss__parts=BOTH, loss__span=span)
    batch = batch_of()
    total, report = loss_of(config, batch)
    expected = {}
    for b in range(2):
        images = np.asarray(batch.frames[b], np.float32)
        masks = batch.masks[b] & batch.valid[b][:, None, None, None]
        valid = batch.valid[b]
        before = np.concatenate([np.zeros_like(images[:1]), images[:-1]])
        embeddings = jnp.asarray(painted_causal.embeddings(images, before))
        spans = [(embeddings, masks)]
        if span == "frame":
            spans = [(embeddings[t], masks[:, t]) for t in range(3)]
        found = [discriminative.terms(e, m, valid)._asdict() for e, m in spans]
        terms = {name: np.mean([f[name] for f in found]) for name in found[0]}
        moved = motions(jnp.asarray(images[None] / 255))[0]
        terms |= depth.terms(
            jax.nn.sigmoid(jnp.asarray(painted_causal.disparity(images))),
            jnp.asarray(images / 255),
            batch.intrinsics[b],
            *(moved[:, :3], moved[:, 3:]),
        )._asdict()
        seen = np.asarray(masks).any(axis=0)
        counts = seen | ~np.asarray(batch.ignore[b])
        logits = painted_causal.foreground(images).astype(np.float64)
        entropy = np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0)
        terms["foreground"] = (entropy - logits * seen)[counts].mean()
        for name, value in terms.items():
            expected[name] = expected.get(name, 0) + float(value) / 2
    assert report.terms.keys() == expected.keys() == {*config.loss.weights}
    for name, value in expected.items():
        np.testing.assert_allclose(report.terms[name], value, rtol=2e-4, err_msg=name)
    weighed = sum(config.loss.weights[name] * expected[name] for name in expected)
    np.testing.assert_allclose(total, weighed, rtol=2e-4)


def test_padding_and_ignored_ground_change_nothing():
    config = config_of(loss__parts=BOTH)
    batch = batch_of()
    more = batch._replace(
        masks=jnp.pad(batch.masks, ((0, 0), (0, 3), (0, 0), (0, 0), (0, 0))),
        valid=jnp.pad(batch.valid, ((0, 0), (0, 3))),
        categories=jnp.pad(batch.categories, ((0, 0), (0, 3))),
    )
    np.testing.assert_allclose(loss_of(config, batch)[0], loss_of(config, more)[0])
    ignored = batch.ignore & ~batch.masks.any(axis=1)
    blue = batch.frames.at[..., 2].set(
        jnp.where(ignored, 255 - batch.frames[..., 2], batch.frames[..., 2])
    )
    _, one = loss_of(config, batch)
    _, other = loss_of(config, batch._replace(frames=blue))
    np.testing.assert_allclose(one.terms["foreground"], other.terms["foreground"])


def test_clean_frames_are_what_depth_compares():
    config = config_of()
    batch = batch_of()
    darker = batch._replace(frames=batch.frames // 2, clean=batch.frames)
    (_, one), (_, other) = loss_of(config, batch), loss_of(config, darker)
    assert one.terms["attraction"] != other.terms["attraction"]
    blind = config_of(loss__parts=("foreground",))
    assert {*loss_of(blind, batch)[1].terms} == {"foreground"}


def test_one_frame_has_no_depth_to_learn_and_one_camera_is_needed():
    config = config_of()
    assert {*loss_of(config, batch_of(T=1))[1].terms} == {
        "attraction",
        "repulsion",
        "regularisation",
    }
    unknown = batch_of(camera=np.full((3, 3), np.nan, np.float32))
    total, report = loss_of(config, unknown)
    assert np.isnan(total) and np.isnan(report.terms["view"])
    assert np.isfinite(report.terms["attraction"])
    assert np.isfinite(loss_of(config_of(model__depth=False), unknown)[0])


# --------------------------------------------------------------- with its own network


@functools.cache
def gradient_of(norm, parts):
    """Batch -> gradient and new collections; what they are of, and of which system."""
    config = config_of(model__norm=norm, loss__parts=parts)
    _, system, variables = models.initial(config)
    keys = jax.random.split(jax.random.key(0), 1)

    @jax.jit
    def gradient(batch):
        def loss(params):
            total, _, new = system.loss({**variables, "params": params}, batch, keys)
            return total, new

        return jax.grad(loss, has_aux=True)(variables["params"])

    return gradient, variables, system


MASK = {"mask_encoder", "mask_decoder"}


@pytest.mark.parametrize("part", ["embedding", "foreground"])
def test_each_part_trains_alone_and_its_norms_with_it(part):
    gradient_at, before, system = gradient_of("batch_norm", (part,))
    gradient, new = gradient_at(batch_of(B=1))
    learns = {
        name
        for name, tree in gradient.items()
        if any(np.abs(x).max() > 0 for x in jax.tree.leaves(tree))
    }
    moved = {
        name
        for name, tree in new["batch_stats"].items()
        for was in [before["batch_stats"][name]]
        if not jax.tree.all(jax.tree.map(np.array_equal, tree, was))
    }
    assert learns == moved
    assert learns == (MASK if part == "foreground" else {*before["params"]} - MASK)
    assert {*system.frozen_modules()} == {*before["params"]} - learns
    kinds = {name: tree for name, tree in before.items() if name != "params"}
    assert jax.tree.structure(new) == jax.tree.structure(kinds)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))


def test_gradients_are_finite_where_nothing_moves_and_nothing_is():
    still = batch_of(B=1)
    first = jnp.broadcast_to(still.frames[:, :1], still.frames.shape)
    still = still._replace(frames=first)
    dot = still._replace(masks=jnp.zeros_like(still.masks).at[0, 0, 0, 5, 5].set(True))
    none = still._replace(masks=jnp.zeros_like(still.masks))
    black = none._replace(frames=jnp.zeros_like(none.frames))
    for batch in (still, dot, none, black):
        for part in ("embedding", "foreground"):
            gradient, _ = gradient_of("batch_norm", (part,))[0](batch)
            assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
