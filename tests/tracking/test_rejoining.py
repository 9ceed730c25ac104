"""Objects that come back, painted in known colours on grey and labelled by hand."""

import numpy as np
import pytest

from stemseg_jax.geometry import Geometry
from stemseg_jax.tracking import rejoining
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics

SIZE = (48, 96)  # of the frames; label maps have a quarter
GEOMETRY = Geometry(original=SIZE, resized=SIZE, labels=(16, 32), stride=4)  # padded
RED, BLUE, GREEN = (200, 40, 40), (40, 60, 210), (30, 160, 50)
SETTINGS = rejoining.Rejoining(max_absence=4)


def scene(*frames):
    """From (label, colour, column) of each object of each frame; 4 by 4 cells."""
    images = np.full((len(frames), *SIZE, 3), 128, np.uint8)
    labels = np.zeros((len(frames), *GEOMETRY.labels), np.int32)
    for image, label_map, objects in zip(images, labels, frames, strict=True):
        for label, colour, column in objects:
            label_map[4:8, column : column + 4] = label
            image[16:32, 4 * column : 4 * column + 16] = colour
    return images, labels


def tracker(labels, lengths, *, late=0):
    """Gives parts of these lengths, each so many frames after its last one came."""

    def track(frames):
        taken = first = 0
        for length in lengths:
            while taken < min(first + length + late, len(labels)):
                next(frames)
                taken += 1
            yield LabelledFrames(first, labels[first : first + length], GEOMETRY)
            first += length
        assert next(frames, None) is None
        numbers = np.unique(labels[labels > 0]).tolist()
        return {k: statistics(labels == k, k) for k in numbers}

    return track


def statistics(masks, number):
    (frames,) = np.nonzero(masks.any(axis=(1, 2)))
    return TrackStatistics(
        pixels=int(masks.sum()),
        first=int(frames[0]),
        last=int(frames[-1]),
        logits=np.array([0.0, number], np.float32),
        votes=np.array([number, 1], np.int32),
        score=number / 10,
    )


def video(images):
    for index, image in enumerate(images):
        yield Frame(index, image)


def run(frames, settings=SETTINGS, lengths=None, late=0):
    """The label maps and the statistics that come out."""
    images, labels = scene(*frames)
    track = tracker(labels, lengths or [1] * len(labels), late=late)
    labelled = rejoining.rejoined(track, video(images), settings)
    parts = []
    while True:
        try:
            parts.append(next(labelled).labels)
        except StopIteration as end:
            return np.concatenate(parts), end.value


def numbers(labels):
    return [np.unique(frame[frame > 0]).tolist() for frame in labels]


# A red object is away for two frames, and has another label then.
RETURN = [[(1, RED, 5)]] * 3 + [[]] * 2 + [[(2, RED, 6)]] * 3


@pytest.mark.parametrize(
    ("lengths", "late"),
    [([1] * 8, 0), ([8], 0), ([3, 3, 2], 0), ([4, 4], 3), ([1] * 8, 5), ([6, 1, 1], 8)],
)
def test_what_comes_back_has_its_label(lengths, late):
    labels, tracks = run(RETURN, lengths=lengths, late=late)
    assert numbers(labels) == [[1]] * 3 + [[]] * 2 + [[1]] * 3
    (track,) = tracks.values()
    assert track.pixels == 6 * 16
    assert (track.first, track.last, track.joined) == (0, 7, (5,))
    np.testing.assert_allclose(track.logits, [0, 1.5])
    np.testing.assert_array_equal(track.votes, [3, 2])
    assert track.score == pytest.approx(0.15)


def test_off_changes_nothing_and_looks_at_nothing():
    off = rejoining.Rejoining()
    labels, tracks = run(RETURN, off, lengths=[3, 3, 2])
    np.testing.assert_array_equal(labels, scene(*RETURN)[1])
    assert list(tracks) == [1, 2]
    assert tracks[2].joined == ()


