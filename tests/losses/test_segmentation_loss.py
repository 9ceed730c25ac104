import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.losses import segmentation

SIZE = (2, 3, 4)


def test_labels_by_hand():
    masks = jnp.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]], bool)
    labels = segmentation.labels(
        masks.reshape(3, 1, 1, 4), jnp.array([3, 2, 9]), jnp.array([True, True, False])
    )
    # The overlap goes to the higher category; a slot that is not valid is nothing.
    np.testing.assert_array_equal(labels.ravel(), [3, 3, 2, 0])


def test_labels_of_no_instances_are_background():
    labels = segmentation.labels(
        jnp.zeros((0, *SIZE), bool), jnp.zeros(0, jnp.int32), jnp.zeros(0, bool)
    )
    np.testing.assert_array_equal(labels, np.zeros(SIZE))


@pytest.mark.parametrize("C", [2, 5, 41])
def test_semantic_equals_the_formula(C):
    rng = np.random.default_rng(C)
    logits = rng.normal(size=(*SIZE, C)).astype(np.float32)
    labels = rng.integers(0, C, SIZE)
    ignore = rng.random(SIZE) < 0.3
    each = np.log(np.exp(logits).sum(axis=-1))
    each = each - np.take_along_axis(logits, labels[..., None], -1)[..., 0]
    arguments = (
        jnp.asarray(logits),
        jnp.asarray(labels, jnp.int32),
        jnp.asarray(ignore),
    )
    loss = segmentation.semantic(*arguments)
    np.testing.assert_allclose(loss, each[~ignore].mean(), rtol=1e-5)
    released = segmentation.semantic(*arguments, parity="released")
    np.testing.assert_allclose(released, each.mean(), rtol=1e-5)


def test_an_instance_counts_once_whatever_its_size():
    """Three cells of one, one of another; a third has none, a fourth is not valid."""
    logits = jnp.array([[0.0, 3, 0], [0, 0, 3], [0, 0, 0], [0, 1, 2]]).reshape(
        1, 2, 2, 3
    )
    masks = jnp.array([[1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1]], bool)
    arguments = (
        masks.reshape(4, 1, 2, 2),
        jnp.array([1, 2, 1, 1], jnp.int32),
        jnp.array([True, True, True, False]),
    )
    first = np.log(1 + 2 * np.e) - 1  # mean logits 0, 1, 1
    second = np.log(1 + np.e + np.e**2) - 2  # 0, 1, 2
    loss, gradient = jax.jit(jax.value_and_grad(segmentation.of_instances))(
        logits, *arguments
    )
    np.testing.assert_allclose(loss, (first + second) / 2, rtol=1e-6)
    assert np.isfinite(gradient).all() and (gradient[0, 0] != 0).all()


def test_no_instances_have_no_class_loss():
    loss = segmentation.of_instances(
        jnp.ones((*SIZE, 3)),
        jnp.zeros((2, *SIZE), bool),
        jnp.ones(2, jnp.int32),
        jnp.array([True, False]),
    )
    assert loss == 0


def test_foreground_by_hand():
    logits = jnp.array([0.0, 2.0, -1.0, 5.0]).reshape(1, 2, 2)
    targets = jnp.array([1.0, 0.25, 0.0, 0.0]).reshape(1, 2, 2)
    ignore = jnp.array([False, False, False, True]).reshape(1, 2, 2)
    softplus = np.log1p(np.exp([-0.0, 2.0, -1.0]))
    expected = (softplus - [0, 0.5, 0]).mean()
    loss = segmentation.foreground(logits, targets, ignore)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_bootstrapped_by_hand():
    """Five cells, one ignored: of the other four the two of the highest loss."""
    logits = jnp.array([0.0, 2.0, -1.0, -3.0, 9.0])
    targets = jnp.array([1.0, 0.0, 0.0, 0.0, 0.0])
    ignore = jnp.array([False, False, False, False, True])
    hardest = np.log(2), np.log1p(np.exp(2.0))
    loss = segmentation.bootstrapped(logits, targets, ignore, share=0.5)
    np.testing.assert_allclose(loss, np.mean(hardest), rtol=1e-6)
    one = segmentation.bootstrapped(logits, targets, ignore, share=0.01)
    np.testing.assert_allclose(one, hardest[1], rtol=1e-6)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.6, 1.0])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_bootstrapped_equals_numpy_and_padding_changes_nothing(share, wrap):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=SIZE).astype(np.float32)
    targets = rng.random(SIZE).astype(np.float32)
    ignore = rng.random(SIZE) < 0.3
    each = np.logaddexp(0, logits) - targets * logits
    hardest = np.sort(each[~ignore])[::-1]
    expected = hardest[: max(round(share * len(hardest)), 1)].mean()
    bootstrapped = wrap(lambda *arrays: segmentation.bootstrapped(*arrays, share=share))
    arrays = logits, targets, ignore
    loss = bootstrapped(*map(jnp.asarray, arrays))
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    beside = (0, 0), (0, 2), (0, 3)
    padded = [
        np.pad(x, beside, constant_values=c)
        for x, c in zip(arrays, (9, 0, 1), strict=True)
    ]
    np.testing.assert_allclose(
        bootstrapped(*map(jnp.asarray, padded)), expected, rtol=1e-5
    )
    if share == 1.0:
        plain = segmentation.foreground(*map(jnp.asarray, arrays))
        np.testing.assert_allclose(loss, plain, rtol=1e-5)


