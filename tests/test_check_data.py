"""Faults that were put into a folder are found, all of them and no others."""

import json
import shutil

import numpy as np
import PIL.Image
import pytest

from stemseg_jax import check_data
from tests.data import folders


def check(folder, tmp_path):
    """Exit code and the splits of the JSON report."""
    path = tmp_path / "report.json"
    code = check_data.run(str(folder), str(path))
    return code, json.loads(path.read_text())


def change(path, **changes):
    content = json.loads(path.read_text())
    for key, edit in changes.items():
        edit(content[key])
    path.write_text(json.dumps(content))


def kinds(split):
    return sorted(fault["kind"] for fault in split["faults"])


@pytest.mark.parametrize(
    ("make", "below", "instances"),
    [
        (folders.davis, "DAVIS", {"object": 4}),
        (folders.youtube_vis, "", {"bear": 1, "tennis_racket": 1}),
        (folders.kitti_mots, "KITTI_MOTS", {"car": 1, "pedestrian": 1}),
        (folders.coco_set, "COCO", {"person": 1, "chair": 1}),
        (folders.pascal_voc, "VOCdevkit/VOC2012", {"dog": 1, "chair": 1}),
        (folders.mapillary, "Mapillary", {"car": 2}),
    ],
)
def test_whole_sets_pass_with_their_figures(tmp_path, capsys, make, below, instances):
    make(tmp_path)
    code, splits = check(tmp_path / below, tmp_path)
    assert code == 0
    assert splits[0]["instances_by_class"] == instances
    assert splits[0]["sizes"] == {"24 x 40": splits[0]["videos"]}
    assert (tmp_path / "report.png").is_file()
    assert "No faults: ready for training." in capsys.readouterr().out


def test_the_folder_of_all_datasets_is_read_whole(tmp_path, capsys):
    root = tmp_path / "data"
    folders.davis(root)
    folders.coco_set(root)
    folders.pascal_voc(root)
    folders.kitti_mots(root)
    folders.youtube_vis(root / "YouTubeVIS")
    folders.save(root / "notes/1.png", np.zeros((4, 4), np.uint8))  # none of them
    code, splits = check(root, tmp_path)
    assert code == 0
    assert {f"{split['name']}, {split['split']}" for split in splits} == {
        "coco in COCO, annotations/instances_train2017.json",
        "davis19 in DAVIS, train",
        "kitti_mots in KITTI_MOTS, train",
        "kitti_mots in KITTI_MOTS, val",
        "own in YouTubeVIS, train.json",
        "pascal_voc in VOCdevkit/VOC2012, train",
    }
    # One fault in any of them counts.
    (root / "DAVIS/JPEGImages/480p/bear/00002.jpg").write_bytes(b"")
    code, splits = check(root, tmp_path)
    assert code == 1
    assert [s["name"] for s in splits if s["faults"]] == ["davis19 in DAVIS"]


