import numpy as np
import pytest

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import DATASETS
from tests.data import folders


def test_frames_masks_and_names_are_those_of_the_folder(tmp_path):
    dataset = DATASETS["davis19"](folders.davis(tmp_path), "train")
    assert dataset.name == "davis19"
    assert dataset.categories == {1: "object"}
    assert not dataset.exhaustive
    assert [video.name for video in dataset.videos] == ["bear", "cow"]
    video = dataset.videos[0]
    assert isinstance(video, readers.Video)
    assert (video.height, video.width, video.num_frames) == (24, 40, 6)
    assert video.categories == {1: 1, 2: 1}
    assert list(video.annotated_frames) == list(range(6))

    clip = video.clip([0, 3])
    truth = folders.labels(6)[[0, 3]]
    np.testing.assert_array_equal(clip.ids, [1, 2])
    np.testing.assert_array_equal(clip.masks, [truth == 1, truth == 2])
    assert not clip.ignore.any()
    # JPEG of flat squares: colours come back in RGB, and nearly as they were.
    assert np.abs(clip.frames[0].astype(int) - folders.image(0)).mean() < 8


def test_instances_of_other_frames_are_not_in_the_clip(tmp_path):
    video = DATASETS["davis19"](folders.davis(tmp_path), "train").videos[0]
    np.testing.assert_array_equal(video.clip([0]).ids, [1])


def test_void_is_ignored(tmp_path):
    folders.davis(tmp_path)
    numbers = folders.labels(1)[0]
    numbers[0] = 255
    at = tmp_path / "DAVIS/Annotations_unsupervised/480p/bear/00002.png"
    clip = DATASETS["davis19"](folders.save(at, numbers) and tmp_path, "train")
    clip = clip.videos[0].clip([2])
    assert clip.ignore[0, 0].all() and not clip.ignore[0, 1:].any()
    np.testing.assert_array_equal(clip.ids, [1])


def test_frames_without_instances_are_not_annotated(tmp_path):
    folders.davis(tmp_path)
    masks = tmp_path / "DAVIS/Annotations_unsupervised/480p/bear"
    folders.save(masks / "00001.png", np.zeros((24, 40), np.uint8))
    (masks / "00004.png").unlink()
    video = DATASETS["davis19"](tmp_path, "train").videos[0]
    assert list(video.annotated_frames) == [0, 2, 3, 5]


def test_2016_has_one_foreground_object(tmp_path):
    folders.davis(tmp_path, year=2016)
    video = DATASETS["davis16"](tmp_path, "train").videos[0]
    clip = video.clip([1])
    np.testing.assert_array_equal(clip.masks[0], folders.labels(2)[1:] > 0)
    assert video.categories == {1: 1}


def test_2016_list_of_frames_gives_its_sequences(tmp_path):
    folders.davis(tmp_path, year=2016)
    (tmp_path / "DAVIS/ImageSets/2016/train.txt").unlink()
    line = "/JPEGImages/480p/{0}/{1:05d}.jpg /Annotations/480p/{0}/{1:05d}.png\n"
    lines = "".join(line.format(s, t) for s in ("cow", "bear") for t in range(2))
    folders.write_text(tmp_path / "DAVIS/ImageSets/480p/train.txt", lines)
    dataset = DATASETS["davis16"](tmp_path, "train")
    assert [video.name for video in dataset.videos] == ["cow", "bear"]


def test_the_folder_itself_may_be_the_root(tmp_path):
    folders.davis(tmp_path)
    assert len(DATASETS["davis19"](tmp_path / "DAVIS", "train").videos) == 2


def test_the_root_may_come_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("STEMSEG_DATA", str(folders.davis(tmp_path)))
    assert len(DATASETS["davis19"](None, "train").videos) == 2
    monkeypatch.delenv("STEMSEG_DATA")
    with pytest.raises(ValueError, match="--config.data.root.*STEMSEG_DATA"):
        DATASETS["davis19"](None, "train")


def test_what_is_missing_is_named(tmp_path):
    load = DATASETS["davis19"]
    with pytest.raises(ValueError, match="found neither .*DAVIS/.*holds: nothing"):
        load(tmp_path, "train")
    folders.davis(tmp_path)
    with pytest.raises(ValueError, match="expected ImageSets/2017/val.txt"):
        load(tmp_path, "val")
    with pytest.raises(ValueError, match="Annotations/480p: no such folder"):
        DATASETS["davis17"](tmp_path, "train")
    folders.write_text(tmp_path / "DAVIS/ImageSets/2017/train.txt", "bear\nwolf\n")
    with pytest.raises(ValueError, match=r"480p/wolf: no such folder.*bear, cow"):
        load(tmp_path, "train")
    (tmp_path / "DAVIS/JPEGImages/480p/wolf").mkdir()
    with pytest.raises(ValueError, match="wolf: no images"):
        load(tmp_path, "train")


def test_some_of_the_sequences_in_the_order_asked_for(tmp_path):
    folders.davis(tmp_path, sequences=("bear", "cow", "emu"))
    dataset = DATASETS["davis19"](tmp_path, "train", sequences=("emu", "bear"))
    assert [video.name for video in dataset.videos] == ["emu", "bear"]
    with pytest.raises(ValueError, match="sequences='wolf' is unknown.*'cow', 'emu'"):
        DATASETS["davis19"](tmp_path, "train", sequences=("bear", "wolf"))


def test_real_sequences_have_the_stated_counts(shared):
    counts = {
        (video.name, video.num_frames): len(video.categories)
        for split in ("train", "val")
        for video in DATASETS["davis19"](shared / "data", split).videos
    }
    assert counts == {
        ("boat", 24): 1,
        ("dog-agility", 25): 1,
        ("blackswan", 24): 1,
        ("car-shadow", 24): 1,
        ("bmx-trees", 32): 2,
        ("horsejump-high", 36): 2,
    }


def test_single_annotated_frames_are_stills(shared):
    dataset = DATASETS["davis17"](shared / "data/DAVIS_first_frames", "test-dev")
    instances = {video.name: len(video.categories) for video in dataset.videos}
    assert len(instances) == 15
    assert (instances["vietnam"], instances["burnout"]) == (7, 1)
    assert all(video.num_frames == 1 for video in dataset.videos)