def test_bootstrapped_moves_the_hardest_cells_alone():
    logits = jnp.array([3.0, 1.0, -2.0, 5.0])
    targets = jnp.zeros(4)
    ignore = jnp.array([False, False, False, True])
    gradient = jax.grad(segmentation.bootstrapped)(logits, targets, ignore, share=0.34)
    np.testing.assert_allclose(gradient, [jax.nn.sigmoid(3.0), 0, 0, 0], rtol=1e-6)
    nothing = jnp.ones(4, bool)
    value, gradient = jax.value_and_grad(segmentation.bootstrapped)(
        logits, targets, nothing, share=0.34
    )
    assert value == 0 and not gradient.any()


def test_everything_ignored_is_zero_and_released_nan():
    ignore = jnp.ones(SIZE, bool)
    logits = jnp.ones((*SIZE, 3))
    labels = jnp.zeros(SIZE, jnp.int32)
    value, gradient = jax.value_and_grad(segmentation.semantic)(logits, labels, ignore)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    assert np.isnan(segmentation.semantic(logits, labels, ignore, parity="released"))
    assert segmentation.foreground(logits[..., 0], jnp.ones(SIZE), ignore) == 0


def check_figures(folder):
    meta, arrays = goldens.load(folder, "losses")
    logits = jnp.asarray(goldens.channels_last(arrays["sem.logits"], axis=2))
    masks = np.stack([arrays["sem.masks0"], arrays["sem.masks1"]]).astype(bool)
    case = meta["semseg"]
    categories = np.array([case["categories0"], case["categories1"]], np.int32)
    labels = jax.vmap(segmentation.labels)(
        jnp.asarray(masks), jnp.asarray(categories), jnp.ones(categories.shape, bool)
    )
    for index in range(2):
        np.testing.assert_array_equal(labels[index], arrays[f"sem.semseg{index}"])

    @jax.jit
    @jax.vmap
    def losses(logits, labels, ignore):
        semantic = segmentation.semantic(
            logits[..., :-1], labels, ignore, parity="released"
        )
        targets = (labels > 0).astype(jnp.float32)
        return semantic, segmentation.foreground(logits[..., -1], targets, ignore)

    def total(logits, ignore):
        semantic, foreground = losses(logits, labels, ignore)
        return semantic.mean() + foreground.mean()

    ignore = jnp.stack([arrays["sem.ignore0"], arrays["sem.ignore1"]]).astype(bool)
    for name, where in (("ignore", ignore), ("noignore", jnp.zeros_like(ignore))):
        semantic, foreground = losses(logits, labels, where)
        expected = case[name]
        np.testing.assert_allclose(
            semantic.mean(), expected["semantic_segmentation_loss"], rtol=1e-5
        )
        np.testing.assert_allclose(foreground.mean(), expected["foreground"], rtol=1e-5)
        gradient = jax.grad(total)(logits, where)
        np.testing.assert_allclose(
            jnp.linalg.norm(gradient), expected["grad_norm"], rtol=1e-5
        )
        if name == "ignore":
            expected = goldens.channels_last(arrays["sem.grad"], axis=2)
            np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_reference_figures_kept_here():
    check_figures(goldens.KEPT)


def test_reference_figures(shared):
    check_figures(shared / "reference" / "goldens")
