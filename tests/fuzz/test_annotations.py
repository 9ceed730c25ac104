"""JSON files of every form, mutated: what is read is what they say, or a message."""

import contextlib
import gzip
import io
import json
import math
import pathlib
import shutil
import zipfile

import hypothesis
import numpy as np
import PIL.Image
import pytest
from hypothesis import strategies as st
from pycocotools import mask as coco

from stemseg_jax import check_data, score
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.evaluation import ytvis
from stemseg_jax.formats import coco_json
from stemseg_jax.outputs import tracks_json
from tests.data import folders
from tests.fuzz import harness

FRAMES = 4


def written(content) -> bytes:
    """As Python writes it, NaN and lone surrogates included."""
    return json.dumps(content).encode()


def read_all(dataset) -> dict:
    """Every mask of a dataset by video, frame and instance, with its category."""
    return {
        (video.name, t, int(n)): (int(c), mask)
        for video in dataset.videos
        for t in range(video.num_frames)
        for clip in [video.clip([t])]
        for n, c, mask in zip(clip.ids, clip.categories, clip.masks[:, 0], strict=True)
    }


def by_definition(data: bytes) -> dict:
    """The same from the JSON, by Python's own reader and runs one by one."""
    content, found = json.loads(data.decode("utf-8-sig")), {}
    videos = {video["id"]: video for video in content["videos"]}
    for one in content.get("annotations") or ():
        for t, segmentation in enumerate(one["segmentations"]):
            if segmentation:
                video = videos[one["video_id"]]
                name = video["file_names"][0].rpartition("/")[0] or str(video["id"])
                height, width = segmentation["size"]
                runs = segmentation["counts"]
                mask = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
                if mask.any():
                    key = (name, t, one["id"])
                    found[key] = one["category_id"], mask.reshape(width, height).T
    return found


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        found[key][0] == expected[key][0]
        and np.array_equal(found[key][1], expected[key][1])
        for key in expected
    )


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return folders.youtube_vis(tmp_path_factory.mktemp("ytvis"), num_frames=FRAMES)


def content_of(path):
    return json.loads(path.read_bytes())


def spoilt(content):
    return harness.mutated(content).map(written) | harness.damaged(written(content))


@pytest.fixture(scope="module")
def sound(videos):
    return content_of(videos / "train.json")


@hypothesis.given(st.data())
def test_youtube_vis(videos, sound, data):
    changed = data.draw(spoilt(sound))
    (videos / "train.json").write_bytes(changed)
    harness.verdict(
        lambda: read_all(DATASETS["own"](videos, "train")),
        form="YouTube-VIS",
        names=("train.json", "aa", str(videos)),
        right=lambda found: same(found, by_definition(changed)),
    )


@harness.slow
@hypothesis.given(st.data())
def test_check_data_finds_whatever_training_refuses(videos, sound, data):
    (videos / "train.json").write_bytes(data.draw(spoilt(sound)))
    report = videos.parent / "report.json"

    def check():
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = check_data.run(str(videos), str(report))
        faults = [
            f for split in json.loads(report.read_text()) for f in split["faults"]
        ]
        assert code == 1 or not faults
        return said.getvalue(), bool(faults)

    try:
        read_all(DATASETS["own"](videos, "train"))
    except ValueError:
        refused = True
    else:
        refused = False
    harness.verdict(check, form="check_data", right=lambda told: told[1] or not refused)


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    return folders.coco_set(tmp_path_factory.mktemp("coco"))


@hypothesis.given(st.data())
def test_coco(stills, data):
    path = stills / "COCO/annotations/instances_train2017.json"
    keep = stills / "sound.json"
    if not keep.exists():
        keep.write_bytes(path.read_bytes())
    content = content_of(keep)
    content["categories"] = []  # not read: the classes of COCO are known
    changed = data.draw(spoilt(content))
    path.write_bytes(changed)
    harness.verdict(
        lambda: read_all(DATASETS["coco"](stills, "train")),
        form="COCO",
        names=("instances_train2017.json", ".jpg"),
        right=lambda found: same(found, coco_by_definition(changed)),
    )


def coco_by_definition(data: bytes) -> dict:
    """Polygons by pycocotools, which they have to be sound for by now."""
    content, found = json.loads(data.decode("utf-8-sig")), {}
    images = {image["id"]: image for image in content["images"]}
    for one in content["annotations"]:
        if not one.get("iscrowd"):
            image = images[one["image_id"]]
            size = image["height"], image["width"]
            mask = np.zeros(size, bool)
            for polygon in one["segmentation"]:
                mask |= coco.decode(coco.frPyObjects([polygon], *size)[0]) > 0
            if mask.any():
                key = (pathlib.Path(image["file_name"]).stem, 0, one["id"])
                found[key] = one["category_id"], mask
    return found


