"""Tracking of masks, as KITTI MOTS and MOTSChallenge measure it.

A sequence is read, checked, and reduced to the IoU of the masks that overlap; from
these come, class by class, CLEAR (`clear.py`), HOTA (`hota.py`), IDF1 (`identity.py`)
and, of tracks with scores, AP of single frames (`detection.py`).
"""

import configparser
import functools
import logging
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from pycocotools import mask as coco

from stemseg_jax.evaluation import clear, detection, hota, identity, pairing
from stemseg_jax.evaluation.pairing import Masks, Pairing
from stemseg_jax.evaluation.scored import Figures, Progress, Scored
from stemseg_jax.formats import files, images, mots_txt, rle, track_scores

Frames = Sequence[Sequence[mots_txt.Line]]  # the lines of each frame
Size = tuple[int, int]  # height, width
HOTA_FIGURES = ("HOTA", "DetA", "AssA", "LocA")
# Beside the annotations, of the frames of a sequence.
FRAMES = ("training/image_02", "image_02", "images", "instances", "training/instances")
CLASSES = {"car": mots_txt.CAR, "pedestrian": mots_txt.PEDESTRIAN}


class Benchmark(NamedTuple):
    """In what the benchmarks differ."""

    classes: tuple[str, ...]
    first_frame: int


BENCHMARKS = {
    "kitti_mots": Benchmark(("car", "pedestrian"), first_frame=0),
    "kitti_mots_cars": Benchmark(("car",), first_frame=0),
    "mots_challenge": Benchmark(("pedestrian",), first_frame=1),
}


class SequenceFile(NamedTuple):
    """Annotations of one sequence."""

    file: pathlib.Path
    num_frames: int


class Counts(NamedTuple):
    """One class in one sequence, as each program counts."""

    mots: clear.Counts
    clear: clear.Counts
    hota: hota.Counts
    identity: dict[str, int]
    detections: detection.Detections | None  # None: tracks have no scores


class Programs(NamedTuple):
    """All figures, under the names that the official programs give them."""

    mots_tools: dict
    clear: dict
    hota: dict
    identity: dict
    detection: Figures  # ours; empty where tracks have no scores


def score(
    ground_truth: pathlib.Path,
    results: pathlib.Path,
    *,
    benchmark: str = "kitti_mots",
    also_at: Size | None = None,
    progress: Progress = iter,
) -> Scored:
    """Scores a folder of text files, one sequence after the other.

    Args:
        ground_truth: KITTI: a folder with `*.txt` (or with them in `instances_txt` or
            `label_02`) and a seqmap, or that seqmap itself. The official archive has
            no seqmap: then those sequences count that have results, and are as long as
            their images or masks beside the folder say. MOTSChallenge: either the same,
            or a folder of sequences with `gt/gt.txt` and `seqinfo.ini`.
        results: A folder with `<sequence>.txt`, and with `<sequence>.scores.json`
            beside each if AP is wanted (see `track_scores`).
        also_at: A second size at which masks are scored, those of both sides brought to
            it (see `resized`). Its figures come beside those of the full size: their
            names end on it, and in the report they stand under it.

    Raises:
        ValueError: Missing or unknown files, tracks without a score among others that
            have one, and what `mots_txt.read` and `track_scores.read` refuse.
    """
    ground_truth, results = pathlib.Path(ground_truth), pathlib.Path(results)
    settings = BENCHMARKS[benchmark]
    sequences, known = find_sequences(ground_truth, results)
    _check_results(results, sequences, known)
    scores = {name: track_scores.read(results / f"{name}.txt") for name in sequences}
    _check_all_or_none(results, scores)
    sizes: dict[str, dict[str, dict[str, Counts]]] = {"": {}}
    if also_at:
        sizes[" at {}x{}".format(*also_at)] = {}
    for name in progress(list(sequences)):
        file, num_frames = sequences[name]
        truth = mots_txt.read(file, num_frames, settings.first_frame)
        predicted = mots_txt.read(
            results / f"{name}.txt", num_frames, settings.first_frame
        )
        _check_lines(
            truth, predicted, file, results / f"{name}.txt", settings.first_frame
        )
        _check_scored(predicted, scores[name], results / f"{name}.txt")
        for suffix, counts in sizes.items():
            if suffix:
                truth, predicted = resized(truth, also_at), resized(predicted, also_at)
            counts[name] = _by_class(truth, predicted, settings, scores[name])
    return Scored(
        videos=tuple(sequences),
        figures=functools.partial(_figures, sizes),
        table=functools.partial(_table, sizes),
        report=functools.partial(_report, sizes),
    )


def resized(frames: Frames, size: Size) -> Frames:
    """The masks brought to another size, without those that vanish."""
    return [
        [
            line._replace(mask=mask)
            for line in lines
            if coco.area(mask := rle.resized(line.mask, size))
        ]
        for lines in frames
    ]


