"""What lies in a run's folder: its config, its log, and what was found and scored."""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from ml_collections import ConfigDict

from stemseg_jax import choices, tasks
from stemseg_jax.data import readers
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.formats import files, metrics_jsonl
from stemseg_jax.report import score_tables

CONFIG, LOG = "config.json", "metrics.jsonl"
SCORES = "scores.json"


class _Data(msgspec.Struct):
    root: str | None


class _Evaluation(msgspec.Struct):
    task: str
    dataset: str
    split: str
    options: dict
    ground_truth: str


class _Needed(msgspec.Struct):
    """What results cannot be read without."""

    data: _Data
    evaluation: _Evaluation


class Results(NamedTuple):
    """What was found in the videos of a task."""

    title: str
    config: ConfigDict
    predictions: pathlib.Path
    exported: pathlib.Path | None  # annotations, if there are no official ones
    scores: Mapping[str, Any]  # empty if there are none

    def found(self) -> tasks.Found:
        """The tracks of each video, by its name; by its number if nothing says more.

        Raises:
            ValueError: They cannot be read.
        """
        try:
            numbering = tasks.numbering(self.config, self.exported)
            names = {}
        except ValueError:  # the dataset is elsewhere
            numbering, names = None, score_tables.names(self.scores)
        found = tasks.FORMS[self._task].read(self.predictions, numbering)
        return {names.get(name, name): tracks for name, tracks in found.items()}

    def dataset(self) -> readers.Dataset:
        """The videos.

        Raises:
            ValueError: They are not on this machine.
        """
        if self.exported:
            return tasks.FORMS[self._task].load(self.exported)
        evaluation = self.config.evaluation
        name = choices.known("evaluation.dataset", evaluation.dataset, DATASETS)
        options = evaluation.options.to_dict()
        try:
            return DATASETS[name](self.config.data.root, evaluation.split, **options)
        except TypeError as error:  # of options that nobody has checked
            raise ValueError(f"evaluation.options of {name}: {error}.") from error

    @property
    def _task(self) -> str:
        return self.config.evaluation.task


def holds_run(folder: pathlib.Path) -> bool:
    return any((folder / name).is_file() for name in (CONFIG, LOG, tasks.EVALUATED))


def config(folder: pathlib.Path) -> ConfigDict | None:
    """That of the run, or else of what was evaluated here."""
    return _config(folder / CONFIG) or _config(folder / tasks.EVALUATED)


def evaluated(folder: pathlib.Path) -> ConfigDict | None:
    """That of what was evaluated here, or else of the run."""
    return _config(folder / tasks.EVALUATED) or _config(folder / CONFIG)


def log(folder: pathlib.Path) -> list[dict[str, Any]]:
    """The figures of each line of the log."""
    return [figures for _, figures in metrics_jsonl.read(folder / LOG)]


def comparison(folder: pathlib.Path) -> dict[str, Mapping[str, Any]]:
    """What --mode=demo compared, by name; empty in another run."""
    scores = _json(folder / SCORES)
    if not isinstance(scores.get("model"), dict):
        return {}
    compared = {name: own for name, own in scores.items() if isinstance(own, dict)}
    for name, own in compared.items():
        score_tables.check(own, f"{folder / SCORES}, {name}")
    return compared


def results(folder: pathlib.Path, given: ConfigDict | None) -> Results | None:
    """What was found by the demo, by an evaluation, or else while the run trained.

    Args:
        given: The config, in place of the one that lies there. With it the folder may
            be one of result files alone.

    Raises:
        ValueError: The config says nothing of what was evaluated, or there is nothing.
    """
    config = given or evaluated(folder)
    if config is None:
        return None
    if compared := comparison(folder):
        return _demo(folder, _checked(config, folder), compared)
    if (folder / "predictions").is_dir():
        return _evaluation(folder, _checked(config, folder))
    if (validation := folder / "validation/predictions").is_dir():
        truth = _exported(folder / "validation")
        own = _checked(config, folder)
        return Results("last validation", own, validation, truth, scores={})
    if given is None or holds_run(folder):
        return None
    return _alone(folder, _checked(given, folder))


def _evaluation(folder: pathlib.Path, config: ConfigDict) -> Results:
    official = bool(config.evaluation.ground_truth)  # whatever was written before
    return Results(
        title="evaluation",
        config=config,
        predictions=folder / "predictions",
        exported=None if official else _exported(folder),
        scores=_scores(folder / SCORES),
    )


def _alone(folder: pathlib.Path, config: ConfigDict) -> Results:
    """Result files of anybody."""
    held = Results("results", config, folder, None, _scores(folder / SCORES))
    if not held.found():
        raise ValueError(
            f"{folder}: holds no results of evaluation.task="
            f"{config.evaluation.task!r}. Expected the files that --mode=score takes, "
            "or the folder of a run."
        )
    return held


def _exported(folder: pathlib.Path) -> pathlib.Path | None:
    truth = folder / "ground_truth"
    return truth if truth.is_dir() else None


def _demo(
    folder: pathlib.Path, config: ConfigDict, compared: Mapping[str, Any]
) -> Results:
    """Of what the demo compared, what stands there as "model" as well."""
    task = config.evaluation.task
    model = json.dumps(compared["model"])
    same = [name for name, own in compared.items() if json.dumps(own) == model]
    name = next((name for name in same if name != "model"), "model")
    exported = folder / "ground_truth" / task
    return Results(
        title=f"demo, {name}",
        config=config,
        predictions=folder / "predictions" / task / name,
        exported=exported if exported.is_dir() else None,
        scores=compared["model"],
    )


def _checked(config: ConfigDict, folder: pathlib.Path) -> ConfigDict:
    try:
        msgspec.convert(config.to_dict(), _Needed)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"{folder}: its config does not say what its results are of: {error}. Name "
            "the one that they belong to by --config=FILE."
        ) from error
    choices.known("evaluation.task", config.evaluation.task, tasks.FORMS)
    return config


def _scores(path: pathlib.Path) -> dict[str, Any]:
    scores = _json(path)
    score_tables.check(scores, str(path))
    return scores


def _config(path: pathlib.Path) -> ConfigDict | None:
    content = _json(path)
    return ConfigDict(content) if content else None


def _json(path: pathlib.Path) -> dict[str, Any]:
    """A file that holds an object; empty without the file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(files.read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no readable JSON ({error}).") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds {type(content).__name__}, expected an object.")
    return content