def result(sound) -> list:
    return [
        {
            "video_id": one["video_id"],
            "category_id": one["category_id"],
            "score": 0.5,
            "segmentations": [
                None if mask is None else folders.compressed(mask)
                for mask in (
                    by_definition(written(sound)).get(("aa", t, one["id"]), (0, None))[
                        1
                    ]
                    for t in range(FRAMES)
                )
            ],
        }
        for one in sound["annotations"]
    ]


@hypothesis.given(st.data())
def test_results(videos, sound, data):
    truth, results = videos / "truth.json", videos / "results.json"
    truth.write_bytes(written(sound))
    results.write_bytes(data.draw(spoilt(result(sound))))
    harness.verdict(
        lambda: ytvis.score(truth, results).figures(),
        form="results.json",
        names=("results.json",),
        right=lambda found: all(0 <= value <= 1 for value in found.values()),
    )


@hypothesis.given(st.data())
def test_annotations_that_results_are_scored_with(videos, sound, data):
    truth, results = videos / "truth.json", videos / "results.json"
    results.write_bytes(written(result(sound)))
    truth.write_bytes(written(data.draw(harness.mutated(sound))))
    harness.verdict(
        lambda: score.read("ytvis", truth, results).report(),
        form="scored annotations",
        names=("truth.json", "results.json"),
        right=lambda found: math.isfinite(found["AP"]) and -1 <= found["AP"] <= 1,
    )


@hypothesis.given(st.data())
def test_archives(videos, sound, data):
    entries = written(result(sound))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("results.json", entries)
    forms = {
        "results.json.gz": gzip.compress(entries),
        "results.zip": buffer.getvalue(),
    }
    name = data.draw(st.sampled_from(sorted(forms)))
    (videos / name).write_bytes(data.draw(harness.damaged(forms[name])))
    harness.verdict(
        lambda: coco_json.read_results(videos / name),
        form="archives",
        names=(name,),
        right=lambda found: len(found) == 2,
    )


@hypothesis.given(st.data())
def test_mapillary(tmp_path_factory, data):
    root = folders.mapillary(tmp_path_factory.mktemp("mapillary"))
    path = root / "Mapillary/config_v1.2.json"
    content = content_of(path)
    changed = data.draw(harness.mutated(content).map(written))
    path.write_bytes(changed)
    harness.verdict(
        lambda: read_all(DATASETS["mapillary"](root, "train")),
        form="Mapillary",
        names=("config_v1.2.json", "xyz.png"),
        right=lambda found: same(found, mapillary_by_definition(root, changed)),
    )
    shutil.rmtree(root)


def mapillary_by_definition(root, config: bytes) -> dict:
    """Cars and pedestrians of 30 pixels and more, a quarter of the file's size."""
    names = [label["name"] for label in json.loads(config)["labels"]]
    path = root / "Mapillary/training/v1.2/instances/xyz.png"
    numbers = np.asarray(PIL.Image.open(path))[::4, ::4]
    kinds = {"object--vehicle--car": 1, "human--person": 2}
    return {
        ("xyz", 0, int(number)): (kinds[names[number >> 8]], numbers == number)
        for number in np.unique(numbers)
        if names[number >> 8] in kinds and (numbers == number).sum() >= 30
    }


@hypothesis.given(st.data())
def test_tracks(videos, data):
    path = videos / "tracks.json"
    mask = folders.compressed(folders.labels(1)[0] == 1)
    track = {"id": 1, "category": 2, "score": 0.5, "first": 0, "last": 0}
    content = {
        "format": tracks_json.FORMAT,
        "video": {"name": "a", "height": 24, "width": 40, "num_frames": 2, "fps": 5.0},
        "categories": {"2": "dog"},
        "tracks": [track | {"segmentations": [mask, None]}],
    }
    changed = data.draw(harness.mutated(content).map(written))
    path.write_bytes(changed)
    harness.verdict(
        lambda: tracks_json.read(path),
        form="tracks.json",
        names=("tracks.json",),
        right=lambda found: as_json(found) == tracks_by_definition(changed),
    )


def as_json(found: tracks_json.TracksFile) -> dict:
    video, fps, categories, _ = found
    head = {key: getattr(video, key) for key in ("name", "height", "width")}
    masks = [
        [mask and mask["counts"].decode() for mask in track.segmentations]
        for track in video.tracks
    ]
    return {
        "video": head | {"num_frames": video.num_frames, "fps": fps},
        "categories": categories,
        "tracks": [(t.id, t.category, t.score) for t in video.tracks],
        "masks": masks,
    }


def tracks_by_definition(data: bytes) -> dict:
    content = json.loads(data)
    video, tracks = content["video"], content["tracks"]
    head = {key: video[key] for key in ("name", "height", "width", "num_frames", "fps")}
    return {
        "video": head,
        "categories": {int(n): name for n, name in content["categories"].items()},
        "tracks": [(t["id"], t["category"], t["score"]) for t in tracks],
        "masks": [[m and m["counts"] for m in t["segmentations"]] for t in tracks],
    }
