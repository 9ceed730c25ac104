"""Labels any video: palette masks, tracks, and an overlay to watch."""

import contextlib
import itertools
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from stemseg_jax import __version__, models
from stemseg_jax.data import inputs
from stemseg_jax.data.datasets import categories
from stemseg_jax.formats import images, whole
from stemseg_jax.outputs import (
    collector,
    davis_results,
    overlay,
    report,
    tracks_json,
    video,
)
from stemseg_jax.tracks import VideoTracks

MAX_TRACKS = 254  # that a palette PNG can tell apart
RECORD = "made_of.json"  # what results were made of


class Result(NamedTuple):
    """What is written for a video."""

    masks: pathlib.Path  # a folder of palette PNGs, one per frame
    tracks: pathlib.Path  # see outputs/tracks_json.py
    overlay: pathlib.Path
    num_frames: int
    num_tracks: int
    fault: str = ""  # of a video whose first frames alone could be read


class Outcome(NamedTuple):
    """What became of one of several videos."""

    name: str
    state: str
    result: Result | None = None
    fault: str = ""


def run(
    config: ConfigDict,
    *,
    checkpoint: str,
    sources: Sequence[str],
    output: str,
    overwrite: bool = False,
) -> list[Outcome]:
    """Labels the videos that `sources` stand for, each into `output/<its name>/`.

    Of several videos those with a fault are told, and the others are labelled. Results
    that the same weights, config and files gave before are left as they are.

    Args:
        sources: As `inputs.places` takes them.
        overwrite: Label all anew.

    Raises:
        ValueError: If no video can be opened, or the checkpoint belongs to another
            model.
        NotWritten: If results cannot be written.
    """
    opened = [(place, *_opened(place)) for place in inputs.places(*sources)]
    if not any(source for _, source, _ in opened):
        raise ValueError("\n".join(str(fault) for _, _, fault in opened))
    model = models.load(config, checkpoint)
    made_by = {"program": __version__, "model": model.digest()}
    outcomes = []
    for place, source, fault in opened:
        result, state = None, "done"
        try:
            if fault:
                raise fault
            made_of = {**made_by, "files": _stamps(place.paths)}
            folder = whole.inside(output, place.name)
            if not overwrite and (result := earlier(folder, made_of)):
                state = "was there already"
            else:
                result = predict_video(model, source, pathlib.Path(output), made_of)
            if result.fault:
                state += ", cut short"
            outcomes.append(Outcome(place.name, state, result, result.fault))
        except (ValueError, OSError) as error:
            if len(opened) == 1 or isinstance(error, whole.NotWritten):
                raise
            logging.error("%s", error)
            outcomes.append(Outcome(place.name, "failed", fault=str(error)))
    if len(outcomes) > 1:
        print(report.table(list(map(_line, outcomes))))
    return outcomes


def _opened(
    place: inputs.Place,
) -> tuple[inputs.InputVideo | None, Exception | None]:
    try:
        return place.open(), None
    except ValueError as error:
        return None, error


def _line(outcome: Outcome) -> dict[str, str | int | None]:
    result = outcome.result
    return {
        "video": outcome.name,
        "frames": result and result.num_frames,
        "tracks": result and result.num_tracks,
        "": outcome.state,
    }


def _stamps(paths: Sequence[pathlib.Path]) -> list[list]:
    """Path, bytes and time of change of each file."""
    stats = [(path.absolute(), path.stat()) for path in paths]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]


def earlier(folder: pathlib.Path, made_of: Mapping) -> Result | None:
    """The results in a folder, if they are whole and were made of the same."""
    try:
        held = json.loads((folder / RECORD).read_text())
        held_of = held.pop("made_of")
        result = _result(folder, **held)
        files = (result.masks, result.tracks, result.overlay)
        if held_of == made_of and all(path.exists() for path in files):
            return result
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, or not ours
    return None


def _result(folder: pathlib.Path, **known) -> Result:
    names = ("masks", "tracks.json", "overlay.mp4")
    return Result(*(folder / name for name in names), **known)


def category_names(config: ConfigDict) -> Mapping[int, str]:
    """What the model calls its classes; empty if they have no names."""
    return categories.of_model(config.model.categories, config.model.num_classes)


