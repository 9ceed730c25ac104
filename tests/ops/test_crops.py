import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.ops import crops, resize
from tests.systems import target_aware_reference as reference


def masks_of(*boxes, size=(40, 50)):
    masks = np.zeros((len(boxes), *size), bool)
    for mask, (top, left, height, width) in zip(masks, boxes, strict=True):
        mask[top : top + height, left : left + width] = True
    return jnp.asarray(masks)


def test_boxes_by_hand():
    # 20 x 10 from (5, 10): the middle is (15, 15), the box 24 x 12 around it.
    found = crops.boxes(masks_of((5, 10, 20, 10)), jnp.array([40.0, 50.0]))
    np.testing.assert_array_equal(found, [[3, 9, 27, 21]])
    # Clipped to the frame, less padding; an empty mask has none.
    masks = masks_of((0, 30, 36, 20), (0, 0, 0, 0))
    found = crops.boxes(masks, jnp.array([36.0, 45.0]))
    np.testing.assert_array_equal(found, [[0, 28, 36, 45], [0, 0, 0, 0]])


def test_cut_equals_the_plain_form_and_small_ones_show_nothing():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(40, 50, 3)).astype(np.float32)
    masks = masks_of((5, 10, 20, 10), (30, 2, 8, 40), (0, 20, 40, 30), (3, 3, 0, 0))
    cut = jax.jit(lambda x, b: crops.cut(x, b, side=16))
    found = cut(image, crops.boxes(masks, jnp.array([40.0, 50.0])))
    for crop, mask in zip(found, masks, strict=True):
        expected = reference.crop(image, np.asarray(mask), 16)
        np.testing.assert_allclose(crop, expected, atol=1e-5)
    assert not found[1].any() and not found[3].any() and found[0].any()


def test_a_map_is_placed_in_the_upper_left_of_another():
    rng = np.random.default_rng(1)
    small = jnp.asarray(rng.normal(size=(6, 7, 2)), jnp.float32)
    place = jax.jit(resize.placed, static_argnums=2)
    whole = place(small, jnp.array([12.0, 20.0]), (16, 24))
    np.testing.assert_allclose(
        whole[:12, :20], resize.linear(small[None], (12, 20))[0], atol=1e-5
    )
    np.testing.assert_allclose(whole[12:, 3], np.stack([whole[11, 3]] * 4), atol=1e-5)
    # And back: the part is what it was made of, where that can be.
    back = resize.part(whole, jnp.array([0.0, 0.0, 12.0, 20.0]), (12, 20))
    np.testing.assert_allclose(back, whole[:12, :20], atol=1e-5)


def test_cubic_by_hand():
    # Twice the size: places 0.25 and 0.75 between cells, PyTorch's kernel of -0.75.
    x = jnp.zeros((1, 1, 6, 1)).at[0, 0, 2].set(1)
    found = resize.cubic(x, (1, 12))[0, 0, :, 0]
    near = lambda d: ((-0.75 + 2) * d - (-0.75 + 3)) * d * d + 1  # noqa: E731
    far = lambda d: -0.75 * (((d - 5) * d + 8) * d - 4)  # noqa: E731
    expected = [0, far(1.75), far(1.25), near(0.75), near(0.25)]
    np.testing.assert_allclose(found[1:6], [far(1.75), *expected[2:], near(0.25)])


def test_cubic_keeps_what_is_even_and_sums_to_one():
    x = jnp.full((2, 5, 4, 3), 1.5)
    np.testing.assert_allclose(resize.cubic(x, (10, 9)), 1.5, rtol=1e-6)
