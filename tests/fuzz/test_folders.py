"""Folders of frames, masks and lists: what is lost or damaged in them is found."""

import contextlib
import io
import json
import pathlib
import shutil
import zipfile

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from pycocotools import mask as coco

from stemseg_jax import check_data, score
from stemseg_jax.data import checking
from stemseg_jax.data.datasets import DATASETS
from tests.data import folders
from tests.fuzz import harness

CASES = pathlib.Path(__file__).parents[1] / "evaluation/cases"
LITTER = ("._00000.png", "._00000.jpg", "._train.txt", "._0000.txt", ".DS_Store")
LITTER += ("Thumbs.db", "desktop.ini", "._train.json", "__MACOSX/._a.png")


def strew(root):
    """What operating systems leave in every folder."""
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for name in LITTER:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"\0\5\x16\7junk")


def check(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        code = check_data.run(str(folder), str(folder.parent / "report.json"))
    return code, json.loads((folder.parent / "report.json").read_text())


@pytest.mark.parametrize(
    ("make", "below"),
    [
        (folders.davis, "DAVIS"),
        (folders.youtube_vis, ""),
        (folders.kitti_mots, "KITTI_MOTS"),
        (folders.coco_set, "COCO"),
        (folders.pascal_voc, "VOCdevkit/VOC2012"),
        (folders.mapillary, "Mapillary"),
    ],
)
def test_what_systems_leave_behind_changes_nothing(tmp_path, make, below):
    root = make(tmp_path / "data")
    before = check(root / below)
    strew(root)
    assert check(root / below) == before and before[0] == 0


CASES_OF = {
    "davis19": ("davis/unsup_synth", "", "results/pred"),
    "kitti_mots": ("mots/synth_edges", "gt", "trackers/pred/data"),
}


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    root = tmp_path_factory.mktemp("scored")
    for case, *_ in CASES_OF.values():
        with zipfile.ZipFile(CASES / f"{case}.zip") as archive:
            archive.extractall(root / case)
    return root


@pytest.mark.parametrize("task", CASES_OF)
def test_results_among_litter_have_the_same_score(scored, tmp_path, task):
    case, truth, results = CASES_OF[task]
    shutil.copytree(scored / case, tmp_path / "case")
    paths = tmp_path / "case" / truth, tmp_path / "case" / results
    before = score.read(task, *paths).report()
    strew(tmp_path / "case")
    assert score.read(task, *paths).report() == before


@pytest.mark.parametrize("task", CASES_OF)
@harness.slow
@hypothesis.given(data=st.data())
def test_damaged_results_have_the_same_score_or_none(scored, task, data):
    case, truth, results = CASES_OF[task]
    paths = scored / case / truth, scored / case / results
    before = score.read(task, *paths).figures()
    found = sorted(path for path in paths[1].rglob("*.*") if path.is_file())
    path = data.draw(st.sampled_from(found))
    sound = path.read_bytes()
    path.write_bytes(data.draw(harness.damaged(sound)))
    try:
        harness.verdict(
            lambda: score.read(task, *paths).figures(),
            form=f"results of {task}",
            names=(path.name, path.parent.name),
            # A line of text may be another that is sound; a PNG may not.
            right=lambda figures: path.suffix == ".txt" or figures == before,
        )
    finally:
        path.write_bytes(sound)


TEXTS = {
    "list of DAVIS": (folders.davis, "DAVIS/ImageSets/2017/train.txt", "davis19"),
    "MOTS txt": (folders.kitti_mots, "KITTI_MOTS/instances_txt/0000.txt", "kitti_mots"),
    "calibration": (
        lambda root: folders.kitti_mots(root, calibration=True),
        "KITTI_MOTS/training/calib/0000.txt",
        "kitti_mots",
    ),
}


def listed(data: bytes, videos) -> bool:
    """Each line is a video, with the masks that were written."""
    lines = [line.split()[0] for line in text_of(data).splitlines() if line.strip()]
    names = [pathlib.PurePosixPath(line).name for line in lines]
    return [*videos] == [*dict.fromkeys(names)] and all(
        clip.ids.tolist() == np.unique(truth[truth > 0]).tolist()
        and np.array_equal(clip.masks[:, 0].any(axis=0), truth > 0)
        for _, clips in videos.values()
        for clip, truth in zip(clips, folders.labels(6), strict=True)
    )


def text_of(data: bytes) -> str:
    return data.decode("utf-8-sig")


def lines_of_mots(data: bytes, videos) -> bool:
    """Each line of a car or pedestrian is a mask, and no other is."""
    expected = {}
    for line in text_of(data).splitlines():
        if line.strip():
            frame, number, kind, height, width, counts = line.split()
            if kind != "10":
                size = [int(height), int(width)]
                mask = coco.decode({"size": size, "counts": counts.encode()}) > 0
                if mask.any():
                    expected[int(frame), int(number)] = int(kind), mask
    found = {
        (t, int(number)): (int(kind), mask[0])
        for t, clip in enumerate(videos["0000"][1])
        for number, kind, mask in zip(
            clip.ids, clip.categories, clip.masks, strict=True
        )
    }
    return found.keys() == expected.keys() and all(
        found[key][0] == expected[key][0]
        and np.array_equal(found[key][1], expected[key][1])
        for key in expected
    )


def camera_of_kitti(data: bytes, videos) -> bool:
    """The first three columns of the row of the second colour camera."""
    rows = [line.split() for line in text_of(data).splitlines() if line.strip()]
    (row,) = [numbers for key, *numbers in rows if key == "P2:"]
    matrix = np.array(row, float).reshape(3, 4)[:, :3]
    return np.array_equal(videos["0000"][0], matrix) and np.isfinite(matrix).all()


RIGHT = {
    "list of DAVIS": listed,
    "MOTS txt": lines_of_mots,
    "calibration": camera_of_kitti,
}


@pytest.mark.parametrize("form", TEXTS)
@hypothesis.given(data=st.data())
def test_texts(tmp_path_factory, form, data):
    make, name, dataset = TEXTS[form]
    root = make(tmp_path_factory.mktemp("texts"))
    path = root / name
    sound = path.read_bytes()
    path.write_bytes(data.draw(harness.damaged(sound)))

    def read():
        videos = DATASETS[dataset](root, "train").videos
        return {
            video.name: (
                video.intrinsics,
                [video.clip([t]) for t in range(video.num_frames)],
            )
            for video in videos
        }

    harness.verdict(
        read,
        form=form,
        # A list with another name leads to a folder that is not there.
        names=(path.name, str(root)),
        right=lambda videos: RIGHT[form](path.read_bytes(), videos),
    )
    shutil.rmtree(root)


@hypothesis.given(st.data())
def test_check_data_misses_no_file_that_is_lost(tmp_path_factory, data):
    root = folders.davis(tmp_path_factory.mktemp("lost"))
    lost = data.draw(st.sampled_from(sorted((root / "DAVIS").rglob("0000*.*"))))
    lost.unlink()
    (found,) = checking.find(root / "DAVIS")
    summary = checking.check(found)
    assert any(lost.stem in fault.what for fault in summary.faults), summary.faults
    shutil.rmtree(root)


@hypothesis.given(st.data())
def test_check_data_finds_damaged_masks(tmp_path_factory, data):
    root = folders.davis(tmp_path_factory.mktemp("damaged"), sequences=("bear",))
    path = data.draw(st.sampled_from(sorted((root / "DAVIS").rglob("*.png"))))
    sound = path.read_bytes()
    path.write_bytes(data.draw(harness.damaged(sound)))
    (found,) = checking.find(root / "DAVIS")
    faults = checking.check(found).faults
    if not path.read_bytes().startswith(sound):
        assert any(path.name in fault.what for fault in faults), faults
    shutil.rmtree(root)


def test_the_second_half_of_a_jpeg(tmp_path):
    root = folders.davis(tmp_path, sequences=("bear",))
    path = root / "DAVIS/JPEGImages/480p/bear/00002.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    sound = folders.save(path, noise).read_bytes()
    assert check(root / "DAVIS")[0] == 0
    half = sound[: 3 * len(sound) // 4]
    for damaged in (half, half + b"\xff\xd9", half + bytes(99), half + half[-300:]):
        path.write_bytes(damaged)
        code, (split,) = check(root / "DAVIS")
        assert code == 1
        assert ["00002.jpg" in fault["what"] for fault in split["faults"]] == [True]
