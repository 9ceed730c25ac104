"""Validation while a run trains: a few videos are tracked, scored and drawn, and the
weights that did best are kept."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from stemseg_jax import (
    checkpoints,
    device_memory,
    evaluate,
    hosts,
    models,
    score,
    sheets,
)
from stemseg_jax.evaluation.scored import main_figure
from stemseg_jax.formats import whole
from stemseg_jax.structures import Variables
from stemseg_jax.systems import base

FOLDER = "validation"  # in that of the run, with annotations, results, and
RECORD = "best.json"  # the highest value so far and its step,
BEST = "best"  # whose checkpoint this one beside it holds
COLUMNS, WIDTH = 3, 240  # frames of a video in the picture, and pixels of each


class Validated(NamedTuple):
    """What one validation found."""

    figures: Mapping[str, float]  # those that the task prints
    picture: UInt8[np.ndarray, "H W 3"]  # frames, their truth, and what was found


class Validation:
    """Every `evaluation.every` updates, on the first `evaluation.every_videos` videos
    of the config's benchmark. Several hosts share them, and know the same afterwards.

    Args:
        folder: The run's, which gets `validation/`, and in `best/` a checkpoint.
        start: The step that the run begins at. A best one beyond it is forgotten: the
            run will come to it again.

    Raises:
        ValueError: The videos have no annotations, or the task has no form in which
            those of a few videos could be written.
    """

    def __init__(
        self, config: ConfigDict, system: base.System, folder: pathlib.Path, start: int
    ):
        self._config, self._system = config, system
        self._every = config.evaluation.every
        if not self._every:
            return
        self._folder = folder / FOLDER
        self._benchmark = evaluate.prepare(
            config,
            self._folder / "ground_truth",
            videos=config.evaluation.every_videos,
        )
        if not self._benchmark.scored:
            raise ValueError(
                f"evaluation.every={self._every}: the videos of {self._benchmark.task} "
                f"(evaluation.split={config.evaluation.split!r}) have no annotations. "
                "Validate on a split that has some, or set evaluation.every=0."
            )
        self._saved = checkpoints.Checkpoints(folder / BEST, keep=1)
        self._saved.forget(beyond=start)
        (self._best, *_) = hosts.gathered(
            self._recorded() if self._saved.latest() else -math.inf
        )

    def __enter__(self) -> "Validation":
        return self

    def __exit__(self, *error) -> None:
        if self._every:
            self._saved.__exit__(*error)

    def due(self, step: int) -> bool:
        last = step == self._config.optim.steps
        return bool(self._every) and (last or step % self._every == 0)

    def __call__(self, step: int, variables: Variables, state: Any) -> Validated:
        """Scores `variables`, and saves `state` if none were better before."""
        model = models.Model(self._config, self._system, here(variables))
        benchmark = self._benchmark
        size = self._config.evaluation.min_dim, self._config.evaluation.max_dim
        dtype = self._config.model.dtype
        with device_memory.explained(
            "validating", *device_memory.to_label(resized=size, dtype=dtype)
        ):
            tracks = list(evaluate.track_together(model, benchmark.dataset))
        figures = {}
        with hosts.together():
            if hosts.is_first():
                results = benchmark.write(tracks, self._folder / "predictions")
                scored = score.read(benchmark.task, benchmark.truth, results)
                figures = scored.figures()
        (figures, *_) = hosts.gathered(figures)
        if (value := main_figure(figures)) > self._best:
            self._best = value
            self._record(step)
            self._saved.save(step, state, self._config)
        picture = sheets.sheet(
            *(benchmark.dataset, tracks, model.categories),
            **dict(columns=COLUMNS, width=WIDTH),
        )
        return Validated(figures, picture)

    def _record(self, step: int) -> None:
        if hosts.is_first():
            record = {"step": step, "value": self._best, "of": self._of()}
            text = json.dumps(record)
            whole.write_text(self._folder / RECORD, text + "\n")

    def _recorded(self) -> float:
        """The value of the checkpoint that is kept."""
        path = self._folder / RECORD
        try:
            record = json.loads(path.read_text())
            if (record["step"], record["of"]) == (self._saved.latest(), self._of()):
                return float(record["value"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path} cannot be read ({error}), and nothing else says how good "
                f"{self._saved.folder} is. Move that folder away."
            ) from error
        return -math.inf  # of other videos, or the process ended between the two

    def _of(self) -> dict[str, Any]:
        """What a value is to be compared under."""
        own = json.loads(self._config.evaluation.to_json_best_effort())
        return {name: value for name, value in own.items() if name != "every"}


def here(variables: Variables) -> Variables:
    """The same on a device of this host alone."""
    return jax.device_put(jax.device_get(variables))
