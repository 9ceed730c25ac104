"""The stream of batches: what it depends on and what it does not."""

import itertools
import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import defaults
from stemseg_jax.data import pipeline
from tests.data import folders

SHAPES = {
    "num_videos": 5,
    "num_frames": 7,
    "height": 40,
    "width": 64,
    "objects": (2, 3),
}


def config_of(**data) -> ConfigDict:
    """The default configuration on small clips of built-in data."""
    config = defaults.get_config()
    config.num_frames = 4
    small = dict(
        mixture={"moving_shapes": 1.0},
        options={"moving_shapes": SHAPES},
        min_dim=32,
        max_dim=64,
        max_instances=4,
        workers=0,
    )
    for key, value in (small | data).items():
        # Assigned and not updated, which would merge with what was there.
        config.data[key] = ConfigDict(value) if isinstance(value, dict) else value
    return config


def take(config, count, **options):
    options = {"batch_size": 2} | options
    return list(itertools.islice(pipeline.training_batches(config, **options), count))


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch["names"] == other["names"]
        for name in pipeline.ARRAYS:
            np.testing.assert_array_equal(batch[name], other[name])


def test_a_batch_has_the_promised_shapes():
    (batch,) = take(config_of(), 1)
    assert batch["frames"].shape == (2, 4, 32, 64, 3)
    assert batch["masks"].shape == (2, 4, 4, 32, 64)
    assert batch["valid"].shape == batch["categories"].shape == (2, 4)
    assert batch["ignore"].shape == (2, 4, 32, 64)
    assert len(batch["names"]) == 2 and batch["names"][0].startswith("moving_shapes/")
    assert batch["dropped"] == 0
    assert (batch["masks"].any(axis=(2, 3, 4)) == batch["valid"]).all()
    assert ((batch["categories"] > 0) == batch["valid"]).all()


def test_a_resumed_stream_goes_on_at_its_position():
    assert_same(take(config_of(), 5)[3:], take(config_of(), 2, start_step=3))


def test_workers_change_nothing():
    assert_same(take(config_of(), 3), take(config_of(workers=2), 3))


def test_processes_share_the_batches_of_one():
    whole = take(config_of(), 3)
    parts = [take(config_of(), 3, process_index=p, process_count=2) for p in range(2)]
    for batch, *halves in zip(whole, *parts, strict=True):
        assert batch["names"] == [half["names"][0] for half in halves]


def test_the_seed_decides():
    other = config_of()
    other.seed = 2
    assert take(config_of(), 1)[0]["names"] != take(other, 1)[0]["names"]


def test_an_unknown_dataset_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match="davis20.*known are.*davis19"):
        take(config_of(mixture={"davis20": 1.0}), 1)


def test_too_long_clips_are_refused_with_the_longest_video():
    config = config_of()
    config.num_frames = 8
    with pytest.raises(ValueError, match="none of 5 videos.*longest has 7"):
        take(config, 1)


def davis_config(tmp_path, **data):
    folders.davis(tmp_path, num_frames=8)
    mixture = {"davis19": 1.0}
    return config_of(root=str(tmp_path), mixture=mixture, options={}, **data)


def test_a_broken_sample_stops_the_stream_and_is_named(tmp_path):
    config = davis_config(tmp_path)
    (tmp_path / "DAVIS/JPEGImages/480p/bear/00004.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="00004.jpg: not an image"):
        take(config, 20)


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_samples_are_left_out_counted_and_named_once(tmp_path, workers, caplog):
    config = davis_config(tmp_path, skip_broken=True, workers=workers)
    (tmp_path / "DAVIS/JPEGImages/480p/bear/00004.jpg").write_bytes(b"")
    batches = take(config, 20)
    assert sum(len(batch["skipped"]) for batch in batches) > 1
    assert not any(
        ",4," in name for b in batches for name in b["names"] if "bear" in name
    )
    assert caplog.text.count("00004.jpg: not an image") == 1
    assert_same(take(config, 2, start_step=18), batches[18:])


def test_nothing_but_broken_samples_ends_with_the_last_reason(tmp_path):
    config = davis_config(tmp_path, skip_broken=True)
    for path in (tmp_path / "DAVIS/JPEGImages").rglob("*.jpg"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="'davis19': none of 0 videos"):
        take(config, 1)
    for path in (tmp_path / "DAVIS/JPEGImages").rglob("*.jpg"):
        folders.save(path, folders.image())
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="20 samples in a row.*cut short"):
        take(config, 1)


