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
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import UInt8
from tqdm import tqdm

from stemseg_jax import choices, compilation, drawings, pipelining
from stemseg_jax.data import inputs
from stemseg_jax.formats import davis_png, images, rle, whole
from stemseg_jax.interruption import Interruption
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
    **{name: file for name, (file, _) in drawings.OF_FRAMES.items()},
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

    @property
    def of(self) -> tuple:
        """What makes other results, whatever the order of the names."""
        return tuple(sorted(self.names)), self.max_tracks, self.min_score

    def needs(self) -> dict[str, bool]:
        """Options of `Labelling`: what these outputs are drawn from."""
        drawn = not drawings.OF_FRAMES.keys().isdisjoint(self.names)
        return {"images": drawn, "maps": drawn}

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
    stopped: bool = False  # by Ctrl-C
    failed: tuple[str, ...] = ()  # names of outputs that are not there
    left_out: Mapping[str, int] = {}  # tracks that are not written, by the reason


def write(
    labelling: Labelling,
    folder: pathlib.Path,
    outputs: Outputs,
    made_of: Mapping[str, Any] | None = None,
) -> Written:
    """Labels a video into a folder, which appears once all is in it.

    Ctrl-C ends the video there, and what is labelled is written; after its last frame
    Ctrl-C gives up pictures that are not drawn yet. A second one drops everything. If a
    picture or an export fails, that is a warning. A track has the same id, from 1, in
    all outputs.

    Args:
        made_of: By which `earlier` knows these results again.

    Raises:
        ValueError: If no frame can be read, an output cannot hold what the model
            finds, or there is a folder that was not written by this function.
    """
    for form in exports.FORMS:
        if form in outputs.names:
            exports.check(form, labelling.model.categories)
    source = labelling.source
    with whole.folder(folder, WRITER) as partial:
        if source.live:
            source = labelling.source = Recorded(source, partial / RECORDING)
        with mask_log.MaskLog(partial / LOG) as log:
            failed = _label(labelling, log, partial, outputs)
            with Interruption("Pictures that are not drawn yet are given up.") as stop:
                written = _write_all(labelling, log, partial, outputs, stop)
        (partial / LOG).unlink()
        written = written._replace(failed=(*failed, *written.failed))
        # Who finds them whole need not know that Ctrl-C came when all was drawn.
        held = written._replace(stopped=False)._asdict()
        held["made_of"] = None if labelling.stopped else made_of
        (partial / RECORD).write_text(json.dumps(held) + "\n")
    _tell(source.name, folder, written)
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


def truth_files(place: str | None, name: str) -> list[pathlib.Path]:
    """The label maps of a video's frames, in order."""
    if place is None:
        return []
    folder = pathlib.Path(place)
    folder = folder / name if (folder / name).is_dir() else folder
    return images.natural(folder.glob("*.png"))


def _label(
    labelling: Labelling,
    log: mask_log.MaskLog,
    folder: pathlib.Path,
    outputs: Outputs,
) -> list[str]:
    """Fills the log, and draws what needs no more than a frame and its maps.

    Returns:
        Names of drawings that failed.
    """
    source = labelling.source
    drawn = [
        drawings.Tolerated(name, draw(folder / file, source))
        for name, (file, draw) in drawings.OF_FRAMES.items()
        if name in outputs.names
    ]
    bar = _bar(labelling, f"track {source.name}", source.num_frames)
    encoded = pipelining.in_order(_encode, bar, threads=THREADS, most=2 * THREADS)
    with contextlib.ExitStack() as stack:
        stack.enter_context(bar)
        stack.enter_context(_compilation_told(bar))
        stop = stack.enter_context(
            Interruption("The video ends here; what is labelled is written.")
        )
        for drawing in drawn:
            stack.enter_context(drawing)
        for frame, masks in encoded:
            log.append(frame.time, masks)
            for drawing in drawn:
                drawing.put(frame)
            if stop.requested:
                labelling.stop()
    return [drawing.name for drawing in drawn if drawing.failed]


def _encode(frame: LabelledFrame) -> tuple[LabelledFrame, dict[int, rle.Rle]]:
    return frame, {label: rle.encode(mask) for label, mask in frame.masks().items()}


def _write_all(
    labelling: Labelling,
    log: mask_log.MaskLog,
    folder: pathlib.Path,
    outputs: Outputs,
    stop: Interruption,
) -> Written:
    """All that waits for the end of the video."""
    source, categories = labelling.source, labelling.model.categories
    selection = outputs.selection(labelling.model.config.selection.to_dict())
    chosen = collector.select(labelling.statistics, **selection)
    left_out = collector.left_out(labelling.statistics, **selection)
    tracks = log.tracks(source.name, (source.height, source.width), chosen)
    if "tracks" in outputs.names:
        tracks_json.write(
            folder / FILES["tracks"],
            tracks,
            fps=source.fps,
            categories=categories,
            details=_details(labelling.statistics, log.times, chosen, left_out),
        )
    failed = _export(tracks, folder, outputs.names, categories)
    captions = {
        one.id: categories.get(one.category, "").replace("_", " ") for one in chosen
    }
    truth = truth_files(outputs.ground_truth, source.name)
    scene = drawings.Scene(source, tracks, log.times, captions, truth)
    failed += _paint(scene, folder, outputs.names, stop)
    return Written(
        num_frames=len(log),
        num_tracks=len(chosen),
        fault=str(labelling.fault or ""),
        stopped=labelling.stopped or stop.requested,
        failed=tuple(failed),
        left_out=left_out,
    )


