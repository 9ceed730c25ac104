"""Masks as runs: what goes in comes out, and a mask that was cut off is noticed."""

import numpy as np
import pytest
from pycocotools import mask as coco

from stemseg_jax.formats import rle


def random_masks(count=30):
    rng = np.random.default_rng(0)
    for _ in range(count):
        height, width = rng.integers(1, 60, 2)
        yield rng.random((height, width)) < rng.random()


def test_a_mask_by_hand():
    # Columns first: 1 zero, 2 ones, 3 zeros.
    mask = np.array([[False, True, False], [True, False, False]])
    assert rle.to_json(rle.encode(mask)) == {"size": [2, 3], "counts": "123"}
    assert rle.areas([rle.encode(mask)]).tolist() == [2]


def test_encoding_is_that_of_pycocotools_and_decoding_undoes_it():
    for mask in random_masks():
        assert rle.encode(mask) == coco.encode(np.asfortranarray(mask, np.uint8))
        np.testing.assert_array_equal(rle.decode(rle.encode(mask)), mask)


def bilinear(mask, size):
    """Half-pixel centres, written out; in the mask is what exceeds one half."""
    weights = []
    for before, after in zip(mask.shape, size, strict=True):
        place = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
        weights.append(np.maximum(1 - np.abs(place[:, None] - np.arange(before)), 0))
    return weights[0] @ mask @ weights[1].T


def test_a_mask_in_a_frame_of_another_size():
    mask = np.zeros((4, 6), bool)
    mask[:2, :3] = True
    half = rle.decode(rle.resized(rle.encode(mask), (2, 3)))
    # The second column takes half of its pixels from the mask: not more than half.
    np.testing.assert_array_equal(half, [[1, 0, 0], [0, 0, 0]])
    assert rle.resized(rle.encode(mask), (4, 6)) == rle.encode(mask)


@pytest.mark.parametrize("size", [(12, 20), (20, 41), (60, 90)])
def test_resizing_is_bilinear_and_keeps_masks_apart(size):
    rng = np.random.default_rng(3)
    labels = np.kron(rng.integers(0, 4, (5, 9)), np.ones((5, 7), int))
    resized = []
    for number in range(1, 4):
        mask = labels == number
        resized.append(rle.decode(rle.resized(rle.encode(mask), size)))
        covered = bilinear(mask, size)
        certain = np.abs(covered - 0.5) > 1e-6
        np.testing.assert_array_equal(resized[-1][certain], covered[certain] > 0.5)
    assert np.sum(resized, axis=0).max() == 1


def test_a_speck_vanishes_and_nothing_stays_nothing():
    speck = np.zeros((40, 40), bool)
    speck[7, 7] = True
    for mask in (speck, np.zeros((40, 40), bool)):
        small = rle.resized(rle.encode(mask), (10, 10))
        assert small["size"] == [10, 10] and not rle.decode(small).any()


def test_masks_are_painted_over_each_other():
    for mask in random_masks():
        rng = np.random.default_rng(mask.size)
        other = rng.random(mask.shape) < 0.3
        labels = np.full(mask.shape[::-1], 9, np.uint8).T
        rle.fill(labels, rle.encode(mask), 4)
        rle.fill(labels, rle.encode(other), 5)
        expected = np.where(other, 5, np.where(mask, 4, 9))
        np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (64, 31), (300, 400)])
def test_it_equals_pycocotools(size):
    rng = np.random.default_rng(size[0])
    # Smooth enough for runs of all lengths.
    blob = rng.random(size).cumsum(axis=0).cumsum(axis=1) % 7 < rng.uniform(1, 6)
    for mask in (blob, np.zeros(size, bool), np.ones(size, bool)):
        encoded = coco.encode(np.asfortranarray(mask, np.uint8))
        assert rle.encode(mask) == encoded
        np.testing.assert_array_equal(rle.decode(encoded), mask)
        assert rle.box(encoded) == coco.toBbox(encoded).tolist()