def _by_class(
    truth: Frames,
    predicted: Frames,
    settings: Benchmark,
    scores: Mapping[int, float] | None,
) -> dict[str, Counts]:
    return {
        label: count(
            overlapping(truth, predicted, CLASSES[label]),
            # mots_tools begins at frame 0, whatever the number of the first.
            frames_to_average=len(truth) + settings.first_frame,
            scores=_of_masks(predicted, CLASSES[label], scores),
        )
        for label in settings.classes
    }


def count(
    own: Pairing,
    *,
    frames_to_average: int,
    scores: Float[np.ndarray, "P"] | None = None,
) -> Counts:
    """Counts one class of one sequence.

    Args:
        scores: Of the predicted masks, if there are any.
    """
    left = pairing.without_ignored(own)
    return Counts(
        mots=clear.count_mots(own, frames_to_average),
        clear=clear.count_clear(left),
        hota=hota.count(left),
        identity=identity.count(left),
        detections=None if scores is None else detection.count(own, scores),
    )


def overlapping(truth: Frames, predicted: Frames, category: int) -> Pairing:
    """The masks of one class, given frame by frame, and those pairs that overlap."""
    ids: tuple[list, list] = ([], [])
    lengths: tuple[list, list] = ([], [])
    pairs, shares = [], []
    for lines, lines_predicted in zip(truth, predicted, strict=True):
        objects = [line for line in lines if line.category == category]
        proposals = [line for line in lines_predicted if line.category == category]
        ignored = [line.mask for line in lines if line.category == mots_txt.IGNORE]
        iou = np.zeros((len(proposals), len(objects) + 1))
        if proposals and (objects or ignored):
            # The ignore regions are a crowd: what counts is the proposal's share.
            region = [coco.merge(ignored)] if ignored else []
            iou[:, : len(objects) + len(region)] = coco.iou(
                [line.mask for line in proposals],
                [line.mask for line in objects] + region,
                [0] * len(objects) + [1] * len(region),
            )
        rows, columns = np.nonzero(iou[:, :-1].T)
        pairs.append((rows + len(ids[0]), columns + len(ids[1]), iou[columns, rows]))
        shares.append(iou[:, -1])
        for side, found in enumerate((objects, proposals)):
            ids[side].extend(line.id for line in found)
            lengths[side].append(len(found))
    rows, columns, ious = map(np.concatenate, zip(*pairs, strict=True))
    return Pairing(
        num_frames=len(truth),
        truth=_masks(ids[0], lengths[0]),
        predicted=_masks(ids[1], lengths[1]),
        rows=rows,
        columns=columns,
        iou=ious,
        ignored_share=np.concatenate(shares),
    )


def figures(
    sequences: Mapping[str, Mapping[str, Counts]],
    weights: Int[np.ndarray, "sequences"] | None = None,
) -> Figures:
    """The figures that papers print, of each class, from sums over sequences."""
    return {
        f"{label} {name}": value
        for label in next(iter(sequences.values()))
        for name, value in headline(_of_all(sequences, label, weights)).items()
    }


def table(
    sequences: Mapping[str, Mapping[str, Counts]],
) -> list[tuple[str, Figures]]:
    """The headline figures of each class, sequence by sequence."""
    rows = []
    for label in next(iter(sequences.values())):
        for name, counts in sequences.items():
            rows.append((f"{name} {label}", headline(_of_sequence(counts[label]))))
        rows.append((f"all {label}", headline(_of_all(sequences, label))))
    return rows


def report(sequences: Mapping[str, Mapping[str, Counts]]) -> dict:
    """All figures of each class: over all sequences, and of each of them.

    `mots_tools` and `trackeval` hold what these programs print, under their names.
    """

    def full(programs: Programs):
        return {
            **headline(programs),
            "mots_tools": programs.mots_tools,
            "trackeval": {
                "CLEAR": programs.clear,
                "HOTA": programs.hota,
                "Identity": programs.identity,
            },
        }

    classes = list(next(iter(sequences.values())))
    return {
        **{label: full(_of_all(sequences, label)) for label in classes},
        "per_sequence": {
            name: {label: full(_of_sequence(counts[label])) for label in classes}
            for name, counts in sequences.items()
        },
    }


