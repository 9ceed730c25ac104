"""Label images and the order of files; broken frames are in tests/data."""

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from stemseg_jax.formats import images


def test_the_palette_is_the_one_of_davis():
    colours = images.palette()
    assert colours[[1, 7, 8, 255]].tolist() == [
        [128, 0, 0],
        [128, 128, 128],
        [64, 0, 0],
        [224, 224, 192],
    ]


def test_numbers_count_by_value_and_hidden_files_do_not_count(tmp_path):
    names = ["f10.png", "f2.JPG", "._f2.jpg", "f2.txt", "f1.webp"]
    paths = [path for path in map(tmp_path.joinpath, names) if images.is_image(path)]
    assert [path.name for path in images.natural(paths)] == [
        *("f1.webp", "f2.JPG", "f10.png")
    ]


def test_palettes_of_few_colours_are_read(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 7, 7, 7])
    image.save(tmp_path / "few.png", bits=2)
    np.testing.assert_array_equal(images.read_labels(tmp_path / "few.png"), labels)


def test_what_is_no_label_image_is_named(tmp_path):
    colours = tmp_path / "colours.png"
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(colours)
    with pytest.raises(ValueError, match="colours.png: an image of mode RGB"):
        images.read_labels(colours)
    broken = tmp_path / "broken.png"
    images.write_labels(broken, np.ones((40, 40), np.uint8))
    broken.write_bytes(broken.read_bytes()[:60])
    for file in (broken, tmp_path / "missing.png"):
        with pytest.raises(
            ValueError, match=f"{file.name}: (not an image|cannot be read)"
        ):
            images.read_labels(file)


def test_sixteen_bits_are_read_where_they_are_allowed(tmp_path):
    labels = np.array([[0, 1001], [2002, 10_000]], np.uint16)
    Image.fromarray(labels).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(images.read_labels(tmp_path / "deep.png"), labels)
    with pytest.raises(ValueError, match="deep.png: an image of mode I.*of 8 bits"):
        images.read_labels(tmp_path / "deep.png", bits=8)


def test_a_picture_is_written_whole(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    path = images.write_png(tmp_path / "new" / "sheet.png", image)
    np.testing.assert_array_equal(np.array(Image.open(path)), image)
    assert [p.name for p in path.parent.iterdir()] == ["sheet.png"]


def png(header, *chunks):
    """A PNG of these chunks, with the right checksums."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        checksum = zlib.crc32(kind + content).to_bytes(4, "big")
        data += len(content).to_bytes(4, "big") + kind + content + checksum
    return data


@pytest.mark.parametrize("side", [8193, 2**16, 2**31 - 1])
def test_images_that_no_memory_holds_are_refused_by_their_header(tmp_path, side):
    path = tmp_path / "huge.png"
    path.write_bytes(png(struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)))
    for read in (images.read_rgb, images.read_labels, images.size):
        with pytest.raises(images.BrokenImageError, match="huge.png: .*(are|exceeds)"):
            read(path)


def test_a_flipped_bit_in_a_mask_is_named(tmp_path):
    path = tmp_path / "mask.png"
    images.write_labels(path, np.arange(64, dtype=np.uint8).reshape(8, 8))
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 20] ^= 1
    path.write_bytes(data)
    with pytest.raises(images.BrokenImageError, match="checksum of IDAT is wrong"):
        images.read_labels(path)


@pytest.mark.parametrize("form", ["tif", "bmp", "ppm"])
def test_images_that_are_cut_are_named(tmp_path, form):
    """OpenCV alone would fill what is missing."""
    rng = np.random.default_rng(0)
    path = tmp_path / f"cut.{form}"
    image = Image.fromarray(rng.integers(0, 256, (24, 40, 3), np.uint8))
    image.save(path, **({"compression": "tiff_lzw"} if form == "tif" else {}))
    data = bytearray(path.read_bytes())
    if form == "tif":
        data[600:1000] = bytes(400)
    else:
        del data[-900:]
    path.write_bytes(data)
    with pytest.raises(images.BrokenImageError, match=f"cut.{form}: not an image that"):
        images.read_rgb(path)


LOSSLESS = {"png": {}, "webp": {"lossless": True}, "tif": {}, "jpg": {"quality": 100}}


@pytest.mark.parametrize("form", LOSSLESS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_stands_upright_as_pillow_turns_it(tmp_path, form, orientation):
    stored = np.zeros((8, 16, 3), np.uint8)
    stored[:4, :8], stored[:4, 8:], stored[4:, :8] = 250, 160, 80
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"photo.{form}"
    Image.fromarray(stored).save(path, exif=exif, **LOSSLESS[form])
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))

    found = images.read_rgb(path, upright=True)
    assert images.size(path, upright=True) == found.shape[:2] == expected.shape[:2]
    np.testing.assert_allclose(found.astype(int), expected, atol=2)
    assert found.flags.c_contiguous
    if form != "tif":
        assert images.size(path) == (8, 16)
        np.testing.assert_allclose(images.read_rgb(path).astype(int), stored, atol=2)


@pytest.mark.parametrize("orientation", [0, 9, 600])
def test_an_orientation_that_is_none_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.zeros((8, 16, 3), np.uint8)).save(path, exif=exif)
    assert images.size(path, upright=True) == (8, 16)
    assert images.read_rgb(path, upright=True).shape == (8, 16, 3)


def test_an_exif_that_is_damaged_turns_nothing(tmp_path):
    path = tmp_path / "photo.jpg"
    picture = Image.fromarray(np.zeros((8, 16, 3), np.uint8))
    picture.save(path, exif=b"Exif\0\0MM\0*junk")
    assert images.size(path, upright=True) == (8, 16)
    assert images.read_rgb(path, upright=True).shape == (8, 16, 3)
