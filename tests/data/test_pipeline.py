"""The stream of batches: what it depends on and what it does not."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import PIL.Image
import pytest
from ml_collections import ConfigDict

from configs import defaults
from stemseg_jax.data import pipeline
from stemseg_jax.structures import ClipBatch
from tests.data import folders

ROOT = pathlib.Path(__file__).parents[2]
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
    batches = pipeline.training_batches(config, **options)
    return [unpacked(batch) for batch in itertools.islice(batches, count)]


def unpacked(batch):
    bits = {name: batch[name] for name in ("masks", "ignore")}
    return batch | {
        name: np.unpackbits(packed, axis=-1).astype(bool)
        for name, packed in bits.items()
    }


def assert_same(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch["names"] == other["names"]
        assert batch.keys() == other.keys()
        for name in {*ClipBatch._fields} - {"clean"}:
            np.testing.assert_array_equal(batch[name], other[name])


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(
        "import multiprocessing, time\n"
        "from tests.data import test_pipeline\n"
        "if __name__ == '__main__':\n"
        "    batches = test_pipeline.pipeline.training_batches(\n"
        "        test_pipeline.config_of(workers=2), batch_size=2)\n"
        "    next(batches)\n"
        "    workers = multiprocessing.active_children()\n"
        "    print(*(worker.pid for worker in workers), flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True
    ) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        try:
            assert len(workers) == 2 and all(map(alive, workers))
        finally:
            parent.kill()
    deadline = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = [pid for pid in workers if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


def alive(pid) -> bool:
    """A process that nobody has waited for yet is no more."""
    status = pathlib.Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_batch_has_the_promised_shapes():
    (batch,) = take(config_of(), 1)
    assert batch["frames"].shape == (2, 4, 32, 64, 3)
    assert batch["masks"].shape == (2, 4, 4, 32, 64)
    assert batch["valid"].shape == batch["categories"].shape == (2, 4)
    assert batch["ignore"].shape == (2, 4, 32, 64)
    assert batch["intrinsics"].shape == (2, 4, 3, 3)
    assert np.isnan(batch["intrinsics"]).all()  # no camera there
    np.testing.assert_array_equal(batch["within"], [[32, 64]] * 2)
    assert "clean" not in batch
    assert len(batch["names"]) == 2 and batch["names"][0].startswith("moving_shapes/")
    assert batch["dropped"] == 0
    assert (batch["masks"].any(axis=(2, 3, 4)) == batch["valid"]).all()
    assert ((batch["categories"] > 0) == batch["valid"]).all()


def test_a_resumed_stream_goes_on_at_its_position():
    assert_same(take(config_of(), 5)[3:], take(config_of(), 2, start_step=3))


def test_workers_change_nothing():
    assert_same(take(config_of(), 3), take(config_of(workers=2), 3))


@pytest.mark.parametrize("passes", [1, 2])
def test_processes_share_the_batches_of_one_and_take_turns(passes):
    whole = take(config_of(), 3, batch_size=8)
    parts = [
        take(
            config_of(),
            *(3,),
            **dict(batch_size=8, process_index=p, process_count=2, passes=passes),
        )
        for p in range(2)
    ]
    for number, (batch, *halves) in enumerate(zip(whole, *parts, strict=True)):
        # [passes, processes, clips]: what is first is read by each in turn.
        names = np.reshape(batch["names"], (passes, 2, -1))
        for process, half in enumerate(halves):
            own = names[:, (process + number) % 2].ravel()
            assert half["names"] == own.tolist()


def test_a_resumed_share_goes_on_at_its_position():
    shared = dict(process_index=1, process_count=2, batch_size=4)
    later = take(config_of(), 2, start_step=1, **shared)
    assert_same(take(config_of(), 3, **shared)[1:], later)
    assert_same(later, take(config_of(workers=1), 2, start_step=1, **shared))


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


# 40 x 64 pixels become 64 x 102, and 64 x 40 become 102 x 64.
TWO_ASPECTS = dict(
    mixture={"moving_shapes": 0.75, "layered_world": 0.25},
    options={
        "moving_shapes": SHAPES,
        "layered_world": SHAPES | {"height": 64, "width": 40},
    },
    aspects=("1:1", "16:9", "9:16"),
    min_dim=64,
    max_dim=128,
)


def test_a_batch_lies_on_one_canvas_and_each_dataset_has_its_weight():
    batches = take(config_of(**TWO_ASPECTS), 12)
    of_sizes = {(64, 128): "moving_shapes", (128, 64): "layered_world"}
    drawn = [of_sizes[batch["frames"].shape[2:4]] for batch in batches]
    assert drawn.count("moving_shapes") == 9 and drawn.count("layered_world") == 3
    assert drawn != sorted(drawn) != drawn[::-1]  # they take turns
    for name, batch in zip(drawn, batches, strict=True):
        assert all(clip.startswith(f"{name}/") for clip in batch["names"])
        assert batch["masks"].shape[3:] == batch["frames"].shape[2:4]
        assert batch["masks"].any()


def test_canvases_resume_and_are_shared_as_one_is():
    config = config_of(**TWO_ASPECTS)
    whole = take(config, 6, batch_size=4)
    assert_same(whole[3:], take(config, 3, batch_size=4, start_step=3))
    assert_same(whole, take(config_of(**TWO_ASPECTS, workers=2), 6, batch_size=4))
    shared = [
        take(config, 6, batch_size=4, process_index=index, process_count=2)
        for index in range(2)
    ]
    for step, batch in enumerate(whole):
        parts = [host[step]["names"] for host in shared]
        assert sum(parts[:: -1 if step % 2 else 1], []) == batch["names"]


def test_videos_of_one_dataset_are_told_apart_by_their_form(tmp_path):
    config = davis_config(
        tmp_path, aspects=("16:9", "9:16"), min_dim=32, max_dim=64, flip=False
    )
    for path in sorted((tmp_path / "DAVIS").rglob("cow/*.*")):
        picture = PIL.Image.open(path)
        picture.transpose(PIL.Image.Transpose.ROTATE_90).save(path)
    names = {(32, 64): "bear", (64, 32): "cow"}
    drawn = []
    for batch in take(config, 8):
        drawn.append(names[batch["frames"].shape[2:4]])
        assert all(f"/{drawn[-1]}:" in name for name in batch["names"])
        long, short = batch["frames"].max(axis=(0, 1, 4)).shape
        assert max(long, short) == 64
    assert drawn.count("bear") == drawn.count("cow") == 4


def test_a_canvas_without_a_sound_video_has_others(tmp_path):
    config = davis_config(
        *(tmp_path,),
        **dict(aspects=("16:9", "9:16"), min_dim=32, max_dim=64, skip_broken=True),
    )
    for path in sorted((tmp_path / "DAVIS").rglob("cow/*.*")):
        picture = PIL.Image.open(path)
        picture.transpose(PIL.Image.Transpose.ROTATE_90).save(path)
        if path.suffix == ".jpg":  # cut, so that its size is still known
            path.write_bytes(path.read_bytes()[:-40])
    for batch in take(config, 6):
        assert all("/bear:" in name for name in batch["names"])
        assert batch["valid"].any()


def test_a_mixture_draws_by_weight(tmp_path):
    folders.coco_set(tmp_path)
    mixture = {"moving_shapes": 0.75, "coco": 0.25}
    batches = take(config_of(root=str(tmp_path), mixture=mixture), 8, batch_size=4)
    names = [name for batch in batches for name in batch["names"]]
    assert sum(name.startswith("coco/") for name in names) == 8


def test_datasets_of_stills_are_left_out_where_nothing_is_synthesised(tmp_path):
    folders.coco_set(tmp_path)
    mixture = {"moving_shapes": 0.25, "coco": 0.75}
    data = dict(root=str(tmp_path), mixture=mixture, synthesised=False)
    batches = take(config_of(**data), 2, batch_size=4)
    names = [name for batch in batches for name in batch["names"]]
    assert all(name.startswith("moving_shapes/") for name in names)
    with pytest.raises(ValueError, match="synthesised is off, but coco hold"):
        take(config_of(**{**data, "mixture": {"coco": 1.0}}), 1)


def test_long_videos_are_drawn_more_often(tmp_path):
    folders.davis(tmp_path, sequences=("bear",), num_frames=12)
    folders.davis(tmp_path, sequences=("cow",), num_frames=4)
    text = "bear\ncow\n"
    folders.write_text(tmp_path / "DAVIS/ImageSets/2017/train.txt", text)
    mixture = {"davis19": 1.0}
    config = config_of(root=str(tmp_path), mixture=mixture, options={})
    names = [name for batch in take(config, 8) for name in batch["names"]]
    assert sum("cow" in name for name in names) == 4  # one epoch: 12 + 4 clips


# -------------------------------------------------------------- sampling, transforms


def frames_of(batches) -> list[list[int]]:
    names = [name for batch in batches for name in batch["names"]]
    return [[int(n) for n in name.partition(":")[2].split(",")] for name in names]


# The stream of these settings as it was first published: dataset/video:frames, whether
# mirrored, whether backwards. Renderings are compared with each other and not with a
# recorded hash, which would be that of one version of OpenCV.
RECORDED = [
    ("moving_shapes/train_000004:1,2,3,4", False, True),
    ("moving_shapes/train_000000:1,2,3,4", True, False),
    ("moving_shapes/train_000000:1,2,3,4", False, True),
    ("moving_shapes/train_000003:1,3,4,6", True, True),
    ("moving_shapes/train_000000:0,2,3,5", True, False),
    ("moving_shapes/train_000004:2,3,5,6", True, True),
    ("moving_shapes/train_000004:0,1,3,4", False, True),
    ("moving_shapes/train_000001:3,4,5,6", False, True),
]


def test_the_stream_is_the_recorded_one():
    config = config_of(span={"moving_shapes": (3, 5)}, reverse=True, min_dim=40)
    config.data.height = 64
    videos = {v.name: v for v in pipeline.load(config, "moving_shapes").videos}
    stream = pipeline.training_batches(config, batch_size=1)
    stream = map(unpacked, stream)
    for batch, (name, mirrored, backwards) in zip(stream, RECORDED, strict=False):
        assert batch["names"] == [name]
        video, _, indices = name.partition("/")[2].partition(":")
        clip = videos[video].clip([int(index) for index in indices.split(",")])
        frames = clip.frames[:, :, :: -1 if mirrored else 1][:: -1 if backwards else 1]
        masks = clip.masks[..., :: -1 if mirrored else 1][:, :: -1 if backwards else 1]
        np.testing.assert_array_equal(batch["frames"][0, :, :40], frames)
        np.testing.assert_array_equal(batch["masks"][0, : len(masks), :, :40], masks)
        np.testing.assert_array_equal(
            batch["categories"][0, : len(masks)], clip.categories
        )
        assert (batch["frames"][0, :, 40:] == (123, 116, 103)).all()


def test_pairs_and_clips_come_from_one_sampler():
    sampling = dict(rule="gaps", gaps=(0, 1, 1))
    config = config_of()
    config.data.sampling.update(sampling)
    config.num_frames = 2
    pairs = take(config, 10)
    assert {b - a for a, b in frames_of(pairs)} == {2, 3}
    assert pairs[0]["frames"].shape == (2, 2, 32, 64, 3)
    assert_same(pairs[6:], take(config, 4, start_step=6))
    config.num_frames = 3
    assert {c - a for a, _, c in frames_of(take(config, 10))} <= {4, 5, 6}


def test_clips_begin_with_an_entry_and_go_on_later(tmp_path):
    config = davis_config(tmp_path)
    config.data.sampling.update(dict(rule="later", start="entry"))
    config.num_frames = 3
    frames = frames_of(take(config, 20))
    assert {clip[0] for clip in frames} == {0, 1}  # instance 2 enters in frame 1
    assert {clip[2] for clip in frames} > {4, 6, 7}


def test_consecutive_frames_include_those_without_instances(tmp_path):
    folders.kitti_mots(tmp_path, num_frames=12, empty_frames=range(2, 10))
    mixture = {"kitti_mots": 1.0}
    config = config_of(root=str(tmp_path), mixture=mixture, options={})
    config.num_frames = 3
    with pytest.raises(ValueError, match="has 3 annotated frames .the longest has 4"):
        take(config, 1)  # 0, 1 and 10, 11
    config.data.sampling.annotated = False
    batches = take(config, 20)
    assert {tuple(np.diff(clip)) for clip in frames_of(batches)} == {(1, 1)}
    assert all(batch["valid"].any(axis=1).all() for batch in batches)
    config.data.sampling.empty = True
    batches = take(config, 20)
    assert {clip[0] for clip in frames_of(batches)} == set(range(10))
    assert not all(batch["valid"].any(axis=1).all() for batch in batches)
    assert_same(batches[17:], take(config, 3, start_step=17))


def test_videos_without_annotations_are_ignored_ground(tmp_path):
    folders.youtube_vis(tmp_path / "YouTubeVIS", annotated=False)
    config = config_of(root=str(tmp_path), mixture={"ytvis": 1.0}, options={})
    with pytest.raises(ValueError, match="none of 1 videos is annotated"):
        take(config, 1)
    config.data.sampling.update(dict(annotated=False, empty=True))
    (batch,) = take(config, 1)
    assert not batch["valid"].any() and batch["ignore"][:, :, :32, :53].all()


def test_intrinsics_come_with_the_frames(tmp_path):
    folders.kitti_mots(tmp_path, calibration=True)
    mixture = {"kitti_mots": 1.0}
    config = config_of(root=str(tmp_path), mixture=mixture, options={}, flip=False)
    # 24 x 40 to 32 x 53
    fx, fy, cx, cy = (folders.INTRINSICS[i] for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    x, y = 53 / 40, 32 / 24
    expected = np.float32(
        [
            [fx * x, 0, (cx + 0.5) * x - 0.5],
            [0, fy * y, (cy + 0.5) * y - 0.5],
            [0, 0, 1],
        ]
    )
    (batch,) = take(config, 1)
    assert batch["intrinsics"].dtype == np.float32
    np.testing.assert_allclose(batch["intrinsics"], np.tile(expected, (2, 4, 1, 1)))
    config.data.transforms = ("resize", "flip")
    resized = take(config, 1)[0]["intrinsics"][0, 0]
    np.testing.assert_allclose(np.diag(resized), (fx * 64 / 40, fy * y, 1), rtol=1e-6)


def test_an_unknown_camera_can_be_assumed(caplog):
    config = config_of(assumed_camera=(0.58, 1.92, 0.5, 0.5), min_dim=40, height=64)
    config.data.flip = False
    (batch,) = take(config, 1)
    # From the centre of the first pixel, half a pixel from the corner.
    expected = [[0.58 * 64, 0, 31.5], [0, 1.92 * 40, 19.5], [0, 0, 1]]
    np.testing.assert_allclose(batch["intrinsics"][0, 0], expected, rtol=1e-6)
    assert caplog.text.count("no camera is known of") == 1


@pytest.mark.parametrize("workers", [0, 1])
def test_jittered_frames_come_with_clean_ones(workers):
    plain = take(config_of(workers=workers), 2)
    config = config_of(
        workers=workers, transforms=("keep_aspect", "flip", "reverse", "colour_jitter")
    )
    assert "clean" not in take(config, 1)[0]
    config.data.colour_jitter.update(dict(probability=1.0, clean=True))
    jittered = take(config, 2)
    for batch, other in zip(jittered, plain, strict=True):
        np.testing.assert_array_equal(batch["clean"], other["frames"])
        np.testing.assert_array_equal(batch["masks"], other["masks"])
        assert (batch["frames"] != batch["clean"]).any(axis=(1, 2, 3, 4)).all()


def test_crops_fill_the_canvas(tmp_path):
    folders.coco_set(tmp_path)
    mixture = {"moving_shapes": 0.5, "coco": 0.5}
    config = config_of(root=str(tmp_path), mixture=mixture, height=32, width=32)
    config.data.transforms = ("scale_and_crop", "flip")
    config.data.scale_and_crop.scale = (2.0, 3.0)
    batches = take(config, 4)
    assert {name.partition("/")[0] for b in batches for name in b["names"]} == set(
        mixture
    )
    for batch in batches:
        assert batch["frames"].shape == (2, 4, 32, 32, 3)
        fill = (batch["frames"] == (123, 116, 103)).all(axis=-1)
        assert batch["ignore"][fill].all()  # beside a moved still, and nowhere else


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dict(transforms=("keep_aspect", "blur")), "names blur; known are keep_aspect"),
        (dict(transforms=("flip",)), "do not fit on the canvas of 32 x 64"),
        (dict(colour_jitter=dict(hue=0.9)), "hue=0.9"),
        (dict(sampling=dict(rule="never", gaps=())), "known are even, gaps, later"),
        (dict(mixture={}), "expected at least one dataset"),
        (dict(mixture={"davis19": 0.0}), "weight above 0"),
        (dict(span={"davs19": (4, 4)}), "davs19, which is not a dataset"),
        (dict(motion="fast"), "known are paper, ovis, affine, released"),
        (
            dict(span={"moving_shapes": (2, 4)}),
            r"data.span.moving_shapes with .*at least 3 for 4 frames",
        ),
        (dict(max_dim=63, width=60), "multiples of 32; use 32 and 64"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        take(config_of(**data), 1)


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size=3 cannot be split over 2"):
        take(config_of(), 1, batch_size=3, process_count=2)
