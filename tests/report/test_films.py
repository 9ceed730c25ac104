import io

import av
import numpy as np
import pytest

from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.formats import rle
from stemseg_jax.outputs import page, video
from stemseg_jax.outputs.film import Film
from stemseg_jax.report import films, room
from stemseg_jax.tracks import Track, VideoTracks

SIZE = {"height": 48, "width": 64}


def moving(**options):
    load = DATASETS["moving_shapes"]
    return load(None, "test", num_videos=1, num_frames=5, **options).videos[0]


def length(film):
    """Frames and seconds."""
    with av.open(io.BytesIO(film.mp4)) as container:
        count = sum(1 for _ in container.decode(video=0))
        return count, float(container.duration / av.time_base)


def test_which_frames_and_when():
    assert [films.stride(n) for n in (1, 600, 601, 1800, 1801)] == [1, 1, 2, 3, 4]
    assert films.clock(3) == [0.0, 0.5, 1.0, 1.5]  # two a second at least,
    assert films.clock(20)[-1] == 4.0  # four seconds,
    assert films.clock(100)[-1] == 10.0  # ten a second at most


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((480, 854), (270, 480)),
        ((375, 1242), (240, 795)),  # not less than 240, though longer than 480
        ((4, 4000), (1, 960)),
        ((96, 160), (96, 160)),
        ((854, 480), (480, 270)),
    ],
)
def test_sizes_of_pictures(size, fitted):
    assert films._size(*size, films.TILE) == fitted


def test_true_tracks_are_the_annotations():
    source = moving(**SIZE)
    truth = films.true_tracks(source)
    clip = source.clip(range(5))
    assert [(one.id, one.category) for one in truth.tracks] == list(
        zip(clip.ids.tolist(), clip.categories.tolist(), strict=True)
    )
    for one, masks in zip(truth.tracks, clip.masks, strict=True):
        for mask, own in zip(masks, one.segmentations, strict=True):
            found = np.zeros_like(mask) if own is None else rle.decode(own)
            np.testing.assert_array_equal(found, mask)


def test_frames_truth_and_found_are_side_by_side(monkeypatch):
    source = moving(**SIZE)
    truth = films.true_tracks(source)
    options = dict(categories={}, times=films.clock(5))
    all_three = films.compared(source, truth, truth, **options)
    assert length(all_three) == (5, pytest.approx(2.5, abs=0.01))
    alone = films.compared(None, truth, **options)
    assert all_three.width > 1.9 * alone.width
    monkeypatch.setattr(films, "MOST_FRAMES", 2)  # each third: 0 and 3
    thinned = films.compared(source, truth, truth, **options)
    assert length(thinned) == (2, pytest.approx(3, abs=0.01))


@pytest.mark.parametrize(
    ("seen", "expected"),
    [(["#...#", "#...."], 0), (["#####"], 2), (["....."], 2), ([], 2), ([".#.##"], 1)],
)
def test_the_poster_has_the_most_objects(seen, expected):
    mask = rle.encode(np.ones((2, 2), bool))
    tracks = [
        Track(k, 0, 1.0, tuple(mask if c == "#" else None for c in own))
        for k, own in enumerate(seen)
    ]
    video = VideoTracks("clip", 2, 2, 5, tuple(tracks))
    assert films._fullest([video], range(5)) == expected


def test_masks_of_another_size_are_refused():
    truth = films.true_tracks(moving(**SIZE))
    other = moving(height=64, width=64)
    with pytest.raises(ValueError, match="its masks are 48 x 64, but frame 0 is 64 x"):
        films.compared(other, truth, categories={}, times=films.clock(5))


def test_a_file_is_made_smaller_and_shorter(tmp_path, monkeypatch):
    with video.Writer(tmp_path / "film.mp4", fps=2) as writer:
        for t in range(7):
            writer.write(np.full((480, 960, 3), 30 * t, np.uint8))
    film = films.of_file(tmp_path / "film.mp4", longest=720)
    assert (film.height, film.width) == (360, 720)
    assert length(film) == (7, pytest.approx(3.5, abs=0.01))
    monkeypatch.setattr(films, "MOST_FRAMES", 4)  # each second one
    film = films.of_file(tmp_path / "film.mp4", longest=720)
    assert length(film) == (4, pytest.approx(4, abs=0.01))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.mp4: cannot be opened"):
        films.of_file(tmp_path / "none.mp4", longest=720)


def test_a_page_is_full_at_some_size(monkeypatch):
    monkeypatch.setattr(room, "MOST_BYTES", 25)

    def draw(item, anchor):
        return page.Video(f"{item} {anchor}", anchor, Film(bytes(10), b"", 1, 1))

    shown = room.fill("abcde", draw, most=4, order="of five")
    assert [one.name for one in shown.videos] == ["a video-1", "b video-2", "c video-3"]
    assert (
        shown.note == "3 of 5 videos of five; the others are left out (0 MB of films)."
    )
    shown = room.fill("abc", draw, most=9, order="of three")
    assert shown.note == "3 of 3 videos of three."
