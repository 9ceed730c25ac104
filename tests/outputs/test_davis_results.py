"""DAVIS folders: what is written is what a server reads, or nothing is."""

import numpy as np
import pytest
from PIL import Image

from stemseg_jax.formats import davis_png as form
from stemseg_jax.formats import images, rle, whole
from stemseg_jax.outputs import davis_results
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
    folder = davis_results.write(tmp_path, video)
    assert folder == tmp_path / "dog"
    first = images.read_labels(folder / "00000.png")
    expected = [[2, 2, 2, 0, 0, 0]] * 2 + [[2, 2, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1]]
    np.testing.assert_array_equal(first, expected)
    second = images.read_labels(folder / "00001.png")
    np.testing.assert_array_equal(np.unique(second), [0, 1])


def test_the_palette_is_that_of_davis(tmp_path, video):
    with Image.open(davis_results.write(tmp_path, video) / "00000.png") as image:
        assert image.mode == "P"
        colours = np.array(image.getpalette()).reshape(-1, 3)
    known = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    np.testing.assert_array_equal(colours[:5], known)
    np.testing.assert_array_equal(images.palette()[255], [224, 224, 192])


def test_a_video_without_tracks_is_background(tmp_path, video):
    folder = davis_results.write(tmp_path, video._replace(tracks=()))
    assert not images.read_labels(folder / "00001.png").any()


def test_writing_again_replaces(tmp_path, video):
    with whole.folder(tmp_path / "results", "a test") as folder:
        davis_results.write(folder, video)
        davis_results.write(folder, video._replace(num_frames=1, tracks=()))
    folder = tmp_path / "results" / "dog"
    assert [file.name for file in folder.iterdir()] == ["00000.png"]


def test_a_sequence_of_somebody_else_is_not_replaced(tmp_path, video):
    davis_results.write(tmp_path, video)
    with pytest.raises(ValueError, match="dog is there already and holds 00000.png"):
        davis_results.write(tmp_path, video._replace(num_frames=1, tracks=()))
    assert sorted(file.name for file in tmp_path.rglob("*")) == [
        *("00000.png", "00001.png", "dog")
    ]


@pytest.mark.parametrize("name", ["..", ".", "", "../other", "/etc/dog", "a/../b"])
def test_a_name_does_not_lead_out_of_the_folder(tmp_path, video, name):
    (tmp_path / "results").mkdir()
    with pytest.raises(ValueError, match="cannot be a name in"):
        davis_results.write(tmp_path / "results", video._replace(name=name))
    assert [file.name for file in tmp_path.rglob("*")] == ["results"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v._replace(tracks=(v.tracks[0]._replace(id=21),)), "1..20"),
        (lambda v: v._replace(tracks=(v.tracks[0]._replace(id=0),)), "1..20"),
        (lambda v: v._replace(tracks=v.tracks[:1] * 2), "two tracks have the id 2"),
        (lambda v: v._replace(num_frames=3), "2 masks for 3 frames"),
        (lambda v: v._replace(height=5), "frame 0, track 2: a mask is 4 x 6 "),
    ],
)
def test_nothing_is_left_of_tracks_that_do_not_fit(tmp_path, video, change, message):
    with pytest.raises(ValueError, match=f"video dog.*{message}"):
        davis_results.write(tmp_path, change(video))
    assert not (tmp_path / "dog").exists()


def test_more_labels_than_davis_allows_can_be_asked_for(tmp_path, video):
    many = video._replace(tracks=(video.tracks[0]._replace(id=200),))
    folder = davis_results.write(tmp_path, many, max_objects=254)
    assert images.read_labels(folder / "00000.png").max() == 200


def test_foreign_folders_are_checked(tmp_path, video):
    folder = davis_results.write(tmp_path, video)
    size = {"height": 4, "width": 6}
    form.check(folder, **size, num_frames=2)
    with pytest.raises(ValueError, match="first missing is 00002.png"):
        form.check(folder, **size, num_frames=3)
    with pytest.raises(ValueError, match="too many 00001.png"):
        form.check(folder, **size, num_frames=1)
    with pytest.raises(ValueError, match=r"00000.png is 4 x 6 "):
        form.check(folder, height=6, width=4, num_frames=2)
    with pytest.raises(ValueError, match="label 2, but at most 1"):
        form.check(folder, **size, num_frames=2, max_objects=1)
    images.write_labels(folder / "00001.png", np.full((4, 6), 255, np.uint8))
    with pytest.raises(ValueError, match="00001.png: pixels of 255"):
        form.check(folder, **size, num_frames=2)


def test_what_is_written_is_read(tmp_path, video):
    """Without what lies under other tracks, and without scores and categories."""
    read = davis_results.read(davis_results.write(tmp_path, video))
    assert (read.name, read.height, read.width, read.num_frames) == video[:4]
    assert [(one.id, one.category) for one in read.tracks] == [(1, 0), (2, 0)]
    assert all(np.isnan(one.score) for one in read.tracks)
    for frame in range(2):
        np.testing.assert_array_equal(
            davis_results.paint(read, frame), davis_results.paint(video, frame)
        )
    assert read.tracks[1].segmentations[1] is None


def test_void_is_no_track_and_an_empty_folder_no_video(tmp_path):
    (tmp_path / "dog").mkdir()
    with pytest.raises(ValueError, match="dog: no PNG in it"):
        davis_results.read(tmp_path / "dog")
    labels = np.array([[0, 255], [7, 7]], np.uint8)
    images.write_labels(tmp_path / "dog" / "00000.png", labels)
    (one,) = davis_results.read(tmp_path / "dog").tracks
    assert one.id == 7


def test_ids_are_painted_in_as_many_bits_as_they_need(video):
    far = video.tracks[0]._replace(id=2001)
    painted = davis_results.paint(video._replace(tracks=(far, *video.tracks[1:])), 0)
    assert painted.dtype == np.uint16 and set(np.unique(painted)) == {0, 1, 2001}
    assert davis_results.paint(video, 0).dtype == np.uint8
