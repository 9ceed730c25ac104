"""KITTI-MOTS text files: no overlap, no id twice, and what was written is read."""

import numpy as np
import pytest

from stemseg_jax.formats import mots_txt as form
from stemseg_jax.formats import rle, track_scores
from stemseg_jax.outputs import mots_results
from stemseg_jax.tracks import Track, VideoTracks

SHAPE = (40, 60)


def box(top, left, height, width):
    mask = np.zeros(SHAPE, bool)
    mask[top : top + height, left : left + width] = True
    return mask


def video_of(*tracks, num_frames):
    """Tracks are (id, class, masks)."""
    return VideoTracks(
        "0003",
        *SHAPE,
        num_frames,
        tuple(
            Track(
                identity,
                category,
                1.0,
                tuple(None if m is None else rle.encode(m) for m in masks),
            )
            for identity, category, masks in tracks
        ),
    )


@pytest.fixture
def video():
    near, far = box(5, 5, 20, 20), box(10, 10, 20, 20)
    return video_of((2, 1, [near, None]), (1, 2, [far, far]), num_frames=2)


def test_lines_come_track_by_track(tmp_path, video):
    file = mots_results.write(tmp_path, video)
    assert file == tmp_path / "0003.txt"
    lines = [line.split(" ")[:5] for line in file.read_text().splitlines()]
    assert lines == [
        ["0", "2001", "2", "40", "60"],
        ["1", "2001", "2", "40", "60"],
        ["0", "1002", "1", "40", "60"],
    ]


def test_a_pixel_belongs_to_the_last_painted(tmp_path, video):
    first, _ = form.read(mots_results.write(tmp_path, video), num_frames=2)
    areas = rle.areas([line.mask for line in first]).tolist()
    assert dict(zip([line.id for line in first], areas, strict=True)) == {
        2001: 400,
        1002: 400 - 15 * 15,
    }


def test_motschallenge_counts_from_one(tmp_path, video):
    file = mots_results.write(tmp_path, video, first_frame=1)
    assert [line.split(" ")[0] for line in file.read_text().splitlines()] == list("121")
    assert len(form.read(file, num_frames=2, first_frame=1)[1]) == 1


def test_no_tracks_give_an_empty_file(tmp_path):
    file = mots_results.write(tmp_path, video_of(num_frames=2))
    assert file.read_text() == ""
    assert form.read(file, num_frames=2) == [[], []]


def test_a_hidden_mask_is_kept_empty(tmp_path):
    mask = box(0, 0, 5, 5)
    hidden = video_of((1, 1, [mask]), (2, 1, [mask]), num_frames=1)
    (lines,) = form.read(mots_results.write(tmp_path, hidden), num_frames=1)
    assert rle.areas([line.mask for line in lines]).tolist() == [0, 25]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ((1, 3, [None]), "class 3; expected 1"),
        ((1000, 1, [None]), "ids run from 1 to 999"),
        ((7, 2, [None]), "another track has the same id"),
    ],
)
def test_tracks_that_do_not_fit_are_refused(tmp_path, track, message):
    with pytest.raises(ValueError, match=f"video 0003, track .*{message}"):
        mots_results.write(tmp_path, video_of((7, 1, [None]), track, num_frames=1))
    assert not list(tmp_path.glob("*.txt"))


def test_tracks_without_a_class_are_not_cleaned():
    with pytest.raises(ValueError, match="track 4: class 0; expected 1"):
        mots_results.clean(video_of((4, 0, [None]), num_frames=1))


def test_tracks_without_a_class_are_cars_where_there_are_cars_alone():
    video = video_of((4, 0, [None]), (5, 2, [None]), num_frames=1)
    assert [track.category for track in mots_results.cars(video).tracks] == [1, 2]


def test_scores_lie_beside_the_lines(tmp_path, video):
    tracks = tuple(t._replace(score=t.id / 4) for t in video.tracks)
    video = video._replace(name="a.b", tracks=tracks)
    file = mots_results.write(tmp_path, video)
    written = mots_results.write_scores(tmp_path, video)
    assert written == tmp_path / "a.b.scores.json"
    assert track_scores.read(file) == {1002: 0.5, 2001: 0.25}
    ids = {line.id for lines in form.read(file, num_frames=2) for line in lines}
    assert ids == {1002, 2001}
    written.unlink()
    assert track_scores.read(file) is None
    mots_results.write_scores(tmp_path, video._replace(tracks=()))
    assert track_scores.read(file) == {}


@pytest.mark.parametrize("text", ['{"1001": "high"}', '{"car": 0.5}', "[0.5]", "{"])
def test_scores_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "0003.scores.json").write_text(text)
    with pytest.raises(ValueError, match=r"0003\.scores\.json"):
        track_scores.read(tmp_path / "0003.txt")


