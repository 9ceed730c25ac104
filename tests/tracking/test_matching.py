"""Overlap and assignment against counting by hand and SciPy."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from stemseg_jax.tracking import matching


def labels(text):
    """A label map; dots stand for no label."""
    rows = [[-1 if c == "." else int(c) for c in row] for row in text.split()]
    return jnp.array(rows, jnp.int32)


OLD = labels("""00..
                0011
                ..11
                ...1""")
NEW = labels("""22..
                2200
                ....
                ...0""")


def test_counts_of_a_frame_worked_by_hand():
    counts = matching.joint_counts(OLD, NEW, num_rows=2, num_columns=3)
    np.testing.assert_array_equal(
        counts,
        [
            [0, 0, 4, 0],
            [3, 0, 0, 2],  # five points of label 1, of which two have no new label
            [0, 0, 0, 7],
        ],
    )
    np.testing.assert_allclose(matching.iou(counts), [[0, 0, 1], [0.6, 0, 0]])


def test_labels_without_a_row_or_column_are_counted_as_none():
    counts = matching.joint_counts(OLD, NEW, num_rows=1, num_columns=1)
    np.testing.assert_array_equal(counts, [[0, 4], [3, 9]])


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (7, 3), (20, 20), (40, 20)])
def test_pairs_have_the_largest_sum_of_scores(shape):
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 1):
        scores = rng.uniform(size=shape) * (rng.uniform(size=shape) < share)
        scores = scores.astype(np.float32)
        row = np.asarray(matching.best_rows(jnp.asarray(scores)))
        found = [(r, c) for c, r in enumerate(row) if r >= 0]
        assert len({r for r, _ in found}) == len(found)
        assert all(scores[pair] > 0 for pair in found)
        best = optimize.linear_sum_assignment(-scores)
        np.testing.assert_allclose(
            sum(scores[pair] for pair in found), scores[best].sum(), rtol=1e-5
        )


def test_rows_and_columns_of_zeros_change_nothing():
    scores = np.random.default_rng(1).uniform(size=(5, 4)).astype(np.float32)
    plain = matching.best_rows(jnp.asarray(scores))
    padded = np.zeros((9, 12), np.float32)
    padded[2:7, 3:7] = scores
    row = np.asarray(matching.best_rows(jnp.asarray(padded)))
    np.testing.assert_array_equal(row[3:7], np.asarray(plain) + 2)
    assert (np.delete(row, range(3, 7)) == -1).all()


def test_nothing_in_common_pairs_nothing():
    np.testing.assert_array_equal(matching.best_rows(jnp.zeros((3, 4))), -1)


def test_vmap_under_jit():
    scores = jnp.asarray(np.random.default_rng(2).uniform(size=(6, 4, 5)), jnp.float32)
    together = jax.jit(jax.vmap(matching.best_rows))(scores)
    for found, one in zip(together, scores, strict=True):
        np.testing.assert_array_equal(found, matching.best_rows(one))


@pytest.mark.parametrize("name", ["two_three", "four_two", "one_none"])
def test_pairs_equal_the_authors_program(name):
    folder = pathlib.Path(__file__).parent / "data"
    case = json.loads((folder / "chainer.json").read_text())["associate"][name]
    arrays = np.load(folder / "chainer.npz")
    old, new = (arrays[f"assoc.{name}.labels{k}"].astype(np.int32) for k in (1, 2))
    counts = matching.joint_counts(
        jnp.asarray(old), jnp.asarray(new), num_rows=20, num_columns=20
    )
    scores = matching.iou(counts)
    row = np.asarray(matching.best_rows(scores))
    pairs = sorted([int(r), c] for c, r in enumerate(row) if r >= 0)
    assert pairs == sorted(case["pairs"])
    np.testing.assert_allclose(
        [1 - scores[r, c] for r, c in pairs], case["cost"], atol=1e-6
    )
