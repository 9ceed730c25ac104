import functools

import numpy as np
import pytest

from stemseg_jax.data import readers
from stemseg_jax.data.clips import sampling
from stemseg_jax.data.datasets import DATASETS
from tests.data import folders


@pytest.mark.parametrize("labels", ["txt", "png"])
def test_cars_pedestrians_and_ignored_regions(tmp_path, labels):
    folders.kitti_mots(tmp_path, png=labels == "png", txt=labels == "txt")
    dataset = DATASETS["kitti_mots"](tmp_path, "train", labels=labels)
    assert dataset.categories == {1: "car", 2: "pedestrian"}
    (video,) = dataset.videos  # 0002 is of the val split
    assert video.name == "0000"
    assert video.categories == {1001: 1, 2003: 2}
    clip = video.clip([1, 4])
    truth = folders.labels(6)[[1, 4]]
    np.testing.assert_array_equal(clip.ids, [1001, 2003])
    np.testing.assert_array_equal(clip.masks, [truth == 1, truth == 2])
    assert clip.ignore[:, -1].all() and not clip.ignore[:, :-1].any()


@pytest.mark.parametrize("labels", ["txt", "png"])
def test_objects_of_other_classes_are_background(tmp_path, labels):
    folders.kitti_mots(tmp_path)
    read = functools.partial(DATASETS["kitti_mots"], tmp_path, "train", labels=labels)
    dataset = read(classes=("pedestrian",))
    assert dataset.categories == {2: "pedestrian"}
    (video,) = dataset.videos
    assert video.categories == {2003: 2}
    clip, whole = video.clip([1, 4]), read().videos[0].clip([1, 4])
    np.testing.assert_array_equal(clip.ids, [2003])
    np.testing.assert_array_equal(clip.masks, whole.masks[1:])
    np.testing.assert_array_equal(clip.ignore, whole.ignore)
    seen = [t for t in range(6) if 2003 in read().videos[0].instances(t)]
    assert list(video.annotated_frames) == seen
    with pytest.raises(ValueError, match="classes='bus'.*car.*pedestrian"):
        read(classes=("bus",))


