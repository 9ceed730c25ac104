"""DAVIS folders: what is written is what a server reads, or nothing is."""

import numpy as np
import pytest
from PIL import Image

from stemseg_jax.outputs import davis_png, rle
from stemseg_jax.tracks import Track, VideoTracks


def track(identity, masks):
    segmentations = [None if mask is None else rle.encode(mask) for mask in masks]
    return Track(identity, 0, 1.0, tuple(segmentations))


@pytest.fixture
def video():
    box, other = np.zeros((2, 4, 6), bool)
    box[:3, :3] = True
    other[2:, 2:] = True
    return VideoTracks(
        "dog", 4, 6, 2, (track(2, [box, None]), track(1, [other, other]))
    )


def test_a_pixel_has_the_id_of_the_last_painted(tmp_path, video):
    folder = davis_png.write(tmp_path, video)
    assert folder == tmp_path / "dog"
    first = davis_png.read_labels(folder / "00000.png")
    expected = [[2, 2, 2, 0, 0, 0]] * 2 + [[2, 2, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    np.testing.assert_array_equal(first, expected)
    second = davis_png.read_labels(folder / "00001.png")
    np.testing.assert_array_equal(np.unique(second), [0, 1])


def test_the_palette_is_that_of_davis(tmp_path, video):
    with Image.open(davis_png.write(tmp_path, video) / "00000.png") as image:
        assert image.mode == "P"
        colours = np.array(image.getpalette()).reshape(-1, 3)
    known = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    np.testing.assert_array_equal(colours[:5], known)
    np.testing.assert_array_equal(davis_png.palette()[255], [224, 224, 192])


def test_a_video_without_tracks_is_background(tmp_path, video):
    folder = davis_png.write(tmp_path, video._replace(tracks=()))
    assert not davis_png.read_labels(folder / "00001.png").any()


def test_writing_again_replaces(tmp_path, video):
    davis_png.write(tmp_path, video)
    davis_png.write(tmp_path, video._replace(num_frames=1, tracks=()))
    assert [file.name for file in (tmp_path / "dog").iterdir()] == ["00000.png"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v._replace(tracks=(v.tracks[0]._replace(id=21),)), "1..20"),
        (lambda v: v._replace(tracks=(v.tracks[0]._replace(id=0),)), "1..20"),
        (lambda v: v._replace(tracks=v.tracks[:1] * 2), "two tracks have the id 2"),
        (lambda v: v._replace(num_frames=3), "2 masks for 3 frames"),
        (lambda v: v._replace(height=5), "frame 0, track 2: a mask of size"),
    ],
)
def test_nothing_is_left_of_tracks_that_do_not_fit(tmp_path, video, change, message):
    with pytest.raises(ValueError, match=f"video dog.*{message}"):
        davis_png.write(tmp_path, change(video))
    assert not (tmp_path / "dog").exists()


def test_more_labels_than_davis_allows_can_be_asked_for(tmp_path, video):
    many = video._replace(tracks=(video.tracks[0]._replace(id=200),))
    folder = davis_png.write(tmp_path, many, max_objects=254)
    assert davis_png.read_labels(folder / "00000.png").max() == 200


def test_foreign_folders_are_checked(tmp_path, video):
    folder = davis_png.write(tmp_path, video)
    size = {"height": 4, "width": 6}
    davis_png.check(folder, **size, num_frames=2)
    with pytest.raises(ValueError, match="first missing is 00002.png"):
        davis_png.check(folder, **size, num_frames=3)
    with pytest.raises(ValueError, match="too many 00001.png"):
        davis_png.check(folder, **size, num_frames=1)
    with pytest.raises(ValueError, match=r"00000.png: size \(4, 6\)"):
        davis_png.check(folder, height=6, width=4, num_frames=2)
    with pytest.raises(ValueError, match="label 2, but at most 1"):
        davis_png.check(folder, **size, num_frames=2, max_objects=1)
    davis_png.write_labels(folder / "00001.png", np.full((4, 6), 255, np.uint8))
    with pytest.raises(ValueError, match="00001.png: pixels of 255"):
        davis_png.check(folder, **size, num_frames=2)


def test_palettes_of_few_colours_are_read(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, 9, 9, 9, 8, 8, 8, 7, 7, 7])
    image.save(tmp_path / "few.png", bits=2)
    np.testing.assert_array_equal(davis_png.read_labels(tmp_path / "few.png"), labels)


def test_what_is_no_label_image_is_named(tmp_path):
    colours = tmp_path / "colours.png"
    Image.fromarray(np.zeros((3, 4, 3), np.uint8)).save(colours)
    with pytest.raises(ValueError, match="colours.png: an image of mode RGB"):
        davis_png.read_labels(colours)
    broken = tmp_path / "broken.png"
    davis_png.write_labels(broken, np.ones((40, 40), np.uint8))
    broken.write_bytes(broken.read_bytes()[:60])
    for file in (broken, tmp_path / "missing.png"):
        with pytest.raises(ValueError, match=f"{file.name}: no readable"):
            davis_png.read_labels(file)
