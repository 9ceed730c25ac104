"""Labels videos, one after the other: the script of --mode=predict."""

import contextlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging
from ml_collections import ConfigDict

from stemseg_jax import __version__, device_memory, geometry, models, results
from stemseg_jax.data import inputs
from stemseg_jax.formats import whole
from stemseg_jax.outputs import report
from stemseg_jax.predictor import Predictor

STOPPED = "stopped"


class Outcome(NamedTuple):
    """What became of one of several videos."""

    name: str
    state: str
    folder: pathlib.Path | None = None
    written: results.Written | None = None
    fault: str = ""


class Work(NamedTuple):
    """What is done with each video."""

    predictor: Predictor
    output: pathlib.Path
    outputs: results.Outputs
    made_by: Mapping[str, Any]
    overwrite: bool


def run(
    config: ConfigDict,
    *,
    checkpoint: str,
    sources: Sequence[str],
    output: str,
    outputs: results.Outputs | None = None,
    choice: inputs.FrameChoice | None = None,
    shots: bool | None = None,
    rejoin: float | int | None = None,
    overwrite: bool = False,
) -> list[Outcome]:
    """Labels the videos that `sources` stand for, each into `output/<its name>/`.

    Of several videos those with a fault are told, and the others are labelled. Results
    that the same weights, config, files and options gave before are left as they are.

    Args:
        sources: As `inputs.places` takes them.
        choice: Which frames of each.
        shots, rejoin: As of `Predictor`.
        overwrite: Label all anew.

    Raises:
        ValueError: If no video can be opened, or the checkpoint belongs to another
            model.
        NotWritten: If results cannot be written.
    """
    outputs, choice = outputs or results.Outputs(), choice or inputs.FrameChoice()
    places = inputs.places(*sources, choice=choice)
    opened = [(place, *_opened(place)) for place in places]
    if all(fault for _, _, fault in opened):
        raise ValueError("\n".join(str(fault) for _, _, fault in opened))
    predictor = Predictor(models.load(config, checkpoint), shots=shots, rejoin=rejoin)
    made_by = {
        "program": __version__,
        "model": predictor.model.digest(),
        "options": repr((outputs, choice, predictor.shots, predictor.rejoin)),
    }
    work = Work(predictor, pathlib.Path(output), outputs, made_by, overwrite)
    outcomes: list[Outcome] = []
    for place, source, fault in opened:
        try:
            if outcomes and outcomes[-1].state == STOPPED:
                outcome = Outcome(place.name, STOPPED, fault="not begun")
            elif fault:
                raise fault
            else:
                outcome = _label(work, place, source or place.open())
        except (ValueError, OSError, device_memory.OutOfDeviceMemoryError) as error:
            if len(opened) == 1 or isinstance(error, whole.NotWritten):
                raise
            logging.error("%s", error)
            outcome = Outcome(place.name, "failed", fault=str(error))
        outcomes.append(outcome)
    if len(outcomes) > 1:
        print(report.table(list(map(_line, outcomes))))
    return outcomes


def _opened(
    place: inputs.Place,
) -> tuple[inputs.InputVideo | None, Exception | None]:
    """The video, or what is wrong with it; neither of a live one, which waits."""
    if place.live:
        return None, None
    try:
        return place.open(), None
    except ValueError as error:
        return None, error


def _label(work: Work, place: inputs.Place, source: inputs.InputVideo) -> Outcome:
    """Labels a video, unless that was done."""
    folder = whole.inside(work.output, place.name)
    made_of = {**work.made_by, "files": _stamps(place.paths)}
    if not (work.overwrite or source.live):
        held = results.earlier(folder, work.outputs, made_of)
        if held:
            return _outcome(place.name, folder, held, "was there already")
    labelling = work.predictor.label(source, **work.outputs.needs())
    with _memory_explained(source, work.predictor.model.config):
        written = results.write(labelling, folder, work.outputs, made_of)
    _tell(source, folder, written)
    return _outcome(place.name, folder, written, "done")


def _memory_explained(
    source: inputs.InputVideo, config: ConfigDict
) -> contextlib.AbstractContextManager:
    rule = geometry.SizeRule(
        min_dim=config.evaluation.min_dim, max_dim=config.evaluation.max_dim
    )
    resized = rule.resized(source.height, source.width)
    return device_memory.explained(
        f"labelling {source.name}, which the network sees as {resized[0]} x "
        f"{resized[1]}",
        *device_memory.to_label(resized=resized, dtype=config.model.dtype),
    )


def _outcome(
    name: str, folder: pathlib.Path, written: results.Written, state: str
) -> Outcome:
    if written.stopped:
        return Outcome(name, STOPPED, folder, written, fault="stopped by Ctrl-C")
    missing = "".join(f", no {output}" for output in written.failed)
    cut = ", cut short" if written.fault else ""
    return Outcome(name, state + cut + missing, folder, written, written.fault)


def _tell(
    source: inputs.InputVideo, folder: pathlib.Path, written: results.Written
) -> None:
    """What was found, or what to try where nothing was."""
    logging.info(
        "%s: %d track(s) in %d frame(s), written to %s",
        *(source.name, written.num_tracks, written.num_frames, folder),
    )
    for reason, count in written.left_out.items():
        logging.info("%s: %d track(s) left out: %s", source.name, count, reason)
    if written.fault:
        logging.error("%s What was read is labelled.", written.fault)
    if not written.num_tracks:
        logging.warning(
            "%s: no object was found. What a model finds is what it was trained on "
            "(docs/model_card.md for the weights 'real'); --min_score=0 keeps what is "
            "doubtful.",
            source.name,
        )


def _line(outcome: Outcome) -> dict[str, str | int | None]:
    written = outcome.written
    return {
        "video": outcome.name,
        "frames": written and written.num_frames,
        "tracks": written and written.num_tracks,
        "": outcome.state,
    }


def _stamps(paths: Sequence[pathlib.Path]) -> list[list]:
    """Path, bytes and time of change of each file."""
    stats = [(path.absolute(), path.stat()) for path in paths]
    return [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in stats]
