"""The weights that come with the package: whole, small, without traces, and seeing."""

import json
import pathlib

import cv2
import numpy as np
import pytest

from configs import real_video
from stemseg_jax import models, options
from stemseg_jax.conversion import packaged, sources
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.outputs import collector, tracks_json
from tests.test_main import run

DAVIS = "data/DAVIS16_train"


@pytest.fixture(scope="module")
def model():
    return models.load(models.saved_config("real"), "real")


def foreground(model, images) -> np.ndarray:
    """[T H W]: whether any kept track is there."""
    labels, statistics = model.track(images)
    kept = [t.label for t in collector.select(statistics, **model.config.selection)]
    size = labels.geometry.original
    whole = np.zeros((len(labels), *size), bool)
    for t in range(len(labels)):
        for mask in labels.masks(t, kept).values():
            whole[t] |= mask
    return whole


def iou(one, other) -> float:
    return (one & other).sum() / (one | other).sum()


def test_the_file_is_small_and_names_no_folder(model):
    file = packaged.locate("real")
    assert file.stat().st_size <= 12e6
    config = models.saved_config("real")
    options.check(config, origin="real")
    text = json.dumps(config.to_dict(), default=str)
    assert config.data.root is None and not config.init_from
    assert not any(part in text for part in ("/home", "/root", "/work", "/tmp"))


def test_its_config_is_that_of_the_repository():
    shipped, ours = models.saved_config("real").to_dict(), real_video.get_config()
    ours = json.loads(ours.to_json_best_effort())
    shipped = json.loads(json.dumps(shipped))
    for config in (shipped, ours):
        del config["init_from"], config["data"]["root"]
        del config["optim"]["max_skipped"]  # came later; before, the first one stopped
        for name in sources.OWNERS:  # what belongs to the weights
            config["model"].pop(name)
    assert shipped == ours


def test_objects_that_were_never_trained_on_are_found(model, shared):
    name = "soccerball"
    assert name in real_video.HELD_BACK
    (video,) = DATASETS["davis16"](shared / DAVIS, "train", sequences=(name,)).videos
    clip = video.clip(range(12))
    found = foreground(model, list(clip.frames))
    assert iou(found, clip.masks.any(axis=0)) > 0.6


def test_without_other_flags_a_drawn_video_is_labelled(tmp_path, monkeypatch):
    (video,) = DATASETS["moving_shapes"](
        None, "test", num_videos=1, num_frames=9, height=96, width=160
    ).videos
    frames = tmp_path / "clip"
    frames.mkdir()
    for t in range(video.num_frames):
        cv2.imwrite(str(frames / f"{t}.png"), video.frame(t)[..., ::-1])
    monkeypatch.chdir(tmp_path)
    assert not run("--mode=predict", f"--input={frames}")
    written = pathlib.Path("predicted/clip")
    assert len(list((written / "masks").glob("*.png"))) == 9
    assert tracks_json.read(written / "tracks.json").video.num_frames == 9


def test_a_folder_of_that_name_is_not_asked_for(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    monkeypatch.chdir(tmp_path)
    assert models.saved_config("real").system == "stemseg"


@pytest.mark.parametrize("size", [(1, 1), (9, 14), (160, 24), (24, 160)])
def test_tiny_and_vertical_videos(model, size):
    noise = np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8)
    assert foreground(model, list(noise)).shape == (3, *size)