def test_an_absence_is_at_most_as_long_as_the_setting():
    for absence in range(7):
        frames = [[(1, RED, 5)]] * 2 + [[]] * absence + [[(2, RED, 5)]] * 2
        joined = len(run(frames)[1]) == 1
        assert joined == (absence <= 4)


def test_another_colour_is_another_object():
    frames = [[(1, RED, 5)]] * 3 + [[]] + [[(2, BLUE, 5)]] * 3
    labels, tracks = run(frames)
    assert numbers(labels)[-1] == [2]
    assert list(tracks) == [1, 2]


def test_of_two_that_are_away_the_one_of_this_colour_is_back():
    both = [[(1, RED, 5), (2, BLUE, 12)]] * 3
    labels, tracks = run([*both, [], [(3, BLUE, 10)], [(3, BLUE, 10), (4, RED, 5)]])
    assert numbers(labels) == [[1, 2]] * 3 + [[], [2], [1, 2]]
    assert [track.joined for track in tracks.values()] == [(5,), (4,)]


@pytest.mark.parametrize("back", [(7, 9), (9, 7)])
def test_two_that_look_alike_are_not_told_apart(back):
    both = [[(1, RED, 5), (2, RED, 11)]] * 3
    there = [[(3, RED, back[0]), (4, RED, back[1])]] * 2
    frames = [*both, [], [], *[[there[0][0]], there[1]]]
    labels, _ = run(frames, lengths=[len(frames)])
    assert numbers(labels)[-1] == [3, 4]


def test_an_object_beyond_reach_is_another():
    near = rejoining.Rejoining(max_absence=4, reach=0.0)
    frames = [[(1, RED, 0)]] * 3 + [[]] + [[(2, RED, 16)]] * 3
    assert len(run(frames, near)[1]) == 2
    far = rejoining.Rejoining(max_absence=4, reach=0.5)
    assert len(run(frames, far)[1]) == 1


def test_an_object_may_have_gone_on_while_it_was_away():
    near = rejoining.Rejoining(max_absence=8, reach=0.0)
    moving = [[(1, RED, 2 * k)] for k in range(4)]
    frames = [*moving, [], [], [], [(2, RED, 14)]]
    assert len(run(frames, near)[1]) == 1
    resting = [[(1, RED, 6)]] * 4
    assert len(run([*resting, [], [], [], [(2, RED, 14)]], near)[1]) == 2


def test_what_is_much_larger_is_another():
    images, labels = scene(*[[(1, RED, 5)]] * 3, [], [(2, RED, 5)])
    labels[-1, 0:12, 1:20], images[-1, 0:48, 4:80] = 2, RED
    labelled = rejoining.rejoined(tracker(labels, [1] * 5), video(images), SETTINGS)
    assert numbers(np.concatenate([part.labels for part in labelled]))[-1] == [2]


def test_a_part_of_what_is_still_there_is_not_what_has_gone():
    """Of two red objects one has gone; what is new is more likely of the other."""
    both = [[(1, RED, 5), (2, RED, 12)]] * 3
    frames = [*both, [(1, RED, 5)], [(1, RED, 5), (3, RED, 7)]]
    labels, _ = run(frames)
    assert numbers(labels)[-1] == [1, 3]


def test_a_label_that_goes_on_within_a_part_has_not_gone():
    frames = [[(1, RED, 5)], [], [(2, RED, 5)], [(1, RED, 5)]]
    assert numbers(run(frames, lengths=[4])[0]) == [[1], [], [2], [1]]


def test_unassigned_cells_and_other_fields_stay():
    images, labels = scene(*RETURN)
    labels[:, 10, :5] = -1
    depth = np.ones(labels.shape, np.float32)

    def track(frames):
        for part in tracker(labels, [4, 4])(frames):
            yield part._replace(depth=depth[:4])
        return {}

    parts = list(rejoining.rejoined(track, video(images), SETTINGS))
    assert all(part.depth is not None for part in parts)
    assert all((part.labels[:, 10, :5] == -1).all() for part in parts)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_videos_without_objects_and_of_one_frame(length):
    labels, tracks = run([[]] * length)
    assert not labels.any()
    assert tracks == {}
    labels, tracks = run([[(7, RED, 5)]] * length)
    assert numbers(labels) == [[7]] * length
    assert tracks[7].joined == ()


