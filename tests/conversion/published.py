"""Weights of any size under the names of the programs that publish such files."""

import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from tests.conversion import torch_writer

LEAVES = {
    **{"kernel": "weight", "scale": "weight", "bias": "bias"},
    **{"mean": "running_mean", "var": "running_var"},
}


def write(path: pathlib.Path, variables: Mapping[str, Any]) -> dict[str, Any]:
    """A file of random weights for backbone and FPN of a network, which it gives back.

    As a Mask R-CNN of maskrcnn-benchmark (.pth) or of detectron2 (.pkl).

    Args:
        variables: Of the network; shapes are enough.
    """
    rng = np.random.default_rng(0)
    flat = traverse_util.flatten_dict(dict(variables), sep="/")
    drawn = {
        name: np.float32(rng.uniform(0.5, 1.5, leaf.shape) / np.sqrt(leaf.size))
        for name, leaf in flat.items()
        if name.split("/")[1] in ("body", "fpn")
    }
    tensors = mask_rcnn(drawn)
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": detectron2(tensors)}))
    else:
        numbered = enumerate(tensors.items())
        torch_writer.write_zip(
            path,
            {name: torch_writer.tensor(str(i), value) for i, (name, value) in numbered},
        )
    return drawn


def mask_rcnn(flat: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of maskrcnn-benchmark, from ours."""
    tensors = {}
    for name, value in flat.items():
        module, _, leaf = name.partition("/")[2].rpartition("/")
        for ours, theirs in (
            (r"stage(\d)_block(\d+)", r"layer\1/\2"),
            (r"stem/(conv|norm)", r"stem/\g<1>1"),
            (r"shortcut_conv", "downsample/0"),
            (r"shortcut_norm", "downsample/1"),
            (r"norm(\d)", r"bn\1"),
            (r"fpn/lateral", "fpn/fpn_inner"),
            (r"fpn/output", "fpn/fpn_layer"),
        ):
            module = re.sub(ours, theirs, module)
        if leaf == "kernel":
            value = np.ascontiguousarray(np.einsum("hwio->oihw", value))
        tensors[f"{module.replace('/', '.')}.{LEAVES[leaf]}"] = value
    return tensors


def detectron2(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Names of detectron2, from those of maskrcnn-benchmark."""
    renamed = {}
    for name, value in tensors.items():
        module, _, leaf = name.rpartition(".")
        module = module.replace("downsample.0", "shortcut")
        module = module.replace("downsample.1", "shortcut.norm")
        module = re.sub(r"bn(\d)$", r"conv\1.norm", module)
        module = re.sub(r"layer(\d)\.", lambda m: f"res{int(m[1]) + 1}.", module)
        module = module.replace("body.", "bottom_up.")
        for ours, theirs in (("inner", "lateral"), ("layer", "output")):
            module = re.sub(
                rf"fpn\.fpn_{ours}(\d)",
                lambda m, theirs=theirs: f"fpn_{theirs}{int(m[1]) + 1}",
                module,
            )
        renamed[f"backbone.{module}.{leaf}"] = value
    return renamed
