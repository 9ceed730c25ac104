"""Bottom-up video instance segmentation in JAX.

    from stemseg_jax import Predictor

is all that labelling a video needs; see `stemseg_jax.predictor`.
"""

__version__ = "0.2.0"
__all__ = ["Predictor"]


def __getattr__(name: str):
    """Imported when it is asked for: scoring files need not wait for jax."""
    if name == "Predictor":
        from stemseg_jax.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
