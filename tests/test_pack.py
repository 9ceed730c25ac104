"""A packed set gives the same clips as its folder, bit for bit."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import defaults
from stemseg_jax import pack
from stemseg_jax.data import pipeline, readers
from stemseg_jax.structures import PackedClips
from tests.data import folders

SHAPES = dict(num_videos=2, num_frames=5, height=32, width=48, objects=(2, 3))
SETS = {
    "davis19": (folders.davis, {}),
    "ytvis": (lambda root: folders.youtube_vis(root / "YouTubeVIS"), {}),
    "kitti_mots": (
        lambda root: folders.kitti_mots(root, calibration=True),
        {"sequences": ("0000", "0002")},
    ),
    "coco": (folders.coco_set, {"categories": "ytvis"}),
    "pascal_voc": (folders.pascal_voc, {"split": "train", "min_area": 10}),
    "mapillary": (folders.mapillary, {"shrink": 5, "min_area": 9}),
    "moving_shapes": (
        lambda root: None,
        SHAPES,
    ),
    "layered_world": (lambda root: None, SHAPES),
    "composed": (
        lambda root: None,
        dict(
            sources=dict(moving_shapes=SHAPES | dict(radius=(0.15, 0.2))),
            num_videos=2,
            objects=(1, 1),
        ),
    ),
}


def config_of(root, names, **data):
    config = defaults.get_config()
    config.num_frames = 4
    config.data.root = str(root)
    config.data.mixture = ConfigDict(dict.fromkeys(names, 1.0))
    config.data.options = ConfigDict({name: SETS[name][1] for name in names})
    config.data.update(dict(min_dim=32, max_dim=64, max_instances=4, workers=0) | data)
    return config


def batches(config, count=4):
    return list(
        itertools.islice(pipeline.training_batches(config, batch_size=2), count)
    )


def assert_same(some, others):
    for batch, other in zip(some, others, strict=True):
        assert batch["names"] == other["names"]
        for name in {*PackedClips._fields} - {"clean"}:
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.mark.parametrize("name", SETS)
def test_same_clips_as_the_folder(tmp_path, name):
    SETS[name][0](tmp_path)
    config = config_of(tmp_path, [name])
    pack.run(config, str(tmp_path / "packed"))
    packed = config_of(tmp_path / "gone", [name], packed=str(tmp_path / "packed"))
    assert_same(batches(config), batches(packed))
    one, other = pipeline.load(config, name), pipeline.load(packed, name)
    assert one._replace(videos=()) == other._replace(videos=())
    for a, b in zip(one.videos, other.videos, strict=True):
        assert isinstance(b, readers.Video)
        assert (a.name, a.height, a.width) == (b.name, b.height, b.width)
        assert a.categories == b.categories
        assert list(a.annotated_frames) == list(b.annotated_frames)
        np.testing.assert_array_equal(a.intrinsics, b.intrinsics)
        for t in range(a.num_frames):
            assert sorted(a.instances(t)) == sorted(b.instances(t))
    known = [video.intrinsics is not None for video in other.videos]
    assert all(known) if name in ("kitti_mots", "layered_world") else not any(known)


def test_workers_open_their_own_files(tmp_path):
    folders.davis(tmp_path)
    config = config_of(tmp_path, ["davis19"])
    pack.run(config, str(tmp_path / "packed"))
    packed = config_of(
        tmp_path, ["davis19"], packed=str(tmp_path / "packed"), workers=1
    )
    assert_same(batches(config, 2), batches(packed, 2))


def test_other_options_than_packed_are_refused(tmp_path):
    folders.coco_set(tmp_path)
    pack.run(config_of(tmp_path, ["coco"]), str(tmp_path / "packed"))
    packed = config_of(tmp_path, ["coco"], packed=str(tmp_path / "packed"))
    packed.data.options.coco.categories = "ovis"
    with pytest.raises(ValueError, match='packed with .*"ytvis".*asks for.*"ovis"'):
        batches(packed)


def test_other_options_of_a_source_than_packed_are_refused(tmp_path):
    pack.run(config_of(tmp_path, ["composed"]), str(tmp_path / "packed"))
    packed = config_of(tmp_path, ["composed"], packed=str(tmp_path / "packed"))
    packed.data.options.composed.sources.moving_shapes.num_frames = 6
    with pytest.raises(ValueError, match='packed with .*"num_frames": 5.*asks for'):
        batches(packed)


def test_what_is_not_packed_is_named(tmp_path):
    folders.davis(tmp_path)
    pack.run(config_of(tmp_path, ["davis19"]), str(tmp_path / "packed"))
    packed = config_of(tmp_path, ["coco"], packed=str(tmp_path / "packed"))
    with pytest.raises(ValueError, match="no packed coco_train .but davis19_train"):
        batches(packed)


def test_a_broken_frame_is_not_packed(tmp_path):
    folders.davis(tmp_path)
    (tmp_path / "DAVIS/JPEGImages/480p/cow/00004.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="cow/00004.jpg: not an image"):
        pack.run(config_of(tmp_path, ["davis19"]), str(tmp_path / "packed"))
    assert not list((tmp_path / "packed").rglob("dataset_info.json"))


def test_tensorflow_is_not_needed(tmp_path):
    code = (
        "import sys; from stemseg_jax.data.packed import reader, tfds_builder; "
        "assert 'tensorflow' not in sys.modules and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