def test_a_stray_file_beside_the_datasets_hides_none(tmp_path, capsys):
    folders.davis(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    (tmp_path / ".cache").mkdir()
    code, report = check(tmp_path, tmp_path)
    names = [found["name"] for found in report]
    assert code and "own" in names and "davis19 in DAVIS" in names


def test_vocdevkit_is_the_folder_above(tmp_path):
    code, (split,) = check(folders.pascal_voc(tmp_path) / "VOCdevkit", tmp_path)
    assert (code, split["name"]) == (0, "pascal_voc in VOC2012")
    assert split["instances_by_class"] == {"dog": 1, "chair": 1}


def test_every_fault_of_a_json_is_found_at_once(tmp_path, capsys):
    folders.youtube_vis(tmp_path, num_frames=5)
    frames = tmp_path / "train/JPEGImages/aa"
    (frames / "00001.jpg").unlink()
    (frames / "00002.jpg").write_bytes((frames / "00002.jpg").read_bytes()[:300])
    folders.save(frames / "00003.jpg", np.zeros((24, 44, 3), np.uint8))

    def spoil(annotations):
        annotations[0]["segmentations"][4]["counts"][0] += 1
        annotations[0]["bboxes"][3] = [30, 4, 20, 8]
        annotations.append(dict(annotations[1], category_id=20))  # the same id
        annotations.append(dict(annotations[1], id=15, category_id=77))
        annotations.append(dict(annotations[1], id=16, video_id=9))
        annotations.append(dict(annotations[1], id=17, segmentations=[]))

    change(
        tmp_path / "train.json",
        annotations=spoil,
        videos=lambda videos: videos.append(dict(videos[0], id=8)),
    )
    code, (split,) = check(tmp_path, tmp_path)
    assert code == 1
    text = "\n".join(f"{f['where']}: {f['what']}" for f in split["faults"])
    for expected in (
        "00001.jpg: cannot be read",
        "00002.jpg: not an image that can be opened (Truncated",
        "00003.jpg is 24 x 44 (height x width)",
        "frame 4, instance 11: the runs of a mask cover 961 pixels",
        "annotation 11, frame 3: box [30, 4, 20, 8] leaves the frame of 24 x 40",
        "annotations, id 12: two entries have this id, of category 40 and of 20",
        "annotation 15: has category 77",
        "annotation 16: belongs to video 9",
        "annotation 17: has 0 segmentations for 5 frames",
        "aa: 2 videos have this name",
        "aa: no frame has an instance",  # the second video of this name
    ):
        assert expected in text
    # Both videos share the three bad frames.
    assert kinds(split) == sorted(
        ["frame"] * 6 + ["annotation"] * 4 + ["mask", "box", "identity", "name"]
    )
    assert "14 faults: mend them first." in capsys.readouterr().out


def test_faults_of_a_davis_folder(tmp_path):
    folders.davis(tmp_path, sequences=("bear", "cow", "dog"))
    masks = tmp_path / "DAVIS/Annotations_unsupervised/480p"
    folders.save(masks / "bear/00003.png", np.ones((24, 44), np.uint8))
    folders.save(masks / "bear/00004.png", np.full((24, 40), 300, np.uint16))
    for path in (masks / "cow").iterdir():
        folders.save(path, np.zeros((24, 40), np.uint8))
    for path in (tmp_path / "DAVIS/JPEGImages/480p/dog").iterdir():
        path.unlink()
    code, (split,) = check(tmp_path / "DAVIS", tmp_path)
    assert code == 1
    assert kinds(split) == ["annotation", "frame", "mask", "mask"]


def test_an_object_that_changes_its_class(tmp_path):
    folders.kitti_mots(tmp_path)
    path = tmp_path / "KITTI_MOTS/instances_txt/0000.txt"
    text = path.read_text().replace("4 2003 2 ", "4 2003 1 ")
    path.write_text(text.replace("5 1001 1 ", "5 1001 7 "))
    code, (train, val) = check(tmp_path / "KITTI_MOTS", tmp_path)
    assert code == 1 and kinds(train) == ["category", "identity"] and not kinds(val)
    assert "2003 is of class 1 here and of class 2 before" in str(train["faults"])


def test_frames_and_masks_pair_up(tmp_path):
    folders.davis(tmp_path, sequences=("bear", "cow", "dog"))
    frames = tmp_path / "DAVIS/JPEGImages/480p"
    masks = tmp_path / "DAVIS/Annotations_unsupervised/480p"
    (masks / "bear/00003.png").unlink()
    (frames / "cow/00005.jpg").unlink()
    for number in (1, 3, 5):  # annotated at every second frame
        (masks / f"dog/{number:05d}.png").unlink()
    code, (split,) = check(tmp_path / "DAVIS", tmp_path)
    assert code == 1 and [fault["where"] for fault in split["faults"]] == [
        "bear",
        "cow",
    ]
    assert "frame 00003.jpg has no mask" in split["faults"][0]["what"]
    assert "cow/00005.png: a mask without its frame" in split["faults"][1]["what"]


@pytest.mark.parametrize("left", ["folder", "nothing"])
def test_a_video_without_masks_among_others_that_have_some(tmp_path, left):
    folders.davis(tmp_path)
    masks = tmp_path / "DAVIS/Annotations_unsupervised/480p/cow"
    shutil.rmtree(masks)
    if left == "folder":
        masks.mkdir()
    code, (split,) = check(tmp_path / "DAVIS", tmp_path)
    assert code == 1
    assert [(f["where"], f["kind"]) for f in split["faults"]] == [("cow", "mask")]


def test_one_mask_for_each_pixel_and_object_in_mots(tmp_path):
    folders.kitti_mots(tmp_path, names=("0000",))
    path = tmp_path / "KITTI_MOTS/instances_txt/0000.txt"
    lines = path.read_text().splitlines(keepends=True)
    again = [line.replace("2 1001 1", "2 1007 1") for line in lines if "2 1001" in line]
    twice = [line for line in lines if line.startswith("3 2003")]
    path.write_text("".join([*lines, *again, *twice]))
    code, (split,) = check(tmp_path / "KITTI_MOTS", tmp_path)
    assert code == 1 and kinds(split) == ["identity", "mask"]
    text = str(split["faults"])
    assert "frame 2: the masks of 1001 and 1007 overlap" in text
    assert "object 2003 for a second time in this frame" in text


@pytest.mark.parametrize(
    ("make", "name", "number", "message"),
    [
        (folders.pascal_voc, "SegmentationClass/2007_000001.png", 21, "the class 21"),
        (folders.mapillary, "v1.2/instances/xyz.png", 256 * 4, "holds label 4"),
    ],
)
def test_numbers_beyond_the_range_of_the_form(tmp_path, make, name, number, message):
    (path,) = make(tmp_path).rglob(name)
    numbers = np.asarray(PIL.Image.open(path)).copy()
    numbers[2, 2] = number
    folders.save(path, numbers)
    code, (split,) = check(tmp_path, tmp_path)
    assert code == 1 and message in split["faults"][0]["what"]


def test_the_faults_of_every_entry_are_found(tmp_path):
    folders.youtube_vis(tmp_path)

    def spoil(annotations):
        sound = json.dumps(annotations[0])
        for number in range(1, 4):
            annotations.append(json.loads(sound) | {"id": 100 + number})
        annotations[2]["segmentations"][1]["counts"][3] = -5
        annotations[3]["iscrowd"] = "no"
        del annotations[4]["video_id"]

    change(tmp_path / "train.json", annotations=spoil)
    code, (split,) = check(tmp_path, tmp_path)
    assert code == 1 and split["instances"] == 2
    assert [fault["what"] for fault in split["faults"]] == [
        "$.annotations[2].segmentations[1].counts[3]: expected `int` >= 0. Correct it.",
        "$.annotations[3].iscrowd: expected `bool | int`, got `str`. Correct it.",
        "$.annotations[4]: object missing required field `video_id`. Correct it.",
    ]


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("annotations", "areas", [], "annotation 11: has 0 areas for 6 frames"),
        ("annotations", "areas", [-16] * 6, "areas[0]: expected `float` >= 0"),
        ("annotations", "bboxes", [None], "annotation 11: has 1 bboxes for 6 frames"),
        ("annotations", "bboxes", [[9, 9, -5, 5]] + [None] * 5, "box of -5 x 5 pixels"),
        ("videos", "file_names", ["aa/00000.jpg"] * 6, "aa/00000.jpg 6 times"),
        ("videos", "height", "24", "$.videos[0].height: expected `int`, got `str`"),
        ("categories", "name", 3, "$.categories[0].name: expected `str`, got `int`"),
    ],
)
def test_a_wrong_value_is_one_fault(tmp_path, part, key, value, message):
    """What belongs to the entry is not told again."""
    folders.youtube_vis(tmp_path)
    path = tmp_path / "train.json"
    change(path, **{part: lambda entries: entries[0].update({key: value})})
    code, (split,) = check(tmp_path, tmp_path)
    assert code == 1 and len(split["faults"]) == 1
    assert message in split["faults"][0]["where"] + ": " + split["faults"][0]["what"]