def predict_video(
    model: models.Model,
    source: inputs.InputVideo,
    output: pathlib.Path,
    made_of: Mapping | None = None,
) -> Result:
    """Labels one video into `output/<name>/`, which appears once all is in it.

    The source is read twice: which tracks are drawn is known only at the end. A track
    has the same id, from 1, in the masks, in the JSON and in the overlay. Of a video
    that is damaged or cut short the frames before are labelled.

    Args:
        made_of: By which `earlier` knows these results again.

    Raises:
        ValueError: If no frame of the source can be read, or `output/<name>` is there
            and was not written by this function.
    """
    selection, names = model.config.selection, category_names(model.config)
    folder = whole.inside(output, source.name)
    with whole.folder(folder, "--mode=predict") as partial:
        readable = Readable(source)
        labels, statistics = track(model, readable)
        limit = min(selection["limit"], MAX_TRACKS)
        chosen = collector.select(statistics, **{**selection, "limit": limit})
        tracks = labels.tracks(
            source.name,
            chosen,
            progress=lambda frames: _bar(frames, f"masks of {source.name}"),
        )
        known = {
            "num_frames": tracks.num_frames,
            "num_tracks": len(tracks.tracks),
            "fault": str(readable.fault or ""),
        }
        result = _result(partial, **known)
        tracks_json.write(result.tracks, tracks, fps=source.fps, categories=names)
        draw(result, source, tracks, names)
        record = json.dumps({"made_of": made_of, **known})
        (partial / RECORD).write_text(record + "\n")
    logging.info(
        "%s: %d track(s) in %d frame(s), written to %s",
        *(source.name, len(tracks.tracks), tracks.num_frames, folder),
    )
    if readable.fault:
        logging.error("%s What was read is labelled.", readable.fault)
    if not tracks.tracks:
        logging.warning(
            "%s: no object was found. What a model finds is what it was trained on "
            "(docs/model_card.md for the weights 'real'); "
            "--config.selection.min_score=0 keeps what is doubtful.",
            source.name,
        )
    return _result(folder, **known)


class Readable:
    """The frames of a video up to the first that cannot be read.

    Attributes:
        fault: What is wrong with that one, once it was reached.
    """

    fault: inputs.BrokenVideoError | None = None

    def __init__(self, source: inputs.InputVideo):
        self.source = source

    def __iter__(self) -> Iterator[inputs.InputFrame]:
        try:
            yield from self.source
        except inputs.BrokenVideoError as error:
            if not error.frames_read:
                raise
            self.fault = error


def track(model: models.Model, frames: Readable) -> models.Tracked:
    """The labels of all frames, with a progress bar."""
    source = frames.source
    bar = _bar(frames, f"track {source.name}", total=source.num_frames)
    with bar, _without_compilation(bar):
        return model.track(frame.image for frame in bar)


def draw(
    files: Result,
    source: inputs.InputVideo,
    tracks: VideoTracks,
    names: Mapping[int, str],
) -> None:
    """Masks and overlay of the frames that were labelled.

    Raises:
        ValueError: If fewer can be read now.
    """
    files.masks.mkdir()
    captions = {
        track.id: names.get(track.category, "").replace("_", " ")
        for track in tracks.tracks
    }
    scale = overlay.enlargement(source.height, source.width)
    frames = itertools.islice(source, tracks.num_frames)
    frames = _bar(frames, f"draw {source.name}", total=tracks.num_frames)
    index = -1
    with video.Writer(files.overlay, fps=source.fps) as writer:
        for index, image, _ in frames:
            labels = davis_results.paint(tracks, index)
            images.write_labels(files.masks / f"{index:05d}.png", labels)
            writer.write(overlay.draw(image, labels, captions, scale=scale))
    if index + 1 < tracks.num_frames:
        raise ValueError(
            f"{source.name} had {tracks.num_frames} frames when it was labelled, and "
            f"has {index + 1} now. Label it when nobody changes it."
        )


def _bar(frames, description: str, **options) -> tqdm:
    return tqdm(frames, desc=description, unit="frame", smoothing=0, **options)


@contextlib.contextmanager
def _without_compilation(bar: tqdm) -> Iterator[None]:
    """Keeps the time that XLA compiles out of the bar's rate, and says it."""
    compilation = 0.0

    def listen(event: str, seconds: float, **_) -> None:
        nonlocal compilation
        if event == "/jax/core/compile/backend_compile_duration":
            compilation += seconds
            if not bar.disable:
                bar.start_t += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    if compilation:
        logging.info("Compiled in %.1f s, which the rate leaves out", compilation)
