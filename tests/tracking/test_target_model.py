import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import gauss_newton
from stemseg_jax.tracking import target_model
from stemseg_jax.tracking.target_model import Layers, Settings
from tests import other_figures

SMALL = Settings(
    channels=4, capacity=6, ridge=(0.1, 0.1), first=(5, 5), then=(5,), update=(5,)
)
OF_FIGURES = Settings(channels=6, capacity=8)


# ------------------------------------------------------------- figures of the program


@pytest.fixture(scope="module")
def figures(request):
    return other_figures.load("kept", "frtm", request)


def layers_of(first, second, dtype=jnp.float64):
    """Kernels there are (out, in, row, column)."""
    return Layers(
        jnp.asarray(first[:, :, 0, 0].T, dtype),
        jnp.asarray(second[0].reshape(second.shape[1], 9).T, dtype),
    )


def problem_of(figures, settings, features="features", project=None):
    features = jnp.asarray(figures[features].transpose(0, 2, 3, 1), jnp.float64)
    if project is not None:
        features = features @ project
    problem = target_model._Problem(
        features,
        jnp.asarray(figures["labels"][:, 0], jnp.float64),
        jnp.asarray(figures["sample_weights_init"]),
        settings,
    )
    return problem


def test_pixel_weights_are_those_of_the_program(figures):
    for masks, weights in (
        ("labels", "pixel_weights"),
        ("odd_masks", "odd_pixel_weights"),
    ):
        found = target_model.pixel_weights(jnp.asarray(figures[masks][:, 0]))
        np.testing.assert_allclose(found, figures[weights][:, 0], rtol=1e-6)


def test_both_layers_are_fitted_as_by_the_program(figures):
    with jax.enable_x64(True):
        start = layers_of(figures["w1_init"], figures["w2_init"])
        problem = problem_of(figures, OF_FIGURES)
        np.testing.assert_allclose(
            gauss_newton.loss(problem.both(start)), figures["joint_loss0"], rtol=1e-7
        )
        minimise = functools.partial(
            gauss_newton.minimise, problem.both, preconditioner=Layers(1e-4, 1e-2)
        )
        none = gauss_newton.none(start)
        # Rounding noise grows in longer schedules: weights there, then losses alone.
        for name, schedule in (
            ("1", (1,)),
            ("2", (2,)),
            ("5", (5,)),
            ("5_10", (5, 10)),
            ("5_10_10_10_10", (5, 10, 10, 10, 10)),
        ):
            found, _ = minimise(start, none, schedule)
            np.testing.assert_allclose(
                gauss_newton.loss(problem.both(found)),
                figures[f"joint_loss__{name}"],
                rtol=1e-6 if len(schedule) == 1 else 1e-2,
            )
            if len(schedule) == 1:
                expected = layers_of(
                    figures[f"joint_w1__{name}"], figures[f"joint_w2__{name}"]
                )
                for own, other in zip(found, expected, strict=True):
                    np.testing.assert_allclose(own, other, atol=1e-7)
        for name, options in (
            ("fr", dict(conjugacy="fletcher_reeves")),
            ("forget75", dict(forgetting=0.9**75)),
        ):
            found, _ = minimise(start, none, (5, 5), **options)
            expected = layers_of(figures[f"{name}_w1__5_5"], figures[f"{name}_w2__5_5"])
            np.testing.assert_allclose(found.project, expected.project, atol=1e-6)
            np.testing.assert_allclose(found.filter, expected.filter, atol=1e-6)


def test_a_well_conditioned_problem_ends_in_the_same_weights(figures):
    with jax.enable_x64(True):
        start = layers_of(figures["w1_init"], figures["w2_init"])
        settings = Settings(channels=6, ridge=(0.3, 0.3))
        problem = problem_of(figures, settings, "white_features")
        # To the last digits, with the program's weights of pixels, of single precision.
        samples = jnp.sqrt(jnp.asarray(figures["sample_weights_init"]))
        stored = jnp.asarray(figures["pixel_weights"][:, 0], jnp.float64)
        problem._weights = samples[:, None, None] * stored
        found, _ = gauss_newton.minimise(
            *(problem.both, start, gauss_newton.none(start), (5, 10, 10)),
            preconditioner=Layers(1.0, 1.0),
        )
        expected = layers_of(figures["white_w1__5_10_10"], figures["white_w2__5_10_10"])
        np.testing.assert_allclose(found.project, expected.project, atol=1e-10)
        np.testing.assert_allclose(found.filter, expected.filter, atol=1e-10)