def test_polygons_are_drawn_together():
    squares = [[1.0, 1, 4, 1, 4, 4, 1, 4], [6.0, 1, 9, 1, 9, 4, 6, 4]]
    mask = rle.decode(rle.from_json(squares, 6, 11))
    assert mask.sum() == 18 and mask[2, 2] and mask[2, 7] and not mask[2, 5]
    arrays = [np.array(square) for square in squares]
    np.testing.assert_array_equal(rle.decode(rle.from_json(arrays, 6, 11)), mask)


def test_a_union_has_the_pixels_of_all():
    first, second = np.zeros((2, 5, 4), bool)
    first[0], second[:, 2] = True, True
    union = rle.union([rle.encode(first), rle.encode(second)])
    np.testing.assert_array_equal(rle.decode(union), first | second)


@pytest.mark.parametrize("counts", [[5, 3], [5, 9], [0]])
def test_runs_that_do_not_fill_the_frame_are_not_decoded(counts):
    message = f"cover {sum(counts)} pixels, but 3 x 4 is 12"
    with pytest.raises(ValueError, match=message):
        rle.from_json(rle.Segmentation((3, 4), counts), 3, 4)


@pytest.mark.parametrize("garbage", [b"", b"o", b"OOOO", b"\xff\x00zz", b"]]2;"])
def test_garbage_is_not_decoded(garbage):
    with pytest.raises(rle.BrokenMaskError):
        rle.decode({"size": (3, 4), "counts": garbage})


def test_areas_are_those_of_the_masks():
    masks = [*random_masks(), np.zeros((480, 854), bool), np.ones((480, 854), bool)]
    areas = rle.areas([rle.encode(mask) for mask in masks])
    np.testing.assert_array_equal(areas, [mask.sum() for mask in masks])


def test_no_masks_have_no_areas():
    assert rle.areas([]).tolist() == []


def test_every_mask_that_is_cut_off_is_refused():
    for mask in random_masks():
        whole = rle.encode(mask)
        length = len(whole["counts"])
        for kept in range(0, length, 1 + length // 20):
            cut = {**whole, "counts": whole["counts"][:kept]}
            with pytest.raises(rle.BrokenMaskError):
                rle.areas([whole, cut])


def test_the_broken_mask_is_named():
    whole = rle.encode(np.ones((4, 5), bool))
    for counts in (b"", b"0d", b"\x00d0", b"~d0", b"PPPPPPPP0", b"5O", b"P", b"111O11"):
        with pytest.raises(rle.BrokenMaskError) as error:
            rle.areas([whole, whole, {"size": (4, 5), "counts": counts}, whole])
        assert error.value.index == 2, counts


@pytest.mark.parametrize("form", ["compressed", "uncompressed", "polygon"])
def test_annotations_come_in_three_forms(form):
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:7] = True
    own = rle.encode(mask)["counts"].decode()
    runs = [6 * 2 + 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 6 + 2]
    segmentation = {
        "compressed": rle.Segmentation((6, 8), own),
        "uncompressed": rle.Segmentation((6, 8), runs),
        "polygon": [[2, 1, 7, 1, 7, 4, 2, 4]],
    }[form]
    np.testing.assert_array_equal(rle.decode(rle.from_json(segmentation, 6, 8)), mask)


def test_uncompressed_and_compressed_runs_are_the_same_mask():
    for mask in random_masks(10):
        flat = np.flatnonzero(
            np.diff(mask.ravel(order="F"), prepend=False, append=True)
        )
        runs = np.diff(flat, prepend=0)
        runs = runs if runs.sum() == mask.size else [*runs, mask.size - runs.sum()]
        form = rle.Segmentation(mask.shape, [int(run) for run in runs])
        np.testing.assert_array_equal(
            rle.decode(rle.from_json(form, *mask.shape)), mask
        )


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (rle.Segmentation((6, 9), "0"), "has size"),
        (rle.Segmentation((8, 6), [3, 4]), "has size"),
        (rle.Segmentation((6, 8), [2**64, 48]), "cover 18446744073709551664 pixels"),
        ([[1.0, 1, 4, 4]], "a polygon of 4 numbers"),
        ([[1.0, 1, 4, 4, 1, 4, 2]], "a polygon of 7 numbers"),
        ([[1.0, 1, 4, 4, 1e9, 4]], r"at x=1e\+09, y=4, far outside"),
        ([[1.0, 1, 4, 4, np.nan, 4]], "at x=nan"),
        ([[1.0, 1, 4, 4, 0, -np.inf]], "y=-inf"),
    ],
)
def test_other_forms_are_refused(segmentation, message):
    with pytest.raises(ValueError, match=message):
        rle.from_json(segmentation, 6, 8)


