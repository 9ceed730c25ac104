"""The systems by name."""

from stemseg_jax.systems.stemseg import STEmSeg

SYSTEMS = {"stemseg": STEmSeg}
