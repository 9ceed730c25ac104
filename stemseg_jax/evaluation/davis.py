"""J and F of DAVIS: unsupervised (2019), semi-supervised (2017) and one object (2016).

A sequence is read frame by frame; all pairs of objects and proposals are scored at
once. What is kept of a frame is two matrices [objects, proposals].

Source: davisvideochallenge/davis2017-evaluation; fperazzi/davis for one object. With
more than 255 frames Decay differs from them: their quarter limits overflow.
"""

import functools
import math
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from scipy.optimize import linear_sum_assignment

from stemseg_jax.evaluation import boundary
from stemseg_jax.evaluation.scored import Figures, Progress, Scored
from stemseg_jax.formats import davis_png, files, images

VOID = davis_png.VOID
STATISTICS = ("Mean", "Recall", "Decay")
FIGURES = ("J&F-Mean", *(f"{m}-{s}" for m in "JF" for s in STATISTICS))


class ObjectScore(NamedTuple):
    """How well one object was segmented, frame by frame."""

    id: int
    proposal: int  # the label that was compared with it
    j: Float[np.ndarray, "T"]
    f: Float[np.ndarray, "T"]


class SequenceScore(NamedTuple):
    """The objects of one sequence, and what the assignment was made from."""

    objects: tuple[ObjectScore, ...]
    similarity: Float[np.ndarray, "P G"]  # mean over frames
    num_proposals: int
    num_frames: int


def score(
    ground_truth: pathlib.Path,
    results: pathlib.Path,
    *,
    split: str = "val",
    task: str = "unsupervised",
    progress: Progress = iter,
) -> Scored:
    """Scores a folder of palette PNGs, one sequence of the split after the other.

    Args:
        ground_truth: The root with `ImageSets` and `Annotations_unsupervised/480p`
            (unsupervised) or `Annotations/480p` (the other tasks).
        results: A folder of sequences of PNGs that are named as the annotations.

    Raises:
        ValueError: Names the file that is missing, of another size, in colour, or holds
            labels the task does not allow; or the sequence that DAVIS does not have.
    """
    if task not in TASKS:
        raise ValueError(f"task={task!r}; known are {'; '.join(TASKS)}")
    ground_truth, results = pathlib.Path(ground_truth), pathlib.Path(results)
    year = 2019 if task.startswith("unsupervised") else 2017
    annotations = ground_truth / davis_png.ANNOTATIONS[year] / "480p"
    if not annotations.is_dir():
        raise ValueError(f"{annotations}: no such folder; expected the root of DAVIS")
    lists = ("2016", "480p", "2017") if task == "single-object" else ("2017", "2019")
    names = davis_png.sequences(ground_truth, split, lists=lists)
    _check_folders(annotations, results, names)
    sequences = {}
    for name in progress(names):
        frames = _read_frames(annotations / name, results / name)
        try:
            sequences[name] = TASKS[task](frames)
        except ValueError as error:
            raise ValueError(f"{results}, sequence {name}: {error}") from error
    if not any(sequence.objects for sequence in sequences.values()):
        raise ValueError(f"{annotations}: no object in any first frame")
    return Scored(
        videos=tuple(sequences),
        figures=functools.partial(means, *rows_of(sequences)),
        table=functools.partial(table, sequences),
        report=functools.partial(report, sequences),
    )


