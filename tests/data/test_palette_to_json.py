import json
import subprocess
import sys

import numpy as np
import pytest

from stemseg_jax.data import palette_to_json
from stemseg_jax.data.datasets import DATASETS
from tests.data import folders


def own(root, videos=("cat_on_sofa", "street")):
    for number, name in enumerate(videos):
        for t, numbers in enumerate(folders.labels(4)):
            frame = root / f"train/JPEGImages/{name}/frame_{t}.jpg"
            folders.save(frame, folders.image(number))
            folders.save(root / f"train/Annotations/{name}/frame_{t}.png", numbers)
    return root


def test_the_reader_gives_the_masks_back(tmp_path):
    own(tmp_path)
    (tmp_path / "train/Annotations/street/frame_2.png").unlink()
    palette_to_json.convert(tmp_path, "train", classes="thing")
    dataset = DATASETS["own"](tmp_path, "train")
    assert dataset.categories == {1: "thing"}
    cat, street = dataset.videos
    assert (cat.name, street.name) == ("cat_on_sofa", "street")
    truth = folders.labels(4)
    clip = cat.clip(range(4))
    np.testing.assert_array_equal(clip.masks, [truth == 1, truth == 2])
    assert list(street.annotated_frames) == [0, 1, 3]


def test_boxes_and_areas_are_right(tmp_path):
    path = palette_to_json.convert(own(tmp_path), "train", classes="thing")
    first = json.loads(path.read_text())["annotations"][0]
    assert first["bboxes"][0] == [2, 4, 8, 8] and first["areas"][0] == 64
    assert first["length"] == 4 and first["iscrowd"] == 0


def test_each_instance_may_have_its_class(tmp_path):
    own(tmp_path)
    classes = {"cat_on_sofa": {"1": "sofa", "2": "cat"}, "street": {"1": "car"}}
    with pytest.raises(ValueError, match="instance 2 of video 'street' has no class"):
        palette_to_json.convert(tmp_path, "train", classes=classes)
    classes["street"]["2"] = "cat"
    palette_to_json.convert(tmp_path, "train", classes=classes)
    dataset = DATASETS["own"](tmp_path, "train")
    assert dataset.categories == {1: "car", 2: "cat", 3: "sofa"}
    assert [list(v.categories.values()) for v in dataset.videos] == [[3, 2], [1, 2]]


def test_masks_under_other_names_are_noticed(tmp_path):
    own(tmp_path)
    for path in (tmp_path / "train/Annotations/street").iterdir():
        path.rename(path.with_name("mask_" + path.name))
    with pytest.raises(
        ValueError, match="street: no mask named as a frame, e.g. frame_0"
    ):
        palette_to_json.convert(tmp_path, "train", classes="thing")
    assert not (tmp_path / "train.json").exists()


def test_the_command(tmp_path):
    own(tmp_path)
    command = [sys.executable, "-m", "stemseg_jax.data.palette_to_json"]
    run = subprocess.run(
        [*command, f"--folder={tmp_path}", "--class=thing"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2 videos, 4 instances of thing" in run.stdout
