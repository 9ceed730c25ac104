"""Which weights each part of a network starts from."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from flax import traverse_util

from stemseg_jax.conversion import sources


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """Where a part of a network has its first weights from.

    Attributes:
        file: A run's folder, .safetensors, .pth or .pkl.
        module: The part's name in the file; empty: that which it has in the network.
        widen: How its first convolution becomes as wide as the network's: see
            `merging.WIDENINGS`. Empty: it is as wide.
    """

    file: str
    module: str = ""
    widen: str = ""


def starts(init_from: str | Mapping[str, str | Mapping[str, str]]) -> dict[str, Start]:
    """Part -> where it starts from; the part "" is the whole network.

    The model's own backbone comes before further ones, which have to agree with it.

    Args:
        init_from: A file for all, or part -> file or the fields of `Start`. A part is
            the path of a module, such as "body".

    Raises:
        ValueError: A part has other fields, or no file.
    """
    if not init_from:
        return {}
    if isinstance(init_from, str):
        return {"": Start(file=init_from)}
    in_order = sorted(init_from.items(), key=lambda item: item[0].count("/"))
    return {part: _start(part, value) for part, value in in_order}


def _start(part: str, value: str | Mapping[str, str]) -> Start:
    if isinstance(value, str):
        return Start(file=value)
    known = [field.name for field in dataclasses.fields(Start)]
    if "file" not in value or not {*value} <= {*known}:
        raise ValueError(
            f"init_from.{part}={dict(value)}: expected a file, or some of {known} with "
            "a file among them."
        )
    return Start(**value)


def take(loaded: sources.Loaded, part: str, module: str) -> sources.Loaded:
    """A module of a file as that part of the network, without its conventions.

    Raises:
        ValueError: The file has no such module.
    """
    variables: dict[str, Any] = {}
    names = {}
    flat = traverse_util.flatten_dict(loaded.variables, sep="/")
    for path, value in flat.items():
        kind, _, rest = path.partition("/")
        if f"{rest}/".startswith(f"{module}/"):
            place = f"{kind}/{part}{rest.removeprefix(module)}"
            variables[place], names[place] = value, loaded.names[path]
    if not names:
        held = sorted({path.split("/")[1] for path in flat})
        raise ValueError(
            f"init_from.{part}: {loaded.origin} has no module {module!r}; it has "
            f"{', '.join(held)}. Name the one to take by dict(file=..., module=...)."
        )
    return loaded._replace(
        variables=traverse_util.unflatten_dict(variables, sep="/"),
        names=names,
        parts=(part,),
    )
