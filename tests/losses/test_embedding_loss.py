import functools

import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import embedding

SIZE = (2, 4, 6)  # T h w


@functools.partial(jax.jit, static_argnames=("free_std", "parity"))
def clip_sums(
    embeddings,
    log_bandwidths,
    seediness,
    masks,
    valid,
    ignore,
    free_std=(),
    parity="paper",
):
    """The terms before they are divided by the number of instances."""
    maps = embeddings, log_bandwidths, seediness
    terms = embedding.terms(
        *maps, masks, valid, ignore, free_std=free_std, parity=parity
    )
    return goldens.embedding_sums(terms, masks, valid)


def clip(N=3, E=4, V=2, size=SIZE, seed=0):
    """Arguments of `clip_sums`; instances are disjoint and leave background."""
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, N + 1, size)
    return {
        "embeddings": jnp.asarray(rng.normal(size=(*size, E)), jnp.float32),
        "log_bandwidths": jnp.asarray(0.3 * rng.normal(size=(*size, V)), jnp.float32),
        "seediness": jnp.asarray(rng.random(size), jnp.float32),
        "masks": jnp.asarray(owner == np.arange(1, N + 1)[:, None, None, None]),
        "valid": jnp.ones(N, bool),
        "ignore": jnp.asarray(rng.random(size) < 0.3),
    }


def reference(embeddings, log_bandwidths, seediness, masks, valid, ignore, free_std=()):
    """The sums in plain NumPy, instance by instance."""
    e, v, s, masks, ignore = (
        np.asarray(x) for x in (embeddings, log_bandwidths, seediness, masks, ignore)
    )
    masks = [
        mask for mask, real in zip(masks, valid, strict=True) if real and mask.any()
    ]
    lovasz = smoothness = seed = 0.0
    for mask in masks:
        smoothness += ((v[mask] - v[mask].mean(axis=0)) ** 2).mean()
        bandwidths = (10 * np.exp(v[mask])).mean(axis=0)
        bandwidths = np.r_[bandwidths, [1 / std**2 for std in free_std]]
        distances = (bandwidths * (e - e[mask].mean(axis=0)) ** 2).sum(axis=-1)
        p = np.exp(-0.5 * distances)
        seed += ((s - p)[mask] ** 2).mean()
        lovasz += lovasz_of(2 * p.ravel() - 1, mask.ravel())
    background = ~np.any([np.zeros_like(ignore), *masks], axis=0) & ~ignore
    if background.any():
        seed += (s[background] ** 2).mean()
    return lovasz, smoothness / max(len(masks), 1), seed, len(masks)


def lovasz_of(logits, labels):
    errors = 1 - logits * np.where(labels, 1, -1)
    order = np.argsort(-errors)
    wrong = labels[order]
    union = labels.sum() + np.cumsum(~wrong)
    jaccard = 1 - (labels.sum() - np.cumsum(wrong)) / union
    return np.maximum(errors[order], 0) @ np.diff(jaccard, prepend=0)


def total(terms):
    return terms.overlap + 10 * terms.smoothness + terms.seediness


def batched(sums):
    return jax.tree.map(lambda x: x[None], sums)


def test_two_points_and_one_background_point_by_hand():
    # One dimension, bandwidth 10: the instance at 0 and 0.2 has its centre at 0.1, so
    # both points are at d^2 = 0.1; the third, at 1.1, is at d^2 = 10.
    sums = clip_sums(
        jnp.array([0.0, 0.2, 1.1]).reshape(1, 1, 3, 1),
        jnp.zeros((1, 1, 3, 1)),
        jnp.array([[[1.0, 1.0, 0.5]]]),
        jnp.array([True, True, False]).reshape(1, 1, 1, 3),
        jnp.ones(1, bool),
        jnp.zeros((1, 1, 3), bool),
    )
    inside, outside = np.exp(-0.05), np.exp(-5)
    # Errors 2 outside, 2 (1 - inside) twice: steps of the Jaccard loss 1/3, 1/3, 1/3 if
    # the negative is first; it is not: 2 p = 0.013 < 2 (1 - p) = 0.098. 1/2, 1/2, 0.
    np.testing.assert_allclose(sums.lovasz, 2 * (1 - inside), rtol=1e-5)
    assert outside < 1 - inside
    assert sums.smoothness == 0
    np.testing.assert_allclose(sums.seediness, (1 - inside) ** 2 + 0.25, rtol=1e-5)
    assert sums.instances == 1


