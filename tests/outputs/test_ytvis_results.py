"""results.json: read by pycocotools and ours, and refused where a server would."""

import json
import zipfile

import numpy as np
import pytest

from stemseg_jax.formats import coco_json, rle
from stemseg_jax.outputs import ytvis_results
from stemseg_jax.tracks import Track, VideoTracks

IDS = {"dog": 7, "cat": 3}
SIZES = {7: coco_json.VideoSize(8, 9, 3)}


@pytest.fixture
def video():
    masks = np.random.default_rng(0).random((3, 8, 9)) > 0.5
    seen = tuple(rle.encode(mask) for mask in masks)
    return VideoTracks(
        "dog", 8, 9, 3, (Track(1, 4, 1.0, seen), Track(2, 1, 0.25, (None, *seen[1:])))
    )


@pytest.fixture
def entry(tmp_path, video):
    return json.loads(ytvis_results.write(tmp_path, [video], IDS).read_text())[1]


def test_what_is_written(tmp_path, video):
    file = ytvis_results.write(tmp_path, iter([video]), IDS)
    first, second = json.loads(file.read_text())
    assert {k: first[k] for k in ("video_id", "category_id", "score")} == {
        "video_id": 7,
        "category_id": 4,
        "score": 1.0,
    }
    assert second["segmentations"][0] is None
    own = video.tracks[1].segmentations
    assert second["segmentations"][1] == rle.to_json(own[1])
    coco_json.check(file, SIZES, {1, 4})


def test_the_zip_holds_the_same_file(tmp_path, video):
    file = ytvis_results.write(tmp_path, [video], IDS)
    with zipfile.ZipFile(tmp_path / "results.zip") as archive:
        assert archive.namelist() == ["results.json"]
        assert archive.read("results.json") == file.read_bytes()
    assert coco_json.read_results(tmp_path / "results.zip") == coco_json.read_results(
        file
    )


@pytest.mark.parametrize("number", [0, 1, 3])
def test_videos_without_tracks_leave_a_valid_list(tmp_path, video, number):
    empty = [VideoTracks(f"v{k}", 8, 9, 3, ()) for k in range(number)]
    ids = IDS | {f"v{k}": 10 + k for k in range(number)}
    assert coco_json.read_results(ytvis_results.write(tmp_path, empty, ids)) == []
    videos = [*empty[:1], video, *empty[1:]]
    assert len(coco_json.read_results(ytvis_results.write(tmp_path, videos, ids))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: [v._replace(name="owl")], "video owl has no id"),
        (lambda v: [v, v], "video dog is given twice"),
        (lambda v: [with_track(v, score=1.5)], "track 0, video 7: the score is 1.5"),
        (lambda v: [with_track(v, score=float("nan"))], "the score is nan"),
        (lambda v: [v._replace(num_frames=2)], "3 segmentations for 2 frames"),
        (lambda v: [v._replace(width=8)], r"frame 0: a mask has size \[8, 9\]"),
    ],
)
def test_nothing_is_left_of_tracks_that_do_not_fit(tmp_path, video, change, message):
    with pytest.raises(ValueError, match=message):
        ytvis_results.write(tmp_path, change(video), IDS)
    assert not list(tmp_path.glob("results.*"))


def with_track(video, **changes):
    return video._replace(tracks=(video.tracks[0]._replace(**changes),))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("video_id", 8, "entry 0: video 8 is not in the annotation file"),
        ("video_id", "7", r"\$\[0\].video_id: expected `int`, got `str`"),
        ("category_id", 40, "category 40 does not exist"),
        ("category_id", None, "category_id: expected `int`, got `null`"),
        ("score", -0.1, "the score is -0.1"),
        ("score", "0.5", "score: expected `float`, got `str`"),
        ("score", True, "score: expected `float`, got `bool`"),
        ("segmentations", None, "segmentations: expected `array`"),
        ("segmentations", [None] * 4, "4 segmentations for 3 frames"),
        ("segmentations", [None, None, {"size": [9, 8], "counts": "0"}], "frame 2: "),
        ("segmentations", [None, {"size": [8, 9], "counts": "0"}, None], "frame 1: "),
        (
            "segmentations",
            [{"size": [8, 9], "counts": [72]}, None, None],
            "counts: expected `str`",
        ),
    ],
)
def test_foreign_files_are_checked(tmp_path, entry, key, value, message):
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps([entry | {key: value}]))
    with pytest.raises(ValueError, match=message):
        coco_json.check(file, SIZES, {1, 4})


def test_a_mask_that_is_cut_off_is_named(tmp_path, entry):
    entry["segmentations"][2]["counts"] = entry["segmentations"][2]["counts"][:-1]
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps([entry]))
    with pytest.raises(ValueError, match="theirs.json: entry 0, video 7, frame 2: "):
        coco_json.check(file, SIZES, {1, 4})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "no readable JSON"),
        ('{"videos": []}', "expected `array`, got `object`"),
        ('["a"]', "expected `object`, got `str`"),
        ('[{"video_id": 7}]', "missing required field `category_id`"),
    ],
)
def test_what_is_no_result_file_is_named(tmp_path, content, message):
    file = tmp_path / "theirs.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=f"theirs.json.*{message}"):
        coco_json.check(file, SIZES, {1, 4})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="none.json: no readable JSON"):
        coco_json.check(tmp_path / "none.json", SIZES, {1, 4})


def plain(video):
    """Which can be compared."""
    tracks = [
        (*one[:3], [mask and (*mask["size"], mask["counts"]) for mask in one[3]])
        for one in video.tracks
    ]
    return *video[:4], tracks


def listed(name="dog", length=3):
    names = [f"{name}/{t}.jpg" for t in range(length)]
    return {7: coco_json.Video(7, 8, 9, names), 3: coco_json.Video(3, 8, 9, ["cat/0"])}


def test_what_is_written_is_read(tmp_path, video):
    """With ids from 1 in the order of the file; a video without tracks is there."""
    file = ytvis_results.write(tmp_path, [video], IDS)
    found = ytvis_results.read(file, listed())
    assert found.keys() == {"dog", "cat"} and found["cat"]().tracks == ()
    assert plain(found["dog"]()) == plain(video)


def test_without_the_annotations_videos_are_called_by_their_numbers(tmp_path, video):
    file = ytvis_results.write(tmp_path, [video], IDS)
    found = ytvis_results.read(file)
    assert found.keys() == {"7"}
    assert plain(found["7"]()) == plain(video._replace(name="7"))


def test_results_of_other_videos_are_refused(tmp_path, video, entry):
    file = ytvis_results.write(tmp_path, [video], IDS)
    with pytest.raises(ValueError, match="entry 0: video 7 is not in the annotation"):
        ytvis_results.read(file, {3: listed()[3]})
    found = ytvis_results.read(file, listed(length=2))
    with pytest.raises(ValueError, match="entry 0, video 7: 3 segmentations for 2"):
        found["dog"]()
