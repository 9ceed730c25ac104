import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.losses import displacement


def masks_of(*boxes, size=(5, 5)):
    masks = np.zeros((len(boxes), *size), bool)
    for mask, box in zip(masks, boxes, strict=True):
        if box:
            mask[slice(*box[0]), slice(*box[1])] = True
    return jnp.asarray(masks)


def test_by_hand():
    # Cells of a 5 x 5 map lie 0.5 apart. From (1, 1) to (1, 2.5) and back again.
    now = masks_of(((0, 3), (0, 3)), None)
    before = masks_of(((0, 3), (1, 5)), ((3, 5), (0, 2)))
    steps = np.zeros((5, 5, 2), np.float32)
    np.testing.assert_allclose(
        displacement.distance(jnp.asarray(steps), before, now), 0.75
    )
    steps[1, 1] = (0.3, 0.75)
    steps[4, 4] = 99
    np.testing.assert_allclose(
        displacement.distance(jnp.asarray(steps), before, now), 0.3, rtol=1e-5
    )


def test_a_centre_between_cells_is_read_at_the_rounded_one():
    now = masks_of(((0, 2), (3, 5)))  # centre (0.5, 3.5): cell (0, 4), halves to even
    steps = np.zeros((5, 5, 2), np.float32)
    steps[0, 4] = (0.25, -0.25)  # half a cell
    found = displacement.distance(jnp.asarray(steps), now, now)
    np.testing.assert_allclose(found, 1e-6, atol=2e-6)


def test_objects_of_one_frame_alone_do_not_count():
    some = masks_of(((0, 2), (0, 2)), None)
    others = masks_of(None, ((3, 5), (3, 5)))
    steps = jnp.ones((5, 5, 2))
    value, gradient = jax.value_and_grad(displacement.distance)(steps, some, others)
    assert value == 0 and not gradient.any()
    none = jnp.zeros((0, 5, 5), bool)
    assert displacement.distance(steps, none, none) == 0


def test_a_perfect_prediction_has_a_finite_gradient():
    mask = masks_of(((1, 4), (1, 4)))
    gradient = jax.grad(displacement.distance)(jnp.zeros((5, 5, 2)), mask, mask)
    assert jnp.isfinite(gradient).all()
