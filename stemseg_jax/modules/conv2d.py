"""Flax's 2-D convolution, with gradients as `ops.convolution` has them."""

import functools

from flax import linen as nn

from stemseg_jax.ops import convolution

Conv2D = functools.partial(nn.Conv, conv_general_dilated=convolution.general_dilated)
