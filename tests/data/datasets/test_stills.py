"""COCO, Pascal VOC and Mapillary: images, which are videos of one frame."""

import shutil

import numpy as np
import pytest

from stemseg_jax.data.datasets import DATASETS, categories
from tests.data import folders


def test_coco_polygons_become_masks_and_crowds_are_ignored(tmp_path):
    dataset = DATASETS["coco"](folders.coco_set(tmp_path), "train")
    assert [video.name for video in dataset.videos] == ["000000000001", "000000000002"]
    clip = dataset.videos[0].clip([0])
    square = np.zeros((24, 40), bool)
    square[5:15, 5:15] = True
    np.testing.assert_array_equal(clip.masks[0, 0], square)
    np.testing.assert_array_equal(clip.ids, [11])
    assert clip.ignore[0, 20:].all() and not clip.ignore[0, :20].any()


def test_coco_images_without_a_wanted_class_are_left_out(tmp_path):
    folders.coco_set(tmp_path)
    for target in ("ytvis", "ovis", "object"):
        dataset = DATASETS["coco"](tmp_path, "train", categories=target)
        assert [video.name for video in dataset.videos] == ["000000000001"]
        assert dataset.categories == categories.CATEGORIES[target]
    with pytest.raises(ValueError, match="no map onto it; known: coco, object, ovis"):
        DATASETS["coco"](tmp_path, "train", categories="kitti_mots")


def test_pascal_voc_classes_void_and_smallest_area(tmp_path):
    folders.pascal_voc(tmp_path)
    (video,) = DATASETS["pascal_voc"](tmp_path, "train").videos
    truth = folders.labels(2)[1]
    clip = video.clip([0])
    np.testing.assert_array_equal(clip.categories, [12, 9])
    np.testing.assert_array_equal(clip.masks[:, 0], [truth == 1, truth == 2])
    assert clip.ignore[0, :, -1].all() and not clip.ignore[0, :, :-1].any()
    assert video.categories == {1: 12, 2: 9}
    load = DATASETS["pascal_voc"]
    # 58 pixels of the dog are seen, 70 of the chair.
    (large,) = load(tmp_path, "train", min_area=60).videos
    np.testing.assert_array_equal(large.clip([0]).categories, [9])
    (dogs,) = load(tmp_path, "train", categories="ytvis").videos
    np.testing.assert_array_equal(dogs.clip([0]).categories, [8])


@pytest.mark.parametrize(
    ("version", "alone"), [("v1.2", False), ("v1.2", True), ("v2.0", False)]
)
def test_mapillary_cars_and_persons(tmp_path, version, alone):
    folders.mapillary(tmp_path, version=version, alone=alone)
    dataset = DATASETS["mapillary"](tmp_path, "train", version=version)
    assert dataset.categories == {1: "car", 2: "pedestrian"}
    clip = dataset.videos[0].clip([0])
    truth = folders.labels(2)[1]
    np.testing.assert_array_equal(clip.categories, [1, 1])
    np.testing.assert_array_equal(clip.masks[:, 0], [truth == 1, truth == 2])
    ignored = np.zeros((24, 40), bool)
    ignored[20:, 30:] = True  # riders, or a group of persons
    ignored[0:2, 30:32] = True  # a person of 4 pixels
    np.testing.assert_array_equal(clip.ignore[0], ignored)


def test_mapillary_keeps_the_largest(tmp_path):
    folders.mapillary(tmp_path)
    dataset = DATASETS["mapillary"](tmp_path, "train", max_instances=2, min_area=1)
    clip = dataset.videos[0].clip([0])
    truth = folders.labels(2)[1]
    # Of the bicyclist (40 pixels), the cars (70, 58) and the person (4).
    np.testing.assert_array_equal(clip.masks[:, 0], [truth == 1, truth == 2])
    dataset = DATASETS["mapillary"](tmp_path, "train", max_instances=1)
    clip = dataset.videos[0].clip([0])
    np.testing.assert_array_equal(clip.masks[:, 0], [truth == 2])
    assert clip.ignore[0][truth == 1].all()


def test_large_mapillary_images_are_shrunk(tmp_path):
    folders.mapillary(tmp_path)
    load = DATASETS["mapillary"]
    (whole,) = load(tmp_path, "train").videos
    (half,) = load(tmp_path, "train", shrink=8, min_area=5).videos
    assert (half.height, half.width) == (12, 20)
    clip = half.clip([0])
    assert clip.frames.shape == (1, 12, 20, 3) and clip.masks.shape == (2, 1, 12, 20)
    large = whole.clip([0]).masks.sum(axis=(1, 2, 3))
    np.testing.assert_allclose(clip.masks.sum(axis=(1, 2, 3)), large / 4, rtol=0.2)


def test_mapillary_train_and_val_together(tmp_path):
    folders.mapillary(tmp_path)
    root = tmp_path / "Mapillary"
    shutil.copytree(root / "training", root / "validation")
    load = DATASETS["mapillary"]
    one, two = (load(tmp_path, split).videos for split in ("train", "train+val"))
    assert len(one) == 1 and len(two) == 2
    assert [str(video.files[0].parent.parent.name) for video in two] == [
        *("training", "validation")
    ]
    # 3264 x 2448 is the size of two fifths of the images; they list 816 x 612.
    shutil.rmtree(root)
    folders.mapillary(tmp_path)
    folders.save(root / "training/images/xyz.jpg", np.zeros((30, 50, 3), np.uint8))
    (odd,) = load(tmp_path, "train").videos
    assert (odd.height, odd.width) == (7, 12)  # halves are cut off


def test_mapillary_needs_its_config(tmp_path):
    folders.mapillary(tmp_path, alone=True)
    with pytest.raises(ValueError, match="expected config_v2.0.json"):
        DATASETS["mapillary"](tmp_path, "train", version="v2.0")


def test_real_images_have_the_stated_counts(shared):
    load = DATASETS["coco"]
    images = {v.name: v for v in load(shared / "data", "val").videos}
    assert {name: len(v.categories) for name, v in images.items()} == {
        "000000464689": 13,  # and one crowd
        "000000404249": 2,
        "000000343934": 1,
    }
    assert images["000000464689"].clip([0]).ignore.any()
    voc = DATASETS["pascal_voc"](shared / "data", "trainval").videos
    kinds = {v.name: sorted(v.categories.values()) for v in voc}
    assert kinds == {"2007_000063": [9, 12], "2011_000003": [5, 15, 15]}
