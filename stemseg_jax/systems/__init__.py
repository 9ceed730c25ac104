"""The systems by name, and what the options of each may be."""

from stemseg_jax.systems import srnet, srnet_options, stemseg, stemseg_options

SYSTEMS = {"srnet": srnet.SRNet, "stemseg": stemseg.STEmSeg}
OPTIONS = {"srnet": srnet_options.OPTIONS, "stemseg": stemseg_options.OPTIONS}
