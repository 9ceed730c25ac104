"""The systems by name."""

from stemseg_jax.systems.srnet import SRNet
from stemseg_jax.systems.stemseg import STEmSeg

SYSTEMS = {"srnet": SRNet, "stemseg": STEmSeg}
