"""Objects are drawn where they are; colours and labels can be told apart."""

import itertools

import numpy as np
import pytest

from stemseg_jax.outputs import colours, overlay


def disc(size, centre, radius):
    y, x = np.mgrid[: size[0], : size[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


@pytest.fixture
def scene():
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    labels = np.zeros((240, 320), np.int32)
    labels[disc(labels.shape, (120, 100), 50)] = 1
    labels[disc(labels.shape, (130, 230), 40)] = 7
    return image, labels


def test_pixels_far_from_objects_stay_as_they_are(scene):
    image, labels = scene
    drawn = overlay.draw(image, labels)
    far = np.ones(labels.shape, bool)
    for box in ((slice(60, 180), slice(40, 160)), (slice(80, 180), slice(180, 280))):
        far[box] = False
    np.testing.assert_array_equal(drawn[far], image[far])


def test_without_objects_the_frame_stays_as_it_is(scene):
    image, labels = scene
    nothing = np.minimum(labels, 0) - 1
    np.testing.assert_array_equal(overlay.draw(image, nothing, {}), image)


def test_inside_is_a_mixture_with_the_colour_of_the_id(scene):
    image, labels = scene
    drawn = overlay.draw(image, labels, opacity=0.4)
    for id, (y, x) in {1: (120, 100), 7: (130, 230)}.items():
        expected = 0.6 * image[y, x] + 0.4 * np.array(colours.of_id(id))
        np.testing.assert_allclose(drawn[y, x], expected, atol=2)


def test_the_border_has_the_colour_itself(scene):
    image, labels = scene
    drawn = overlay.draw(image, labels)
    distance = np.abs(drawn.astype(int) - colours.of_id(1)).sum(axis=-1)
    on_line = disc(labels.shape, (120, 100), 50) & ~disc(labels.shape, (120, 100), 49)
    assert distance[on_line].mean() < 60 < distance[120, 60:140].mean()


def test_the_thinnest_objects_can_be_seen():
    image = np.full((64, 64, 3), 128, np.uint8)
    labels = np.zeros((64, 64), np.int32)
    labels[10, 5:60] = 1
    labels[40, 40] = 2
    drawn = overlay.draw(image, labels)
    assert (np.abs(drawn[10, 5:60].astype(int) - 128).max(axis=-1) > 20).all()
    assert np.abs(drawn[40, 40].astype(int) - 128).max() > 20


def test_colours_do_not_depend_on_the_other_objects(scene):
    image, labels = scene
    alone = np.where(labels == 7, 7, 0)
    both = overlay.draw(image, labels)
    np.testing.assert_array_equal(overlay.draw(image, alone)[:, 200:], both[:, 200:])


def test_colours_of_a_video_can_be_told_apart():
    several = [np.array(colours.of_id(id)) for id in range(1, 13)]
    assert all(c.min() >= 0 and c.max() <= 255 for c in several)
    nearest = min(np.abs(a - b).sum() for a, b in itertools.combinations(several, 2))
    assert nearest > 60
    assert colours.of_id(3) == colours.of_id(3) != colours.of_id(300)


@pytest.mark.parametrize("size", [(24, 32), (96, 160), (480, 854), (1080, 1920)])
def test_labels_are_written_at_any_size(size):
    image = np.full((*size, 3), 90, np.uint8)
    labels = np.zeros(size, np.int32)
    labels[size[0] // 3 : -size[0] // 3, size[1] // 4 : -size[1] // 4] = 2
    plain = overlay.draw(image, labels)
    named = overlay.draw(image, labels, {2: "giant_panda"})
    changed = (plain != named).any(axis=-1)
    height = np.ptp(np.flatnonzero(changed.any(axis=1))) + 1
    assert height >= min(16, size[0] - 1)
    assert height < max(24, size[0] / 12)


def test_labels_do_not_cover_each_other():
    image = np.full((240, 320, 3), 90, np.uint8)
    labels = np.zeros((240, 320), np.int32)
    for id in range(1, 6):  # five objects, one above the other
        labels[100 + 4 * id : 104 + 4 * id, 100:220] = id
    names = dict.fromkeys(range(1, 6), "car")
    changed = overlay.draw(image, labels) != overlay.draw(image, labels, names)
    one = overlay.draw(image, labels) != overlay.draw(image, labels, {1: "car"})
    ids = overlay.draw(image, labels) != overlay.draw(image, labels, {})
    assert changed.any(axis=-1).sum() > ids.any(axis=-1).sum()
    assert changed.any(axis=-1).sum() > 1.2 * one.any(axis=-1).sum()


def test_a_label_sits_on_the_largest_part_inside_the_frame():
    image = np.full((240, 320, 3), 90, np.uint8)
    labels = np.zeros((240, 320), np.int32)
    labels[0:60, 250:320] = 1  # touches the corner
    labels[200:203, 10:13] = 1  # a speck
    changed = overlay.draw(image, labels) != overlay.draw(image, labels, {1: "dog"})
    rows, columns = np.nonzero(changed.any(axis=-1))
    assert rows.max() < 80 and columns.min() > 200


def test_small_frames_are_enlarged(scene):
    image, labels = scene
    drawn = overlay.draw(image[:96, :160], labels[:96, :160], {1: "x"}, scale=3)
    assert drawn.shape == (288, 480, 3)
    sizes = ((96, 160), (240, 320), (720, 1280))
    assert [overlay.enlargement(*size) for size in sizes] == [3, 1, 1]


def test_palette_images_are_drawn_as_they_are_read(scene):
    image, labels = scene
    np.testing.assert_array_equal(
        overlay.draw(image, labels.astype(np.uint8)), overlay.draw(image, labels)
    )


def test_enlargement_ends_for_absurd_shapes():
    assert overlay.enlargement(64, 96) == 4 and overlay.enlargement(480, 854) == 1
    assert overlay.enlargement(4, 4000) == overlay.enlargement(4000, 1) == 1
    assert overlay.enlargement(1, 100) == 19


def test_an_artist_keeps_labels_in_place(scene):
    image, labels = scene
    artist = overlay.Artist({1: "person", 7: "dog"})
    first = artist.draw(image, labels)
    np.testing.assert_array_equal(first, overlay.draw(image, labels, artist.names))
    grown = labels.copy()
    grown[62:80, 117:122] = 1  # a hand beside the head
    moved = [
        (overlay.draw(image, grown) != drawn).any(axis=-1)
        for drawn in (
            artist.draw(image, grown),
            overlay.draw(image, grown, {1: "person"}),
        )
    ]
    before = (overlay.draw(image, labels) != first).any(axis=-1)
    far = np.zeros(labels.shape, bool)
    far[:54, :110] = True  # where no colour is
    np.testing.assert_array_equal(moved[0][far], before[far])
    assert (moved[1][far] != before[far]).any()


def test_a_name_does_not_come_and_go_with_a_few_pixels():
    image = np.full((240, 320, 3), 90, np.uint8)
    artist, widths = overlay.Artist({1: "person"}), []
    for width in (40, 44, 52, 44, 40, 44):  # the label has about 1.6 times 44
        labels = np.zeros((240, 320), np.int32)
        labels[100:180, 100 : 100 + width] = 1
        changed = artist.draw(image, labels) != overlay.draw(image, labels)
        columns = np.flatnonzero(changed.any(axis=(0, 2)))
        widths.append(np.ptp(columns) + 1)
    wide = [width > 40 for width in widths]
    assert sum(a != b for a, b in zip(wide, wide[1:], strict=False)) <= 1 and wide[-1]


@pytest.mark.parametrize("size", [(8, 8), (40, 6000), (6000, 40), (720, 1280), (1, 1)])
@pytest.mark.parametrize("kind", [np.uint8, np.int32])
def test_frames_of_any_size_are_drawn(size, kind):
    scale = overlay.enlargement(*size)
    labels = np.arange(np.prod(size)).reshape(size) * 4 // np.prod(size)
    image = np.full((*size, 3), 90, np.uint8)
    artist = overlay.Artist({1: "a name", 2: "another"}, scale=scale)
    for _ in range(2):
        drawn = artist.draw(image, labels.astype(kind))
    assert drawn.shape == (size[0] * scale, size[1] * scale, 3)
    assert size == (1, 1) or (drawn != 90).any()


def test_254_objects_are_drawn():
    labels = np.zeros((320, 480), np.uint8)
    for id in range(1, 255):
        row, column = divmod(id - 1, 16)
        labels[20 * row + 2 : 20 * row + 16, 30 * column + 3 : 30 * column + 25] = id
    image = np.full((320, 480, 3), 90, np.uint8)
    drawn = overlay.draw(image, labels, opacity=0.5)
    for id in (1, 100, 254):
        y, x = (int(np.median(axis)) for axis in np.nonzero(labels == id))
        expected = (np.array(colours.of_id(id)) + 90) / 2
        np.testing.assert_allclose(drawn[y, x], expected, atol=2)
    assert (overlay.draw(image, labels, {}) != drawn).any()
