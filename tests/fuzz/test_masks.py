"""Masks of the three forms: no run, polygon or string reaches C code unchecked."""

import hypothesis
import msgspec
import numpy as np
import pytest
from hypothesis import strategies as st
from pycocotools import mask as coco

from stemseg_jax.formats import rle
from tests.fuzz import harness

SIZE = (7, 5)


def masks():
    return st.lists(st.booleans(), min_size=35, max_size=35).map(
        lambda bits: np.array(bits).reshape(SIZE)
    )


def read(mask):
    """As training and scoring do, one after the other."""
    decoded = rle.decode(mask)
    assert rle.areas([mask]) == [decoded.sum()]
    return decoded


@hypothesis.given(st.data())
def test_compressed(data):
    letters = rle.encode(data.draw(masks()))["counts"]
    text = st.text("0123456789:;<=>?@ABCDEOPQRno~ é", max_size=12).map(str.encode)
    counts = data.draw(harness.damaged(letters) | text)
    mask = rle.from_json(rle.Segmentation(SIZE, counts.decode("latin1")), *SIZE)
    harness.verdict(
        lambda: read(mask),
        form="compressed runs",
        names=("a mask",),
        right=lambda found: np.array_equal(found, coco.decode(mask)),
    )


NUMBERS = st.integers(-(2**65), 2**65) | st.integers(0, 40) | st.just(2**32)


@hypothesis.given(
    st.lists(NUMBERS, max_size=6), st.sampled_from(["sound", "modulo 2^64", ""])
)
def test_runs(counts, fill):
    if fill == "sound":
        counts = np.diff([0, *sorted(count % 36 for count in counts), 35]).tolist()
    elif fill == "modulo 2^64":
        counts = [*counts, (35 - sum(counts)) % 2**64]
    given = {"size": list(SIZE), "counts": counts}
    harness.verdict(
        lambda: read(rle.from_json(msgspec.convert(given, rle.Segmentation), *SIZE)),
        form="runs",
        names=("runs of a mask", "$.counts"),
        right=lambda found: np.array_equal(
            found.ravel("F"), np.repeat(np.arange(len(counts)) % 2 == 1, counts)
        ),
    )


CORNERS = (
    st.floats(-12, 16) | st.floats() | st.sampled_from([1e9, -1e9, 2.0**31, 1e308])
)


SOUND = st.lists(st.floats(-7, 12), min_size=6, max_size=11).map(
    lambda numbers: numbers[: len(numbers) // 2 * 2]
)


def one_by_one(polygons):
    drawn = [coco.decode(coco.frPyObjects([one], *SIZE)[0]) for one in polygons]
    return np.any([np.zeros(SIZE, bool), *drawn], axis=0)


@hypothesis.given(st.lists(SOUND | st.lists(CORNERS, max_size=9), max_size=3))
@hypothesis.example([[0.0, 0, 1e9, 1e9, -1e9, 0, 5, 5]])
@hypothesis.example([[float("nan")] * 6])
def test_polygons(polygons):
    harness.verdict(
        lambda: read(rle.from_json(polygons, *SIZE)),
        form="polygons",
        names=("a polygon",),
        right=lambda found: np.array_equal(found, one_by_one(polygons)),
    )


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3)])
def test_sound_polygons_are_drawn(size):
    height, width = size
    square = [0.0, 0, width, 0, width, height, 0, height]
    assert rle.decode(rle.from_json([square], *size)).all()
