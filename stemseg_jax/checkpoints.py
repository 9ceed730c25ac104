"""Saving and restoring a run with orbax, and proof that nothing changed in between.

Beside the arrays of a checkpoint lie their digests. What is read is compared with them;
a checkpoint that is not what was saved is named, and the one before it is taken.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import preservation_policy

from stemseg_jax import hosts
from stemseg_jax.formats import whole

Read = TypeVar("Read")
COMMITTED = "_CHECKPOINT_METADATA"  # orbax writes it once the arrays are there


class OtherModel(ValueError):
    """A checkpoint is sound, but does not belong here."""


# Errors that say nothing of the bytes on the disk, or that not all hosts have.
NOT_DAMAGE = (
    *(OtherModel, MemoryError, PermissionError, jax.errors.JaxRuntimeError),
    hosts.OtherHost,
)


class Saved(NamedTuple):
    """What a checkpoint holds of a network."""

    folder: pathlib.Path  # checkpoints/<step>
    variables: dict[str, Any]  # {"params": ..., "constants": ...}
    config: dict[str, Any]  # that it was trained with


class Due:
    """When a run saves: every so many updates, and whenever the last one is old.

    Args:
        every: Updates; several of them, 0 for none.
        minutes: Since the last save; 0: time does not count.
    """

    def __init__(self, *every: int, minutes: float):
        self._every = [updates for updates in every if updates]
        self._minutes = minutes
        self._last, self._since = 0, time.monotonic()

    def late(self) -> bool:
        """By the clock of this host; all have to agree before it is `due`."""
        passed = time.monotonic() - self._since
        return bool(self._minutes) and passed > 60 * self._minutes

    def __call__(self, step: int, *, late: bool) -> bool:
        """Whether to save after `step` updates.

        Args:
            late: What hosts agreed on, which may be from before the last save.
        """
        regular = any(step % updates == 0 for updates in self._every)
        if not regular and not (late and step > self._last + 1):
            return False
        self._last, self._since = step, time.monotonic()
        return True


class Checkpoints:
    """The checkpoints of one run: `folder/<step>`, saved while training goes on.

    The latest `keep` are kept, and those of every `milestones` updates, if any. Saving
    is asynchronous; `close` (or leaving the context) waits for what is still being
    written. A folder with a checkpoint is complete: orbax gives it its name last.

    Raises:
        ValueError: `folder` holds something else that orbax would take for a
            checkpoint, and delete in time.
    """

    def __init__(self, folder: pathlib.Path, *, keep: int = 2, milestones: int = 0):
        self.folder = pathlib.Path(folder).absolute()
        own = steps(self.folder)
        for path in self.folder.glob("*"):
            if path.name.isdigit() and path not in own:
                raise ValueError(
                    f"{path} is no checkpoint (there is no {COMMITTED} in it), but "
                    "has the name of one: the run would delete it. Move it away, or "
                    "choose another --workdir."
                )
        self._last: int | None = None  # that was saved
        policies = [preservation_policy.LatestN(keep)]
        if milestones:
            policies.append(preservation_policy.EveryNSteps(milestones))
        self._manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
                # Several of a run may be saved at once, on several hosts.
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    barrier_sync_key_prefix=self.folder.name
                ),
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, *_) -> None:
        failed = kind is not None and issubclass(kind, Exception)
        with contextlib.suppress(OSError) if failed else contextlib.nullcontext():
            self.close()  # of two errors the first is said

    def latest(self) -> int | None:
        return self._manager.latest_step()

    def forget(self, *, beyond: int) -> None:
        """Deletes checkpoints of later steps."""
        for step in self._manager.all_steps():
            if step > beyond:
                self._manager.delete(step)

    def save(self, step: int, state: Any, config: ConfigDict) -> None:
        """Saves unless this step is already there.

        Raises:
            OSError: This or the save before it failed.
        """
        if step == self.latest():
            return
        as_json = json.loads(config.to_json_best_effort())
        proof = {"arrays": _digests(state), "config": _digest_of_json(as_json)}
        self._last = step
        with self._named(step):
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    config=ocp.args.JsonSave(as_json),
                    digests=ocp.args.JsonSave(
                        {**proof, "digests": _digest_of_json(proof)}
                    ),
                ),
            )

    def restore(self, abstract: Any) -> tuple[int, Any]:
        """The step and the state of the latest sound checkpoint, laid out as `abstract`
        says. Damaged ones are set aside, as `<step>.damaged`.

        Raises:
            ValueError: If the checkpoint belongs to another model or optimiser, or none
                is sound.
        """

        def of(folder: pathlib.Path) -> tuple[int, Any]:
            with hosts.together():  # all have to take the same
                arrays = _proof(folder).get("arrays")
                _refuse_other_tree(folder, arrays or _saved_shapes(folder), abstract)
                state = self._manager.restore(
                    int(folder.name),
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)),
                )["state"]
                _verify(state, arrays)
            return int(folder.name), state

        folders = steps(self.folder)
        step, state = _first_sound(folders, of)
        with hosts.together():
            for folder in folders:
                if int(folder.name) > step and hosts.is_first():
                    _set_aside(folder)
        self._manager.reload()
        return step, state

    def close(self) -> None:
        """Waits until all is written.

        Raises:
            OSError: It could not be.
        """
        with self._named(self._last):
            self._manager.wait_until_finished()
        self._manager.close()
        saved = self.folder / str(self._last)
        if self._last is not None and hosts.is_first() and not saved.is_dir():
            raise OSError(f"{saved} was not written.")

    @contextlib.contextmanager
    def _named(self, step: int | None) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # orbax raises nearly anything, over pages
            earlier = [folder.name for folder in steps(self.folder)]
            advice = "Make room on the disk; the" if _is_full(error) else "The"
            raise OSError(
                f"{self.folder / str(step)} could not be saved ({_brief(error)}). "
                f"Still there: {', '.join(earlier) or 'nothing'}. {advice} same "
                "command goes on from there."
            ) from error


def find(path: pathlib.Path) -> pathlib.Path:
    """The newest checkpoint folder in a run's folder, its `checkpoints/`, or itself.

    Raises:
        ValueError: If there is none.
    """
    return _candidates(path)[0]


def read(path: pathlib.Path) -> Saved:
    """The network's collections as they were saved, from the newest sound checkpoint.

    Their averages are taken where the run kept them. See `find` for `path`.

    Raises:
        ValueError: If there is no checkpoint, or none that is what was saved.
    """

    def of(folder: pathlib.Path) -> Saved:
        proof = _proof(folder)
        return Saved(folder, _variables(folder, proof), _config(folder, proof))

    return _first_sound(_candidates(path), of)


def config(path: pathlib.Path) -> dict[str, Any]:
    """That of the newest checkpoint that has a sound one; no array is read.

    Raises:
        ValueError: If there is none.
    """
    return _first_sound(
        _candidates(path), lambda folder: _config(folder, _proof(folder))
    )


def _candidates(path: pathlib.Path) -> list[pathlib.Path]:
    path = pathlib.Path(path).absolute()
    for folder in (path / "checkpoints", path):
        if found := steps(folder):
            return found
    if (path / "state").is_dir():
        return [path]
    raise ValueError(
        f"{path}: no checkpoint. Expected a run's folder (with checkpoints/<step>/), a "
        "folder checkpoints/<step>/, or a weight file (.safetensors, .pth, .pkl)."
    )


def steps(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints in a folder, the newest first; a file may be missing."""
    found = {
        file.parents[depth]
        for depth, name in enumerate((COMMITTED, "state/_METADATA"))
        for file in folder.glob(f"*/{name}")
    }
    found = [step for step in found if step.name.isdecimal()]
    return sorted(found, key=lambda step: int(step.name), reverse=True)


