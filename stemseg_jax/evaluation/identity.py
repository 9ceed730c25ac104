"""IDF1: how much of a sequence one assignment of whole tracks explains.

Source: Ristani et al., ECCV Workshops 2016; JonathonLuiten/TrackEval, `Identity`.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from stemseg_jax.evaluation.pairing import Pairing


def count(pairing: Pairing) -> dict[str, int]:
    """Masks that agree (IoU of at least 1/2) under the best assignment of tracks."""
    together = np.zeros((pairing.truth.num_tracks, pairing.predicted.num_tracks), int)
    close = pairing.pairs(pairing.iou >= 0.5)
    tracks = (
        pairing.truth.tracks[close.rows],
        pairing.predicted.tracks[close.columns],
    )
    np.add.at(together, tracks, 1)
    agree = int(together[linear_sum_assignment(together, maximize=True)].sum())
    return {
        "IDTP": agree,
        "IDFN": len(pairing.truth.frames) - agree,
        "IDFP": len(pairing.predicted.frames) - agree,
    }


def figures(counts: dict[str, int]) -> dict[str, int | float]:
    """Recall, precision and F1 of identities; 0 where there is nothing."""
    tp, fn, fp = counts["IDTP"], counts["IDFN"], counts["IDFP"]
    return {
        **counts,
        "IDR": tp / max(tp + fn, 1),
        "IDP": tp / max(tp + fp, 1),
        "IDF1": tp / max(tp + fn / 2 + fp / 2, 1),
    }
