"""Saving and restoring a run with orbax."""

import json
import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy


class Checkpoints:
    """The checkpoints of one run: `folder/<step>`, saved while training goes on.

    The latest `keep` are kept. Saving is asynchronous; `close` (or leaving the context)
    waits for what is still being written. A folder with a checkpoint is complete:
    orbax gives it its name last.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2):
        self.folder = pathlib.Path(folder).absolute()
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.LatestN(keep)
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def config(self) -> dict:
        """The config of the latest checkpoint."""
        return read_config(self.folder)

    def save(self, step: int, state: Any, config: ConfigDict) -> None:
        """Saves unless this step is already there."""
        if step == self.latest():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                config=ocp.args.JsonSave(json.loads(config.to_json_best_effort())),
            ),
        )

    def restore(self, abstract: Any, step: int | None = None) -> Any:
        """The state of `step` (the latest by default), laid out as `abstract` says.

        Raises:
            ValueError: If the checkpoint belongs to another model or optimiser.
        """
        step = self.latest() if step is None else step
        _refuse_other_tree(self.folder / str(step), abstract)
        return self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )["state"]

    def close(self) -> None:
        self._manager.wait_until_finished()
        self._manager.close()


def find(path: pathlib.Path) -> pathlib.Path:
    """The newest checkpoint folder in a run's folder, its `checkpoints/`, or itself.

    Raises:
        ValueError: If there is none.
    """
    path = pathlib.Path(path).absolute()
    for folder in (path / "checkpoints", path):
        steps = [d for d in folder.glob("*") if d.name.isdigit() and d.is_dir()]
        if steps:
            return max(steps, key=lambda d: int(d.name))
    if (path / "state").is_dir():
        return path
    raise ValueError(
        f"{path}: no checkpoint. Expected a run's folder (with checkpoints/<step>/), a "
        "folder checkpoints/<step>/, or a weight file (.safetensors, .pth, .pkl)."
    )


def read_config(path: pathlib.Path) -> dict:
    """The config that the checkpoint was trained with."""
    file = find(path) / "config" / "metadata"
    return json.loads(file.read_text())


def read_variables(path: pathlib.Path) -> dict:
    """The network's collections, {"params": ..., "constants": ...}, as they were saved.

    Their averages are taken where the run kept them. See `find` for `path`.
    """
    folder = find(path)
    saved = _saved_tree(folder)
    # Runs of before collections had any name kept "constants", apart from the average.
    others = ("collections",) if "collections" in saved else ("constants",)
    parts = ("average",) if saved.get("average") else ("params",)
    if others == ("constants",) or parts == ("params",):
        parts += others
    wanted = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        {name: saved[name] for name in parts},
        is_leaf=lambda leaf: hasattr(leaf, "shape"),
    )
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    restored = ocp.PyTreeCheckpointer().restore(
        folder / "state",
        args=ocp.args.PyTreeRestore(
            item=wanted,
            restore_args=jax.tree.map(
                lambda leaf: ocp.ArrayRestoreArgs(sharding=device, dtype=leaf.dtype),
                wanted,
            ),
            partial_restore=True,
        ),
    )
    if parts == ("average",):
        return restored["average"]
    return {"params": restored[parts[0]], **restored[parts[1]]}


def _saved_tree(folder: pathlib.Path) -> dict:
    metadata = ocp.PyTreeCheckpointHandler().metadata(folder / "state")
    return dict(getattr(metadata, "tree", metadata))


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """Path -> shape; NamedTuple fields and dict keys read the same."""

    def name(entry):
        for kind in ("key", "name", "idx"):
            if hasattr(entry, kind):
                return str(getattr(entry, kind))
        return str(entry)

    leaves = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda x: hasattr(x, "shape")
    )[0]
    return {
        "/".join(map(name, path)): tuple(leaf.shape)
        for path, leaf in leaves
        if getattr(leaf, "shape", None) is not None
    }


def _refuse_other_tree(folder: pathlib.Path, abstract: Any) -> None:
    saved, wanted = _shapes(_saved_tree(folder)), _shapes(abstract)
    problems = {
        "only in the model": wanted.keys() - saved.keys(),
        "only in the checkpoint": saved.keys() - wanted.keys(),
        "of another shape": {
            f"{name}: checkpoint {saved[name]}, model {wanted[name]}"
            for name in saved.keys() & wanted.keys()
            if saved[name] != wanted[name]
        },
    }
    if not any(problems.values()):
        return
    lines = [
        f"  {title} ({len(names)}): {'; '.join(sorted(names)[:5])}"
        + "; ..." * (len(names) > 5)
        for title, names in problems.items()
        if names
    ]
    raise ValueError(
        f"{folder} belongs to another model or optimiser than the config describes:\n"
        + "\n".join(lines)
        + "\nUse the config it was trained with (config.json beside it), or another "
        "--workdir."
    )