def test_a_video_without_annotation_is_named_or_left_out(tmp_path, caplog):
    config = davis_config(tmp_path)
    for path in (tmp_path / "DAVIS/Annotations_unsupervised/480p/bear").iterdir():
        folders.save(path, np.zeros((24, 40), np.uint8))
    with pytest.raises(ValueError, match="video 'bear': no frame is annotated"):
        take(config, 1)
    config.data.skip_broken = True
    names = [name for batch in take(config, 8) for name in batch["names"]]
    assert all("cow" in name for name in names)
    assert caplog.text.count("video 'bear': no frame is annotated") == 1


def test_a_mask_of_300_ids_is_named(tmp_path):
    config = davis_config(tmp_path)
    numbers = (np.arange(24 * 40) % 301).reshape(24, 40).astype(np.uint16)
    masks = tmp_path / "DAVIS/Annotations_unsupervised/480p"
    folders.save(masks / "bear/00003.png", numbers)
    with pytest.raises(ValueError, match="bear/00003.png: holds numbers up to 300"):
        take(config, 1)


def test_davis_ignores_what_is_not_labelled_but_not_padding(tmp_path):
    config = davis_config(tmp_path, flip=False)
    (batch,) = take(config, 1)
    inside = np.s_[:, :, :32, :53]  # 24 x 40 on a canvas of 32 x 64
    labelled = batch["masks"].any(axis=1)
    np.testing.assert_array_equal(batch["ignore"][inside], ~labelled[inside])
    assert batch["ignore"].sum() == (~labelled[inside]).sum()


def test_stills_become_clips(tmp_path):
    folders.coco_set(tmp_path)
    config = config_of(
        root=str(tmp_path),
        mixture={"coco": 1.0},
        options={"coco": {"categories": "ytvis"}},
    )
    (batch,) = take(config, 1)
    assert batch["names"] == ["coco/000000000001:0"] * 2
    assert (batch["frames"][:, 0] != batch["frames"][:, 1]).any()
    np.testing.assert_array_equal(batch["categories"][:, 0], [1, 1])
    assert batch["ignore"].any()


def test_images_without_instances_are_passed_over(tmp_path):
    folders.mapillary(tmp_path)
    mixture, options = {"mapillary": 1.0}, {"mapillary": {"min_area": 65}}
    config = config_of(root=str(tmp_path), mixture=mixture, options=options)
    assert take(config, 1)[0]["valid"].any()
    config.data.options.mapillary.min_area = 999
    with pytest.raises(ValueError, match="20 samples in a row are broken or without"):
        take(config, 1)


def test_single_instances_get_a_copy(tmp_path):
    folders.youtube_vis(tmp_path / "YouTubeVIS", num_frames=6)
    path = tmp_path / "YouTubeVIS/train.json"
    content = json.loads(path.read_text())
    content["annotations"].pop()
    path.write_text(json.dumps(content))
    config = config_of(root=str(tmp_path), mixture={"ytvis": 1.0})
    assert (take(config, 1)[0]["valid"].sum(axis=1) == 1).all()
    config.data.duplicate = ("ytvis",)
    (batch,) = take(config, 1)
    assert (batch["valid"].sum(axis=1) == 2).all()
    np.testing.assert_array_equal(batch["categories"][:, :2], 20)


def test_a_mixture_draws_by_weight(tmp_path):
    folders.coco_set(tmp_path)
    mixture = {"moving_shapes": 0.75, "coco": 0.25}
    batches = take(config_of(root=str(tmp_path), mixture=mixture), 8, batch_size=4)
    names = [name for batch in batches for name in batch["names"]]
    assert sum(name.startswith("coco/") for name in names) == 8


def test_long_videos_are_drawn_more_often(tmp_path):
    folders.davis(tmp_path, sequences=("bear",), num_frames=12)
    folders.davis(tmp_path, sequences=("cow",), num_frames=4)
    text = "bear\ncow\n"
    folders.write_text(tmp_path / "DAVIS/ImageSets/2017/train.txt", text)
    mixture = {"davis19": 1.0}
    config = config_of(root=str(tmp_path), mixture=mixture, options={})
    names = [name for batch in take(config, 8) for name in batch["names"]]
    assert sum("cow" in name for name in names) == 4  # one epoch: 12 + 4 clips


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dict(mixture={}), "expected at least one dataset"),
        (dict(mixture={"davis19": 0.0}), "weight above 0"),
        (dict(span={"davs19": (4, 4)}), "davs19, which is not a dataset"),
        (dict(motion="fast"), "known are paper, ovis, released"),
        (dict(span={"moving_shapes": (2, 4)}), "at least 3 for 4 frames"),
        (dict(max_dim=63, width=60), "multiples of 32; use 32 and 64"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        take(config_of(**data), 1)


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size=3 cannot be split over 2"):
        take(config_of(), 1, batch_size=3, process_count=2)