def test_the_second_layer_alone(figures):
    with jax.enable_x64(True):
        start = layers_of(figures["w1_init"], figures["w2_init"])
        problem = problem_of(figures, OF_FIGURES, project=start.project)
        none = gauss_newton.none(start.filter)
        for count, tolerance in ((10, 2e-3), (60, 1e-4)):
            kernel, _ = gauss_newton.minimise(
                *(problem.second, start.filter, none, (count,)), preconditioner=1e-2
            )
            expected = layers_of(figures["w1_init"], figures[f"filter_w2__{count}"])
            np.testing.assert_allclose(kernel, expected.filter, atol=tolerance)
            if count == 10:
                loss = gauss_newton.loss(problem.second(kernel))
                np.testing.assert_allclose(loss, figures["filter_loss__10"], rtol=1e-2)


def test_a_target_is_followed_as_by_the_program(figures):
    layers = layers_of(
        figures["disc_w1_after_init"], figures["disc_w2_after_init"], jnp.float32
    )
    features = jnp.asarray(figures["features"].transpose(0, 2, 3, 1))
    masks = jnp.asarray(figures["labels"][:, 0])
    samples = jnp.asarray(figures["sample_weights_init"], jnp.float32)
    np.testing.assert_allclose(target_model.weights_of_first(5), samples, rtol=1e-6)
    memory = target_model._first_memory(
        features @ layers.project, masks, samples, OF_FIGURES
    )
    none = gauss_newton.none(layers.filter)
    target = target_model.Target(layers, none, memory)
    remember = jax.jit(functools.partial(target_model.remember, settings=OF_FIGURES))
    for frame in range(12):
        seen = jnp.asarray(figures["track_features"][frame, 0].transpose(1, 2, 0))
        np.testing.assert_allclose(
            target_model.score(target, seen),
            figures["track_scores"][frame, 0, 0],
            atol=1e-5 if frame < 8 else 0.05,
        )
        mask = jnp.asarray(figures["track_masks"][frame, 0, 0])
        target = remember(target, seen, mask)
        assert target.memory.newest == figures["track_slots"][frame]
        np.testing.assert_allclose(
            target.memory.weights, figures["track_memory_weights"][frame], atol=1e-6
        )
        if frame == 7:
            target = target_model.update(target, settings=OF_FIGURES)


def test_the_whole_first_fit_reaches_the_loss_of_the_program(figures):
    features = jnp.asarray(figures["features"].transpose(0, 2, 3, 1))
    masks = jnp.asarray(figures["labels"][:, 0])
    found = target_model.fit(jax.random.key(0), features, masks, settings=OF_FIGURES)
    problem = target_model._Problem(
        *(features, masks, target_model.weights_of_first(5), OF_FIGURES)
    )
    loss = gauss_newton.loss(problem.both(found.layers))
    # From other first weights: the sixth channel helps little.
    np.testing.assert_allclose(loss, figures["joint_loss__5_10_10_10_10"], rtol=0.05)
    np.testing.assert_allclose(
        found.memory.weights, figures["disc_memory_weights_after_init"], atol=1e-6
    )


def test_weights_of_samples_and_their_places(figures):
    weights, newest = figures["memory_weight_sequence"], jnp.int32(-1)
    for index, place in enumerate(figures["memory_slot_sequence"]):
        found, newest = target_model.with_newest(
            jnp.asarray(weights[index]), newest, rate=0.1
        )
        assert newest == place
        np.testing.assert_allclose(found, weights[index + 1], atol=1e-6)


# ---------------------------------------------------------------------------- by hand


def test_the_second_layer_is_a_convolution():
    rng = np.random.default_rng(0)
    small, kernel = rng.normal(size=(5, 6, 3)), rng.normal(size=(9, 3))
    found = target_model._filtered(jnp.asarray(small), jnp.asarray(kernel))
    padded = np.pad(small, ((1, 1), (1, 1), (0, 0)))
    for y, x in np.ndindex(5, 6):
        expected = (padded[y : y + 3, x : x + 3].reshape(9, 3) * kernel).sum()
        np.testing.assert_allclose(found[y, x], expected, rtol=1e-4, atol=1e-5)


