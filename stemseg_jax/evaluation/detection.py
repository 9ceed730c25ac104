"""How well objects are found frame by frame, whatever becomes of their identities.

Source: Hu, Kendall, Cipolla (arXiv 1912.08969), Sec. 5.1: average precision, recall and
    precision of images, beside tracking. A hit is a pair of IoU above 1/2, of which a
    mask can be in one at most. Their precision-recall curves are not printed; here the
    area is exact, below precisions that do not rise with recall, as in Pascal VOC 2010.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from stemseg_jax.evaluation.pairing import Pairing
from stemseg_jax.evaluation.scored import Figures


class Counts(NamedTuple):
    """The predicted masks of one class in a sequence that are not to be ignored."""

    hits: Bool[np.ndarray, "P"]
    scores: Float[np.ndarray, "P"] | None  # none: there is no average precision
    truths: int


def count(own: Pairing, scores: Float[np.ndarray, "P"] | None) -> Counts:
    """What a sequence says.

    Args:
        scores: Of each predicted mask, the confidence that it is an object.
    """
    hits = np.zeros(len(own.predicted.frames), bool)
    hits[own.columns[own.iou > 0.5]] = True
    counted = hits | (own.ignored_share <= 0.5)
    return Counts(
        hits=hits[counted],
        scores=None if scores is None else scores[counted],
        truths=len(own.truth.frames),
    )


def figures(
    sequences: Sequence[Counts],
    weights: Int[np.ndarray, "sequences"],
    *,
    switches: int,
) -> Figures:
    """Of all sequences together.

    Args:
        weights: How often each counts.
        switches: Of identities; the rate is of true masks.
    """
    repeated = [
        part
        for part, times in zip(sequences, weights, strict=True)
        for _ in range(int(times))
    ]
    hits = np.concatenate([part.hits for part in repeated] or [np.zeros(0, bool)])
    truths = sum(part.truths for part in repeated)
    found = {
        "recall": int(hits.sum()) / truths if truths else 0.0,
        "precision": float(hits.mean()) if len(hits) else 0.0,
        "IDS rate": switches / truths if truths else 0.0,
    }
    scores = [part.scores for part in repeated]
    if not repeated or any(part is None for part in scores):
        return found
    return {"AP50": average_precision(np.concatenate(scores), hits, truths), **found}


def average_precision(
    scores: Float[np.ndarray, "P"], hits: Bool[np.ndarray, "P"], truths: int
) -> float:
    """The area below the precision over recall; 0 without a truth.

    Masks of equal scores are found together.
    """
    if not truths or not len(hits):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    found, tried = np.cumsum(hits[order]), np.arange(1, len(hits) + 1)
    last = np.append(np.diff(scores[order]) != 0, True)  # of its score
    recall, precision = found[last] / truths, found[last] / tried[last]
    ceiling = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * ceiling).sum())