def test_png_and_txt_are_equal(tmp_path):
    folders.kitti_mots(tmp_path)
    one, other = (
        DATASETS["kitti_mots"](tmp_path, "val", labels=labels).videos[0]
        for labels in ("txt", "png")
    )
    assert one.categories == other.categories
    assert one.annotated_frames == other.annotated_frames
    for a, b in zip(one.clip(range(6)), other.clip(range(6)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_empty_stretch_of_six_frames_cuts_the_video(tmp_path):
    empty = [2, *range(5, 11), 14]
    folders.kitti_mots(tmp_path, num_frames=16, empty_frames=empty)
    dataset = DATASETS["kitti_mots"](tmp_path, "train")
    segments = sampling.segments(
        dataset.videos[0].annotated_frames, max_gap=dataset.max_gap
    )
    assert segments == [[0, 1, 3, 4], [11, 12, 13, 15]]


def test_the_left_colour_camera_of_kitti_tracking(tmp_path):
    folders.kitti_mots(tmp_path, calibration=True)
    (video,) = DATASETS["kitti_mots"](tmp_path, "train").videos
    np.testing.assert_array_equal(video.intrinsics, folders.INTRINSICS)
    (tmp_path / "KITTI_MOTS/training/calib/0000.txt").unlink()
    (video,) = DATASETS["kitti_mots"](tmp_path, "train").videos
    assert video.intrinsics is None


@pytest.mark.parametrize(
    "line",
    ["P1: 1 2 3", "P2: 1 2 3", "P2: " + "x " * 12, "P2: " + "nan " * 12]
    + [2 * ("P2:" + 12 * " 1" + "\n")],
)
def test_a_calibration_without_its_matrix_is_named(tmp_path, line):
    folders.kitti_mots(tmp_path)
    path = tmp_path / "KITTI_MOTS/training/calib/0000.txt"
    folders.write_text(path, line + "\n")
    with pytest.raises(ValueError, match="calib/0000.txt: .*'P2:' with 12 numbers"):
        DATASETS["kitti_mots"](tmp_path, "train")


def challenge(root):
    """MOTSChallenge as RWTH publishes it: frames count from 1."""
    folder = root / "MOTSChallenge"
    lines = []
    for t, numbers in enumerate(folders.labels(4), start=1):
        folders.save(folder / f"images/0002/{t:06d}.jpg", folders.image(t))
        counts = folders.compressed(numbers == 1)["counts"]
        lines.append(f"{t} 2001 2 24 40 {counts}\n")
    folders.write_text(folder / "instances_txt/0002.txt", "".join(lines))


def test_mots_challenge_counts_frames_from_one(tmp_path):
    challenge(tmp_path)
    (video,) = DATASETS["mots_challenge"](tmp_path, "train").videos
    np.testing.assert_array_equal(
        video.clip([0, 3]).masks[0], folders.labels(4)[[0, 3]] == 1
    )


def test_mots_challenge_joins_kitti(tmp_path):
    folders.kitti_mots(tmp_path)
    challenge(tmp_path)
    dataset = DATASETS["kitti_mots"](tmp_path, "train", mots_challenge=("0002",))
    assert [video.name for video in dataset.videos] == ["0000", "0002"]
    assert [video.num_frames for video in dataset.videos] == [6, 4]


def test_motchallenge_layout_of_the_server(tmp_path):
    folder = tmp_path / "MOTS20/train/MOTS20-05"
    folders.save(folder / "img1/000001.jpg", folders.image())
    counts = folders.compressed(folders.labels(1)[0] == 1)["counts"]
    folders.write_text(folder / "gt/gt.txt", f"1 2005 2 24 40 {counts}\n")
    (video,) = DATASETS["mots_challenge"](tmp_path, "train").videos
    assert video.categories == {2005: 2}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 1001 1 24 40\n", "line 1: expected `frame id class height width rle`"),
        ("99 1001 1 24 40 abc\n", "line 1: expected.*of one of 6 frames"),
        ("0 1001 1 40 24 abc\n", "a mask is 40 x 24 .*but the frames are 24 x 40"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    folders.kitti_mots(tmp_path)
    folders.write_text(tmp_path / "KITTI_MOTS/instances_txt/0000.txt", line)
    with pytest.raises(ValueError, match=message):
        DATASETS["kitti_mots"](tmp_path, "train")


def test_missing_sequences_are_named(tmp_path, caplog):
    folders.kitti_mots(tmp_path, names=("0002",))
    with pytest.raises(ValueError, match="none of the sequences 0000, 0001"):
        DATASETS["kitti_mots"](tmp_path, "train")
    with pytest.raises(ValueError, match="split='all' is unknown"):
        DATASETS["kitti_mots"](tmp_path, "all")


def test_an_rle_that_is_too_short_is_broken(tmp_path):
    folders.kitti_mots(tmp_path)
    counts = folders.compressed(np.ones((23, 40), bool))["counts"]
    folders.write_text(
        tmp_path / "KITTI_MOTS/instances_txt/0000.txt", f"3 1001 1 24 40 {counts}\n"
    )
    video = DATASETS["kitti_mots"](tmp_path, "train").videos[0]
    with pytest.raises(readers.BrokenSample, match="0000.txt, frame 3, instance 1001"):
        video.clip([3])


def test_the_real_sequence_has_the_stated_counts(shared):
    videos = {
        labels: DATASETS["kitti_mots"](shared / "data", "train", labels=labels).videos
        for labels in ("txt", "png")
    }
    (txt,), (png,) = videos.values()
    assert (txt.height, txt.width, txt.num_frames) == (375, 1242, 3)
    assert txt.categories == png.categories and set(txt.categories.values()) == {1}
    clip = txt.clip([0, 1, 2])
    assert clip.masks.any(axis=(2, 3)).sum(axis=0).tolist() == [9, 11, 9]
    assert len(clip.ids) == 13
    assert clip.ignore.any(axis=(1, 2)).all()
    np.testing.assert_array_equal(clip.masks, png.clip([0, 1, 2]).masks)


@pytest.mark.parametrize("number", [42, 3001, 65535])
def test_numbers_of_no_class_are_named(tmp_path, number):
    folders.kitti_mots(tmp_path, names=("0000",), txt=False)
    path = tmp_path / "KITTI_MOTS/instances/0000/000002.png"
    folders.save(path, np.full((folders.HEIGHT, folders.WIDTH), number, np.uint16))
    video = DATASETS["kitti_mots"](tmp_path, "train").videos[0]
    with pytest.raises(readers.BrokenSample, match=f"000002.png: .* number {number};"):
        video.clip([2])
