"""The whole road on built-in data: train, score beside baselines, and show."""

import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from ml_collections import ConfigDict

from stemseg_jax import evaluate, models, sheets, tasks, track_masks, train
from stemseg_jax.data import readers
from stemseg_jax.formats import rle, whole
from stemseg_jax.outputs import report
from stemseg_jax.tracking import linking
from stemseg_jax.tracks import Track, VideoTracks

WRITES = ("scores.json", "overlays")
FIGURES = ("J&F-Mean", "J-Mean", "J-Recall", "F-Mean", "F-Recall")
WITH_CLASSES = ("AP", "AP50")  # of the task ytvis, if the model has classes


def run(config: ConfigDict, *, workdir: str) -> None:
    """Trains `config` into `workdir` and compares it with what needs no learning.

    Leaves `scores.json`, `contact_sheet.png` and `overlays/`. Beside the model, in each
    of `config.demo.variants`, stand its own masks of single frames, linked by what
    knows nothing of its embedding (`--mode=track_masks`); its tracks with classes drawn
    at random, if it has classes; the untrained network; and "one object": the true
    foreground of each frame, taken as a single object.
    """
    if config.evaluation.task != "davis19" or config.parity != "paper":
        raise ValueError(
            "--mode=demo compares J&F of the config's demo.variants: it needs "
            "evaluation.task='davis19' and parity='paper'."
        )
    for name, _ in config.demo.variants:
        whole.inside(workdir, name)  # refuses what would lead out
    report.refuse_foreign(pathlib.Path(workdir) / sheets.SHEET)
    with whole.lock(workdir, "demo", writes=WRITES):
        _run(config, pathlib.Path(workdir))


def _run(config: ConfigDict, folder: pathlib.Path) -> None:
    own = own_variant(config)
    train.run(config, str(folder))
    benchmarks = _benchmarks(config, folder)
    videos = benchmarks["davis19"].dataset.videos

    def score(name: str, tracks: Iterable[VideoTracks]) -> dict:
        print(f"\n{name}")
        tracks, found = list(tracks), {}
        for task, benchmark in benchmarks.items():
            place = folder / "predictions" / task
            said = benchmark.score(tracks, place / name, place / f"{name}.json")
            found |= {k: said[k] for k in WITH_CLASSES} if task == "ytvis" else said
        return found

    scores = {"model": {}}
    for name, changes in config.demo.variants:
        model = models.load(changed(config, changes), str(folder))
        tracks = list(evaluate.track(model, benchmarks["davis19"].dataset))
        scores[name] = score(name, tracks)
        if name == own:
            scores["model"], kept = scores[name], tracks
            sheets.show(folder, benchmarks["davis19"].dataset, tracks, model.categories)
    for cue, settings in track_masks.LINKINGS.items():
        scores[cue] = score(cue, _linked(kept, videos, settings))
    if model.categories:
        scores["random_class"] = score("random_class", with_random_classes(kept, model))
    untrained = models.initial(config)
    scores["untrained"] = score(
        "untrained", evaluate.track(untrained, benchmarks["davis19"].dataset)
    )
    scores["one_object"] = score("one_object", map(one_object, videos))
    whole.claim(folder, "scores.json")
    whole.write_text(folder / "scores.json", json.dumps(scores, indent=1) + "\n")
    print_summary(config, scores, folder)


def _benchmarks(
    config: ConfigDict, folder: pathlib.Path
) -> dict[str, evaluate.Benchmark]:
    """By task: that of the config, and that in which classes count."""
    tasks = ["davis19", "ytvis"] if config.model.num_classes else ["davis19"]
    return {
        task: evaluate.prepare(
            changed(config, {"evaluation": {"task": task}}),
            folder / "ground_truth" / task,
        )
        for task in tasks
    }


def _linked(
    tracks: Sequence[VideoTracks],
    videos: Sequence[readers.Video],
    settings: linking.Linking,
) -> Iterator[VideoTracks]:
    """The masks of tracks, with identities of another making."""
    look = track_masks.looks_of("real") if settings.by == "looks" else None
    for found, truth in zip(tracks, videos, strict=True):
        yield track_masks.tracked(
            track_masks.of_tracks(found),
            map(truth.frame, range(truth.num_frames)),
            settings,
            look=look,
            limit=tasks.FORMS["davis19"].max_tracks,
        )


def with_random_classes(
    tracks: Iterable[VideoTracks], model: models.Model
) -> Iterator[VideoTracks]:
    """The same masks; what the classes are worth shows the difference."""
    rng = np.random.default_rng(model.config.seed)
    numbers = sorted(model.categories)
    for found in tracks:
        own = [t._replace(category=int(rng.choice(numbers))) for t in found.tracks]
        yield found._replace(tracks=tuple(own))


def changed(config: ConfigDict, changes: Mapping) -> ConfigDict:
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config.update(changes)
    return config


def own_variant(config: ConfigDict) -> str:
    """The variant that is the config itself."""
    for name, changes in config.demo.variants:
        if changed(config, changes).to_dict() == config.to_dict():
            return name
    raise ValueError("demo.variants: none of them is the config as it is.")


def one_object(truth: readers.Video) -> VideoTracks:
    """A video's perfect foreground as a single track."""
    masks = (truth.clip([t]).masks.any(axis=(0, 1)) for t in range(truth.num_frames))
    track = Track(1, 1, 1.0, tuple(rle.encode(mask) for mask in masks))
    return VideoTracks(
        truth.name, truth.height, truth.width, truth.num_frames, (track,)
    )


def print_summary(config: ConfigDict, scores: dict, folder: pathlib.Path) -> None:
    titles = {
        name: f"model, {config.demo.caption.format(name)}"
        + " (scores.json: model)" * (name == own_variant(config))
        for name, _ in config.demo.variants
    }
    titles |= {cue: f"its masks, linked by {cue}" for cue in track_masks.LINKINGS}
    titles |= {
        "random_class": "its tracks, classes drawn at random",
        "untrained": "untrained network",
        "one_object": "perfect foreground as one object",
    }
    rows = [
        {"": title}
        | {
            name: float(scores[key][name])
            for name in FIGURES + WITH_CLASSES
            if name in scores[key]
        }
        for key, title in titles.items()
        if key in scores
    ]
    print("\n" + report.table(rows))
    print(
        f"\nScores    {folder}/scores.json"
        f"\nPictures  {folder}/{sheets.SHEET}"
        f"\nVideos    {folder}/overlays/ (truth on the left, model on the right)"
        f"\nOne page  stemseg --mode=report --input={folder}"
    )
