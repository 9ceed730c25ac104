"""Image files as the frames of a video."""

from fractions import Fraction

import numpy as np
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps
import pytest

from stemseg_jax.data import inputs
from tests.data.inputs.written import times, values, write_images


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


def sequence(folder, **choice):
    paths = sorted(folder.iterdir())
    choice = inputs.FrameChoice(**choice)
    return inputs.ImageSequence(paths, name=folder.name, choice=choice)


def test_images_were_taken_at_the_rate_that_is_given(tmp_path):
    folder = write_images(tmp_path / "frames", [f"{i}.png" for i in range(8)])
    source = sequence(folder)
    assert (source.fps, source.num_frames) == (24, 8)
    assert (source.sound, source.live) == (None, False)
    assert times(source) == [i / 24 for i in range(8)]
    source = sequence(folder, fps=Fraction(5))
    assert source.fps == 5 and times(source) == [i / 5 for i in range(8)]


def test_a_part_is_chosen_by_time(tmp_path):
    folder = write_images(tmp_path / "frames", [f"{i}.png" for i in range(8)])
    source = sequence(folder, fps=10, start=0.2, end=0.7, stride=2)
    assert values(source) == [20, 40, 60]
    assert times(source) == [0.2, 0.4, 0.6]
    assert [frame.index for frame in source] == [0, 1, 2]
    assert (source.fps, source.num_frames) == (5, 3)
    with pytest.raises(ValueError, match=r"no frame from 2 s on; 8 images at 10 a sec"):
        sequence(folder, fps=10, start=2)


def test_what_is_not_chosen_may_be_damaged(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.png", "1.png", "2.png"])
    (folder / "2.png").write_bytes(b"")
    assert len(list(sequence(folder, fps=1, end=2))) == 2


def photo(path, orientation, height=8, width=16):
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = orientation
    image = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    path.parent.mkdir(exist_ok=True)
    PIL.Image.fromarray(image).save(path, exif=exif)


def test_photographs_stand_upright(tmp_path):
    for orientation in range(1, 9):
        path = tmp_path / f"{orientation}.png"
        photo(path, orientation)
        with PIL.Image.open(path) as image:
            upright = np.asarray(PIL.ImageOps.exif_transpose(image))
        (source,) = inputs.find(path)
        assert (source.height, source.width) == upright.shape[:2]
        np.testing.assert_array_equal(next(iter(source)).image, upright)


def test_sizes_are_compared_upright(tmp_path):
    photo(tmp_path / "held" / "0.jpg", 1, 16, 8)
    photo(tmp_path / "held" / "1.jpg", 6, 8, 16)
    assert [f.image.shape for f in sequence(tmp_path / "held")] == 2 * [(16, 8, 3)]
    photo(tmp_path / "turned" / "0.jpg", 1)
    photo(tmp_path / "turned" / "1.jpg", 6)
    with pytest.raises(ValueError, match=r"1\.jpg is 16 x 8 .*before it are 8 x 16"):
        sequence(tmp_path / "turned")


def test_thousands_of_images_are_looked_at_and_not_read(tmp_path):
    (path,) = write_images(tmp_path / "frames", ["0.png"], height=4, width=4).iterdir()
    source = inputs.ImageSequence(2000 * [path], name="many")
    assert source.num_frames == 2000
    assert next(iter(source)).image.shape == (4, 4, 3)
