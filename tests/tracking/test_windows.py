"""Windows of videos of known and of unknown length."""

import json
import pathlib

import numpy as np
import pytest

from stemseg_jax.tracking import windows
from stemseg_jax.tracking.windows import Planner, Window
from stemseg_jax.tracks import Frame

# What the authors' program does, by recording it.
PROGRAM = [
    (16, 6, 16, [0]),
    (16, 6, 17, [0, 1]),
    (16, 6, 26, [0, 10]),
    (16, 6, 27, [0, 10, 11]),
    (16, 6, 40, [0, 10, 20, 24]),
    (16, 6, 69, [0, 10, 20, 30, 40, 50, 53]),
    (8, 4, 9, [0, 1]),
    (8, 4, 13, [0, 4, 5]),
    (8, 4, 20, [0, 4, 8, 12]),
    (8, 2, 20, [0, 6, 12]),
    (8, 5, 23, [0, 3, 6, 9, 12, 15]),
    (8, 7, 20, list(range(13))),
]
SIZES = [(n, overlap) for n in range(1, 8) for overlap in range(n)]


@pytest.mark.parametrize(("size", "overlap", "length", "expected"), PROGRAM)
def test_starts_equal_the_program(size, overlap, length, expected):
    assert windows.starts(length, size, overlap) == expected


def test_a_short_video_repeats_frame_0_in_front():
    (window,) = windows.windows(5, 8, 4)
    assert window.frames == (0, 0, 0, 0, 1, 2, 3, 4)
    assert window.known == 3  # the repeats


def test_new_frames_are_those_that_no_earlier_window_has():
    assert windows.windows(13, 8, 4) == [
        Window(0, 8, 0),
        Window(4, 8, 8),
        Window(5, 8, 12),
    ]
    assert [w.known for w in windows.windows(13, 8, 4)] == [0, 4, 7]


def test_all_frames_are_new_once():
    for size, overlap in SIZES:
        for length in range(1, 4 * size + 2):
            new = [
                frame
                for window in windows.windows(length, size, overlap)
                for frame in range(window.new, window.end)
            ]
            assert new == list(range(length))


def test_even_windows_of_one_frame_have_room_for_labels():
    assert windows.labelling_windows(1, 0) == 1


def test_labels_come_from_at_most_so_many_earlier_windows():
    for size, overlap in SIZES:
        most = 0
        for length in range(1, 6 * size):
            laid = windows.windows(length, size, overlap)
            for k, window in enumerate(laid):
                most = max(most, sum(w.end > window.start for w in laid[:k]))
        assert most == windows.labelling_windows(size, overlap) or overlap == 0


# ------------------------------------------------------------------------- streaming


def stream(length, size, overlap):
    """(frames arrived, progress) after each frame and after the end."""
    planner = Planner(size, overlap)
    steps = [(k + 1, planner.arrive()) for k in range(length)]
    return [*steps, (length, planner.end())]


@pytest.mark.parametrize(("size", "overlap"), SIZES)
def test_streaming_gives_the_same_windows_in_order(size, overlap):
    for length in range(1, 4 * size + 2):
        steps = stream(length, size, overlap)
        laid = windows.windows(length, size, overlap)
        assert [w for _, step in steps for w in step.complete] == laid
        assert [w for _, step in steps for w in step.final] == laid


@pytest.mark.parametrize(("size", "overlap"), SIZES)
def test_a_window_is_complete_with_its_last_frame_and_final_as_soon_as_can_be(
    size, overlap
):
    length = 4 * size
    complete = []
    for arrived, step in stream(length, size, overlap)[:-1]:
        for window in step.complete:
            assert window.end == arrived
        complete += step.complete
        final = [
            w for w in complete if w.end <= _earliest_start(arrived, size, overlap)
        ]
        assert step.final == final
        complete = [w for w in complete if w not in final]


@pytest.mark.parametrize(("size", "overlap"), SIZES)
def test_frames_are_kept_as_long_as_a_later_window_may_have_them(size, overlap):
    for arrived, step in stream(4 * size, size, overlap)[:-1]:
        assert step.keep_from == max(_earliest_start(arrived, size, overlap), 0)


def _earliest_start(arrived, size, overlap):
    """Of all later windows, over all lengths the video may turn out to have."""
    return min(
        start
        for length in range(arrived, arrived + size + 1)
        for start in windows.starts(length, size, overlap)
        if start + size > arrived or not _was_complete(start, size, overlap)
    )


def _was_complete(start, size, overlap):
    return start >= 0 and start % (size - overlap) == 0


def scheduled(length, size, overlap, group):
    """(frames pulled, group or none, progress) as `schedule` has it."""
    pulled = []

    def frames():
        for k in range(length):
            pulled.append(k)
            yield Frame(k, np.full((1, 2, 3), k, np.uint8))

    for given, progress in windows.schedule(frames(), size, overlap, group=group):
        yield len(pulled), given, progress


@pytest.mark.parametrize(("size", "overlap"), SIZES)
def test_groups_of_any_size_change_no_window_and_come_before_one_needs_them(
    size, overlap
):
    for length in range(1, 2 * size + 3):
        one_by_one = [step for _, step in stream(length, size, overlap)]
        for group in range(1, size + 3):
            steps, encoded = [], []
            for pulled, given, step in scheduled(length, size, overlap, group):
                steps.append(step)
                if given is not None:
                    encoded += given.indices
                assert pulled == len(encoded)  # and no more are waited for
                for window in step.complete:
                    assert set(window.frames) <= set(encoded)
            assert steps == one_by_one
            assert encoded == list(range(length))


# --------------------------------------------------------------------------- refusals


def test_a_video_without_frames_is_refused():
    with pytest.raises(ValueError, match="0 frames"):
        windows.starts(0, 8, 4)
    with pytest.raises(ValueError, match="no frames"):
        Planner(8, 4).end()


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_that_leaves_no_new_frame_is_refused(overlap):
    with pytest.raises(ValueError, match=f"overlap={overlap} .* the window's 8"):
        Planner(8, overlap)


def test_windows_equal_the_whole_recorded_table():
    folder = pathlib.Path(__file__).parents[1] / "parity/goldens"
    table = json.loads((folder / "preproc.json").read_text())
    overlaps = {"davis": 6, "ytvis": 4, "kittimots": 4}
    for case in table["clip_split"]:
        overlap = case.get("overlap", overlaps[case["dataset"]])
        laid = windows.windows(case["length"], case["clip"], overlap)
        assert [list(window.frames) for window in laid] == case["clips"]
        if case["padded"]:
            assert laid[0].known == sum(case["padded"])


@pytest.mark.parametrize("length", [1, 5, 8, 9, 21])
@pytest.mark.parametrize("group", [1, 3, 4, 9])
def test_all_groups_have_one_shape_and_only_the_last_is_short(length, group):
    groups = [given for _, given, _ in scheduled(length, 8, 4, group) if given]
    for given in groups:
        assert given.images.shape == (group, 1, 2, 3)
        shown = given.images[:, 0, 0, 0].tolist()
        assert shown[: len(given.indices)] == list(given.indices)
        assert set(shown[len(given.indices) :]) <= {given.indices[-1]}
    sizes = [len(given.indices) for given in groups]
    assert sizes[:-1] == [group] * (len(groups) - 1) and sum(sizes) == length
