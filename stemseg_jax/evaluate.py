"""A model over a dataset: result files in the official form, then their score."""

import functools
import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from jaxtyping import Int32
from ml_collections import ConfigDict
from tqdm import tqdm

from stemseg_jax import choices, hosts, models, score, tasks
from stemseg_jax.data import encoded_video, readers
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.formats import whole
from stemseg_jax.outputs import collector
from stemseg_jax.tracks import VideoTracks

WRITER = "--mode=evaluate"  # of the folders, which it alone replaces


def run(
    config: ConfigDict,
    *,
    checkpoint: str,
    workdir: str,
    json_file: str | None = None,
) -> dict[str, Any]:
    """Scores a checkpoint on `config.evaluation` and prints the table.

    Writes `workdir/predictions/`, `workdir/evaluated.json` (the config) and, with every
    figure, `workdir/scores.json` (or `json_file`), and returns these figures. Scores
    and annotations of an earlier evaluation go with its predictions. Several hosts
    share the videos; the first one writes, and alone has the figures.
    """
    folder = pathlib.Path(workdir)
    writes = (tasks.EVALUATED, *([] if json_file else ["scores.json"]))
    with hosts.lock(folder, "evaluate", writes=writes):
        benchmark = prepare(config, folder / "ground_truth")
        model = models.load(config, checkpoint)
        videos = track_together(model, benchmark.dataset)
        figures = {}
        with hosts.together():  # the others wait, and hear how it ended
            if hosts.is_first():
                results = benchmark.write(videos, folder / "predictions")
                whole.discard(folder, "scores.json", WRITER)
                if not (benchmark.scored or config.evaluation.ground_truth):
                    whole.discard(folder, "ground_truth", WRITER)
                whole.claim(folder, *writes)
                text = config.to_json_best_effort(indent=2)
                whole.write_text(folder / tasks.EVALUATED, text + "\n")
                figures = benchmark.figures(results, json_file)
                if figures and not json_file:
                    score.write_json(folder / "scores.json", figures)
        return figures


class Benchmark(NamedTuple):
    """Videos, their official annotations and how they are scored.

    A test set is not scored: its `truth` lists the videos, or is not there.
    """

    task: str
    dataset: readers.Dataset
    truth: pathlib.Path | None
    scored: bool = True
    also_at: tuple[int, ...] = ()  # see `score.read`

    def score(
        self,
        videos: Iterable[VideoTracks],
        folder: pathlib.Path,
        json_file: str | pathlib.Path | None = None,
    ) -> dict[str, Any]:
        """Writes the results of all videos to `folder` and scores these files."""
        return self.figures(self.write(videos, folder), json_file)

    def figures(
        self, results: pathlib.Path, json_file: str | pathlib.Path | None = None
    ) -> dict[str, Any]:
        """Scores what `write` gave.

        Without annotations the files are what there is to show: no figures.
        """
        if not self.scored:
            logging.warning("No annotations to score with; the results: %s", results)
            return {}
        return score.figures(
            task=self.task,
            ground_truth=self.truth,
            results=results,
            also_at=self.also_at,
            json_file=json_file,
        )

    def write(
        self, videos: Iterable[VideoTracks], folder: pathlib.Path
    ) -> pathlib.Path:
        """Writes the results of all videos to `folder`; gives what scoring takes.

        What an earlier evaluation left there goes once all videos are written.
        """
        with whole.folder(folder, WRITER) as partial:
            results = tasks.FORMS[self.task].write(partial, videos, self.truth)
        return folder / results.relative_to(partial)


def prepare(
    config: ConfigDict, folder: pathlib.Path, *, videos: int | None = None
) -> Benchmark:
    """The benchmark that `config.evaluation` names.

    A dataset that has no official annotation files, such as generated videos, is
    written to `folder` in the official form and read from there like any other. Of a
    split without annotations, and of those of DAVIS but "val", there are results alone.

    Args:
        videos: So many are taken, the first ones, and their annotations are written.
    """
    evaluation = config.evaluation
    form = tasks.FORMS[choices.known("evaluation.task", evaluation.task, tasks.FORMS)]
    name = choices.known("evaluation.dataset", evaluation.dataset, DATASETS)
    options = evaluation.options.to_dict()
    dataset = DATASETS[name](config.data.root, evaluation.split, **options)
    also_at = tuple(evaluation.also_at)
    official = bool(evaluation.ground_truth) and videos is None
    dataset = dataset._replace(videos=dataset.videos[:videos])
    # First frames are annotations, too, but not what a video is scored with.
    hidden = official and form.splits and evaluation.split not in form.splits
    bare = [video.name for video in dataset.videos if not video.annotated]
    if hidden or len(bare) == len(dataset.videos):
        truth = tasks.listing(config) if form.numbered else None
        return Benchmark(evaluation.task, dataset, truth, scored=False)
    if bare:
        raise ValueError(
            f"{dataset.name}, {evaluation.split}: {len(bare)} of {len(dataset.videos)} "
            f"videos have no annotations, the first is {bare[0]!r}. A score needs all "
            "of them, or none for result files alone. Look with --mode=check_data."
        )
    if official:
        truth = tasks.official(config)
        return Benchmark(evaluation.task, dataset, truth, also_at=also_at)
    if form.export is None:
        raise ValueError(
            f"{dataset.name} cannot be written in the form of {evaluation.task}; name "
            "the official annotations by evaluation.ground_truth."
        )
    truth = None
    with hosts.together():
        if hosts.is_first():
            with whole.folder(folder, WRITER) as partial:
                truth = form.export(dataset, partial)
            truth = folder / truth.relative_to(partial)
    return Benchmark(evaluation.task, form.load(folder), truth, also_at=also_at)


def track(model: models.Model, dataset: readers.Dataset) -> Iterator[VideoTracks]:
    """The chosen tracks of each video, one video at a time."""
    for video in tqdm(dataset.videos, desc="evaluate", unit="video", leave=None):
        images = map(video.frame, range(video.num_frames))
        labels, statistics = model.track(images, truth=truth(video))
        chosen = collector.select(statistics, **model.config.selection)
        yield labels.tracks(video.name, chosen)


def track_together(
    model: models.Model, dataset: readers.Dataset
) -> Iterator[VideoTracks]:
    """As `track`; of several hosts each takes every n-th video."""
    index, count = jax.process_index(), jax.process_count()
    share = track(model, dataset._replace(videos=dataset.videos[index::count]))
    if count == 1:
        return share
    with hosts.together():
        own = list(share)
    rounds = itertools.zip_longest(*hosts.gathered(own))
    return (video for videos in rounds for video in videos if video is not None)


def truth(video: readers.Video) -> Callable[[int], Int32[np.ndarray, "H W"]] | None:
    """What `Frame.truth` gives of each frame; nothing is read before it is called.

    Instances are numbered from 1 in the order of their ids, and what is ignored is
    background. Where masks overlap, the pixel has the highest number.
    """
    if not video.annotated:
        return None
    numbers = functools.cache(
        lambda: {id: n for n, id in enumerate(sorted(video.categories), start=1)}
    )

    def of_frame(index: int) -> Int32[np.ndarray, "H W"]:
        labels = np.zeros((video.height, video.width), np.int32)
        for id, mask in sorted(encoded_video.labels(video, index).masks.items()):
            labels[mask] = numbers()[id]
        return labels

    return of_frame
