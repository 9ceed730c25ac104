"""What is written for one video: its masks and tracks, and pictures of them.

The video is read twice. While it is labelled, the masks of all its tracks go to a log
on disk; which of them are kept, and under what ids, is known at the end. Then the
frames come again, to be painted.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging
from tqdm import tqdm

from stemseg_jax import choices, compilation, drawings, pipelining
from stemseg_jax.data import inputs
from stemseg_jax.formats import davis_png, images, rle, whole
from stemseg_jax.labelling import LabelledFrame, Labelling
from stemseg_jax.outputs import collector, davis_results, exports, mask_log, tracks_json
from stemseg_jax.recording import Recorded
from stemseg_jax.tracks import TrackStatistics, VideoTracks

MOST_TRACKS = 254  # that a palette PNG can tell apart
THREADS = min(os.cpu_count() or 1, 8)
FRAMES_AHEAD = 8
WRITER = "--mode=predict"  # of the folders, which it alone replaces
RECORD = "made_of.json"  # what they were made of
RECORDING = "recording.mp4"  # of a camera or a stream
LOG = "masks.jsonl"  # of a video that is being labelled: see outputs/mask_log.py
# Name -> the file or folder that it is.
FILES = {
    "masks": "masks",
    "tracks": "tracks.json",
    "panels": "panels.mp4",
    **{name: file for name, (file, _) in drawings.OF_TRACKS.items()},
    **{form: form for form in exports.FORMS},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outputs:
    """What is written for a video.

    Attributes:
        names: Of `FILES`.
        max_tracks: Of a video; the config's limit is that of a benchmark.
        min_score: In place of the config's `selection.min_score`.
        ground_truth: A folder of label maps, one for each frame, or of such folders by
            the names of videos; for "side_by_side".

    Raises:
        ValueError: For a name that is not known, or a number out of range.
    """

    names: tuple[str, ...] = ("masks", "tracks", "overlay")
    max_tracks: int = MOST_TRACKS
    min_score: float | None = None
    ground_truth: str | None = None

    def __post_init__(self):
        for name in self.names:
            choices.known("--outputs", name, FILES)
        if not 1 <= self.max_tracks <= MOST_TRACKS:
            raise ValueError(
                f"--max_tracks={self.max_tracks} is not from 1 to {MOST_TRACKS}, which "
                "is what the colours of a palette PNG can tell apart."
            )
        if self.min_score is not None and not 0 <= self.min_score <= 1:
            raise ValueError(f"--min_score={self.min_score:g} is not from 0 to 1.")
        if ("side_by_side" in self.names) != bool(self.ground_truth):
            raise ValueError(
                "--outputs=...,side_by_side and --ground_truth=FOLDER go together: "
                "name both or none."
            )

    def needs(self) -> dict[str, bool]:
        """Options of `Labelling`: what these outputs are drawn from."""
        panels = "panels" in self.names
        return {"images": panels, "maps": panels}

    def selection(self, of_config: Mapping[str, Any]) -> dict[str, Any]:
        """The options of `collector.select`."""
        chosen = {**of_config, "limit": self.max_tracks}
        if self.min_score is not None:
            chosen["min_score"] = self.min_score
        return chosen


class Written(NamedTuple):
    """What is known of a video whose results are written."""

    num_frames: int
    num_tracks: int
    fault: str = ""  # of a video whose first frames alone could be labelled
    stopped: bool = False  # by whoever waited for it
    failed: tuple[str, ...] = ()  # names of outputs that are not there
    left_out: Mapping[str, int] = {}  # tracks that are not written, by the reason


def write(
    labelling: Labelling,
    folder: pathlib.Path,
    outputs: Outputs,
    made_of: Mapping[str, Any] | None = None,
) -> Written:
    """Labels a video into a folder, which appears once all is in it.

    Ctrl-C ends the video there: what is labelled is written. If a picture or an export
    fails, that is a warning. A track has the same id, from 1, in all outputs.

    Args:
        made_of: By which `earlier` knows these results again.

    Raises:
        ValueError: If no frame can be read, or fewer can when they are read again, or
            there is a folder that was not written by this function.
    """
    source = labelling.source
    truth = _ground_truth(outputs.ground_truth, source)
    with whole.folder(folder, WRITER) as partial:
        if source.live:
            source = labelling.source = Recorded(source, partial / RECORDING)
        with mask_log.MaskLog(partial / LOG) as log:
            failed = _label(labelling, log, partial, outputs)
            written = _write_tracks(labelling, log, partial, outputs, truth)
        (partial / LOG).unlink()
        written = written._replace(failed=(*failed, *written.failed))
        again = None if labelling.stopped else made_of
        record = json.dumps({"made_of": again, **written._asdict()})
        (partial / RECORD).write_text(record + "\n")
    return written


def earlier(folder: pathlib.Path, outputs: Outputs, made_of: Mapping) -> Written | None:
    """What is in a folder, if it is whole and was made of the same."""
    try:
        held = json.loads((folder / RECORD).read_text())
        held_of = held.pop("made_of")
        written = Written(**{**held, "failed": tuple(held["failed"])})
        there = all((folder / FILES[name]).exists() for name in outputs.names)
        if held_of == made_of and there and not written.failed:
            return written
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # none, or not ours
    return None


def _write_tracks(
    labelling: Labelling,
    log: mask_log.MaskLog,
    folder: pathlib.Path,
    outputs: Outputs,
    truth: tuple[pathlib.Path, ...],
) -> Written:
    """All that waits for the end of the video."""
    source, names = labelling.source, outputs.names
    selection = outputs.selection(labelling.model.config.selection.to_dict())
    chosen = collector.select(labelling.statistics, **selection)
    tracks = log.tracks(source.name, (source.height, source.width), chosen)
    if "tracks" in names:
        tracks_json.write(
            folder / FILES["tracks"],
            tracks,
            fps=source.fps,
            categories=labelling.model.categories,
            details=_details(labelling.statistics, log.times, chosen, selection),
        )
    captions = {
        one.id: labelling.model.categories.get(one.category, "").replace("_", " ")
        for one in chosen
    }
    failed = [
        *_paint(
            drawings.Scene(source, tracks, log.times, captions, truth), folder, names
        ),
        *_export(tracks, folder, names, labelling.model.categories),
    ]
    return Written(
        num_frames=len(log),
        num_tracks=len(chosen),
        fault=str(labelling.fault or ""),
        stopped=labelling.stopped,
        failed=tuple(failed),
        left_out=collector.left_out(labelling.statistics, **selection),
    )


def _label(
    labelling: Labelling,
    log: mask_log.MaskLog,
    folder: pathlib.Path,
    outputs: Outputs,
) -> list[str]:
    """Fills the log, and draws what needs no more than that."""
    source = labelling.source
    drawn = []
    if "panels" in outputs.names:
        drawing = drawings.draw_panels(folder / FILES["panels"], source)
        drawn.append(drawings.Tolerated("panels", drawing))
    bar = _bar(labelling, f"track {source.name}", source.num_frames)
    with contextlib.ExitStack() as stack:
        stack.enter_context(bar)
        stack.enter_context(_compilation_told(bar))
        stack.enter_context(_on_ctrl_c(labelling.stop))
        for drawing in drawn:
            stack.enter_context(drawing)
        encoded = pipelining.in_order(_encode, bar, threads=THREADS, most=2 * THREADS)
        for frame, masks in encoded:
            log.append(frame.time, masks)
            for drawing in drawn:
                drawing.put(frame)
    return [drawing.name for drawing in drawn if drawing.failed]


def _encode(frame: LabelledFrame) -> tuple[LabelledFrame, dict[int, rle.Rle]]:
    return frame, {label: rle.encode(mask) for label, mask in frame.masks().items()}


def _paint(
    scene: drawings.Scene, folder: pathlib.Path, names: Sequence[str]
) -> list[str]:
    """Masks, and what is drawn of tracks, while the frames are read again.

    Raises:
        ValueError: If fewer can be read now.
    """
    drawn = [
        drawings.Tolerated(name, draw(folder / file, scene))
        for name, (file, draw) in drawings.OF_TRACKS.items()
        if name in names
    ]
    masks = folder / FILES["masks"] if "masks" in names else None
    if not drawn and not masks:
        return []
    if masks:
        masks.mkdir()
    total = scene.tracks.num_frames
    frames = itertools.islice(scene.source, total)
    frames = _bar(
        pipelining.ahead(frames, FRAMES_AHEAD), f"draw {scene.source.name}", total
    )
    paint = functools.partial(_paint_frame, scene.tracks, masks)
    painted = pipelining.in_order(paint, frames, threads=THREADS, most=2 * THREADS)
    count = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(_on_ctrl_c(lambda: [one.drop() for one in drawn]))
        for drawing in drawn:
            stack.enter_context(drawing)
        for frame in painted:
            count += 1
            for drawing in drawn:
                drawing.put(frame)
    if count < total:
        raise ValueError(
            f"{scene.source.name} had {total} frames when it was labelled, and has "
            f"{count} now. Label it when nobody changes it."
        )
    return [drawing.name for drawing in drawn if drawing.failed]


def _paint_frame(
    tracks: VideoTracks, masks: pathlib.Path | None, frame: inputs.InputFrame
) -> drawings.Painted:
    labels = davis_results.paint(tracks, frame.index)
    if masks:
        images.write_labels(masks / davis_png.frame_name(frame.index), labels)
    return drawings.Painted(*frame, labels)


def _details(
    statistics: Mapping[int, TrackStatistics],
    times: Sequence[float],
    chosen: Sequence[collector.Chosen],
    selection: Mapping[str, Any],
) -> tracks_json.Details:
    of = {one.id: statistics[one.label] for one in chosen}
    scored_by = {id: track.scored_by for id, track in of.items()}
    return tracks_json.Details(
        times=times,
        scored_by=scored_by,
        score={word: collector.SCORES[word] for word in {*scored_by.values()}},
        evidence={id: track.evidence for id, track in of.items()},
        joined={id: track.joined for id, track in of.items()},
        left_out=collector.left_out(statistics, **selection),
    )


def _export(
    tracks: VideoTracks,
    folder: pathlib.Path,
    names: Sequence[str],
    categories: Mapping[int, str],
) -> list[str]:
    """Results in official forms; names those that a form cannot say."""
    failed = []
    for form in exports.FORMS:
        if form not in names:
            continue
        try:
            exports.write(form, folder / FILES[form], tracks, categories)
        except ValueError as error:
            logging.warning("%s is not written: %s", form, error)
            failed.append(form)
    return failed


def _ground_truth(
    place: str | None, source: inputs.InputVideo
) -> tuple[pathlib.Path, ...]:
    """The label maps of a video's frames.

    Raises:
        ValueError: If there are not as many as frames.
    """
    if place is None:
        return ()
    folder = pathlib.Path(place)
    if (folder / source.name).is_dir():
        folder = folder / source.name
    found = images.natural(folder.glob("*.png"))
    if not found or source.num_frames not in (None, len(found)):
        raise ValueError(
            f"--ground_truth={folder}: {len(found)} PNGs, but {source.name} has "
            f"{source.num_frames} frames. Expected one label map for each frame, there "
            f"or in a folder {source.name!r} there."
        )
    return tuple(found)


def _bar(frames, description: str, total: int | None) -> tqdm:
    return tqdm(frames, desc=description, unit="frame", total=total, smoothing=0)


@contextlib.contextmanager
def _compilation_told(bar: tqdm) -> Iterator[None]:
    """Keeps the time that XLA compiles out of the bar's rate, and says it."""

    def leave_out(_, seconds: float) -> None:
        if not bar.disable:
            bar.start_t += seconds

    with compilation.watch(leave_out) as compiled:
        yield
    if compiled.programs:
        logging.info("Compiled %s, which the rate leaves out", compiled)


@contextlib.contextmanager
def _on_ctrl_c(stop: Callable[[], Any]) -> Iterator[None]:
    """Ctrl-C calls `stop` the first time, and interrupts as ever the second time."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupted(*_) -> None:
        signal.signal(signal.SIGINT, before)
        logging.warning("Ctrl-C: what is done so far is written; again to drop it.")
        stop()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