def test_a_wrong_image_is_one_fault(tmp_path):
    path = folders.coco_set(tmp_path) / "COCO/annotations/instances_train2017.json"
    change(path, images=lambda images: images[0].update(height="24"))
    code, (split,) = check(tmp_path / "COCO", tmp_path)
    assert code == 1 and len(split["faults"]) == 1


def test_a_truncated_json_is_a_fault(tmp_path):
    folders.youtube_vis(tmp_path)
    path = tmp_path / "train.json"
    path.write_text(path.read_text()[:-30])
    code, (split,) = check(tmp_path, tmp_path)
    assert code == 1 and "no readable JSON" in split["faults"][0]["what"]


def test_videos_without_annotations_are_no_training_set(tmp_path, capsys):
    folders.youtube_vis(tmp_path, annotated=False)
    code, (split,) = check(tmp_path, tmp_path)
    assert code == 1 and not split["faults"]
    assert "no annotations either" in capsys.readouterr().out


def test_an_unknown_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="none of the known layouts"):
        check_data.run(str(tmp_path))
    with pytest.raises(ValueError, match="no such folder"):
        check_data.run(str(tmp_path / "absent"))


@pytest.mark.parametrize(
    ("folder", "counts"),
    [
        ("DAVIS", {"train": (2, 49, 2), "val": (4, 116, 6)}),
        ("DAVIS_first_frames", {"test-dev": (15, 15, 41)}),
        ("DAVIS_composite", {"val": (1, 24, 3)}),
        ("KITTI_MOTS", {"train": (1, 3, 13)}),
        ("YouTubeVIS", {"train.json": (4, 32, 7), "valid.json": (3, 16, 15)}),
        ("OVIS", {"annotations_train.json": (2, 12, 5)}),
        ("COCO", {"annotations/instances_val2017.json": (3, 3, 16)}),
        ("VOC/VOC2012", {"trainval": (2, 2, 5)}),
    ],
)
def test_real_samples_have_the_stated_counts(shared, tmp_path, folder, counts):
    code, splits = check(shared / "data" / folder, tmp_path)
    assert code == 0
    figures = {s["split"]: (s["videos"], s["frames"], s["instances"]) for s in splits}
    assert figures == counts


def test_the_folder_of_all_samples_is_read_whole(shared, tmp_path):
    _, splits = check(shared / "data", tmp_path)
    found = {split["name"]: split["videos"] for split in splits}
    assert {"davis19 in DAVIS", "own in OVIS", "pascal_voc in VOC/VOC2012"} < set(found)


@pytest.mark.parametrize("name", ["/dev/zero", "../../aa/00001.jpg"])
def test_files_outside_of_the_folder_are_not_read(tmp_path, name):
    folders.youtube_vis(tmp_path)
    change(
        tmp_path / "train.json",
        videos=lambda videos: videos[0]["file_names"].__setitem__(1, name),
    )
    code, (split,) = check(tmp_path, tmp_path)
    assert code == 1 and split["frames"] == 0
    assert f"names the file {name}, outside of the folder" in str(split["faults"])


def test_stills_outside_of_the_folder_are_not_read(tmp_path):
    path = folders.coco_set(tmp_path) / "COCO/annotations/instances_train2017.json"
    change(path, images=lambda images: images[0].update(file_name="/dev/zero"))
    code, (split,) = check(tmp_path / "COCO", tmp_path)
    assert code == 1 and "names the file /dev/zero" in str(split["faults"])
