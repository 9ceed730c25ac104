"""HOTA: detection and association weighed alike, over 19 thresholds of localisation.

Source: Luiten et al., HOTA, IJCV 2021; JonathonLuiten/TrackEval, `HOTA`.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from stemseg_jax.evaluation import pairing as pairing_lib
from stemseg_jax.evaluation.pairing import EPSILON, Pairing

ALPHAS = np.arange(0.05, 0.99, 0.05)


class Counts(NamedTuple):
    """One sequence, at each alpha; associations are sums over the true positives."""

    tp: Float[np.ndarray, "A"]
    fn: Float[np.ndarray, "A"]
    fp: Float[np.ndarray, "A"]
    iou: Float[np.ndarray, "A"]
    association: Float[np.ndarray, "A"]
    association_recall: Float[np.ndarray, "A"]
    association_precision: Float[np.ndarray, "A"]


def count(pairing: Pairing) -> Counts:
    """The counts of one sequence, from a pairing without ignored predictions.

    One assignment per frame serves all alpha: it maximises IoU times the alignment of
    the two tracks over the whole sequence. A matched pair is a true positive of alpha
    if its IoU reaches alpha; with c such pairs of the same two tracks, its association
    is c / (masks of either track that are not in such a pair + c).
    """
    truth, predicted = pairing.truth, pairing.predicted
    shape = (truth.num_tracks, predicted.num_tracks)
    two_tracks = truth.tracks[pairing.rows], predicted.tracks[pairing.columns]
    objects = np.bincount(truth.tracks, minlength=shape[0])[:, None]
    predictions = np.bincount(predicted.tracks, minlength=shape[1])[None, :]

    total = np.bincount(pairing.rows, pairing.iou, len(truth.frames))[pairing.rows]
    total += np.bincount(pairing.columns, pairing.iou, len(predicted.frames))[
        pairing.columns
    ]
    together = np.zeros(shape)
    np.add.at(together, two_tracks, pairing.iou / (total - pairing.iou))
    alignment = together / np.maximum(objects + predictions - together, 1)

    chosen = pairing_lib.assign(pairing, alignment[two_tracks] * pairing.iou)
    reaches = pairing.iou >= ALPHAS[:, None] - EPSILON  # [A pairs]
    alpha, pair = np.nonzero(reaches & chosen)
    matches = np.zeros((len(ALPHAS), *shape))
    np.add.at(matches, (alpha, two_tracks[0][pair], two_tracks[1][pair]), 1)
    tp = matches.sum(axis=(1, 2))

    def over_true_positives(masks):
        return (matches * matches / np.maximum(masks, 1)).sum(axis=(1, 2))

    return Counts(
        tp=tp,
        fn=len(truth.frames) - tp,
        fp=len(predicted.frames) - tp,
        iou=np.bincount(alpha, pairing.iou[pair], len(ALPHAS)),
        association=over_true_positives(objects + predictions - matches),
        association_recall=over_true_positives(objects),
        association_precision=over_true_positives(predictions),
    )


def figures(
    sequences: Sequence[Counts], weights: Int[np.ndarray, "sequences"] | None = None
) -> dict[str, list[float] | float]:
    """All figures of TrackEval at each alpha, their means, and those at the first.

    Associations and LocA are averaged over the true positives of all sequences.

    Args:
        weights: How often each sequence counts; once, if not given.
    """
    if weights is None:
        weights = np.ones(len(sequences), int)
    tp, fn, fp, iou, *associations = np.tensordot(weights, sequences, axes=1)
    association, recall, precision = (sums / np.maximum(tp, 1) for sums in associations)
    det_a = tp / np.maximum(tp + fn + fp, 1)
    det_re = tp / np.maximum(tp + fn, 1)
    curves = {
        "HOTA": np.sqrt(det_a * association),
        "DetA": det_a,
        "AssA": association,
        "DetRe": det_re,
        "DetPr": tp / np.maximum(tp + fp, 1),
        "AssRe": recall,
        "AssPr": precision,
        "LocA": np.where(tp > 0, iou / np.maximum(tp, 1), 1.0),
        "OWTA": np.sqrt(det_re * association),
    }
    at_first = curves["HOTA"][0], curves["LocA"][0]
    return {
        **{name: curve.tolist() for name, curve in curves.items()},
        **{f"{name}_mean": float(curve.mean()) for name, curve in curves.items()},
        "HOTA_TP": tp.tolist(),
        "HOTA_FN": fn.tolist(),
        "HOTA_FP": fp.tolist(),
        "HOTA(0)": float(at_first[0]),
        "LocA(0)": float(at_first[1]),
        "HOTALocA(0)": float(at_first[0] * at_first[1]),
    }
