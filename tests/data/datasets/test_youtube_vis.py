import json

import numpy as np
import pytest

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import DATASETS
from tests.data import folders

SPELLINGS = [
    ("ytvis", "YouTubeVIS", "train.json", "train/JPEGImages"),
    ("ytvis", "ytvis_2019", "annotations/instances_train_sub.json", "train/JPEGImages"),
    ("ytvis21", "ytvis_2021", "train/instances.json", "train/JPEGImages"),
    ("ovis", "OVIS", "annotations_train.json", "train"),
    ("ovis", "ovis", "annotations/annotations_train.json", "train"),
    ("own", "", "train.json", "JPEGImages"),
]


@pytest.mark.parametrize(("name", "folder", "json_name", "frames"), SPELLINGS)
@pytest.mark.parametrize("encode", [folders.runs, folders.compressed])
def test_every_spelling_gives_the_same_video(
    tmp_path, name, folder, json_name, frames, encode
):
    at = tmp_path / folder
    folders.youtube_vis(at, json_name=json_name, frames=frames, encode=encode)
    dataset = DATASETS[name](tmp_path, "train")
    assert dataset.categories == {20: "bear", 40: "tennis_racket"}
    assert dataset.exhaustive
    (video,) = dataset.videos
    assert isinstance(video, readers.Video)
    assert (video.name, video.num_frames) == ("aa", 6)
    assert video.categories == {11: 20, 12: 40}
    clip = video.clip([0, 2])
    truth = folders.labels(6)[[0, 2]]
    np.testing.assert_array_equal(clip.ids, [11, 12])
    np.testing.assert_array_equal(clip.categories, [20, 40])
    np.testing.assert_array_equal(clip.masks, [truth == 1, truth == 2])


def test_class_agnostic_instances_are_of_one_class(tmp_path):
    folders.youtube_vis(tmp_path)
    dataset = DATASETS["own"](tmp_path, "train", categories="object")
    assert dataset.categories == {1: "object"}
    assert set(dataset.videos[0].categories.values()) == {1}


def test_a_split_without_annotations_is_there_to_be_predicted(tmp_path):
    frames = "valid/JPEGImages"
    folders.youtube_vis(
        tmp_path, json_name="valid.json", frames=frames, annotated=False
    )
    for split in ("valid", "val"):
        (video,) = DATASETS["own"](tmp_path, split).videos
        assert not video.annotated and not video.categories
        assert not video.annotated_frames
        assert video.frame(3).shape == (24, 40, 3)


def broken(tmp_path, change):
    """The video of a folder whose JSON was changed."""
    folders.youtube_vis(tmp_path)
    path = tmp_path / "train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return DATASETS["own"](tmp_path, "train").videos[0]


def test_an_rle_of_the_wrong_size_is_named_with_frame_and_instance(tmp_path):
    def shorten(content):
        content["annotations"][0]["segmentations"][2]["counts"][-1] -= 1

    video = broken(tmp_path, shorten)
    video.clip([1])
    with pytest.raises(
        readers.BrokenSample, match="aa, frame 2, instance 11.*959.*960"
    ):
        video.clip([2])


def test_an_rle_of_no_meaning_is_named(tmp_path):
    def scramble(content):
        content["annotations"][0]["segmentations"][2] = {"counts": "o", "size": []}

    place = r"\$.annotations\[0\].segmentations\[2\].size: expected `array` of length 2"
    with pytest.raises(ValueError, match=f"train.json: {place}"):
        broken(tmp_path, scramble)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("videos"), "missing required field `videos`"),
        (lambda c: c["annotations"][0].update(video_id=9), "video 9.*does not list"),
        (
            lambda c: c["annotations"][0].update(category_id=9),
            r"category 9.*\[20, 40\]",
        ),
        (lambda c: c["annotations"][0]["segmentations"].pop(), "5 segmentations for 6"),
        (
            lambda c: c["videos"][0].update(
                file_names=[f"bb/{t}.jpg" for t in range(1, 7)]
            ),
            "frame bb/1.jpg is in none of train/JPEG",
        ),
    ],
)
def test_a_json_that_contradicts_itself_is_refused(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        broken(tmp_path, change)


def test_a_truncated_json_is_named(tmp_path):
    folders.youtube_vis(tmp_path)
    path = tmp_path / "train.json"
    path.write_text(path.read_text()[:-40])
    with pytest.raises(ValueError, match="train.json: no readable JSON"):
        DATASETS["own"](tmp_path, "train")


def test_a_missing_json_lists_the_folder(tmp_path):
    folders.youtube_vis(tmp_path, json_name="labels.json")
    with pytest.raises(ValueError, match="train.json.*holds: labels.json, train"):
        DATASETS["own"](tmp_path, "train")


def test_real_files_have_the_stated_counts(shared):
    load, root = DATASETS["ytvis"], shared / "data"
    train = {v.name: sorted(v.categories.values()) for v in load(root, "train").videos}
    assert train == {
        "horsejump-high": [1, 18],
        "bear": [20],
        "dog": [8],
        "composite-elephant-bear-dog": [8, 20, 32],
    }
    valid = {v.name: v for v in load(root, "valid").videos}
    assert {n: v.num_frames for n, v in valid.items()} == {
        "elephant": 8,
        "boat": 5,
        "kitti-0001": 3,
    }
    cars = valid["kitti-0001"]
    assert set(cars.categories.values()) == {6} and len(cars.categories) == 13
    present = cars.clip([0, 1, 2]).masks.any(axis=(2, 3))
    assert present.size - present.sum() == 10  # absences
    ovis = DATASETS["ovis"](root, "train").videos
    assert [sorted(v.categories.values()) for v in ovis] == [[1, 5], [4, 8, 9]]