@pytest.mark.parametrize("N, E, V", [(1, 2, 2), (3, 4, 2), (5, 3, 3), (2, 5, 2)])
def test_equals_the_formulas_instance_by_instance(N, E, V):
    arguments = clip(N, E, V, seed=N)
    free_std = (0.3, 0.5, 0.2)[: E - V]
    sums = clip_sums(**arguments, free_std=free_std)
    expected = reference(**arguments, free_std=free_std)
    np.testing.assert_allclose(np.array(sums), expected, rtol=2e-5)


def test_slots_without_a_point_or_not_valid_change_nothing():
    arguments = clip()
    sums = clip_sums(**arguments, free_std=(0.3, 0.3))
    rng = np.random.default_rng(1)
    extra = np.stack([np.zeros(SIZE, bool), rng.random(SIZE) < 0.5])
    masks = arguments["masks"]
    arguments["masks"] = jnp.concatenate([masks[:1], extra, masks[1:]])
    arguments["valid"] = jnp.array([True, True, False, True, True])
    padded = clip_sums(**arguments, free_std=(0.3, 0.3))
    np.testing.assert_allclose(np.array(padded), np.array(sums), rtol=1e-6)


def test_order_of_instances_does_not_matter():
    arguments = clip()
    sums = clip_sums(**arguments, free_std=(0.3, 0.3))
    arguments["masks"] = arguments["masks"][::-1]
    turned = clip_sums(**arguments, free_std=(0.3, 0.3))
    np.testing.assert_allclose(np.array(turned), np.array(sums), rtol=1e-6)


def test_ignored_background_leaves_only_the_seediness_of_the_background():
    arguments = clip()
    compute = functools.partial(clip_sums, free_std=(0.3, 0.3))
    sums = compute(**{**arguments, "ignore": jnp.zeros(SIZE, bool)})
    ignored = compute(**{**arguments, "ignore": jnp.ones(SIZE, bool)})
    background = ~np.asarray(arguments["masks"]).any(axis=0)
    outside = np.square(np.asarray(arguments["seediness"])[background]).mean()
    np.testing.assert_allclose(sums.seediness - ignored.seediness, outside, rtol=1e-5)
    assert sums.lovasz == ignored.lovasz


def test_a_clip_without_instances_only_lowers_its_seediness():
    arguments = clip()
    arguments["valid"] = jnp.zeros(3, bool)
    arguments["ignore"] = jnp.zeros(SIZE, bool)
    sums = clip_sums(**arguments, free_std=(0.3, 0.3))
    expected = jnp.square(arguments["seediness"]).mean()
    np.testing.assert_allclose(np.array(sums), (0, 0, expected, 0), rtol=1e-6)
    released = clip_sums(**arguments, free_std=(0.3, 0.3), parity="released")
    np.testing.assert_array_equal(np.array(released), 0)


def test_without_any_slot_there_is_just_the_background():
    sums = clip_sums(**clip(N=0), free_std=(0.3, 0.3))
    assert sums.lovasz == sums.smoothness == sums.instances == 0
    assert sums.seediness > 0


@pytest.mark.parametrize("parity", ["paper", "released"])
@pytest.mark.parametrize("count", [0, 3])
def test_gradients_are_finite_and_none_goes_from_seediness_to_embeddings(parity, count):
    arguments = clip()
    arguments["valid"] = jnp.arange(3) < count

    def seediness(embeddings, log_bandwidths):
        changed = dict(arguments, embeddings=embeddings, log_bandwidths=log_bandwidths)
        return clip_sums(**changed, free_std=(0.3, 0.3), parity=parity).seediness

    def loss(maps):
        sums = clip_sums(**{**arguments, **maps}, free_std=(0.3, 0.3), parity=parity)
        return total(goldens.embedding_means(batched(sums)))

    maps = {k: arguments[k] for k in ("embeddings", "log_bandwidths", "seediness")}
    gradients = jax.jit(jax.grad(loss))(maps)
    assert all(np.isfinite(g).all() for g in gradients.values())
    assert bool(gradients["embeddings"].any()) == (count > 0)
    for gradient in jax.jit(jax.grad(seediness, (0, 1)))(
        maps["embeddings"], maps["log_bandwidths"]
    ):
        np.testing.assert_array_equal(gradient, 0)


