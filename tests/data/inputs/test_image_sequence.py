"""Image files as the frames of a video."""

import pytest

from stemseg_jax.data import inputs
from tests.data.inputs.written import write_images


def test_a_damaged_frame_is_named(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.jpg", "1.jpg", "2.jpg"])
    data = (folder / "1.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(data[:-40])
    (source,) = inputs.find(folder)
    with pytest.raises(ValueError, match=r"1\.jpg: frame 1 of 'frames' cannot be read"):
        list(source)
    (folder / "1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1\.jpg: frame 1 of 'frames' cannot be read"):
        inputs.find(folder)


def test_an_image_under_another_ending_is_told(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.png", "1.png"])
    (folder / "1.png").rename(folder / "1.jpg")
    message = "frame 1 of 'frames' cannot be read.*holds a PNG.*Rename"
    with pytest.raises(ValueError, match=message):
        inputs.find(folder)


def test_frames_of_different_sizes_are_refused_at_once(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.png", "1.png"])
    write_images(folder, ["2.png"], height=30, width=40)
    with pytest.raises(ValueError, match=r"2\.png is 30 x 40.*before it are 32 x 48"):
        inputs.find(folder)
