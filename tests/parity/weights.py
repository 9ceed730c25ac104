"""Checkpoints: what is in them, and that it has a place in our networks."""

import json
import pathlib
import re
import tempfile

import numpy as np
from flax import traverse_util

from stemseg_jax import models
from stemseg_jax.conversion import loading, sources
from tests import goldens
from tests.parity import figures, released
from tests.parity.figures import Figure


def legacy_checkpoint(folder: pathlib.Path, name: str) -> list[Figure]:
    """Bytes of a file, and what is in it."""
    meta, arrays = goldens.load(folder, name)
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / "checkpoint.pth"
        path.write_bytes(arrays["file_bytes"].tobytes())
        content = loading.read(path)
        results = [
            figures.equal("keys", list(content), meta["top_level_keys"]),
            figures.equal("names", list(content["model"]), meta["order"]),
        ]
        for key in meta["order"]:
            expected = arrays[f"model.{key}"]
            actual = content["model"][key]
            results.append(figures.different(key, actual, expected))
            results.append(figures.equal(f"{key}: type", actual.dtype, expected.dtype))
    return results


def state_dict(folder: pathlib.Path, name: str) -> list[Figure]:
    """Names, shapes and frozen parameters of a checkpoint."""
    meta = json.loads((folder / f"{name}.json").read_text())
    backbone, theirs = re.search(r"(R-\d+-FPN), config (\w+)", meta["what"]).groups()
    system, model = models.abstract(
        # A frozen backbone is a frozen forward pass there, not frozen parameters.
        released.config(
            theirs,
            backbone=backbone,
            over=meta.get("over"),
            model__freeze_backbone=False,
        )
    )
    one = np.ones((), np.float32)
    tensors = {key: np.broadcast_to(one, shape) for key, shape in meta["entries"]}
    loaded = sources.convert(tensors, name)
    file = traverse_util.flatten_dict(loaded.variables, sep="/")
    ours = traverse_util.flatten_dict(model, sep="/")
    unknown = {*loaded.unknown, *file.keys() - ours.keys()}
    frozen = tuple(f"params/{prefix}" for prefix in system.frozen_modules())
    return [
        Figure("names only in the file", len(unknown), 0),
        Figure("names only in the model", len(ours.keys() - file.keys()), 0),
        figures.equal(
            "shapes",
            {path: value.shape for path, value in file.items()},
            {path: value.shape for path, value in ours.items()},
        ),
        figures.equal(
            "frozen parameters",
            {key for path, key in loaded.names.items() if path.startswith(frozen)},
            {*meta["frozen_parameters"]},
        ),
    ]
