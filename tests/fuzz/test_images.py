"""Images and masks of every format, damaged or under another name."""

import io

import hypothesis
import numpy as np
import PIL.ExifTags
import PIL.Image
import pytest
from hypothesis import strategies as st

from stemseg_jax.formats import images
from tests.data import folders
from tests.fuzz import harness

PICTURE = folders.image()
LABELS = folders.labels(2)[1]
LOSSLESS = {".bmp", ".ppm", ".tif"}  # without checksums


def encoded(array, form, **options) -> bytes:
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(array)
    if array.ndim == 2 and array.dtype == np.uint8:
        picture.putpalette([i % 256 for i in range(768)])
    picture.save(buffer, form, **options)
    return buffer.getvalue()


FILES = {
    ".jpg": encoded(PICTURE, "JPEG"),
    ".png": encoded(PICTURE, "PNG"),
    ".bmp": encoded(PICTURE, "BMP"),
    ".ppm": encoded(PICTURE, "PPM"),
    ".tif": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    ".webp": encoded(PICTURE, "WEBP"),
}
MASKS = {
    "palette": (LABELS, encoded(LABELS, "PNG")),
    "16 bits": (
        LABELS.astype(np.uint16) * 1001,
        encoded(LABELS.astype(np.uint16) * 1001, "PNG"),
    ),
}


def as_pillow_has_it(found, path) -> bool:
    """Damage that leaves a sound file of other pixels cannot be told from it."""
    if path.suffix == ".png":
        return np.array_equal(found, PICTURE)
    with PIL.Image.open(path) as image:
        # Few bits of colour are made eight in several ways.
        few = path.suffix == ".bmp" and path.read_bytes()[28] != 24
        if few or path.suffix not in LOSSLESS:
            return found.shape == (image.height, image.width, 3)
        return np.array_equal(found, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("suffix", FILES)
@hypothesis.given(data=st.data())
def test_images(tmp_path_factory, suffix, data):
    path = tmp_path_factory.getbasetemp() / f"image{suffix}"
    path.write_bytes(data.draw(harness.damaged(FILES[suffix])))
    harness.verdict(
        lambda: images.read_rgb(path),
        form=f"image {suffix}",
        names=(path.name,),
        right=lambda found: as_pillow_has_it(found, path),
    )


@pytest.mark.parametrize("suffix", FILES)
@hypothesis.given(data=st.data())
def test_photographs(tmp_path_factory, suffix, data):
    """The size of the header is the one of the pixels, however it was held."""
    exif = PIL.Image.Exif()
    exif[PIL.ExifTags.Base.Orientation] = data.draw(st.integers(1, 8))
    options = {} if suffix in (".bmp", ".ppm") else {"exif": exif}
    sound = encoded(PICTURE, images.FORMATS[suffix][0], **options)
    path = tmp_path_factory.getbasetemp() / f"photograph{suffix}"
    path.write_bytes(data.draw(harness.damaged(sound)))
    harness.verdict(
        lambda: images.read_rgb(path, upright=True).shape[:2],
        form=f"photograph {suffix}",
        names=(path.name,),
        right=lambda size: size == images.size(path, upright=True),
    )


@pytest.mark.parametrize("kind", MASKS)
@hypothesis.given(data=st.data())
def test_masks(tmp_path_factory, kind, data):
    """A bit that flips in a mask would change a score without a word."""
    truth, content = MASKS[kind]
    path = tmp_path_factory.getbasetemp() / "mask.png"
    path.write_bytes(data.draw(harness.damaged(content)))
    harness.verdict(
        lambda: images.read_labels(path),
        form=f"mask, {kind}",
        names=(path.name,),
        right=lambda found: np.array_equal(found, truth),
    )


@pytest.mark.parametrize("suffix", FILES)
@pytest.mark.parametrize("other", FILES)
def test_another_ending(tmp_path, suffix, other):
    path = tmp_path / f"image{suffix}"
    path.write_bytes(FILES[other])
    for read in (images.read_rgb, images.size):
        outcome = harness.verdict(
            lambda read=read: read(path),
            form="image, other ending",
            names=("Rename the file",),
        )
        assert outcome == ("right" if suffix == other else "clear error")
