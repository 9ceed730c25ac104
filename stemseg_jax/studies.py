"""Studies: rows of a table, each a config that is trained with some seeds and scored.

What is finished is taken as it is, so that a study can be interrupted, widened, and
scored anew. `experiments/` holds the studies; this is what they have in common.
"""

import argparse
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Int
from ml_collections import ConfigDict

from stemseg_jax import choices, evaluate, models, sheets, train
from stemseg_jax.data import readers
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.evaluation import clear
from stemseg_jax.formats import rle, whole
from stemseg_jax.outputs import report
from stemseg_jax.tracks import VideoTracks

Figures = dict[str, float]
MASKS = ("J&F-Mean", "J-Mean", "F-Mean")
NOBODY, HIDDEN = -1, -2


class Row(NamedTuple):
    """A line of the table: a config with changes, and whose weights it takes."""

    config: Callable[[str], ConfigDict]  # of a variant, e.g. "smoke"
    changes: Mapping[str, Any] = {}
    weights: str = ""  # of another row; its own if empty
    after: str = ""  # it begins with the run of another row, of the same seed
    starts: Callable[[str], Any] = str  # what `init_from` then is, of that run's folder


class Result(NamedTuple):
    """What there is to be scored."""

    model: models.Model
    benchmark: evaluate.Benchmark
    tracks: Sequence[VideoTracks]
    scores: Mapping[str, Any]  # as the task gives them
    folder: pathlib.Path


