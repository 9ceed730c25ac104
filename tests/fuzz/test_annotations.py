"""JSON files of every form, mutated: what is read is what they say, or a message."""

import contextlib
import gzip
import io
import json
import math
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

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
    path.write_bytes(data.draw(spoilt(content)))
    harness.verdict(
        lambda: read_all(DATASETS["coco"](stills, "train")),
        form="COCO",
        names=("instances_train2017.json", ".jpg"),
        right=lambda found: all(m.shape == (24, 40) for _, m in found.values()),
    )


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
    )


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
    path.write_bytes(data.draw(harness.mutated(content).map(written)))
    harness.verdict(
        lambda: tracks_json.read(path), form="tracks.json", names=("tracks.json",)
    )