def test_without_background_the_released_value_is_nan_and_ours_is_not():
    arguments = clip()
    everything = arguments["masks"].at[0].set(~arguments["masks"][1:].any(axis=0))
    arguments["masks"] = everything

    def loss(seediness, parity):
        changed = dict(arguments, seediness=seediness)
        return clip_sums(**changed, free_std=(0.3, 0.3), parity=parity).seediness

    gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    ours, our_gradient = gradient(arguments["seediness"], "paper")
    theirs, their_gradient = gradient(arguments["seediness"], "released")
    assert np.isfinite(ours) and np.isnan(theirs)
    np.testing.assert_allclose(our_gradient, their_gradient, rtol=1e-6)


def test_released_pairs_an_instance_with_the_mask_before_it_after_an_empty_one():
    arguments = clip()
    arguments["masks"] = arguments["masks"].at[0].set(False)  # (empty, A, B)
    released = clip_sums(**arguments, free_std=(0.3, 0.3), parity="released")
    ours = clip_sums(**arguments, free_std=(0.3, 0.3))
    assert released.instances == ours.instances == 2
    np.testing.assert_allclose(released.smoothness, ours.smoothness, rtol=1e-6)
    # A is held against the empty mask, that is, left out; B against the mask of A.
    e = np.asarray(arguments["embeddings"])
    a, b = np.asarray(arguments["masks"][1:])
    bandwidths = (10 * np.exp(np.asarray(arguments["log_bandwidths"])))[b].mean(axis=0)
    bandwidths = np.r_[bandwidths, 1 / 0.09, 1 / 0.09]
    p = np.exp(-0.5 * (bandwidths * (e - e[b].mean(axis=0)) ** 2).sum(axis=-1))
    np.testing.assert_allclose(
        released.lovasz, lovasz_of(2 * p.ravel() - 1, a.ravel()), rtol=2e-5
    )


def test_vmap_under_jit_equals_one_by_one():
    clips = [clip(seed=seed) for seed in range(3)]
    together = {k: jnp.stack([c[k] for c in clips]) for k in clips[0]}
    compute = functools.partial(clip_sums, free_std=(0.3, 0.3))
    sums = jax.jit(jax.vmap(lambda c: compute(**c)))(together)
    for index, one in enumerate(clips):
        alone = compute(**one)
        np.testing.assert_allclose(
            np.array([x[index] for x in sums]), np.array(alone), rtol=1e-5
        )


@functools.partial(jax.jit, static_argnums=(2, 3))
@functools.partial(jax.value_and_grad, has_aux=True)
def released_loss(maps, targets, E, free_std):
    maps = (maps[..., :E], maps[..., E:-1], maps[..., -1])
    sums = jax.vmap(functools.partial(clip_sums, free_std=free_std, parity="released"))(
        *maps, *targets
    )
    terms = goldens.embedding_means(sums)
    return total(terms), terms


def check_figures(folder):
    meta, arrays = goldens.load(folder, "losses")
    for name, case in meta["embedding"].items():
        clips = range(len(case["instances"]))
        N = 4  # at least one slot of padding
        masks = [arrays[f"emb.{name}.masks{i}"].astype(bool) for i in clips]
        masks = [np.pad(m, ((0, N - len(m)), *[(0, 0)] * 3)) for m in masks]
        valid = np.arange(N) < np.array(case["instances"])[:, None]
        ignore = [arrays[f"emb.{name}.ignore{i}"].astype(bool) for i in clips]
        (value, terms), gradient = released_loss(
            jnp.asarray(goldens.channels_last(arrays[f"emb.{name}.map"])),
            [jnp.asarray(np.stack(x)) for x in (masks, valid, ignore)],
            case["esize"],
            tuple(case["stds"]),
        )
        expected = case["components"]
        for actual, key in (
            (terms.overlap, "lovasz_loss"),
            (terms.smoothness, "variance_smoothness_loss"),
            (terms.seediness, "seediness_loss"),
        ):
            np.testing.assert_allclose(actual, expected[key], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(value, case["total"], rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(
            jnp.linalg.norm(gradient), case["grad_norm"], rtol=1e-5, err_msg=name
        )
        if case.get("grad"):
            expected = goldens.channels_last(arrays[f"emb.{name}.grad"])
            np.testing.assert_allclose(gradient, expected, atol=1e-6, err_msg=name)


def test_reference_figures_kept_here():
    check_figures(goldens.KEPT)


def test_reference_figures(shared):
    check_figures(shared / "reference" / "goldens")
