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
        said = [(m.score, m.category) for m in videos[0].masks(1)]
        assert said == [(0.5, 3), (0.9, 1)]
        assert videos[1].masks(0) == []


def test_palette_masks_have_no_class(tmp_path):
    palette(tmp_path / "v", [square(0, 0).astype(np.uint8)])
    (video,) = found_masks.read(tmp_path)
    assert video.masks(0)[0].category == 0


def test_a_linked_folder_keeps_its_name(tmp_path):
    palette(tmp_path / "stored/v", [square(0, 0).astype(np.uint8)])
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/bear").symlink_to(tmp_path / "stored/v")
    (video,) = found_masks.read(tmp_path / "masks")
    assert video.name == "bear"


def test_a_name_is_a_path(tmp_path):
    """However it is written."""
    first, second = found_masks.read(coco(tmp_path, names=("./v/2", "v//10", "w/0")))
    assert (first.name, second.name) == ("v", "w")
    assert list(first.frames) == ["2", "10"] and len(first.masks(1)) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(names=("0", "1")), "0.jpg lies in no folder.*<video>/<frame>"),
        (dict(names=("v/0", "v/0")), "v/0.jpg is the second of this name"),
        (dict(names=("../v/0",), annotations=[{}]), "outside of the folder"),
        (dict(images=[], annotations=[]), "whole.json: lists no image"),
        (dict(annotations=[dict(image_id=9)]), "entry 0 belongs to image 9"),
        (dict(annotations=[dict(score=-1.0)]), r"annotations\[0\].score: expected"),
        (dict(annotations=[dict(score=97.5)]), r"annotations\[0\].score: expected"),
        (dict(annotations=[dict(category_id=10**9)]), r"annotations\[0\].category_id"),
    ],
)
def test_what_a_file_cannot_say_is_named(tmp_path, changes, message):
    triangle = dict(image_id=0, category_id=1, segmentation=[[0, 0, 1, 0, 1, 1]])
    if "annotations" in changes:
        changes = {
            **changes,
            "annotations": [triangle | one for one in changes["annotations"]],
        }
    with pytest.raises(ValueError, match=message):
        found_masks.read(coco(tmp_path, **changes))


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
    coco(tmp_path)
    with pytest.raises(ValueError, match="by --listing"):
        found_masks.read(tmp_path / "results.json")
    cut = [dict(image_id=0, category_id=1, segmentation=dict(size=SIZE, counts=[3]))]
    (video, _) = found_masks.read(coco(tmp_path, annotations=cut))
    with pytest.raises(ValueError, match="whole.json: entry 0"):
        video.masks(0)
