"""Objects are cut out where they are, and can be put back."""

import csv

import numpy as np
import PIL.Image
import pytest

from stemseg_jax.outputs import cutouts

SIZE = (40, 60)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(1, 256, (*SIZE, 3), np.uint8)


@pytest.fixture
def labels():
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = np.zeros(SIZE, np.uint8)
    labels[(y - 20) ** 2 + (x - 30) ** 2 <= 144] = 3
    labels[:10, :15] = 7  # in the corner
    return labels


def written(folder, *frames):
    with cutouts.Writer(folder) as writer:
        for index, (image, labels) in enumerate(frames):
            writer.write(index, image, labels)
    return folder


def boxes(folder):
    with open(folder / "boxes.csv") as stream:
        return {
            int(row.pop("frame")): [int(v) for v in row.values()]
            for row in csv.DictReader(stream)
        }


def test_a_cutout_put_back_is_the_object(tmp_path, image, labels):
    folder = written(tmp_path / "cut", (image, labels), (image, labels))
    for id in (3, 7):
        x, y, width, height = boxes(folder / str(id))[1]
        cut = np.array(PIL.Image.open(folder / str(id) / "00001.png"))
        assert cut.shape == (height, width, 4)
        mask = np.zeros(SIZE, bool)
        mask[y : y + height, x : x + width] = cut[..., 3] > 0
        np.testing.assert_array_equal(mask, labels == id)
        inside = cut[..., 3] > 0
        there = image[y : y + height, x : x + width]
        np.testing.assert_array_equal(cut[inside][:, :3], there[inside])


def test_edges_are_soft_by_a_pixel_and_not_at_the_frame(tmp_path, image, labels):
    folder = written(tmp_path / "cut", (image, labels))
    alpha = np.array(PIL.Image.open(folder / "7" / "00000.png"))[..., 3]
    assert (alpha[:9, :14] > 230).all()
    assert (alpha[9, :14] < 220).all() and (alpha[:9, 14] < 220).all()
    alpha = np.array(PIL.Image.open(folder / "3" / "00000.png"))[..., 3]
    assert alpha[12, 12] == 255 and alpha[0, 0] == 0


def test_colours_go_on_a_little_beyond_the_edge_and_no_farther(image, labels):
    box = (slice(8, 33), slice(18, 43))
    cut = cutouts.cut_out(image, labels == 3, box)
    outside = cut[..., 3] == 0
    assert cut[outside][:, :3].any() and not cut[0, 0].any()


def test_frames_without_an_object_have_no_file(tmp_path, image, labels):
    hidden = np.where(labels == 3, 0, labels)
    folder = written(
        tmp_path / "cut", (image, labels), (image, hidden), (image, labels)
    )
    names = sorted(path.name for path in (folder / "3").glob("*.png"))
    assert names == ["00000.png", "00002.png"] and [*boxes(folder / "3")] == [0, 2]
    assert len([*(folder / "7").glob("*.png")]) == 3


def test_one_pixel_is_an_object(tmp_path, image):
    labels = np.zeros(SIZE, np.int32)
    labels[39, 59] = 1
    folder = written(tmp_path / "cut", (image, labels))
    cut = np.array(PIL.Image.open(folder / "1" / "00000.png"))
    assert cut.shape == (1, 1, 4) and cut[0, 0, 3] > 0


def test_a_folder_appears_whole_or_not_at_all(tmp_path, image, labels):
    with pytest.raises(ValueError, match="labels of frame 0: is 40 x 59"):
        written(tmp_path / "cut", (image, labels[:, 1:]))
    assert not list(tmp_path.iterdir())
    written(tmp_path / "cut", (image, labels))
    written(tmp_path / "cut", (image, np.minimum(labels, 3)))  # replaces its own
    assert [*(tmp_path / "cut").glob("7")] == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("")
    with pytest.raises(ValueError, match="mine is there already"):
        written(tmp_path / "mine")