def _details(
    statistics: Mapping[int, TrackStatistics],
    times: Sequence[float],
    chosen: Sequence[collector.Chosen],
    left_out: Mapping[str, int],
) -> tracks_json.Details:
    of = {one.id: statistics[one.label] for one in chosen}
    scored_by = {id: track.scored_by for id, track in of.items()}
    return tracks_json.Details(
        times=times,
        scored_by=scored_by,
        score={word: collector.SCORES[word] for word in {*scored_by.values()}},
        evidence={id: track.evidence for id, track in of.items()},
        joined={id: track.joined for id, track in of.items()},
        left_out=left_out,
    )


def _export(
    tracks: VideoTracks,
    folder: pathlib.Path,
    names: Sequence[str],
    categories: Mapping[int, str],
) -> list[str]:
    """Results in official forms; names those that cannot hold the tracks."""
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


def _paint(
    scene: drawings.Scene,
    folder: pathlib.Path,
    names: Sequence[str],
    stop: Interruption,
) -> list[str]:
    """Masks, for which the log suffices, and what is drawn of tracks while the frames
    are read again.

    Returns:
        Names of drawings that failed.
    """
    masks = folder / FILES["masks"] if "masks" in names else None
    drawn = [
        drawings.Tolerated(name, draw(folder / file, scene))
        for name, (file, draw) in drawings.OF_TRACKS.items()
        if name in names
    ]
    if masks:
        masks.mkdir()
    elif not drawn:
        return []
    total = scene.tracks.num_frames
    paint = functools.partial(_paint_frame, scene.tracks, masks)
    indices = _bar(range(total), f"draw {scene.source.name}", total)
    painted = pipelining.in_order(paint, indices, threads=THREADS, most=2 * THREADS)
    frames = pipelining.ahead(_again(scene), FRAMES_AHEAD)
    with contextlib.closing(frames), contextlib.ExitStack() as stack:
        for drawing in drawn:
            stack.enter_context(drawing)
        for labels in painted:
            if stop.requested:
                for drawing in drawn:
                    drawing.drop()
            wanted = [drawing for drawing in drawn if not drawing.failed]
            try:
                frame = next(frames) if wanted else None
            except (ValueError, OSError, RuntimeError) as error:
                for drawing in wanted:
                    drawing.drop(f"the video cannot be read again: {error}")
                continue
            for drawing in wanted:
                drawing.put(drawings.Painted(*frame, labels))
    return [drawing.name for drawing in drawn if drawing.failed]


def _again(scene: drawings.Scene) -> Iterator[inputs.InputFrame]:
    """As many frames as were labelled."""
    total, count = scene.tracks.num_frames, 0
    for frame in itertools.islice(scene.source, total):
        yield frame
        count += 1
    if count < total:
        raise ValueError(
            f"{scene.source.name} had {total} frames when it was labelled, and has "
            f"{count} now. Label it when nobody changes it."
        )


def _paint_frame(
    tracks: VideoTracks, masks: pathlib.Path | None, index: int
) -> UInt8[np.ndarray, "H W"]:
    labels = davis_results.paint(tracks, index)
    if masks:
        images.write_labels(masks / davis_png.frame_name(index), labels)
    return labels


def _tell(name: str, folder: pathlib.Path, written: Written) -> None:
    """What was found, or what to try where nothing was."""
    logging.info(
        "%s: %d track(s) in %d frame(s), written to %s",
        *(name, written.num_tracks, written.num_frames, folder),
    )
    for reason, count in written.left_out.items():
        logging.info("%s: %d track(s) left out: %s", name, count, reason)
    if written.fault:
        logging.error("%s What was read is labelled.", written.fault)
    if not written.num_tracks:
        logging.warning(
            "%s: no object was found. What a model finds is what it was trained on "
            "(docs/model_card.md for the weights 'real'); --min_score=0 keeps what is "
            "doubtful.",
            name,
        )


def _bar(frames, description: str, total: int | None) -> tqdm:
    return tqdm(frames, desc=description, unit="frame", total=total, smoothing=0)


@contextlib.contextmanager
def _compilation_told(bar: tqdm) -> Iterator[None]:
    """Keeps the time that XLA compiles out of the bar's rate, and says it."""

    def leave_out(_, seconds: float) -> None:
        if not bar.disable:
            # Programs may be compiled side by side.
            bar.start_t = min(bar.start_t + seconds, time.time())

    with compilation.watch(leave_out) as compiled:
        yield
    if compiled.programs:
        logging.info("Compiled %s, which the rate leaves out", compiled)
