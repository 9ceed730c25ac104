import numpy as np
import pytest
from numpy.testing import assert_array_equal

from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.tracking import linking
from stemseg_jax.tracking.linking import Found, Linking

OVERLAP = Linking(by="overlap", min_similarity=0.0, patience=2)
SIZE = 48, 64


def square(top, left, side=10):
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def ids(frames, settings=OVERLAP, **options):
    found = linking.linked(frames, settings, **options)
    return [one.tolist() for one in found]


def frame(*masks, image=None):
    return Found(np.array(masks, bool).reshape(-1, *SIZE), image)


def test_by_hand():
    """Two squares move towards each other and are listed in another order; one goes."""
    frames = [
        frame(square(5, 5), square(5, 40)),
        frame(square(5, 36), square(5, 9)),
        frame(square(5, 13)),
        frame(square(5, 17), square(30, 30)),
    ]
    assert ids(frames) == [[1, 2], [2, 1], [1], [1, 3]]


def test_the_sum_of_overlaps_is_largest():
    """The nearest alone would leave the other object without a mask."""
    frames = [
        frame(square(5, 10), square(5, 16)),
        frame(square(5, 15), square(5, 24)),
    ]
    iou = linking.overlaps(frames[0].masks, frames[1].masks)
    np.testing.assert_allclose(iou, [[50 / 150, 0], [90 / 110, 20 / 180]])
    assert_array_equal(linking.pairs(iou, 0.0), [1, -1])  # 0.82 alone is more
    assert_array_equal(linking.pairs(np.array([[0.6, 0.5], [0.5, 0.0]]), 0.0), [1, 0])


@pytest.mark.parametrize("patience", [0, 1, 2])
def test_an_object_is_waited_for(patience):
    frames = [frame(square(5, 5)), frame(), frame(), frame(square(5, 5))]
    settings = Linking(by="overlap", min_similarity=0.0, patience=patience)
    assert ids(frames, settings) == [[1], [], [], [1 if patience == 2 else 2]]


def test_what_is_less_alike_is_new():
    frames = [frame(square(5, 5)), frame(square(5, 10))]  # IoU 1/3
    for least, expected in ((0.3, 1), (0.34, 2)):
        settings = Linking(by="overlap", min_similarity=least, patience=2)
        assert ids(frames, settings)[1] == [expected]


def test_the_flow_carries_masks():
    """On built-in videos; of the objects, not of the camera before the background."""
    still, carried = [], []
    for video in moving_shapes.load(num_videos=3, objects=(2, 3)).videos:
        clip = video.clip(range(10))
        for t in range(9):
            seen = clip.masks[:, t : t + 2].any(axis=(2, 3)).all(axis=1)
            before, after = clip.masks[seen, t], clip.masks[seen, t + 1]
            moved = linking.moved(before, clip.frames[t], clip.frames[t + 1])
            still += np.diag(linking.overlaps(before, after)).tolist()
            carried += np.diag(linking.overlaps(moved, after)).tolist()
    assert np.mean(still) < 0.9 and np.mean(carried) > np.mean(still) + 0.05


def test_by_flow_the_mask_goes_along():
    """A frame without a find lies between: the object has moved on."""
    (video,) = moving_shapes.load(num_videos=1, objects=(1, 1)).videos
    clip = video.clip([0, 2, 4])
    frames = [Found(clip.masks[:, t], clip.frames[t]) for t in range(3)]
    frames[1] = frames[1]._replace(masks=frames[1].masks[:0])
    moved = linking.moved(clip.masks[:, 0], clip.frames[0], clip.frames[1])
    moved = linking.moved(moved, clip.frames[1], clip.frames[2])
    alike = {
        "overlap": linking.overlaps(clip.masks[:, 0], clip.masks[:, 2]).item(),
        "flow": linking.overlaps(moved, clip.masks[:, 2]).item(),
    }
    least = (alike["overlap"] + alike["flow"]) / 2
    assert alike["overlap"] < least
    for by, expected in (("overlap", 2), ("flow", 1)):
        settings = Linking(by=by, min_similarity=least, patience=1)
        assert ids(frames, settings) == [[1], [], [expected]]


def test_tiny_frames_have_no_flow():
    masks, image = np.ones((1, 8, 8), bool), np.zeros((8, 8, 3), np.uint8)
    assert linking.moved(masks, image, image) is masks


def test_looks_find_an_object_that_has_leapt():
    """The embedding is the mean colour; places do not count, nor does an order."""
    red, blue = np.array([250, 10, 10]), np.array([10, 10, 250])
    image = np.zeros((*SIZE, 3), np.uint8)

    def of(*squares):
        picture, masks = image.copy(), [square(*place) for place, _ in squares]
        for mask, (_, colour) in zip(masks, squares, strict=True):
            picture[mask] = colour
        return frame(*masks, image=picture)

    def look(image, masks):
        return np.array([image[mask].mean(axis=0) for mask in masks]).reshape(-1, 3)

    frames = [
        of(((0, 0), red), ((0, 20), blue)),
        of(),
        of(((30, 0), blue), ((0, 50), red)),
    ]
    settings = Linking(by="looks", min_similarity=0.5, patience=5)
    assert ids(frames, settings, look=look) == [[1, 2], [], [2, 1]]
    assert ids(frames)[2] == [3, 4]


def test_nothing_at_all():
    assert ids([]) == []
    assert ids([frame(), frame()]) == [[], []]
    assert linking.pairs(np.zeros((0, 3)), 0.0).tolist() == [-1, -1, -1]


def test_mistakes_are_named():
    settings = Linking(by="flow", min_similarity=0.0, patience=0)
    with pytest.raises(ValueError, match="frame 0: linking by 'flow' needs the frame"):
        ids([frame(square(0, 0))], settings)
    with pytest.raises(ValueError, match="linking.by='iou'.*overlap"):
        Linking(by="iou", min_similarity=0.0, patience=0)
    with pytest.raises(ValueError, match="linking.min_similarity=2.0"):
        Linking(by="flow", min_similarity=2.0, patience=0)