def arguments(
    description: str | None, rows: Mapping[str, Row], *, seeds: int = 3
) -> argparse.ArgumentParser:
    """The options of a study."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rows", default=",".join(rows), help="some of them")
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--variant", default="", help="smoke: seconds, to try it")
    return parser


def table(
    rows: Mapping[str, Row],
    figures: Callable[[Result], Figures],
    options: argparse.Namespace,
) -> list[dict[str, str]]:
    """A line for each row of `options.rows`: means and deviations over the seeds.

    Trains and scores where that was not done.

    Args:
        figures: What a line says of a run.

    Raises:
        ValueError: An unknown row, or one whose weights are not there yet.
    """
    logging.set_verbosity(logging.INFO)
    options.output.mkdir(parents=True, exist_ok=True)
    names = [choices.known("--rows", row, rows) for row in options.rows.split(",")]
    lines = []
    for row in names:
        found = [of_run(rows, row, s, figures, options) for s in range(options.seeds)]
        line = {"": row}
        for figure in found[0]:
            values = [one[figure] for one in found]
            deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
            line[figure] = f"{np.mean(values):.3f} ± {deviation:.3f}"
        lines.append(line)
    return lines


def write(lines: Sequence[Mapping[str, str]], folder: pathlib.Path) -> None:
    """Prints the table, and leaves it as table.txt."""
    text = report.table(lines)
    whole.write_text(folder / "table.txt", text + "\n")
    print(text)


def of_run(
    rows: Mapping[str, Row],
    row: str,
    seed: int,
    figures: Callable[[Result], Figures],
    options: argparse.Namespace,
) -> Figures:
    """The figures of one row with one seed."""
    folder = options.output / f"{row}_{seed}"
    config, workdir = recipe(rows, row, seed, options)
    as_scored = json.loads(config.to_json_best_effort())
    written = folder / "figures.json"
    if written.exists():
        held = json.loads(written.read_text())
        if held["config"] == as_scored:
            return held["figures"]
    if workdir == folder:
        train.run(config, str(workdir))  # at once, if it has all its steps
    elif not (workdir / "figures.json").exists():
        raise ValueError(f"{row} takes its weights from {workdir}: train that first.")
    benchmark = evaluate.prepare(config, folder / "ground_truth")
    model = models.load(config, str(workdir))
    tracks = list(evaluate.track(model, benchmark.dataset))
    scores = benchmark.score(tracks, folder / "predictions", folder / "scores.json")
    sheets.show(folder, benchmark.dataset, tracks, model.categories)
    found = figures(Result(model, benchmark, tracks, scores, folder))
    whole.write_text(written, json.dumps({"config": as_scored, "figures": found}))
    return found


def recipe(
    rows: Mapping[str, Row], row: str, seed: int, options: argparse.Namespace
) -> tuple[ConfigDict, pathlib.Path]:
    """The config of a row, and the folder of its weights."""
    own = rows[row]
    config = own.config(options.variant)
    config.update_from_flattened_dict({"seed": seed, **own.changes})
    if own.after:
        config.init_from = own.starts(str(options.output / f"{own.after}_{seed}"))
    return config, options.output / f"{own.weights or row}_{seed}"


def masks_and_identities(result: Result) -> Figures:
    """J&F, J and F as DAVIS counts them, and what `identities` says."""
    own = {name: float(result.scores[name]) for name in MASKS}
    return own | identities(result.benchmark.dataset.videos, result.tracks)


def identities(
    videos: Sequence[readers.Video], found: Sequence[VideoTracks]
) -> Figures:
    """How often an object's track is another one than when it last had one, over all
    videos, and the share of objects in frames that have a track."""
    each = [ids[ids != HIDDEN] for ids in _partners(videos, found)]
    covered = sum(int((ids != NOBODY).sum()) for ids in each)
    switches = sum(clear.switches(ids) for ids in each)
    return {
        "id switches": float(switches),
        "covered": covered / max(sum(map(len, each)), 1),
    }


def kept(videos: Sequence[readers.Video], found: Sequence[VideoTracks]) -> float:
    """The share of returns after which an object has the track that it had before; NaN
    if nothing returns.

    A return is a frame that shows an object which the frame before did not, and an
    earlier one did. The tracks are those of the nearest frames in which it has one.
    """
    same = []
    for ids in _partners(videos, found):
        hidden = ids == HIDDEN
        for t in np.flatnonzero(hidden[:-1] & ~hidden[1:]) + 1:
            before, after = (part[part >= 0] for part in (ids[:t], ids[t:]))
            if len(before) and len(after):
                same.append(before[-1] == after[0])
    return float(np.mean(same)) if same else np.nan


def _partners(
    videos: Sequence[readers.Video], found: Sequence[VideoTracks]
) -> Iterator[Int[np.ndarray, "T"]]:
    """Of each object the track (IoU above 1/2) in each frame, `NOBODY` where it has
    none, and `HIDDEN` where it is not seen."""
    for video, tracks in zip(videos, found, strict=True):
        partners: dict[int, np.ndarray] = {}
        for t in range(video.num_frames):
            clip = video.clip([t])
            masks = {
                track.id: rle.decode(track.segmentations[t])
                for track in tracks.tracks
                if track.segmentations[t] is not None
            }
            for number, mask in zip(clip.ids.tolist(), clip.masks[:, 0], strict=True):
                over_half = (
                    id
                    for id, other in masks.items()
                    if 2 * (mask & other).sum() > (mask | other).sum()
                )
                ids = partners.setdefault(number, np.full(video.num_frames, HIDDEN))
                ids[t] = next(over_half, NOBODY)
        yield from partners.values()


def rates(
    rows: Mapping[str, Row], options: argparse.Namespace, *, rounds: int = 9
) -> list[float]:
    """Frames per second of `track` of each row of `options.rows`, from decoded frames
    to labels in memory.

    The median of rounds in which the rows take turns over the first unseen videos,
    compilation left out: they hold as ratios.
    """
    recipes = [recipe(rows, row, 0, options) for row in options.rows.split(",")]
    loaded = [models.load(config, str(workdir)) for config, workdir in recipes]
    videos = [
        [video.frame(t) for t in range(video.num_frames)]
        for video in unseen(recipes[0][0])[:3]
    ]
    seconds = np.zeros((1 + rounds, len(loaded)))
    for index in np.ndindex(seconds.shape):
        begin = time.perf_counter()
        for frames in videos:
            loaded[index[1]].track(frames)
        seconds[index] = time.perf_counter() - begin
    return list(sum(map(len, videos)) / np.median(seconds[1:], axis=0))


def unseen(config: ConfigDict) -> Sequence[readers.Video]:
    """The videos that a config is scored on."""
    evaluation = config.evaluation
    read = DATASETS[evaluation.dataset]
    return read(config.data.root, evaluation.split, **evaluation.options).videos
