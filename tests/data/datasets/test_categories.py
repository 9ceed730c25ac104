"""The maps against the numbers that the papers' code and public code use."""

import json

import pytest

from stemseg_jax.data.datasets import categories

PRINTED = {
    ("coco", "ytvis"): "1:1 2:21 3:6 4:21 5:28 7:17 8:29 9:34 17:14 18:8 19:18 21:15 "
    "22:32 23:20 24:30 25:22 36:33 41:5 42:27 43:40",
    ("pascal_voc", "ytvis"): "1:28 4:34 7:6 8:14 10:15 12:8 13:18 14:21 15:1 19:17",
    ("coco", "ovis"): "1:1 2:21 3:25 4:22 5:23 6:25 8:25 9:24 17:3 18:4 19:5 20:6 21:7 "
    "22:8 23:9 24:10 25:11",
    (
        "coco",
        "ytvis21",
    ): "1:26 2:23 3:5 4:23 5:1 7:36 8:37 9:4 16:3 17:6 18:9 19:19 21:7 "
    "22:12 23:2 24:40 25:18 34:14 35:31 36:31 41:29 42:33 43:34",
}
FOR_DAVIS = {
    "coco": "1 2 3 4 5 6 7 8 9 16 17 18 19 20 21 22 23 24 25 27 34 35 36 37 38 39 "
    "41 42 43",
    "pascal_voc": "1 2 3 4 6 7 8 10 12 13 14 15 17 19",
}


@pytest.mark.parametrize("pair", PRINTED)
def test_maps_onto_video_sets(pair):
    numbers = dict(tuple(map(int, p.split(":"))) for p in PRINTED[pair].split())
    assert categories.mapping(*pair) == numbers


@pytest.mark.parametrize("source", FOR_DAVIS)
def test_classes_taken_for_davis(source):
    numbers = [int(number) for number in FOR_DAVIS[source].split()]
    assert categories.mapping(source, "object") == dict.fromkeys(numbers, 1)


@pytest.mark.parametrize("pair", categories.MAPS)
def test_maps_name_only_classes_that_exist(pair):
    source, target = (set(categories.CATEGORIES[name].values()) for name in pair)
    names = categories.MAPS[pair]
    assert set(names) <= source and set(names.values()) <= target


@pytest.mark.parametrize(
    ("name", "count"),
    [("ytvis", 40), ("ytvis21", 40), ("ovis", 25), ("coco", 80), ("pascal_voc", 20)],
)
def test_sets_are_complete(name, count):
    classes = categories.CATEGORIES[name]
    assert len(classes) == len(set(classes.values())) == count
    if name != "coco":
        assert list(classes) == list(range(1, count + 1))


def test_birds_may_be_one_class_of_ovis():
    plain = categories.mapping("coco", "ovis")
    also = categories.mapping("coco", "ovis", also={"bird": "Bird"})
    assert also == {**plain, 16: 2} and 16 not in plain


@pytest.mark.parametrize(
    ("also", "message"),
    [
        ({"birds": "Bird"}, "coco has no birds; it has airplane, apple"),
        ({"bird": "Birds"}, "ovis has no Birds; it has Airplane, Bear"),
    ],
)
def test_a_further_class_that_is_not_there_is_refused(also, message):
    with pytest.raises(ValueError, match=message):
        categories.mapping("coco", "ovis", also=also)


def test_a_set_maps_onto_itself():
    assert categories.mapping("coco", None) == {n: n for n in categories.COCO}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ytvis", "YouTubeVIS/train.json"),
        ("ovis", "OVIS/annotations_train.json"),
        ("coco", "COCO/annotations/instances_val2017.json"),
    ],
)
def test_names_are_those_of_the_files(shared, name, file):
    listed = json.loads((shared / "data" / file).read_text())["categories"]
    names = {c["id"]: c["name"].replace("Vehical", "Vehicle") for c in listed}
    assert categories.CATEGORIES[name] == names


def test_mapillary_keeps_and_ignores_different_labels():
    assert not set(categories.MAPILLARY_TO_KITTI_MOTS) & categories.MAPILLARY_IGNORED
    kept = set(categories.MAPILLARY_TO_KITTI_MOTS.values())
    assert kept == set(categories.KITTI_MOTS.values())


def test_a_model_has_as_many_classes_as_its_set():
    assert categories.of_model("kitti_mots", 3) == {1: "car", 2: "pedestrian"}
    assert categories.of_model("", 7) == {}
    with pytest.raises(ValueError, match="num_classes=40.*'ytvis' needs 41"):
        categories.of_model("ytvis", 40)
    with pytest.raises(
        ValueError, match="'davis' is unknown; known: .*'object'.*'ytvis'"
    ):
        categories.of_model("davis", 2)
