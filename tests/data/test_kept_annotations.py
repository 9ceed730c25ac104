"""Annotations that are parsed once and kept, and when they are parsed anew."""

import json
import os
import pickle

import numpy as np
import pytest

from stemseg_jax.data import kept_annotations, readers
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.formats import coco_json
from tests.data import folders


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    """How often a file was parsed; what is kept lies in `tmp_path/kept`."""
    monkeypatch.setattr(kept_annotations, "LEAST_BYTES", 0)
    monkeypatch.setenv("STEMSEG_CACHE", str(tmp_path / "kept"))
    count = []
    original = coco_json.read_entries

    def counted(*args):
        count.append(args)
        return original(*args)

    monkeypatch.setattr(coco_json, "read_entries", counted)
    return count


def sets(tmp_path):
    folders.coco_set(tmp_path)
    folders.youtube_vis(tmp_path / "YouTubeVIS")
    return {"coco": {"categories": "ytvis"}, "ytvis": {}}


def assert_same(one: readers.Dataset, other: readers.Dataset):
    assert one._replace(videos=()) == other._replace(videos=())
    assert len(one.videos) == len(other.videos) > 0
    for a, b in zip(one.videos, other.videos, strict=True):
        assert (a.name, a.height, a.width) == (b.name, b.height, b.width)
        assert a.files == b.files and a.categories == b.categories
        assert a.annotated_frames == b.annotated_frames
        found = zip(a.clip([0]), b.clip([0]), strict=True)
        for x, y in found:
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", ["coco", "ytvis"])
def test_what_is_kept_is_what_was_read(tmp_path, monkeypatch, parsed, name):
    options = sets(tmp_path)[name]
    with monkeypatch.context() as off:
        off.setenv("STEMSEG_CACHE", "off")
        plain = DATASETS[name](tmp_path, "train", **options)
    assert len(parsed) == 1 and not (tmp_path / "kept").exists()
    for _ in range(3):
        assert_same(DATASETS[name](tmp_path, "train", **options), plain)
    assert len(parsed) == 2
    # As worker processes get it, and by number and slice as lists have them.
    kept = DATASETS[name](tmp_path, "train", **options)
    assert len(pickle.dumps(kept.videos)) < 500
    assert_same(pickle.loads(pickle.dumps(kept)), plain)
    assert kept.videos[-1].name == plain.videos[-1].name
    assert [v.name for v in kept.videos[:5]] == [v.name for v in plain.videos]
    with pytest.raises(IndexError):
        kept.videos[len(kept.videos)]


def test_other_annotations_options_places_and_code_are_read_anew(
    tmp_path, monkeypatch, parsed
):
    load, options = DATASETS["coco"], sets(tmp_path)["coco"]
    load(tmp_path, "train", **options)
    load(tmp_path, "train")  # COCO's own classes
    assert len(parsed) == 2
    file = tmp_path / "COCO/annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["category_id"] = 18
    stat = file.stat()
    file.write_text(json.dumps(content))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the content counts
    changed = load(tmp_path, "train", **options)
    assert len(parsed) == 3 and list(changed.videos[0].categories.values()) == [8]
    images = tmp_path / "COCO"
    (images / "images").mkdir()
    (images / "train2017").rename(images / "images/train2017")
    moved = load(tmp_path, "train", **options)
    assert len(parsed) == 4 and moved.videos[0].frame(0).size
    monkeypatch.setattr(kept_annotations, "_code", lambda: b"other")
    load(tmp_path, "train", **options)
    assert len(parsed) == 5


def test_faults_are_reported_each_time(tmp_path, parsed):
    folders.coco_set(tmp_path)
    file = tmp_path / "COCO/annotations/instances_train2017.json"
    content = json.loads(file.read_text())
    content["annotations"].append(content["annotations"][0] | {"id": 99, "image_id": 9})
    file.write_text(json.dumps(content))
    for _ in range(2):
        faults = []
        found = DATASETS["coco"](tmp_path, "train", report=faults.append)
        assert len(faults) == 1 and len(found.videos) == 2
        with pytest.raises(ValueError, match="belongs to image 9"):
            DATASETS["coco"](tmp_path, "train")
    assert not list((tmp_path / "kept").rglob("*.videos"))


@pytest.mark.parametrize("damage", ["empty", "cut", "bit"])
def test_what_is_damaged_is_parsed_anew(tmp_path, parsed, caplog, damage):
    load, options = DATASETS["coco"], sets(tmp_path)["coco"]
    first = load(tmp_path, "train", **options)
    (path,) = (tmp_path / "kept").rglob("*.videos")
    whole = bytearray(path.read_bytes())
    if damage == "bit":
        whole[len(whole) // 3] ^= 1
    path.unlink()  # what is open stays as it was
    path.write_bytes({"empty": b"", "cut": whole[:-9], "bit": whole}[damage])
    assert_same(load(tmp_path, "train", **options), first)
    assert len(parsed) == 2 and "is parsed anew: it is" in caplog.text
    load(tmp_path, "train", **options)
    assert len(parsed) == 2


def test_frames_that_moved_are_found_again(tmp_path, parsed):
    root = folders.youtube_vis(tmp_path / "YouTubeVIS")
    (root / "train_all_frames/JPEGImages").mkdir(parents=True)  # is there all the time
    DATASETS["ytvis"](tmp_path, "train")
    (root / "train/JPEGImages/aa").rename(root / "train_all_frames/JPEGImages/aa")
    moved = DATASETS["ytvis"](tmp_path, "train")
    assert len(parsed) == 2 and moved.videos[0].frame(0).size


def test_small_files_are_not_kept(tmp_path, monkeypatch, parsed):
    monkeypatch.setattr(kept_annotations, "LEAST_BYTES", 10**6)
    DATASETS["ytvis"](folders.youtube_vis(tmp_path / "YouTubeVIS").parent, "train")
    assert len(parsed) == 1 and not (tmp_path / "kept").exists()


def test_what_cannot_be_kept_is_read_and_told(tmp_path, monkeypatch, parsed, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept_annotations, "_write", full)
    folders.coco_set(tmp_path)
    assert DATASETS["coco"](tmp_path, "train").videos
    assert "is parsed anew each time: [Errno 28] No space left" in caplog.text
