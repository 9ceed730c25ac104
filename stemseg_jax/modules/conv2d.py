"""Flax's 2-D convolution with gradients that are fast where they are taken."""

import functools

from flax import linen as nn

from stemseg_jax.ops import convolution

Conv2D = functools.partial(nn.Conv, conv_general_dilated=convolution.general_dilated)
