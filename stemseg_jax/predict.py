"""Labels videos, one after the other: the script of --mode=predict."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from absl import logging
from ml_collections import ConfigDict

from stemseg_jax import __version__, models, results
from stemseg_jax.data import inputs
from stemseg_jax.formats import whole
from stemseg_jax.outputs import exports, report
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
        "options": repr((outputs.of, choice, predictor.shots, predictor.rejoin)),
    }
    work = Work(predictor, pathlib.Path(output), outputs, made_by, overwrite)
    outcomes: list[Outcome] = []
    try:
        for place, source, fault in opened:
            if outcomes and outcomes[-1].state == STOPPED:
                outcomes.append(Outcome(place.name, STOPPED, fault="not begun"))
            else:
                alone = len(opened) == 1
                outcomes.append(_tried(work, place, source, fault, alone=alone))
    finally:
        if len(opened) > 1:
            print(report.table(list(map(_line, outcomes))))
    return outcomes


def _tried(
    work: Work,
    place: inputs.Place,
    source: inputs.InputVideo | None,
    fault: Exception | None,
    *,
    alone: bool,
) -> Outcome:
    """A fault of one of several videos is no reason to leave out the others."""
    try:
        if fault:
            raise fault
        return _label(work, place, source or place.open())
    except Exception as error:
        if alone or isinstance(error, whole.NotWritten):
            raise
        logging.error("%s", error)
        logging.debug("", exc_info=True)
        return Outcome(place.name, "failed", fault=str(error) or repr(error))


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
    truth = results.truth_files(work.outputs.ground_truth, place.name)
    made_of = {**work.made_by, "files": _stamps([*place.paths, *truth])}
    if not (work.overwrite or source.live):
        held = results.earlier(folder, work.outputs, made_of)
        if held:
            return _outcome(place.name, folder, held, "was there already")
    labelling = work.predictor.label(source, **work.outputs.needs())
    written = results.write(labelling, folder, work.outputs, made_of)
    return _outcome(place.name, folder, written, "done")


def _outcome(
    name: str, folder: pathlib.Path, written: results.Written, state: str
) -> Outcome:
    if written.stopped:
        return Outcome(name, STOPPED, folder, written, fault="stopped by Ctrl-C")
    missing = "".join(f", no {output}" for output in written.failed)
    cut = ", cut short" if written.fault else ""
    lost = [output for output in written.failed if output in exports.FORMS]
    fault = written.fault or "".join(f"{output} is not written. " for output in lost)
    return Outcome(name, state + cut + missing, folder, written, fault)


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