def headline(programs: Programs) -> Figures:
    """sMOTSA to ML as mots_tools has them, HOTA to IDF1 as TrackEval.

    "IDS rate" is the changes of identity for each annotated mask (0 without one). AP50
    is there if tracks have scores.
    """
    mots = programs.mots_tools
    return {
        "sMOTSA": mots["sMOTSA"],
        "MOTSA": mots["MOTSA"],
        "MOTSP": mots["MOTSP"],
        "recall": mots["recall"],
        "precision": mots["precision"],
        **programs.detection,
        "IDS": mots["id_switches"],
        "IDS rate": mots["id_switches"] / max(mots["n_gt"], 1),
        "TP": mots["tp"],
        "FP": mots["fp"],
        "FN": mots["fn"],
        "Frag": mots["fragments"],
        "MT": mots["MT"],
        "PT": mots["PT"],
        "ML": mots["ML"],
        **{name: programs.hota[f"{name}_mean"] for name in HOTA_FIGURES},
        "IDF1": programs.identity["IDF1"],
    }


def _figures(sizes: Mapping[str, Mapping], weights=None) -> Figures:
    return {
        f"{name}{suffix}": value
        for suffix, counts in sizes.items()
        for name, value in figures(counts, weights).items()
    }


def _table(sizes: Mapping[str, Mapping]) -> list[tuple[str, Figures]]:
    """All of the full size, and of another what stands for all sequences."""
    whole, *others = sizes
    return table(sizes[whole]) + [
        (f"all {label}{suffix}", headline(_of_all(sizes[suffix], label)))
        for suffix in others
        for label in next(iter(sizes[suffix].values()))
    ]


def _report(sizes: Mapping[str, Mapping]) -> dict:
    whole, *others = sizes
    further = {suffix.strip(): report(sizes[suffix]) for suffix in others}
    return {**report(sizes[whole]), **further}