def scene(seed=0, copies=3):
    """Features whose first channel is the target, and the masks."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((copies, 16, 24), np.float32)
    for index in range(copies):
        masks[index, 4:12, 4 + 4 * index : 12 + 4 * index] = 1
    features = rng.normal(size=(copies, 4, 6, 5)).astype(np.float32)
    features[..., 0] = masks[:, 2::4, 2::4]
    return jnp.asarray(features), jnp.asarray(masks)


fit = jax.jit(functools.partial(target_model.fit, settings=SMALL))


def test_a_target_is_found_where_it_is_and_elsewhere_not():
    features, masks = scene()
    target = fit(jax.random.key(0), features, masks)
    other, there = scene(seed=1)
    found = target_model.score(target, other[1])
    assert found[there[1, 2::4, 2::4] > 0].mean() > 0.6
    assert np.abs(found[there[1, 2::4, 2::4] == 0]).mean() < 0.3


def test_targets_side_by_side_are_each_their_own_and_padding_changes_none():
    features, masks = scene()
    pair = jnp.stack([features, features[::-1]]), jnp.stack([masks, masks[::-1]])
    nothing = jnp.zeros_like(features), jnp.zeros_like(masks)
    three = [jnp.concatenate([a, b[None]]) for a, b in zip(pair, nothing, strict=True)]
    keys = jnp.stack([jax.random.key(5)] * 3)
    together = jax.vmap(fit)(keys, *three)
    for index in range(2):
        alone = fit(keys[0], pair[0][index], pair[1][index])
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(a[index], b, atol=2e-3)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(together))


def test_what_tells_nothing_is_not_remembered():
    features, masks = scene()
    target = fit(jax.random.key(0), features, masks)
    mask = jnp.zeros((16, 24)).at[0, :9].set(1)
    same = target_model.remember(target, features[0], mask, settings=SMALL)
    for a, b in zip(jax.tree.leaves(same), jax.tree.leaves(target), strict=True):
        np.testing.assert_array_equal(a, b)
    mask = mask.at[0, 9].set(0.6)
    other = target_model.remember(target, features[0], mask, settings=SMALL)
    assert other.memory.newest == 3 and other.memory.masks[3, 0, 9] == 153


def test_a_singular_system_and_empty_masks_stay_finite():
    same = jnp.ones((3, 4, 6, 5))  # features that tell nothing apart
    for masks in (jnp.zeros((3, 16, 24)), jnp.ones((3, 16, 24))):
        for features in (same, 0 * same, 1e6 * same):
            target = fit(jax.random.key(0), features, masks)
            target = target_model.update(target, settings=SMALL)
            assert np.isfinite(target_model.score(target, features[0])).all()


def test_weights_that_are_not_finite_are_not_taken():
    features, masks = scene()
    target = fit(jax.random.key(0), features, masks)
    broken = target._replace(
        memory=target.memory._replace(
            features=target.memory.features.at[0].set(jnp.nan)
        )
    )
    same = target_model.update(broken, settings=SMALL)
    np.testing.assert_array_equal(same.layers.filter, target.layers.filter)


def test_confidence_counts_twice_and_the_next_sample_knows_the_age_alone():
    weights = jnp.array([0.5, 0.5, 0.0, 0.0])
    plain, place = target_model.with_newest(weights, jnp.int32(-1), rate=0.1)
    twice, _ = target_model.with_newest(weights, jnp.int32(-1), rate=0.1, factor=2.0)
    assert place == 2
    np.testing.assert_allclose(twice[2] / twice[0], 2 * plain[2] / plain[0], rtol=1e-6)
    # Without a factor the next one counts 1 / 0.9 times a plain one.
    after, _ = target_model.with_newest(twice, place, rate=0.1, before=2.0)
    np.testing.assert_allclose(after[2] / after[3], 2 * 0.9, rtol=1e-6)


def test_blank_slots_have_the_shape_of_fitted_ones():
    features, masks = scene()
    target = fit(jax.random.key(0), features, masks)
    blank = target_model.blank(2, (4, 6), (16, 24), 5, settings=SMALL)
    for a, b in zip(jax.tree.leaves(blank), jax.tree.leaves(target), strict=True):
        assert a.shape == (2, *b.shape) and a.dtype == b.dtype and not a.any()
    both = jax.tree.map(lambda x: jnp.stack([x, x]), target)
    which = jnp.array([False, True])
    found = target_model.chosen(which, both, blank)
    np.testing.assert_array_equal(found.memory.weights[1], target.memory.weights)
    assert not found.memory.weights[0].any()


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match=r"rate=1.5: expected a share between 0 and 1"):
        Settings(rate=1.5)
    with pytest.raises(ValueError, match=r"preconditioner=.*have to be above 0"):
        Settings(preconditioner=(0.0, 1.0))
    features, masks = scene()
    few = Settings(channels=4, capacity=2)
    with pytest.raises(ValueError, match=r"capacity=2: .*cannot hold the 3 samples"):
        target_model.fit(jax.random.key(0), features, masks, settings=few)