def _set_aside(folder: pathlib.Path) -> None:
    aside = folder.with_name(f"{folder.name}.damaged")
    while aside.exists():
        aside = aside.with_name(f"{aside.name}.damaged")
    folder.rename(aside)


def _first_sound(
    folders: Sequence[pathlib.Path], read: Callable[[pathlib.Path], Read]
) -> Read:
    """What is read from the first folder that can be; those before it are named."""
    damaged = []
    for folder in folders:
        try:
            found = read(folder)
        except NOT_DAMAGE:
            raise
        except Exception as error:  # orbax raises nearly anything, over pages
            logging.debug("%s", folder, exc_info=True)
            damaged.append(f"{folder} is damaged: {_brief(error)}")
        else:
            for line in damaged:
                logging.warning("%s. In its place: %s", line, folder)
            return found
    raise ValueError(
        "\n".join(damaged[:4])
        + "\nNo other checkpoint is there to be taken; copy it again, or name another."
    )


def _is_full(error: BaseException | None) -> bool:
    """Whether a disk is: orbax wraps errors, and tensorstore writes them as text."""
    if error is None:
        return False
    said = isinstance(error, OSError) and error.errno in whole.FULL
    said |= any(os.strerror(number) in str(error) for number in whole.FULL)
    return said or _is_full(error.__cause__ or error.__context__)


def _brief(error: Exception) -> str:
    line = (str(error).strip().splitlines() or [""])[0]
    if len(line) > 300:  # the reason stands at the end
        line = f"{line[:120]} ... {line[-160:]}"
    return f"{type(error).__name__}: {line}"


