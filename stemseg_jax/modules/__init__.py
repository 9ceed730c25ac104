"""Network blocks in flax.linen."""