def score_unsupervised(frames: Iterable, *, on_j_alone: bool = False) -> SequenceScore:
    """Objects against the proposals that the best assignment gives them.

    Objects are the labels up to the largest of the first frame; proposals all labels up
    to the largest of the result, at most 20. Void pixels (255) count for neither. The
    assignment has the largest sum of (mean J + mean F) / 2; proposals left over cost
    nothing, objects left over are compared with an empty mask.

    Args:
        frames: Pairs of label maps, the annotation and the result.
        on_j_alone: Whether the assignment looks at J only.
    """
    j, f, num_objects, num_proposals = [], [], None, 0
    for frame, (truth, proposals) in enumerate(frames):
        davis_png.check_labels(proposals, f"frame {frame}")
        if num_objects is None:
            num_objects = _highest_label(truth)
        num_proposals = max(num_proposals, int(proposals.max(initial=0)))
        proposals = proposals * (truth != VOID)
        truth = truth * (truth <= num_objects)
        columns = max(davis_png.MAX_OBJECTS, num_objects)
        j.append(jaccard(truth, proposals, num_objects, columns))
        f.append(boundary.f_measure(truth, proposals, num_objects, columns))
    columns = max(num_proposals, num_objects)
    j, f = np.stack(j)[..., :columns], np.stack(f)[..., :columns]  # [T G P]
    similarity = j.mean(axis=0)
    if not on_j_alone:
        similarity = (similarity + f.mean(axis=0)) / 2
    chosen = zip(*linear_sum_assignment(similarity, maximize=True), strict=True)
    objects = [
        ObjectScore(int(row) + 1, int(column) + 1, j[:, row, column], f[:, row, column])
        for row, column in chosen
    ]
    return SequenceScore(tuple(objects), similarity.T, num_proposals, len(j))


def score_semi_supervised(frames: Iterable) -> SequenceScore:
    """Objects against the label of the same number, without first and last frame.

    Objects are the labels up to the largest of the first frame, in which 255 is
    background, as it is everywhere here.
    """
    j, f, num_objects, num_proposals = [], [], None, 0
    for frame, (truth, proposals) in enumerate(frames):
        if num_objects is None:
            num_objects = _highest_label(truth)
        truth = truth * (truth <= num_objects)
        proposals = proposals * (proposals != VOID)
        highest = int(proposals.max(initial=0))
        if highest > num_objects:
            raise ValueError(
                f"frame {frame}: label {highest}, but the first annotated frame has "
                f"{num_objects} objects"
            )
        num_proposals = max(num_proposals, highest)
        j.append(np.diag(jaccard(truth, proposals, num_objects, num_objects)))
        f.append(
            np.diag(boundary.f_measure(truth, proposals, num_objects, num_objects))
        )
    j, f = np.stack(j)[1:-1], np.stack(f)[1:-1]  # [T G]
    if not len(j):
        raise ValueError("fewer than three frames, and first and last do not count")
    objects = [
        ObjectScore(k + 1, k + 1, j[:, k], f[:, k]) for k in range(num_objects or 0)
    ]
    similarity = np.diag((j.mean(axis=0) + f.mean(axis=0)) / 2)
    return SequenceScore(tuple(objects), similarity, num_proposals, len(j))


def score_single_object(frames: Iterable) -> SequenceScore:
    """The union of all labels, 255 included, as one object; else as semi-supervised."""
    return score_semi_supervised(
        ((truth > 0).astype(np.uint8), (proposals > 0).astype(np.uint8))
        for truth, proposals in frames
    )


TASKS = {
    "unsupervised": score_unsupervised,
    "unsupervised, on J alone": functools.partial(score_unsupervised, on_j_alone=True),
    "semi-supervised": score_semi_supervised,
    "single-object": score_single_object,
}


def jaccard(
    truth: UInt8[np.ndarray, "H W"],
    proposals: UInt8[np.ndarray, "H W"],
    num_objects: int,
    num_proposals: int,
) -> Float[np.ndarray, "G P"]:
    """Intersection over union of every pair of labels; 1 where both are empty."""
    columns = num_proposals + 1
    pairs = truth.astype(np.uint16) * np.uint16(columns) + proposals
    joint = np.bincount(pairs.ravel(), minlength=(num_objects + 1) * columns)
    joint = joint.reshape(num_objects + 1, columns)
    union = joint.sum(axis=1)[:, None] + joint.sum(axis=0)[None, :] - joint
    return np.where(union > 0, joint / np.maximum(union, 1), 1.0)[1:, 1:]


def statistics(values: Float[np.ndarray, "T"]) -> dict[str, float]:
    """Mean; share of frames above 0.5; mean of the first quarter less the last.

    Neighbouring quarters share a frame.
    """
    limits = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    first, last = values[: limits[1] + 1], values[limits[3] :]
    return {
        "Mean": float(values.mean()),
        "Recall": float((values > 0.5).mean()),
        "Decay": float(first.mean() - last.mean()),
    }


