import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from stemseg_jax.data import found_masks
from stemseg_jax.formats import images, rle

SIZE = 12, 20


def square(top, left, side=5):
    mask = np.zeros(SIZE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def decoded(video, index):
    return [rle.decode(one.mask) for one in video.masks(index)]


def palette(folder, frames):
    folder.mkdir(parents=True)
    for number, labels in enumerate(frames):
        images.write_labels(folder / f"{number}.png", labels)


def test_labels_of_palette_images_are_masks(tmp_path):
    labels = np.zeros(SIZE, np.uint8)
    labels[square(0, 0)], labels[square(6, 6)], labels[square(0, 10)] = 7, 2, 255
    palette(tmp_path / "b", [labels, 0 * labels])
    palette(tmp_path / "a", [labels] * 11)
    first, second = found_masks.read(tmp_path)
    assert (first.name, second.name) == ("a", "b")
    assert list(first.frames) == [str(n) for n in range(11)]  # 10 comes after 9
    assert (second.height, second.width) == SIZE
    assert_array_equal(decoded(second, 0), [square(6, 6), square(0, 0)])
    assert second.masks(1) == []
    (alone,) = found_masks.read(tmp_path / "b")  # a folder of one video
    assert alone.name == "b" and len(alone.masks(0)) == 2


def coco(folder, *, names=("v/2", "v/10", "w/0"), **changes):
    """Images in some order, and masks that overlap."""
    listed = [
        dict(id=n, file_name=f"{name}.jpg", height=SIZE[0], width=SIZE[1])
        for n, name in enumerate(names)
    ]
    found = [
        dict(image_id=image, category_id=kind, score=score, segmentation=mask)
        for image, kind, score, mask in (
            (1, 3, 0.5, rle.to_json(rle.encode(square(0, 0)))),
            (1, 1, 0.9, rle.to_json(rle.encode(square(2, 2)))),
            (0, 2, 0.7, [[4, 4, 9, 4, 9, 9, 4, 9]]),
        )
    ]
    content = dict(images=listed, annotations=found) | changes
    (folder / "whole.json").write_text(json.dumps(content))
    (folder / "results.json").write_text(json.dumps(content["annotations"]))
    (folder / "listing.json").write_text(json.dumps({"images": content["images"]}))
    return folder / "whole.json"


def test_a_coco_file_has_scores_and_classes(tmp_path):
    whole = found_masks.read(coco(tmp_path))
    results = found_masks.read(
        tmp_path / "results.json", listing=tmp_path / "listing.json"
    )
    for videos in (whole, results):
        assert [video.name for video in videos] == ["v", "w"]
        assert list(videos[0].frames) == ["2", "10"]
        assert_array_equal(decoded(videos[0], 1), [square(0, 0), square(2, 2)])
        (polygon,) = videos[0].masks(0)
        assert rle.areas([polygon.mask]) == 25
        assert [(m.score, m.category) for m in videos[0].masks(1)] == [
            (0.5, 3),
            (0.9, 1),
        ]
        assert videos[1].masks(0) == []


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="absent: no such folder or file"):
        found_masks.read(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no PNG in it"):
        found_masks.read(tmp_path / "empty")
    palette(tmp_path / "sizes", [np.zeros(SIZE, np.uint8), np.zeros((4, 4), np.uint8)])
    (video,) = found_masks.read(tmp_path / "sizes")
    with pytest.raises(ValueError, match=r"sizes/1.png is 4 x 4"):
        video.masks(1)
    with pytest.raises(ValueError, match="0.jpg lies in no folder.*<video>/<frame>"):
        found_masks.read(coco(tmp_path, names=("0", "1")))
    stray = [dict(image_id=9, category_id=1, segmentation=[[0, 0, 1, 0, 1, 1]])]
    with pytest.raises(ValueError, match="entry 0 belongs to image 9"):
        found_masks.read(coco(tmp_path, annotations=stray))
    cut = [dict(image_id=0, category_id=1, segmentation=dict(size=SIZE, counts=[3]))]
    (video, _) = found_masks.read(coco(tmp_path, annotations=cut))
    with pytest.raises(ValueError, match="whole.json: entry 0"):
        video.masks(0)