def test_parts_come_before_the_next_frame_goes_in():
    images, labels = scene(*RETURN)
    taken = []

    def watched():
        for frame in video(images):
            taken.append(frame.index)
            yield frame

    track = tracker(labels, [1] * 8)
    for part in rejoining.rejoined(track, watched(), SETTINGS):
        assert taken[-1] == part.first


def test_what_is_remembered_does_not_grow_with_the_video():
    names = rejoining._Names(SETTINGS)
    image = scene([(1, RED, 5)])[0][0]
    bins = rejoining.colours(image)
    for frame in range(60):
        _, labels = scene([(frame + 1, RED, frame % 20)])
        names.add(frame, [rejoining.seen(labels[0], bins, GEOMETRY)])
        assert len(names._tracks) <= SETTINGS.max_absence + 3


def test_where_a_label_lies_in_the_frame():
    """Cells lie over pixels by stride and size, without the padding."""
    geometry = Geometry(original=(96, 192), resized=(24, 48), labels=(8, 16), stride=4)
    image = np.zeros((96, 192, 3), np.uint8)
    image[32:64, 80:96] = RED  # 4 by 4 pixels of the resized frame
    image[:32, :16] = BLUE
    labels = np.zeros(geometry.labels, np.int32)
    labels[2:4, 5] = 3
    labels[6:, :] = 9  # padding alone
    found = rejoining.seen(labels, rejoining.colours(image), geometry)
    assert list(found) == [3]
    np.testing.assert_allclose(found[3].centre * np.hypot(96, 192), [40, 80])
    assert found[3].area * (96**2 + 192**2) == pytest.approx(2 * 16 * 16)
    red = rejoining.colours(np.full((4, 4, 3), RED, np.uint8))[0, 0]
    assert found[3].colours[red] == found[3].colours.sum() == 2


def test_likeness_by_hand():
    def of(a, b):
        """Of counts by level of L, a and b."""
        histograms = np.zeros((2, 8, 8, 8), np.float32)
        for histogram, counts in zip(histograms, (a, b), strict=True):
            for levels, count in counts.items():
                histogram[levels] = count
        return rejoining.likeness(*histograms.reshape(2, -1))

    black, white, dark = (0, 3, 3), (7, 3, 3), (1, 3, 3)
    assert of({black: 1, white: 3}, {black: 2, white: 6}) == pytest.approx(1)
    assert of({black: 1}, {white: 1}) == 0
    assert of({black: 1, white: 1}, {black: 1}) == pytest.approx(0.5**0.5)
    assert 0.2 < of({black: 1}, {dark: 1}) < 0.8
    assert of({}, {black: 1}) == 0


@pytest.mark.parametrize(
    ("alike", "pairs"),
    [
        (np.zeros((0, 2)), []),
        (np.zeros((2, 0)), []),
        ([[0.9]], [(0, 0)]),
        ([[0.7]], []),
        ([[0.9, 0.87]], []),  # two are alike
        ([[0.9], [0.87]], []),
        ([[0.95, 0.82], [0.81, 0.9]], [(0, 0), (1, 1)]),
        ([[0.95, 0.93], [0.1, 0.9]], []),
    ],
)
def test_pairs_are_the_best_of_both_by_the_margin(alike, pairs):
    assert rejoining.mutual(np.array(alike), SETTINGS) == pairs


def test_values_out_of_range_are_refused():
    with pytest.raises(ValueError, match="rejoining.max_absence=-1: expected a whole"):
        rejoining.Rejoining(max_absence=-1)
    with pytest.raises(ValueError, match="rejoining.margin=0.0"):
        rejoining.Rejoining(margin=0.0)
