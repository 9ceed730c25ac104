"""Pictures lie beside each other, in their colours, none over another."""

import numpy as np
import pytest

from stemseg_jax.outputs import side_by_side

RED, GREEN, BLUE = (200, 20, 20), (20, 180, 40), (30, 40, 220)


def plain(colour, size=(90, 160)):
    return np.full((*size, 3), colour, np.uint8)


def pixels(whole, colour):
    return (whole == np.array(colour, np.uint8)).all(axis=-1)


def columns(size, count):
    whole = side_by_side.tile([("", plain(RED, size))] * count)
    row = pixels(whole, RED).any(axis=0).astype(int)
    return int((np.diff(row, prepend=0) == 1).sum())


@pytest.mark.parametrize("title", ["", "found"])
def test_all_pixels_are_there(title):
    pictures = [(title, plain(colour)) for colour in (RED, GREEN, BLUE)]
    whole = side_by_side.tile(pictures)
    for colour in (RED, GREEN, BLUE):
        rows, across = np.nonzero(pixels(whole, colour))
        assert len(rows) == 90 * 160
        assert np.ptp(rows) == 89 and np.ptp(across) == 159
    assert whole.shape[0] % 2 == whole.shape[1] % 2 == 0


def test_titles_are_written_above_their_pictures():
    def written(title):
        return side_by_side.tile([("", plain(RED)), (title, plain(GREEN))])

    changed = (written("truth") != written("")).any(axis=-1)
    rows, across = np.nonzero(changed)
    green_rows, green_across = np.nonzero(pixels(written(""), GREEN))
    assert len(rows) and rows.max() < green_rows.min()
    assert green_across.min() <= across.min() and across.max() < green_across.max()


def test_wide_videos_lie_above_and_tall_ones_beside_each_other():
    assert columns((100, 400), 2) == 1 and columns((180, 320), 2) in (1, 2)
    assert columns((320, 180), 2) == 2 and columns((320, 180), 3) == 3
    assert columns((180, 320), 4) == 2 and columns((180, 320), 6) in (2, 3)
    assert columns((180, 320), 1) == 1


def test_pictures_become_as_large_as_the_largest():
    pictures = [("", plain(RED)), ("", plain(GREEN, (270, 480)))]
    whole = side_by_side.tile(pictures)
    assert pixels(whole, RED).sum() == pixels(whole, GREEN).sum() == 270 * 480


def test_what_is_left_for_the_last_row_stands_in_its_middle():
    whole = side_by_side.tile([("", plain(c, (180, 320))) for c in (RED, GREEN, BLUE)])
    rows, across = np.nonzero(pixels(whole, BLUE))
    assert rows.min() > whole.shape[0] / 2
    assert across.mean() == pytest.approx((whole.shape[1] - 1) / 2, abs=2)


def test_a_picture_of_another_shape_is_not_stretched():
    whole = side_by_side.tile([("", plain(RED)), ("", plain(GREEN, (90, 80)))])
    rows, across = np.nonzero(pixels(whole, GREEN))
    assert (np.ptp(rows) + 1, np.ptp(across) + 1) == (90, 80)


@pytest.mark.parametrize("size", [(2160, 3840), (1, 1), (40, 6000), (8, 8)])
def test_any_size_fits_on_a_screen(size):
    whole = side_by_side.tile([(str(n), plain(BLUE, size)) for n in range(4)])
    assert whole.shape[0] <= 2160 * 1.1 and whole.shape[1] <= 3840 * 1.1
    assert pixels(whole, BLUE).any()


def test_without_pictures_there_is_nothing_to_show():
    with pytest.raises(ValueError, match="at least one picture"):
        side_by_side.tile([])
