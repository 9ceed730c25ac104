"""F of DAVIS: how well the outlines of two label maps agree, for all pairs at once.

The official program dilates two outlines per pair of objects and frame. Here every
label is one bit of an integer, so that a dilation moves all objects of a frame
together, and it is carried out only where an outline of the other map lies.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

GROUP = 64  # labels in one integer


class Outlines(NamedTuple):
    """The pixels of a frame that lie on an outline, and on whose."""

    rows: Int[np.ndarray, "Q"]
    columns: Int[np.ndarray, "Q"]
    owners: np.ndarray  # [Q] unsigned; bit k belongs to the k-th label


def tolerance(height: int, width: int) -> int:
    """Pixels by which outlines may differ: 0.8 % of the diagonal, rounded up."""
    return math.ceil(0.008 * math.hypot(height, width))


def f_measure(
    truth: UInt8[np.ndarray, "H W"],
    proposals: UInt8[np.ndarray, "H W"],
    num_objects: int,
    num_proposals: int,
) -> Float[np.ndarray, "G P"]:
    """F of every pair of labels, 1..num_objects against 1..num_proposals.

    Precision is the share of the proposal's outline that is at most `tolerance` away
    from the object's, recall the reverse, F their harmonic mean. Two labels without an
    outline agree (1); one with and one without do not (0).

    Source: davis2017-evaluation, `f_measure`.
    """
    scores = np.zeros((num_objects, num_proposals))
    for row in range(0, num_objects, GROUP):
        for column in range(0, num_proposals, GROUP):
            block = scores[row : row + GROUP, column : column + GROUP]
            block[:] = _f_of_group(truth, proposals, row, column, *block.shape)
    return scores


def outlines(labels: UInt8[np.ndarray, "H W"], skipped: int, count: int) -> Outlines:
    """Outlines of the labels skipped+1 .. skipped+count.

    A pixel is on the outline of a label if some, but not all, of itself and its
    neighbours to the right, below, and right-below carry it. Beyond the frame the last
    row and column are repeated.
    """
    padded = np.pad(labels, ((0, 1), (0, 1)), mode="edge")
    own = padded[:-1, :-1]
    neighbours = (padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:])
    mixed = np.zeros(labels.shape, bool)
    for neighbour in neighbours:
        mixed |= own != neighbour
    # `np.nonzero` of two axes takes five times as long.
    rows, columns = np.divmod(np.flatnonzero(mixed), labels.shape[1])
    dtype = np.min_scalar_type(2**count - 1)
    bits = np.zeros(256, dtype)
    bits[skipped + 1 : skipped + 1 + count] = 1 << np.arange(count, dtype=dtype)
    owners = bits[own[rows, columns]]
    for neighbour in neighbours:
        owners |= bits[neighbour[rows, columns]]
    kept = owners != 0
    return Outlines(rows[kept], columns[kept], owners[kept])


def within_reach(points: Outlines, targets: Outlines, radius: int) -> np.ndarray:
    """For each of the points the owners of all targets at most `radius` away.

    A disk is a stack of horizontal runs. The targets are smeared sideways, one pixel
    after the other; when the smear is as wide as some rows of the disk, the points look
    up and down by these rows.
    """
    reached = np.zeros(len(points.rows), targets.owners.dtype)
    close, near = _near_each_other(points, targets, radius)
    if not len(close) or not len(near):
        return reached
    top, left = points.rows[close].min(), points.columns[close].min()
    height = points.rows[close].max() - top + 1 + 2 * radius
    width = points.columns[close].max() - left + 1 + 2 * radius
    marked = np.zeros((height, width), targets.owners.dtype)
    rows, columns = targets.rows[near], targets.columns[near]
    marked[rows - top + radius, columns - left + radius] = targets.owners[near]
    at = (points.rows[close] - top + radius) * width
    at += points.columns[close] - left + radius
    found = np.zeros(len(close), marked.dtype)
    smeared = marked.copy()
    for reach in range(radius + 1):
        if reach:
            smeared[:, reach:] |= marked[:, :-reach]
            smeared[:, :-reach] |= marked[:, reach:]
        for step in range(radius + 1):
            if math.isqrt(radius**2 - step**2) == reach:
                found |= smeared.ravel()[at + step * width]
                found |= smeared.ravel()[at - step * width]
    reached[close] = found
    return reached


def _near_each_other(points: Outlines, targets: Outlines, radius: int):
    """Which of the points lie in the box of the targets or at most `radius` beside it,
    and which of the targets so near the box of these points.
    """
    close = near = np.arange(0)
    if len(points.rows) and len(targets.rows):
        close = np.flatnonzero(_in_box(points, targets, slice(None), radius))
    if len(close):
        near = np.flatnonzero(_in_box(targets, points, close, radius))
    return close, near


def _in_box(some: Outlines, others: Outlines, chosen, radius: int):
    inside = np.ones(len(some.rows), bool)
    for own, other in ((some.rows, others.rows), (some.columns, others.columns)):
        other = other[chosen]
        inside &= (own >= other.min() - radius) & (own <= other.max() + radius)
    return inside


def _f_of_group(truth, proposals, skipped_objects, skipped_proposals, rows, columns):
    radius = tolerance(*truth.shape)
    true = outlines(truth, skipped_objects, rows)
    proposed = outlines(proposals, skipped_proposals, columns)
    owned = _one_column_per_bit(true.owners, rows)  # [Q G]
    claimed = _one_column_per_bit(proposed.owners, columns)  # [R P]
    near_proposal = _one_column_per_bit(within_reach(true, proposed, radius), columns)
    near_object = _one_column_per_bit(within_reach(proposed, true, radius), rows)

    found = owned.T @ near_proposal  # [G P]
    correct = near_object.T @ claimed
    size_true = owned.sum(axis=0, dtype=np.float64)[:, None]
    size_proposed = claimed.sum(axis=0, dtype=np.float64)[None, :]
    recall = found / np.maximum(size_true, 1)
    precision = correct / np.maximum(size_proposed, 1)
    both = precision + recall
    f = 2 * precision * recall / np.where(both > 0, both, 1)
    return np.where((size_true == 0) & (size_proposed == 0), 1.0, f)


def _one_column_per_bit(owners, count):
    """The bits as float32 zeros and ones, whose sums are exact up to 2^24 pixels."""
    octets = owners.astype(owners.dtype.newbyteorder("<")).view(np.uint8)
    octets = octets.reshape(len(owners), owners.dtype.itemsize)
    bits = np.unpackbits(octets, axis=1, count=count, bitorder="little")
    return bits.astype(np.float32)
