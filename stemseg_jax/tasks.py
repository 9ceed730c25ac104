"""The official files of each task: how they are written, and read again."""

import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import DATASETS, export, youtube_vis
from stemseg_jax.formats import coco_json, davis_png, files, mots_txt
from stemseg_jax.outputs import davis_results, mots_results, ytvis_results
from stemseg_jax.tracks import VideoTracks

EXPORTED = "valid"  # the split as which videos are written in YouTube-VIS form
EVALUATED = "evaluated.json"  # the config of an evaluation, beside its predictions
Found = Mapping[str, Callable[[], VideoTracks]]  # by the names of videos


class Form(NamedTuple):
    """The official files of a task."""

    # Writes results to a folder, given the annotations; gives what scoring takes.
    write: Callable[[pathlib.Path, Iterable[VideoTracks], Any], pathlib.Path]
    # Finds the results of each video in such a folder, given the annotations, if any.
    read: Callable[[pathlib.Path, Any], Found]
    # Writes a dataset's annotations to a folder (and gives what scoring takes), and
    # reads such a folder; none: official annotations are scored, and no others.
    export: Callable[[readers.Dataset, pathlib.Path], pathlib.Path] | None = None
    load: Callable[[pathlib.Path], readers.Dataset] | None = None
    splits: tuple[str, ...] = ()  # with public annotations, if a reader cannot tell
    numbered: bool = False  # results call videos by the numbers of an annotation file
    classes: bool = False  # every track needs one
    max_tracks: int | None = None  # of a video


def official(config: ConfigDict) -> pathlib.Path:
    """The annotations that `evaluation.ground_truth` names.

    Raises:
        ValueError: They are not there.
    """
    root = config.data.root or os.environ.get("STEMSEG_DATA", "")
    truth = pathlib.Path(root).expanduser() / config.evaluation.ground_truth
    if not truth.exists():
        raise ValueError(
            f"evaluation.ground_truth: {truth} is not there; expected the official "
            "annotations of the task, below data.root or STEMSEG_DATA."
        )
    return truth


def numbering(config: ConfigDict, exported: pathlib.Path | None) -> pathlib.Path | None:
    """The annotation file by whose numbers results call their videos.

    Args:
        exported: Where annotations were written for want of official ones, if so.

    Raises:
        ValueError: The task has numbers, and there is no such file.
    """
    evaluation = config.evaluation
    if not FORMS[evaluation.task].numbered:
        return None
    if exported:
        return exported / f"{EXPORTED}.json"
    return official(config) if evaluation.ground_truth else listing(config)


def listing(config: ConfigDict) -> pathlib.Path:
    """The file that numbers the videos of a set without annotations."""
    evaluation = config.evaluation
    if evaluation.dataset not in youtube_vis.NAMES:
        raise ValueError(
            f"evaluation.dataset={evaluation.dataset!r} is not annotated, and has no "
            f"numbers of videos for results of {evaluation.task}; expected one of "
            f"{', '.join(youtube_vis.NAMES)}."
        )
    path, _ = youtube_vis.annotation_file(
        config.data.root, evaluation.split, name=evaluation.dataset
    )
    return path


def _export_davis(dataset, folder, *, single=False):
    export.write_davis(dataset, folder, "val", single=single)
    return folder


def _write_davis(folder, videos, truth):
    del truth
    for video in videos:
        davis_results.write(folder, video)
    return folder


def _read_davis(folder, truth):
    del truth
    return {
        path.name: functools.partial(davis_results.read, path)
        for path in files.listed(folder)
        if path.is_dir()
    }


def _write_youtube_vis(folder, videos, truth):
    ids = {video.name: video.id for video in coco_json.read_videos(truth).videos}
    return ytvis_results.write(folder, videos, ids)


def _read_youtube_vis(folder, truth):
    listed = truth and {v.id: v for v in coco_json.read_videos(truth).videos}
    return ytvis_results.read(folder / "results.json", listed)


def _load_kitti(folder):
    sequences = sorted(f.stem for f in (folder / "instances_txt").glob("*.txt"))
    return DATASETS["kitti_mots"](folder, "train", sequences=sequences)


def _export_cars(dataset, folder):
    """What is no pedestrian is a car."""
    others = {"pedestrian": mots_txt.PEDESTRIAN}
    kinds = {c: others.get(x, mots_txt.CAR) for c, x in dataset.categories.items()}
    return export.write_kitti_mots(dataset, folder, classes=kinds)


def _write_mots(first_frame, prepared=mots_results.clean):
    def write(folder, videos, truth):
        del truth
        for video in map(prepared, videos):
            mots_results.write(folder, video, first_frame=first_frame)
            mots_results.write_scores(folder, video)
        return folder

    return write


def _read_mots(first_frame):
    def read(folder, truth):
        del truth
        return {
            path.stem: functools.partial(
                mots_results.read, path, first_frame=first_frame
            )
            for path in files.listed(folder, "*.txt")
        }

    return read


_DAVIS = Form(
    _write_davis, _read_davis, splits=("val",), max_tracks=davis_png.MAX_OBJECTS
)
_YOUTUBE_VIS = Form(
    _write_youtube_vis,
    _read_youtube_vis,
    export=lambda dataset, folder: export.write_youtube_vis(dataset, folder, EXPORTED),
    load=lambda folder: DATASETS["own"](folder, EXPORTED),
    numbered=True,
    classes=True,
)
FORMS = {
    "davis19": _DAVIS._replace(
        export=_export_davis, load=lambda folder: DATASETS["davis19"](folder, "val")
    ),
    "davis16": _DAVIS._replace(
        export=functools.partial(_export_davis, single=True),
        load=lambda folder: DATASETS["davis16"](folder, "val"),
    ),
    "ytvis": _YOUTUBE_VIS,
    "ovis": _YOUTUBE_VIS,
    "proposals": _YOUTUBE_VIS._replace(classes=False),
    "kitti_mots": Form(
        _write_mots(first_frame=0),
        _read_mots(first_frame=0),
        export=export.write_kitti_mots,
        load=_load_kitti,
        classes=True,
    ),
    # For systems that tell no classes apart; `clean`, which is STEm-Seg's, is left out.
    "kitti_mots_cars": Form(
        _write_mots(first_frame=0, prepared=mots_results.cars),
        _read_mots(first_frame=0),
        export=_export_cars,
        load=_load_kitti,
    ),
    "mots_challenge": Form(
        _write_mots(first_frame=1), _read_mots(first_frame=1), classes=True
    ),
}
