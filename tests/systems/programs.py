"""Which programs a system compiles for a video."""

import jax
import numpy as np

from stemseg_jax import compilation
from stemseg_jax.tracks import Frame
from tests.drained import drained


def compiled_by(system, *, committed):
    """A function from the length and size of a video to the programs that are new.

    Args:
        committed: Whether the only weight, "zero", is bound to a device.
    """
    variables = {"params": {"zero": np.float32(0)}}
    if committed:
        variables = jax.device_put(variables, jax.devices()[0])
    jax.clear_caches()

    def programs(length, height=32, width=64):
        images = np.zeros((length, height, width, 3), np.uint8)
        with compilation.watch() as found:
            drained(system.track(variables, map(Frame, range(length), images)))
        return sorted(name for name, _ in found.programs)

    return programs
