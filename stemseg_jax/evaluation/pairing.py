"""Who overlaps whom in a sequence: what all tracking metrics are computed from."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment

EPSILON = np.finfo(float).eps


class Masks(NamedTuple):
    """The masks of one class in a sequence, frame after frame."""

    frames: Int[np.ndarray, "M"]  # ascending
    tracks: Int[np.ndarray, "M"]  # 0 .. number of tracks - 1

    @property
    def num_tracks(self) -> int:
        return int(self.tracks.max(initial=-1)) + 1

    def take(self, chosen: Bool[np.ndarray, "M"]) -> "Masks":
        """The chosen masks; tracks that have none left are no longer counted."""
        _, tracks = np.unique(self.tracks[chosen], return_inverse=True)
        return Masks(self.frames[chosen], tracks)


class Pairing(NamedTuple):
    """Annotated and predicted masks of one class, and the pairs that overlap."""

    num_frames: int
    truth: Masks
    predicted: Masks
    rows: Int[np.ndarray, "pairs"]  # in truth, ascending
    columns: Int[np.ndarray, "pairs"]  # in predicted
    iou: Float[np.ndarray, "pairs"]  # above 0
    ignored_share: Float[np.ndarray, "P"]  # of a predicted mask in ignore regions

    @property
    def frames(self) -> Int[np.ndarray, "pairs"]:
        return self.truth.frames[self.rows]

    def pairs(self, chosen: Bool[np.ndarray, "pairs"]) -> "Pairing":
        """The same masks with only the chosen pairs."""
        return self._replace(
            rows=self.rows[chosen], columns=self.columns[chosen], iou=self.iou[chosen]
        )

    def reaching(self, iou: float) -> "Pairing":
        """The pairs of at least this IoU, with TrackEval's tolerance."""
        return self.pairs(self.iou >= iou - EPSILON)

    def without_predictions(self, dropped: Bool[np.ndarray, "P"]) -> "Pairing":
        """The same sequence as if those masks had not been predicted."""
        kept = ~dropped
        left = self.pairs(kept[self.columns])
        return left._replace(
            predicted=self.predicted.take(kept),
            columns=(np.cumsum(kept) - 1)[left.columns],
            ignored_share=self.ignored_share[kept],
        )


def contested(pairing: Pairing) -> Int[np.ndarray, "frames"]:
    """Frames in which a mask is in two pairs; elsewhere every pair is a match."""
    in_truth = np.bincount(pairing.rows, minlength=1)[pairing.rows] > 1
    in_predicted = np.bincount(pairing.columns, minlength=1)[pairing.columns] > 1
    return np.unique(pairing.frames[in_truth | in_predicted])


def assign(
    pairing: Pairing, scores: Float[np.ndarray, "pairs"]
) -> Bool[np.ndarray, "pairs"]:
    """The pairs of the assignment with the largest sum of scores in each frame."""
    chosen = np.ones(len(scores), bool)
    for frame in contested(pairing).tolist():
        own, chosen_here = assign_frame(pairing, scores, frame)
        chosen[own] = chosen_here
    return chosen


def assign_frame(
    pairing: Pairing, scores: Float[np.ndarray, "pairs"], frame: int
) -> tuple[slice, Bool[np.ndarray, "pairs_of_frame"]]:
    """The pairs of one frame, and which of them the best assignment has.

    The matrix is laid out as in TrackEval, so that of equally good assignments the same
    is found.
    """
    top, bottom = np.searchsorted(pairing.truth.frames, [frame, frame + 1])
    left, right = np.searchsorted(pairing.predicted.frames, [frame, frame + 1])
    own = slice(*np.searchsorted(pairing.rows, [top, bottom]))
    rows, columns = pairing.rows[own] - top, pairing.columns[own] - left
    matrix = np.zeros((bottom - top, right - left))
    matrix[rows, columns] = scores[own]
    partner = np.full(len(matrix), -1)
    matched, partners = linear_sum_assignment(matrix, maximize=True)
    partner[matched] = partners
    return own, partner[rows] == columns


def without_ignored(pairing: Pairing) -> Pairing:
    """Drops predictions that match nothing and lie mostly in ignore regions."""
    close = pairing.reaching(0.5)
    matched = np.zeros(len(pairing.predicted.frames), bool)
    matched[close.columns[assign(close, close.iou)]] = True
    return pairing.without_predictions(
        ~matched & (pairing.ignored_share > 0.5 + EPSILON)
    )