# ------------------------------------------------------------------------------ proof


def digest(tree: Any, content: Any) -> str:
    """Of arrays, by their paths, and of what JSON can say, together."""
    return _digest_of_json([_digests(tree), content])


def _digests(tree: Any) -> dict[str, dict[str, Any]]:
    """Path -> shape, type and SHA-256 of each array, hashed side by side."""
    leaves = _leaves(tree)
    with futures.ThreadPoolExecutor() as pool:
        hashed = pool.map(_digest, leaves.values())
    return {
        name: {"shape": list(leaf.shape), "dtype": str(leaf.dtype), "sha256": digest}
        for (name, leaf), digest in zip(leaves.items(), hashed, strict=True)
    }


def _digest(array: Any) -> str:
    flat = np.ascontiguousarray(array).reshape(-1)
    return hashlib.sha256(flat.view(np.uint8)).hexdigest()


def _digest_of_json(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _proof(folder: pathlib.Path) -> dict[str, Any]:
    """The digests of a checkpoint, which are their own proof; {} if it has none.

    Raises:
        ValueError: They were changed.
    """
    if not (folder / "digests").exists():
        if '"digests"' in (folder / COMMITTED).read_text():
            raise ValueError("digests/ is missing.")
        logging.warning("%s is from before digests: it is not verified.", folder)
        return {}
    proof = _json(folder, "digests/metadata")
    if proof.pop("digests") != _digest_of_json(proof):
        raise ValueError("digests/metadata was changed.")
    return proof


def _verify(tree: Any, arrays: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Compares arrays with their digests, if there are any.

    Raises:
        ValueError: One is not what was saved, or holds weights that are not finite.
    """
    found = _digests(tree) if arrays is not None else {}
    for name, leaf in _leaves(tree).items():
        if arrays is not None and found[name] != arrays.get(name):
            raise ValueError(f"{name} is not what was saved.")
        if name.startswith(("params/", "average/")) and not _finite(leaf):
            raise ValueError(f"{name} holds NaN or infinity.")


def _finite(array: Any) -> bool:
    return bool(np.isfinite(np.asarray(array, np.float32)).all())


# ------------------------------------------------------------------------------- parts


def _config(folder: pathlib.Path, proof: Mapping[str, Any]) -> dict[str, Any]:
    config = _json(folder, "config/metadata")
    if proof.get("config") not in (None, _digest_of_json(config)) or not config:
        raise ValueError("config/metadata is not what was saved.")
    return config


def _json(folder: pathlib.Path, name: str) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / name).read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read ({_brief(error)}).") from error


def _variables(folder: pathlib.Path, proof: Mapping[str, Any]) -> dict[str, Any]:
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
    arrays = proof.get("arrays")
    if arrays is not None:
        own = {name for name in arrays if name.partition("/")[0] in parts}
        if own != _leaves(wanted).keys():
            raise ValueError("state/_METADATA is not what was saved.")
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
    _verify(restored, arrays)
    if parts == ("average",):
        return restored["average"]
    return {"params": restored[parts[0]], **restored[parts[1]]}


def _saved_tree(folder: pathlib.Path) -> dict:
    metadata = ocp.PyTreeCheckpointHandler().metadata(folder / "state")
    return dict(getattr(metadata, "tree", metadata))


def _saved_shapes(folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """As `_digests`, of a checkpoint that has none."""
    leaves = _leaves(_saved_tree(folder))
    return {name: {"shape": list(leaf.shape)} for name, leaf in leaves.items()}


def _leaves(tree: Any) -> dict[str, Any]:
    """Path -> array or its shape; NamedTuple fields and dict keys read the same."""

    def name(entry):
        for kind in ("key", "name", "idx"):
            if hasattr(entry, kind):
                return str(getattr(entry, kind))
        return str(entry)

    leaves = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda x: hasattr(x, "shape")
    )[0]
    return {
        "/".join(map(name, path)): leaf
        for path, leaf in leaves
        if getattr(leaf, "shape", None) is not None
    }


def _refuse_other_tree(
    folder: pathlib.Path, arrays: Mapping[str, Mapping[str, Any]], abstract: Any
) -> None:
    saved = {name: tuple(array["shape"]) for name, array in arrays.items()}
    wanted = {name: tuple(leaf.shape) for name, leaf in _leaves(abstract).items()}
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
    raise OtherModel(
        f"{folder} belongs to another model or optimiser than the config describes:\n"
        + "\n".join(lines)
        + "\nUse the config it was trained with (config.json beside it), or another "
        "--workdir."
    )
