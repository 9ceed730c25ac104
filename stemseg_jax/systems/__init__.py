"""The systems by name, and what the options of each may be."""

from stemseg_jax.systems import srnet, stemseg

SYSTEMS = {"srnet": srnet.SRNet, "stemseg": stemseg.STEmSeg}
OPTIONS = {"srnet": srnet.OPTIONS, "stemseg": stemseg.OPTIONS}
