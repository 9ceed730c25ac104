"""Label maps on their way to the host: a small number for each cell, not an id.

Few slots are in a window however many tracks a video has, so that a byte a cell crosses
from the device in place of four.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, UInt

BACKGROUND, UNASSIGNED, SLOTS = 0, 1, 2  # the code of slot k is SLOTS + k


def encode(
    slots: Int32[Array, "*p"], foreground: Bool[Array, "*p"], *, num_slots: int
) -> UInt[Array, "*p"]:
    """Codes of the smallest type that holds those of all slots.

    Args:
        slots: 0 ... K - 1, or -1 for none.
        foreground: Tells points without a slot from background.
    """
    without = jnp.where(foreground, UNASSIGNED, BACKGROUND)
    codes = jnp.where(slots < 0, without, slots + SLOTS)
    return codes.astype(np.min_scalar_type(SLOTS + num_slots - 1))


def decode(
    codes: UInt[np.ndarray, "*p"], ids: Int32[np.ndarray, "K"]
) -> Int32[np.ndarray, "*p"]:
    """Labels: track ids from 1; 0 background, -1 unassigned.

    Args:
        ids: Of each slot's track.
    """
    return np.concatenate([np.int32([0, -1]), ids])[codes]