def find_sequences(
    ground_truth: pathlib.Path, results: pathlib.Path
) -> tuple[dict[str, SequenceFile], set[str]]:
    """The sequences to be scored, and the names of all that are annotated."""
    if ground_truth.is_file():
        folder, maps = ground_truth.parent, [ground_truth]
    elif ground_truth.is_dir():
        folder = ground_truth
        maps = files.listed(folder, "*.seqmap*")
        maps = maps or files.listed(folder.parent, "*.seqmap*")
    else:
        raise ValueError(f"{ground_truth}: no such folder of annotations")
    annotated = [*folder.glob("*/gt/gt.txt")] or [*folder.glob("*/*/gt/gt.txt")]
    if annotated and not ground_truth.is_file():
        return _from_seqinfo(sorted(annotated))
    for inner in ("", "instances_txt", "label_02"):
        texts = {file.stem: file for file in files.listed(folder / inner, "*.txt")}
        if texts:
            break
    if not texts:
        raise ValueError(f"{ground_truth}: no annotations, neither *.txt nor gt/gt.txt")
    if not maps:
        return _with_results(folder, texts, results), {*texts}
    if len(maps) > 1:
        found = ", ".join(map(str, sorted(maps)))
        raise ValueError(
            f"{ground_truth}: expected one seqmap with the lengths of the sequences, "
            f"found {found}; give the one you mean as --ground_truth"
        )
    sequences = {}
    for number, line in enumerate(files.read_text(maps[0]).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            name, _, first, last = line.split()
            length = int(last) - int(first) + 1
        except ValueError:
            raise ValueError(
                f"{maps[0]}:{number}: expected `sequence empty first last`, found "
                f"{line!r}"
            ) from None
        if name not in texts:
            raise ValueError(f"{maps[0]}:{number}: no annotations of sequence {name}")
        if not 0 < length <= mots_txt.MOST_FRAMES:
            raise ValueError(f"{maps[0]}:{number}: a sequence of {length} frames")
        sequences[name] = SequenceFile(texts[name], length)
    return sequences, {*texts}


def _with_results(
    folder: pathlib.Path, texts: Mapping[str, pathlib.Path], results: pathlib.Path
) -> dict[str, SequenceFile]:
    """Without a seqmap: the annotated sequences that have results."""
    names = [name for name in sorted(texts) if (results / f"{name}.txt").is_file()]
    if left := sorted(texts.keys() - names):
        logging.warning("%s: not scored, without results: %s", folder, ", ".join(left))
    return {
        name: SequenceFile(texts[name], _length(texts[name], results / f"{name}.txt"))
        for name in names
    }


def _length(truth: pathlib.Path, result: pathlib.Path) -> int:
    """Frames of a sequence, from its images or masks, or as many as are spoken of."""
    for root in (truth.parents[1], truth.parent):
        for frames in FRAMES:
            paths = (root / frames / truth.stem).glob("*")
            if count := sum(images.is_image(path) for path in paths):
                return count
    lines = (files.read_text(truth) + "\n" + files.read_text(result)).splitlines()
    numbers = (line.split(maxsplit=1)[0] for line in lines if line.strip())
    frames = [int(n) for n in numbers if n.isdecimal() and len(n) < 7]
    return 1 + max(frames, default=0)


def _from_seqinfo(
    paths: Sequence[pathlib.Path],
) -> tuple[dict[str, SequenceFile], set[str]]:
    sequences = {}
    for file in paths:
        folder = file.parents[1]
        info = configparser.ConfigParser()
        try:
            info.read_string(files.read_text(folder / "seqinfo.ini"))
            length = info.getint("Sequence", "seqLength")
            if not 0 < length <= mots_txt.MOST_FRAMES:
                raise ValueError(f"{length} frames")
        except (configparser.Error, ValueError) as error:
            raise ValueError(
                f"{folder / 'seqinfo.ini'}: no length of the sequence ({error})"
            ) from error
        sequences[folder.name] = SequenceFile(file, length)
    chosen = paths[0].parents[2] / "seqmaps.txt"
    names = {*sequences}
    if chosen.is_file():
        names = {line.strip() for line in files.read_text(chosen).splitlines()[1:]} - {
            ""
        }
        for name in sorted(names - {*sequences}):
            raise ValueError(f"{chosen}: no annotations of sequence {name}")
    return {k: v for k, v in sequences.items() if k in names}, {*sequences}


def _check_results(results: pathlib.Path, sequences, annotated: set[str]) -> None:
    found = {file.stem for file in files.listed(results, "*.txt")}
    if not found:
        raise ValueError(f"{results}: no result files; expected one .txt per sequence")
    # Sequences of another split may be there as well.
    for name in sorted(found - annotated):
        raise ValueError(f"{results / name}.txt: no such sequence is annotated")
    for name in sequences:
        if name not in found:
            raise ValueError(f"{results / name}.txt is missing; it may be empty")


def _check_lines(truth, predicted, truth_file, file, first_frame: int) -> None:
    known = (*CLASSES.values(), mots_txt.IGNORE)
    size = None
    for where, frames in ((truth_file, truth), (file, predicted)):
        for frame, lines in enumerate(frames, start=first_frame):
            for line in lines:
                size = size or line.mask["size"]
                if line.category not in known:
                    raise ValueError(
                        f"{where}: frame {frame}, id {line.id}: class {line.category}; "
                        f"known are {known}"
                    )
                if line.mask["size"] != size:
                    raise ValueError(
                        f"{where}: frame {frame}, id {line.id}: a mask of size "
                        f"{line.mask['size']}; the sequence has {size}"
                    )


def _check_all_or_none(results: pathlib.Path, scores: Mapping[str, Any]) -> None:
    missing = sorted(name for name, own in scores.items() if own is None)
    if missing and len(missing) < len(scores):
        path = track_scores.beside(results / f"{missing[0]}.txt")
        raise ValueError(
            f"{path} is missing, but other sequences have scores of their tracks: AP "
            "needs all of them. Without any of these files there is no AP."
        )


def _check_scored(
    predicted: Frames, scores: Mapping[int, float] | None, file: pathlib.Path
) -> None:
    if scores is None:
        return
    known = {line.id for lines in predicted for line in lines}
    for missing in sorted(known - scores.keys()):
        raise ValueError(
            f"{track_scores.beside(file)}: no score of the id {missing}, which is in "
            f"{file.name}"
        )


def _of_masks(
    predicted: Frames, category: int, scores: Mapping[int, float] | None
) -> Float[np.ndarray, "P"] | None:
    """The scores of the masks of one class, each that of its track."""
    if scores is None:
        return None
    ids = [x.id for lines in predicted for x in lines if x.category == category]
    return np.array([scores[id] for id in ids], float)


def _masks(ids: list[int], lengths: list[int]) -> Masks:
    _, tracks = np.unique(np.array(ids, int), return_inverse=True)
    return Masks(np.repeat(np.arange(len(lengths)), lengths), tracks)


def _of_sequence(counts: Counts) -> Programs:
    return Programs(
        clear.mots_figures(counts.mots),
        clear.clear_figures_of_sequence(counts.clear),
        hota.figures([counts.hota]),
        identity.figures(counts.identity),
        _detection([counts.detections]),
    )


def _of_all(sequences, label: str, weights=None) -> Programs:
    counts = [of_classes[label] for of_classes in sequences.values()]
    if weights is None:
        weights = np.ones(len(counts), int)

    def total(of_sequences):
        return {
            key: sum(
                int(times) * own[key]
                for times, own in zip(weights, of_sequences, strict=True)
            )
            for key in of_sequences[0]
        }

    return Programs(
        clear.mots_figures(total([own.mots for own in counts])),
        clear.clear_figures(total([own.clear for own in counts])),
        hota.figures([own.hota for own in counts], weights),
        identity.figures(total([own.identity for own in counts])),
        _detection([own.detections for own in counts], weights),
    )


def _detection(
    sequences: list[detection.Detections | None],
    weights: Int[np.ndarray, "sequences"] | None = None,
) -> Figures:
    if any(own is None for own in sequences):
        return {}
    return {"AP50": detection.average_precision(sequences, weights)}
