import random

import numpy as np
import pytest

from stemseg_jax.data import readers
from stemseg_jax.data.clips import duplication
from tests import goldens


def clip_of(mask, frames=None, ids=(3,)) -> readers.RawClip:
    mask = np.asarray(mask, bool)
    if frames is None:
        frames = np.random.default_rng(0).integers(0, 256, (*mask.shape, 3), np.uint8)
    return readers.RawClip(
        frames, np.array(ids), np.array([7]), mask[None], np.zeros(mask.shape, bool)
    )


@pytest.mark.parametrize("case", range(6))
def test_equals_the_authors_with_the_same_draws(shared, case):
    meta, arrays = goldens.load(shared / "reference/goldens", "data")
    recipe = meta["duplicator"][case]
    masks = arrays[f"dup{case}.masks_in"]
    pixels = goldens.pixels(recipe["pixels_seed"], *masks.shape)
    clip = clip_of(masks, goldens.channels_last(pixels))
    doubled = duplication.duplicate(random.Random(recipe["python_random_seed"]), clip)
    if not recipe["duplicated"]:
        assert doubled is clip
        return
    np.testing.assert_array_equal(doubled.masks[0], arrays[f"dup{case}.orig"])
    np.testing.assert_array_equal(doubled.masks[1], arrays[f"dup{case}.copy"])
    np.testing.assert_array_equal(doubled.frames[0], arrays[f"dup{case}.image0"])


def test_the_copy_hides_the_original_and_nothing_else_changes():
    mask = np.zeros((3, 40, 60), bool)
    mask[:, 10:30, 20:32] = True
    mask[1] = False  # gone for one frame
    clip = clip_of(mask)
    doubled = duplication.duplicate(np.random.default_rng(1), clip)
    original, copy = doubled.masks
    assert not (original & copy).any()
    assert (original | copy)[mask].all()
    assert not copy[1].any() and copy[[0, 2]].any(axis=(1, 2)).all()
    np.testing.assert_array_equal(doubled.frames[~copy], clip.frames[~copy])
    np.testing.assert_array_equal(doubled.categories, [7, 7])
    assert len(set(doubled.ids)) == 2


def test_an_instance_as_wide_as_the_frame_is_left_alone():
    mask = np.zeros((2, 10, 20), bool)
    mask[0, 2:4, :10] = mask[1, 2:4, 5:] = True  # touches left first, then right
    clip = clip_of(mask)
    assert duplication.duplicate(np.random.default_rng(0), clip) is clip


def test_an_empty_mask_is_left_alone():
    clip = clip_of(np.zeros((2, 10, 20)))
    assert duplication.duplicate(np.random.default_rng(0), clip) is clip
