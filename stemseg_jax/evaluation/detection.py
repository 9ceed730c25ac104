"""Masks of single frames, whoever they belong to: AP at an IoU of 1/2."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from stemseg_jax.evaluation import average_precision as ap
from stemseg_jax.evaluation.pairing import Pairing


class Detections(NamedTuple):
    """The predicted masks of one class in a sequence, frame after frame."""

    scores: Float[np.ndarray, "P"]
    true: Bool[np.ndarray, "P"]
    false: Bool[np.ndarray, "P"]  # neither: it lies in ignore regions
    objects: int  # to be found, in all frames


def count(pairing: Pairing, scores: Float[np.ndarray, "P"]) -> Detections:
    """Whether each predicted mask is a hit, by the rule of `clear.count_mots`."""
    true = np.zeros(len(scores), bool)
    true[pairing.columns[pairing.iou > 0.5]] = True
    ignored = pairing.ignored_share > 0.5
    return Detections(scores, true, ~true & ~ignored, len(pairing.truth.frames))


def average_precision(
    sequences: Sequence[Detections],
    weights: Int[np.ndarray, "sequences"] | None = None,
) -> float:
    """AP at an IoU of 1/2 of the masks of all frames; NaN without an object.

    The area under precision over recall as COCO has it: precision is made
    non-increasing and read at 101 recalls. Of equal scores, which the masks of a track
    have, the earlier sequence and frame comes first. Every mask counts, however many a
    frame has.

    Args:
        weights: How often each sequence counts; once, if not given.

    Source: COCOeval at the threshold 1/2. Differs in: the IoU exceeds 1/2, as in all
        figures of MOTS. Hu, Kendall and Cipolla print an AP without its rule: it is
        read as this one, but of the mean foreground in each mask, where the callers
        here have one score for all masks of a track.
    """
    scores, true, false = (
        np.concatenate([getattr(own, name) for own in sequences])
        for name in ("scores", "true", "false")
    )
    order = np.argsort(-scores, kind="stable")
    video = np.repeat(np.arange(len(sequences)), [len(own.scores) for own in sequences])
    ranking = ap.Ranking(
        video=video[order],
        place=np.zeros(len(order), int),  # none is one too many
        true=true[None, None, order],
        false=false[None, None, order],
        counted=np.array([[own.objects] for own in sequences]),
    )
    area = float(ap.average_precision(ranking, most=1, weights=weights)[0, 0])
    return area if area >= 0 else float("nan")
