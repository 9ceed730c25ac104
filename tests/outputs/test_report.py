"""Sheets hold every frame at its place; tables can be read in a terminal."""

import numpy as np
import pytest

from stemseg_jax.outputs import report


def flat(value, size=(30, 40)):
    return np.full((*size, 3), value, np.uint8)


def test_frames_stand_in_rows_and_columns():
    rows = [[flat(10), flat(50)], [flat(90), None], [flat(130)]]
    sheet = report.contact_sheet(rows, ["a", "b", "c"], width=40)
    corners = {}
    for value in (10, 50, 90, 130):
        y, x = np.nonzero((sheet == value).all(axis=-1))
        assert (len(y), np.ptp(y) + 1, np.ptp(x) + 1) == (1200, 30, 40)
        corners[value] = (y.min(), x.min())
    (y0, x0), (y1, x1) = corners[10], corners[90]
    assert corners[50][0] == y0 and corners[50][1] > x0 + 40
    assert x1 == x0 == corners[130][1] and y1 > y0 + 30
    missing = (sheet == report.GROUND).all(axis=-1)
    assert missing.sum() == 2 * 1200


def test_images_of_another_size_are_brought_to_that_of_the_first():
    sheet = report.contact_sheet([[flat(10), flat(50, (90, 120))]], [""], width=80)
    assert (sheet == 10).all(axis=-1).sum() == (sheet == 50).all(axis=-1).sum() == 4800


def test_captions_and_title_are_written_beside_the_frames():
    rows = [[flat(10), flat(50)]]
    plain = report.contact_sheet(rows, [""], width=200)
    full = report.contact_sheet(
        rows, ["ground truth"], columns=["first", "second"], title="A sheet", width=200
    )
    for value in (10, 50):
        assert (full == value).all(axis=-1).sum() == (plain == value).all(axis=-1).sum()
    assert full.shape[0] > plain.shape[0] and full.shape[1] > plain.shape[1] + 60
    assert (full.min(axis=-1) == min(report.INK)).any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        report.contact_sheet([[None], []], ["a", "b"])
    with pytest.raises(ValueError, match="1 captions for 2 rows"):
        report.contact_sheet([[flat(1)], [flat(2)]], ["a"])
    with pytest.raises(ValueError, match="1 column captions for 2 columns"):
        report.contact_sheet([[flat(1), flat(2)]], ["a"], columns=["x"])


def test_a_table_worked_by_hand():
    rows = [
        {"": "model", "J&F": 0.7564, "videos": 20},
        {"": "one object", "J&F": 0.1, "videos": 20, "note": "baseline"},
        {"": "untrained", "J&F": None},
    ]
    assert report.table(rows).splitlines() == [
        "              J&F  videos  note",
        "----------  -----  ------  --------",
        "model       0.756      20  -",
        "one object  0.100      20  baseline",
        "untrained       -       -  -",
    ]
    assert "0.76" in report.table(rows, digits=2)


def test_a_table_of_a_page():
    rows = [{"row": "`xy`", "J": "0.7", "none": ""}, {"row": "`xyff`", "F": "0.8"}]
    assert report.markdown(rows).splitlines() == [
        "| row | J | F |",
        "| --- | --- | --- |",
        "| `xy` | 0.7 | - |",
        "| `xyff` | - | 0.8 |",
    ]


def test_a_table_of_nothing():
    assert report.table([]) == "\n"