def test_small_and_thin_detections_are_dropped():
    large, small = box(0, 0, 15, 10), box(0, 0, 10, 14)  # 150 and 140 pixels
    thin = np.eye(*SHAPE, dtype=bool) | box(0, 0, 5, 30)  # 186 of 1600
    masks = [large, large, small, thin, large, large]
    (track,) = mots_results.clean(video_of((1, 1, masks), num_frames=6)).tracks
    assert [mask is not None for mask in track.segmentations] == [1, 1, 0, 0, 1, 1]


def test_short_and_interrupted_tracks_are_dropped():
    mask = box(0, 0, 20, 20)

    def survives(category, pattern):
        masks = [mask if seen == "x" else None for seen in pattern]
        cleaned = mots_results.clean(
            video_of((1, category, masks), num_frames=len(masks))
        )
        return bool(cleaned.tracks)

    car, pedestrian = form.CAR, form.PEDESTRIAN
    assert survives(car, "xxx") and not survives(car, "xx")
    assert survives(car, "xxx.x") and not survives(car, "x.xx")  # 1/4 and 1/3
    assert survives(pedestrian, "x" * 10) and not survives(pedestrian, "x" * 9)
    assert survives(pedestrian, "x.x" * 5)  # 5 gaps in 10
    assert not survives(pedestrian, "x." * 7 + "xxxxx")  # 7 gaps in 12


LINE = "0 1001 1 40 60 " + rle.to_json(rle.encode(box(2, 2, 5, 5)))["counts"]
OTHER = "0 1002 1 40 60 " + rle.to_json(rle.encode(box(20, 2, 5, 5)))["counts"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE + "\n" + LINE, "0001.txt:2: frame 0: the id 1001 for a second time"),
        (LINE + "\n" + LINE.replace("1001", "1003"), "1001 and 1003 overlap in 25"),
        (LINE.replace("0 ", "5 ", 1), "0001.txt:1: frame 5: .* frames 0 to 1"),
        (LINE + "\n" + OTHER[:-1], "0001.txt:2: frame 0: a mask"),
        (LINE.replace("40 60", "60 40") + "\n" + OTHER, "0001.txt:2: .* size"),
        ("0 1001 car 40 60 abc", "0001.txt:1: expected `frame id class"),
        ("0 1001 1 40", "0001.txt:1: expected `frame id class"),
        (LINE.replace("1001 1", "1001 3"), "class 3; expected 1 or 2"),
        (LINE.replace("40 60", "60 40"), "expected .40, 60."),
    ],
)
def test_foreign_files_are_checked(tmp_path, text, message):
    file = tmp_path / "0001.txt"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        form.check(file, num_frames=2, size=SHAPE)


def test_a_good_foreign_file_passes(tmp_path):
    file = tmp_path / "0001.txt"
    file.write_text(f"{LINE}\n{OTHER}\n")
    form.check(file, num_frames=2, size=SHAPE)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="0009.txt: no readable"):
        form.read(tmp_path / "0009.txt", num_frames=1)


def test_what_is_written_is_read(tmp_path, video):
    """With the ids of the file, and frames as far as it speaks of them."""
    longer = video._replace(
        num_frames=3,
        tracks=tuple(
            one._replace(segmentations=(*one.segmentations, None), score=one.id / 4)
            for one in video.tracks
        ),
    )
    for first_frame in (0, 1):
        file = mots_results.write(tmp_path, longer, first_frame=first_frame)
        read = mots_results.read(file, first_frame=first_frame)
        assert (read.name, read.height, read.width, read.num_frames) == video[:4]
        tracks = [(one.id, one.category) for one in read.tracks]
        assert tracks == [(1002, 1), (2001, 2)]
        assert all(np.isnan(one.score) for one in read.tracks)
        masks = [[mask is not None for mask in t.segmentations] for t in read.tracks]
        assert masks == [[True, False], [True, True]]
    mots_results.write_scores(tmp_path, longer)
    scores = [one.score for one in mots_results.read(file, first_frame=1).tracks]
    assert scores == [0.5, 0.25]


def test_an_empty_file_is_a_video_without_tracks(tmp_path):
    (tmp_path / "0003.txt").write_text("")
    assert mots_results.read(tmp_path / "0003.txt").tracks == ()


def test_a_frame_beyond_all_reason_is_refused(tmp_path):
    line = form.Line(10**9, 1001, 1, rle.encode(box(0, 0, 2, 2)))
    (tmp_path / "0003.txt").write_text(f"{line}\n")
    with pytest.raises(ValueError, match="0003.txt:1: expected `frame id"):
        mots_results.read(tmp_path / "0003.txt")