def rows_of(
    sequences: Mapping[str, SequenceScore],
) -> tuple[Float[np.ndarray, "objects S"], Int[np.ndarray, "objects"]]:
    """The statistics of every object, and the index of its sequence."""
    rows, owners = [], []
    for index, sequence in enumerate(sequences.values()):
        rows += [list(_of_object(score).values()) for score in sequence.objects]
        owners += [index] * len(sequence.objects)
    return np.array(rows, float).reshape(len(rows), 6), np.array(owners, int)


def means(
    rows: Float[np.ndarray, "objects S"],
    owners: Int[np.ndarray, "objects"],
    weights: Int[np.ndarray, "sequences"] | None = None,
) -> Figures:
    """Means over the objects of all sequences, not over sequences; NaN without any.

    Args:
        weights: How often each sequence counts; once, if not given.
    """
    counts = np.ones(len(rows), int) if weights is None else weights[owners]
    if not counts.sum():
        return dict.fromkeys(FIGURES, math.nan)
    j, *rest = np.average(rows, axis=0, weights=counts).tolist()
    j_and_f = (j + rest[len(STATISTICS) - 1]) / 2
    return dict(zip(FIGURES, [j_and_f, j, *rest], strict=True))


def figures(sequences: Mapping[str, SequenceScore]) -> Figures:
    """Every sequence once."""
    return means(*rows_of(sequences))


def table(sequences: Mapping[str, SequenceScore]) -> list[tuple[str, Figures]]:
    """The means of each sequence, then of all objects."""
    rows = [(name, figures({name: own})) for name, own in sequences.items()]
    return [*rows, ("all objects", figures(sequences))]


def report(sequences: Mapping[str, SequenceScore]) -> dict:
    """All figures: the set's, each sequence's, and each object's with every frame."""
    return {
        **figures(sequences),
        "per_sequence": {
            name: {
                **figures({name: sequence}),
                "num_frames": sequence.num_frames,
                "num_proposals": sequence.num_proposals,
                "matching_score": sequence.similarity.tolist(),
                "objects": [
                    {
                        "id": score.id,
                        "proposal": score.proposal,
                        **_of_object(score),
                        "J-per-frame": score.j.tolist(),
                        "F-per-frame": score.f.tolist(),
                    }
                    for score in sequence.objects
                ],
            }
            for name, sequence in sequences.items()
        },
    }


def _of_object(score: ObjectScore) -> dict[str, float]:
    j, f = statistics(score.j), statistics(score.f)
    return {f"J-{k}": v for k, v in j.items()} | {f"F-{k}": v for k, v in f.items()}


def _highest_label(truth: UInt8[np.ndarray, "H W"]) -> int:
    return int(truth[truth != VOID].max(initial=0))


def _check_folders(annotations: pathlib.Path, results: pathlib.Path, names: list[str]):
    if not results.is_dir():
        raise ValueError(f"{results}: no such folder of results")
    found = {folder.name for folder in files.listed(results) if folder.is_dir()}
    if not found:
        raise ValueError(f"{results}: no sequences; expected one folder for each")
    # Sequences of another split may be there as well.
    known = {folder.name for folder in annotations.iterdir()}
    for name in sorted(found - known - {*names}):
        raise ValueError(f"{results / name}: DAVIS has no sequence of this name")
    for name in names:
        if name not in found:
            raise ValueError(f"{results}: the sequence {name} is missing")
        if name not in known:
            raise ValueError(f"{annotations}: the sequence {name} is missing")


def _read_frames(annotations: pathlib.Path, results: pathlib.Path) -> Iterator:
    paths = files.listed(annotations, "*.png")
    if not paths:
        raise ValueError(f"{annotations} has no PNGs")
    names = [path.name for path in paths]
    size = images.size(paths[0])
    return zip(
        davis_png.read_frames(annotations, names, size),
        davis_png.read_frames(results, names, size),
        strict=True,
    )
