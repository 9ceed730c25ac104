"""Images that cannot be used, and what is said about them."""

import pickle

import numpy as np
import PIL.Image
import pytest

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.formats import images
from tests.data import folders


def video(tmp_path):
    return DATASETS["davis19"](tmp_path, "train").videos[0]


def frames_at(tmp_path):
    folders.davis(tmp_path)
    return tmp_path / "DAVIS/JPEGImages/480p/bear"


def masks_at(tmp_path):
    folders.davis(tmp_path)
    return tmp_path / "DAVIS/Annotations_unsupervised/480p/bear"


def cut(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


def test_a_cut_jpeg_is_broken(tmp_path):
    cut(frames_at(tmp_path) / "00002.jpg")
    video(tmp_path).clip([1, 3])
    with pytest.raises(readers.BrokenSample, match="00002.jpg: .*Truncated"):
        video(tmp_path).clip([1, 2])


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path):
    path = frames_at(tmp_path) / "00002.jpg"
    before = images.read_rgb(path)
    for tail in (b"\0" * 9, b"made by a camera"):
        path.write_bytes(path.read_bytes() + tail)
        np.testing.assert_array_equal(images.read_rgb(path), before)


@pytest.mark.parametrize("content", [b"", b"not an image at all"])
def test_what_is_no_image_is_broken(tmp_path, content):
    (frames_at(tmp_path) / "00002.jpg").write_bytes(content)
    with pytest.raises(readers.BrokenSample, match="00002.jpg: not an image"):
        video(tmp_path).frame(2)


def test_a_missing_frame_is_broken(tmp_path):
    path = frames_at(tmp_path) / "00002.jpg"
    bear = video(tmp_path)
    path.unlink()
    with pytest.raises(
        readers.BrokenSample, match="00002.jpg: cannot be read .No such"
    ):
        bear.frame(2)


def test_frames_of_two_sizes_are_broken(tmp_path):
    folders.save(frames_at(tmp_path) / "00003.jpg", np.zeros((24, 44, 3), np.uint8))
    message = "00003.jpg is 24 x 44 .*video 'bear' is 24 x 40"
    with pytest.raises(readers.BrokenSample, match=message):
        video(tmp_path).frame(3)


def test_a_mask_of_another_size_is_broken(tmp_path):
    folders.save(masks_at(tmp_path) / "00003.png", np.ones((24, 44), np.uint8))
    with pytest.raises(readers.BrokenSample, match="00003.jpg, mask 1 is 24 x 44"):
        video(tmp_path).clip([3])


def test_masks_saved_as_colours_are_broken(tmp_path):
    path = masks_at(tmp_path) / "00003.png"
    PIL.Image.open(path).convert("RGB").save(path)
    with pytest.raises(readers.BrokenSample, match="mode RGB, expected a palette"):
        video(tmp_path).clip([3])


def test_a_cut_png_is_broken(tmp_path):
    cut(masks_at(tmp_path) / "00003.png", 0.9)
    with pytest.raises(readers.BrokenSample, match="00003.png: .*Truncated"):
        video(tmp_path).clip([3])


def test_sixteen_bits_are_kept(tmp_path):
    numbers = np.array([[0, 1001], [10000, 65535]], np.uint16)
    path = folders.save(tmp_path / "a.png", numbers)
    np.testing.assert_array_equal(images.read_labels(path), numbers)


def test_orientation_tags_turn_nothing(tmp_path):
    image = PIL.Image.fromarray(folders.image())
    exif = image.getexif()
    exif[0x0112] = 6  # turn by 90 degrees
    image.save(tmp_path / "a.jpg", exif=exif)
    assert images.read_rgb(tmp_path / "a.jpg").shape == (24, 40, 3)


def test_videos_survive_the_way_into_a_worker(tmp_path):
    folders.davis(tmp_path)
    bear = video(tmp_path)
    again = pickle.loads(pickle.dumps(bear))
    np.testing.assert_array_equal(again.clip([1]).masks, bear.clip([1]).masks)
