"""How well two label maps agree, and which label of one is which of the other."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32
from optax import assignment


def joint_counts(
    rows: Int32[Array, "*p"],
    columns: Int32[Array, "*p"],
    *,
    num_rows: int,
    num_columns: int,
) -> Int32[Array, "{num_rows}+1 {num_columns}+1"]:
    """Counts points by their two labels.

    Points with a label outside 0 ... num - 1 are counted in the last row or column, so
    a row's sum is the size of that label.
    """
    rows = jnp.where((rows < 0) | (rows > num_rows), num_rows, rows)
    columns = jnp.where((columns < 0) | (columns > num_columns), num_columns, columns)
    pairs = (rows * (num_columns + 1) + columns).ravel()
    bins = (num_rows + 1) * (num_columns + 1)
    counts = jax.ops.segment_sum(jnp.ones_like(pairs), pairs, bins)
    return counts.reshape(num_rows + 1, num_columns + 1)


def iou(counts: Int32[Array, "rows columns"]) -> Float[Array, "rows-1 columns-1"]:
    """Intersection over union of each pair of labels, from `joint_counts`.

    0 where a label has no point.
    """
    intersection = counts[:-1, :-1]
    union = counts.sum(axis=1)[:-1, None] + counts.sum(axis=0)[:-1] - intersection
    return intersection / jnp.maximum(union, 1).astype(jnp.float32)


def best_rows(scores: Float[Array, "R C"]) -> Int32[Array, "C"]:
    """Pairs rows with columns so that the sum of their scores is largest.

    Gives the row of each column, or -1 where the pair's score is 0. As scores are not
    negative, rows and columns of zeros (padding) do not change the other pairs.
    """
    row, column = assignment.hungarian_algorithm(-scores)
    row = jnp.where(scores[row, column] > 0, row, -1).astype(jnp.int32)
    return jnp.full(scores.shape[1], -1, jnp.int32).at[column].set(row)
