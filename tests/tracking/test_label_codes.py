"""Codes that cross from the device, and the labels they stand for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.tracking import label_codes


def test_by_hand():
    slots = jnp.array([[-1, -1], [0, 2]])
    foreground = jnp.array([[False, True], [True, False]])
    codes = label_codes.encode(slots, foreground, num_slots=3)
    np.testing.assert_array_equal(codes, [[0, 1], [2, 4]])
    labels = label_codes.decode(np.asarray(codes), np.int32([70_000, 5, 9]))
    np.testing.assert_array_equal(labels, [[0, -1], [70_000, 9]])
    assert labels.dtype == np.int32


@pytest.mark.parametrize(
    ("num_slots", "kind"), [(1, "uint8"), (254, "uint8"), (255, "uint16")]
)
def test_the_type_is_the_smallest_that_holds_all_slots(num_slots, kind):
    slots = jnp.arange(-1, num_slots)
    encode = jax.jit(label_codes.encode, static_argnames="num_slots")
    codes = encode(slots, slots > 0, num_slots=num_slots)
    assert codes.dtype == kind
    ids = np.arange(1, num_slots + 1, dtype=np.int32)
    labels = label_codes.decode(np.asarray(codes), ids)
    np.testing.assert_array_equal(labels, [0, *ids])
