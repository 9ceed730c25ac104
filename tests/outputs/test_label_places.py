"""Labels go with their objects, and glide where they have to give way."""

import numpy as np
import pytest

from stemseg_jax.outputs import label_places, painting

FRAME = (240, 320)
SIZE = (20, 60)  # of a label
GLIDE = 20 / 4  # pixels a frame


class Scene:
    """Label maps in, corners out."""

    def __init__(self):
        self.places = label_places.Places()

    def show(self, *boxes, masks=()):
        labels = np.zeros(FRAME, np.int32)
        for id, (top, left, bottom, right) in enumerate(boxes, start=1):
            labels[top:bottom, left:right] = id
        for id, mask in enumerate(masks, start=1):
            labels[mask] = id
        things = self.places.things(labels, painting.objects(labels))
        corners = self.places.next(labels, things, dict.fromkeys(things, SIZE))
        return {id: np.array(corner) for id, corner in corners.items()}


def box(top, left, height=60, width=80):
    return top, left, top + height, left + width


def test_the_first_place_is_above_the_middle():
    corner = Scene().show(box(100, 100))[1]
    assert corner.tolist() == [100 - 5 - 20, 139 - 30]


def test_a_label_moves_exactly_as_its_object():
    scene, rng = Scene(), np.random.default_rng(0)
    place = np.array([100, 100])
    first = scene.show(box(*place))[1] - place
    for _ in range(30):
        place = place + rng.integers(-9, 10, 2)
        place = np.clip(place, 40, (170, 230))
        np.testing.assert_array_equal(scene.show(box(*place))[1] - place, first)


def test_a_limb_that_comes_and_goes_does_not_move_a_label():
    scene = Scene()
    first = scene.show(box(100, 100))[1]
    for frame in range(12):  # an arm is raised, by less than the label is high
        mask = np.zeros(FRAME, bool)
        mask[100:160, 100:180] = True
        mask[92:100, 155:165] = frame % 2
        mask[100:160, 90:100] = frame % 3 == 0
        assert scene.show(masks=[mask])[1].tolist() == first.tolist()


def test_a_label_follows_when_its_object_grows_away_smoothly():
    scene = Scene()
    last, corners = scene.show(box(160, 100))[1], []
    for frame in range(60):
        top = max(160 - 6 * frame, 40)
        corners.append(scene.show((top, 100, 220, 180))[1])
    steps = np.linalg.norm(np.diff([last, *corners], axis=0), axis=1)
    assert steps.max() <= GLIDE + 1.5 and steps[-5:].max() == 0
    assert abs(corners[-1][0] - (40 - 25)) <= 20 / 4


def test_a_label_that_is_left_behind_hurries():
    scene = Scene()
    corners = [scene.show((100, 20, 230, 318))[1]]
    for _ in range(30):  # only a corner of its object is left
        corners.append(scene.show((100, 20, 120, 40))[1])
    steps = np.linalg.norm(np.diff(corners, axis=0), axis=1)
    assert GLIDE + 2 < steps[0] < 3 * GLIDE and steps[-1] == 0


def test_labels_that_meet_give_way_smoothly():
    scene, corners = Scene(), []
    for frame in range(100):  # one passes below the other, at 2 pixels a frame
        moving = box(105, 20 + 2 * frame, 50, 60)
        corners.append(scene.show(box(100, 120, 60, 60), moving))
    still, moving = (np.array([one[id] for one in corners]) for id in (1, 2))
    assert np.abs(np.diff(still, axis=0)).max() == 0
    steps = np.linalg.norm(np.diff(moving, axis=0), axis=1)
    assert steps.max() <= 2 + GLIDE + 1.5
    apart = (np.abs(still - moving) >= SIZE).any(axis=1)
    assert apart[0] and apart[-1] and apart.mean() > 0.8


def test_labels_stay_inside_the_frame():
    scene = Scene()
    for step in range(40):
        corner = scene.show(box(4 * step, 8 * step))[1] if step < 30 else corner
        assert (corner >= 0).all() and (corner + SIZE <= FRAME).all()


def test_an_object_that_comes_back_elsewhere_has_its_label_at_once():
    scene = Scene()
    scene.show(box(100, 20))
    scene.show()
    again = scene.show((20, 200, 200, 300))[1]
    assert again.tolist() == Scene().show((20, 200, 200, 300))[1].tolist()


def test_after_a_flicker_the_label_is_where_it_was():
    scene = Scene()
    scene.show(box(100, 100))
    before = scene.show((90, 100, 160, 180))[1]  # it grew: the label stayed
    scene.show()
    assert scene.show((90, 100, 160, 180))[1].tolist() == before.tolist()


def test_a_label_stays_on_its_part():
    scene, corners = Scene(), []
    for frame in range(10):  # two parts, the larger one in turn
        mask = np.zeros(FRAME, bool)
        mask[100:140, 20 : 80 + 10 * (frame % 2)] = True
        mask[100:140, 220 : 290 - 10 * (frame % 2)] = True
        corners.append(scene.show(masks=[mask])[1])
    assert np.abs(np.diff(corners, axis=0)).max() <= GLIDE + 0.5
    mask[100:140, 220:290] = False
    mask[100:140, 20:30] = mask[90:150, 180:310] = True
    mask[:, 30:100] = False  # hardly a speck is left
    assert scene.show(masks=[mask])[1][1] > 150


def test_single_pixels_and_thin_lines_are_things():
    mask = np.zeros((2, *FRAME), bool)
    mask[0, 7, 9] = True
    mask[1, np.arange(230), np.arange(230) + 20] = True
    scene = Scene()
    labels = mask[0] + 2 * mask[1].astype(np.int32)
    things = scene.places.things(labels, painting.objects(labels))
    assert things[1] == (7, 9, 8, 10, 9, 9, (7, 9, 8, 10))
    assert things[2] == (0, 20, 230, 250, 20, 249, (0, 20, 230, 250))


@pytest.mark.parametrize("frame", [(8, 8), (3, 400), (400, 3)])
def test_labels_larger_than_the_frame_begin_at_its_corner(frame):
    places = label_places.Places()
    labels = np.ones(frame, np.uint8)
    things = places.things(labels, painting.objects(labels))
    top, left = places.next(labels, things, {1: SIZE})[1]
    assert 0 <= top <= max(frame[0] - SIZE[0], 0)
    assert 0 <= left <= max(frame[1] - SIZE[1], 0)