@pytest.mark.parametrize("parts", [1, 100])
def test_outlines_longer_than_memory_are_not_drawn(parts):
    """There and back along a frame of one row, which pycocotools writes out whole."""
    zigzag = [-65535.0, 0, 2 * 65535.0, 1] * (700 // parts)
    with pytest.raises(ValueError, match="outlines are .* pixels long; no more than"):
        rle.from_json([zigzag] * parts, 1, 65535)


def number(value):
    """The letters of one number of a compressed mask."""
    letters = b""
    while True:
        bits, value = value & 31, value >> 5
        done = value == (-1 if bits & 16 else 0)
        letters += bytes([ord("0") + bits + 32 * (not done)])
        if done:
            return letters


def test_runs_that_wrap_around_are_not_decoded():
    """Each run of a kind is longer by 2^29 than the one before: 2^64 in the end."""
    growing = number(0) * 3 + number(2**29 - 1) * 400_000
    for letters in (growing, number(2**29 - 1) * 6, number(-(2**29)) * 6):
        mask = {"size": (3, 4), "counts": letters}
        for read in (rle.decode, lambda mask: rle.areas([mask])):
            with pytest.raises(rle.BrokenMaskError, match="longer than a frame"):
                read(mask)


@pytest.mark.parametrize("size", [(-3, -4), (0, 12), (2**16, 2**16)])
def test_frames_that_cannot_be_are_refused(size):
    with pytest.raises(rle.BrokenMaskError, match="no frame is of"):
        rle.areas([{"size": size, "counts": b"<"}])


def test_runs_that_do_not_fill_the_frame():
    for counts in ([3, 4], [48, 1], [], "34", [2**32 - 1, 49]):
        with pytest.raises(ValueError, match="pixels, but 6 x 8 is 48"):
            rle.areas([rle.from_json(rle.Segmentation((6, 8), counts), 6, 8)])


def test_pycocotools_alone_would_take_a_mask_that_is_cut_off():
    """Why `areas` looks for itself."""
    mask = np.zeros((40, 50), bool)
    mask[10:30, 5:45:2] = True
    whole = rle.encode(mask)
    cut = {**whole, "counts": whole["counts"][:9]}
    assert coco.area(cut) < mask.sum()


def runs_by_definition(string):
    """Letter by letter; None if the string ends too early."""
    runs, value, groups = [], 0, 0
    for letter in string:
        bits = letter - ord("0")
        value |= (bits & 31) << (5 * groups)
        groups += 1
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << (5 * groups)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, groups = 0, 0
    return None if groups else runs


def test_random_letters_are_read_as_defined_or_refused():
    rng = np.random.default_rng(0)
    read = 0
    for _ in range(500):
        letters = rng.integers(ord("0"), ord("P") + 4, rng.integers(1, 12))
        string = letters.astype(np.uint8).tobytes()
        runs = runs_by_definition(string)
        sound = runs and min(runs) >= 0 and 0 < sum(runs) <= 2**26
        mask = {"size": (1, sum(runs) if sound else 1), "counts": string}
        if sound:
            assert rle.areas([mask, mask]).tolist() == [sum(runs[1::2])] * 2
            assert rle.decode(mask).sum() == sum(runs[1::2])
            read += 1
        else:
            with pytest.raises(rle.BrokenMaskError):
                rle.areas([mask])
            with pytest.raises(rle.BrokenMaskError):
                rle.decode(mask)
    assert read > 50
