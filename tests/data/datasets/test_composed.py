"""Composed videos: exact identities, the same pixels whatever is asked for first."""

import hashlib
import json
import pickle

import numpy as np
import pytest

from configs import moving_shapes as recipe
from stemseg_jax import evaluate
from stemseg_jax.data import composition, readers
from stemseg_jax.data.datasets import DATASETS, composed, export, moving_shapes
from stemseg_jax.formats import rle
from stemseg_jax.tracks import Track, VideoTracks
from tests.data import folders

SHAPES = {"num_videos": 4, "num_frames": 12, "height": 48, "width": 80}
SHAPES |= {"radius": (0.15, 0.2)}
SOURCES = {"moving_shapes": SHAPES}
load = DATASETS["composed"]


def videos(split="train", **options):
    options = {"sources": SOURCES, "num_videos": 4, "num_frames": 10} | options
    return load(None, split, **options).videos


def digest(clip):
    return hashlib.sha256(b"".join(array.tobytes() for array in clip[:5])).hexdigest()


@pytest.fixture
def root(tmp_path):
    """Four drawn videos in the form of DAVIS, and stills in that of COCO."""
    drawn = moving_shapes.load(**SHAPES)
    export.write_davis(drawn, tmp_path / "DAVIS", "train")
    pictures = moving_shapes.load(**{**SHAPES, "num_frames": 1}, split="val").videos
    images, annotations = [], []
    for number, video in enumerate(pictures, start=1):
        clip = video.clip([0])
        name = f"{number:012d}.png"
        folders.save(tmp_path / "COCO/train2017" / name, clip.frames[0])
        images.append({"id": number, "file_name": name, "height": 48, "width": 80})
        for instance, mask in zip(clip.ids.tolist(), clip.masks[:, 0], strict=True):
            annotations.append(
                {"id": 100 * number + instance, "image_id": number, "category_id": 1}
                | {"segmentation": folders.runs(mask), "iscrowd": 0}
            )
    crowd = np.zeros((48, 80), bool)
    crowd[:, :30] = True
    annotations.append(
        {"id": 7, "image_id": 1, "category_id": 1, "iscrowd": 1}
        | {"segmentation": folders.runs(crowd)}
    )
    content = {"images": images, "annotations": annotations, "categories": []}
    path = tmp_path / "COCO/annotations/instances_train2017.json"
    folders.write_text(path, json.dumps(content))
    return tmp_path


BOTH = {"davis19": {"exhaustive": True}, "coco": {"categories": "object"}}


def test_base_videos_and_stills_are_taken_in_turn(root):
    dataset = load(root, "train", sources=BOTH, num_videos=6, num_frames=5)
    assert (dataset.name, dataset.categories) == ("composed", {1: "object"})
    assert dataset.exhaustive
    stills = [video.base.num_frames == 1 for video in dataset.videos]
    assert stills == [False, True] * 3
    weighted = load(
        root, "train", sources=BOTH, num_videos=6, bases=("coco", "davis19", "coco")
    )
    bases = [video.base.name for video in weighted.videos if video.camera is not None]
    assert bases == [f"{n:012d}" for n in (1, 2, 3, 4)]
    assert [video.num_frames for video in weighted.videos] == [40, 12, 40] * 2
    for video in dataset.videos:
        assert isinstance(video, readers.Video)
        clip = video.clip(range(5))
        assert clip.frames.shape == (5, 48, 80, 3)
        assert clip.masks.sum(axis=0).max() == 1
        assert not (clip.masks.any(axis=0) & clip.ignore).any()
        assert clip.masks.any(axis=(1, 2, 3)).all()
        assert set(clip.ids.tolist()) <= set(video.categories)
        assert clip.masks.any(axis=(0, 2, 3)).all()  # no frame is empty


def test_unlabelled_objects_may_be_in_a_base_that_is_not_exhaustive(root):
    sources = {"davis19": {}, "coco": {"categories": "object"}}
    assert not load(root, "train", sources=sources, num_videos=1).exhaustive
    alone = load(root, "train", sources=sources, num_videos=1, bases=("coco",))
    assert alone.exhaustive


def test_a_crowd_stays_ignored_where_nothing_lies_over_it(root):
    video = load(root, "train", sources=BOTH, bases=("coco",), num_videos=1).videos[0]
    clip = video.clip([0, 20])
    assert clip.ignore[:, 20:28, 2].any()
    pasted = np.isin(clip.ids, [p.id for p in video.placements])
    assert clip.masks[pasted].any()
    below = video._base([0, 20])
    whole = below.labels == len(below.ids) + 1
    np.testing.assert_array_equal(clip.ignore, whole & ~clip.masks.any(axis=0))


def test_the_same_settings_give_the_same_pixels():
    first, second = videos(seed=3), videos(seed=3)
    there = [digest(video.clip(range(10))) for video in first]
    again = [digest(video.clip(range(10))) for video in reversed(second)]
    assert there == again[::-1]
    moved = pickle.loads(pickle.dumps(first))
    assert [digest(video.clip(range(10))) for video in moved] == there
    assert len({*there, *(digest(v.clip(range(10))) for v in videos(seed=4))}) == 8
    assert digest(videos("val", seed=3)[0].clip(range(10))) != there[0]


def test_more_videos_leave_the_first_as_they_were():
    more = videos(num_videos=9)
    for video, same in zip(videos(), more, strict=False):
        assert digest(video.clip([7])) == digest(same.clip([7]))


def test_videos_hold_no_pixels(root):
    dataset = load(root, "train", sources=BOTH, num_videos=20)
    assert len(pickle.dumps(dataset.videos)) < 20 * 48 * 80


@pytest.mark.parametrize("name", BOTH)
def test_a_frame_alone_equals_the_frame_in_a_clip(root, name):
    video = load(root, "train", sources=BOTH, bases=(name,), num_videos=1).videos[0]
    clip = video.clip([7, 2, 2])
    for position, index in enumerate([7, 2, 2]):
        alone = video.clip([index])
        np.testing.assert_array_equal(video.frame(index), clip.frames[position])
        seen = clip.masks[:, position].any(axis=(1, 2))
        np.testing.assert_array_equal(alone.ids, clip.ids[seen])
        np.testing.assert_array_equal(alone.masks[:, 0], clip.masks[seen, position])
        assert sorted(video.instances(index)) == alone.ids.tolist()


def still_at(y, x, *, motion=(0, 0), scale=1.0):
    zeros = np.zeros(4)
    mean = np.array([y, x, np.log(scale), 0])
    return composition.Trajectory(mean, np.array([*motion, 0, 0]), *[zeros] * 3)


def arranged(*motions, behind=0):
    """The first video, whose added objects are told where to be."""
    video = videos(objects=(len(motions), len(motions)))[0]
    placements = tuple(
        placement._replace(motion=motion)
        for placement, motion in zip(video.placements, motions, strict=True)
    )
    fields = vars(video) | {"placements": placements, "behind": behind}
    return composed.ComposedVideo(**fields)


def visible(video, indices=(0,)):
    """By id, pixels in each frame."""
    clip = video.clip(indices)
    return dict(zip(clip.ids.tolist(), clip.masks.sum(axis=(2, 3)), strict=True))


def test_the_later_object_hides_the_earlier():
    far, near = still_at(0.5, 0.2), still_at(0.5, 0.9)
    low, high = (p.id for p in arranged(far, near).placements)
    apart = visible(arranged(far, near))
    together = visible(arranged(far, far))
    nearest = visible(arranged(still_at(5, 5), far))
    assert low not in nearest  # nowhere to be seen, so not in the clip
    assert together[high] == nearest[high]
    assert together.get(low, 0) < apart[low]


def test_an_object_may_pass_behind_those_of_the_base():
    video = arranged(still_at(5, 5))
    base = video.clip([0])
    y, x = np.argwhere(base.masks[0, 0]).mean(axis=0) / base.masks.shape[2:]
    before = arranged(still_at(y, x))
    behind = arranged(still_at(y, x), behind=1)
    own, added = base.ids[0].item(), before.placements[0].id
    assert visible(before)[own] < visible(behind)[own]
    assert visible(behind).get(added, 0) < visible(before)[added]
    kept = behind.clip([0])
    inside = base.masks[0, 0] & (kept.masks[kept.ids == own][0, 0])
    difference = np.abs(kept.frames[0].astype(int) - base.frames[0])[inside]
    assert np.median(difference) == 0  # its own colours come back


def test_of_two_objects_one_may_be_behind_the_base_and_one_before_it():
    base = arranged(still_at(5, 5)).clip([0])
    y, x = np.argwhere(base.masks[0, 0]).mean(axis=0) / base.masks.shape[2:]
    video = arranged(still_at(y, x), still_at(y, x), behind=1)
    foremost = video.placements[1].id
    alone = arranged(still_at(5, 5), still_at(y, x))
    assert visible(video)[foremost] == visible(alone)[foremost]


def test_the_base_goes_on_from_its_first_frame():
    starts = set()
    for video in videos(num_frames=4, objects=(1, 1)):
        starts.add(video.first)
        clip = video.clip([3])
        bare = ~clip.masks.any(axis=(0, 1))
        same = clip.frames[0] == video.base.frame(video.first + 3)
        assert same[bare].mean() > 0.9  # but for soft edges
    assert len(starts) > 1


def test_light_brings_an_object_towards_its_base():
    def contrast(light):
        (video,) = videos(num_videos=1, objects=(1, 1), light=light)
        clip = video.clip([0])
        mask = clip.masks[clip.ids == video.placements[0].id][0, 0]
        around = video.base.frame(video.base.num_frames // 2).mean(axis=(0, 1))
        return np.abs(clip.frames[0][mask].mean(axis=0) - around).sum()

    assert contrast(1.0) < 0.9 * contrast(0.0)


def test_the_foremost_object_never_leaves():
    stills = {"moving_shapes": SHAPES | {"num_frames": 1}}
    for video in videos(sources=stills, num_frames=200, num_videos=8, objects=(1, 2)):
        areas = visible(video, range(0, 200, 8))[video.placements[-1].id]
        assert areas.min() > 0


def test_objects_enter_and_leave_and_keep_their_ids():
    video = arranged(still_at(0.5, -1.0, motion=(0, 0.3)))
    added = video.placements[0].id
    areas = visible(video, range(10))[added]
    assert areas[0] == 0 and areas[5] > 50 and areas[9] == 0
    assert (areas > 0).sum() >= 3
    assert added not in visible(video, [0, 9])
    assert video.categories[added] == video.placements[0].instance.category


def test_an_object_deforms_as_in_its_video_there_and_back():
    assert [composed._there_and_back(t, 4) for t in range(8)] == [
        0,
        1,
        2,
        3,
        2,
        1,
        0,
        1,
    ]
    assert [composed._there_and_back(t, 1) for t in range(3)] == [0, 0, 0]
    video = arranged(still_at(0.5, 0.5))
    instance, offset = video.placements[0].instance, video.placements[0].offset
    for t in (0, 4):
        moment = composed._there_and_back(offset + t, len(instance.frames))
        clip = instance.video.clip([instance.frames[moment]])
        expected = clip.masks[clip.ids == instance.id][0, 0].sum()
        found = visible(video, [t])[video.placements[0].id][0]
        assert found == pytest.approx(expected, rel=0.1)


def test_each_object_is_of_another_video_and_not_of_the_base():
    for video in videos(objects=(3, 3), num_videos=8):
        used = [video.base.name, *(p.instance.video.name for p in video.placements)]
        assert len(set(used)) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(sources={}), "sources is empty"),
        (dict(sources={"davis20": {}}), "sources='davis20' is unknown.*davis19"),
        (dict(split="valid"), "split='valid' is unknown"),
        (dict(bases=("coco",)), "bases='coco' is unknown; known: .'moving_shapes'"),
        (dict(objects=(0, 2)), r"objects=\(0, 2\).*expected 1 or more"),
        (dict(objects=(3, 2)), r"objects=\(3, 2\)"),
        (dict(num_frames=0), "num_frames=0"),
        (dict(objects=(4, 4)), "4 objects .* but 3 other videos.*lower objects"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        videos(**options)


def test_sources_without_an_object_to_cut_out_are_named():
    huge = SHAPES | {"radius": (0.9, 1.0)}
    with pytest.raises(ValueError, match="moving_shapes: 1 objects.*but 0 other"):
        videos(sources={"moving_shapes": huge})


def test_sources_with_other_categories_are_refused(root):
    sources = {"davis19": {}, "coco": {}}
    with pytest.raises(ValueError, match="davis19, coco have different.*'object'"):
        load(root, "train", sources=sources)


def test_a_frame_beyond_the_end_is_refused():
    with pytest.raises(IndexError, match="train_000000: frame 10 of 10"):
        videos()[0].clip([0, 10])


def test_broken_masks_are_reported(root):
    mask = root / "DAVIS/Annotations_unsupervised/480p/train_000001/00003.png"
    mask.write_bytes(b"")
    options = {"sources": {"davis19": {}}, "num_videos": 8, "objects": (1, 2)}
    with pytest.raises(ValueError, match="00003.png"):
        load(root, "train", **options)
    faults = []
    dataset = load(root, "train", **options, report=faults.append)
    assert [fault.where for fault in faults] == ["train_000001"]
    assert "train_000001" not in {video.base.name for video in dataset.videos}


def test_composed_videos_are_evaluated_like_any_others(root, tmp_path):
    config = recipe.get_config().unlock()
    config.data.root = str(root)
    config.evaluation.task, config.evaluation.dataset = "davis19", "composed"
    config.evaluation.options = dict(
        sources={"davis19": {"sequences": ("train_000000", "train_000002")}},
        num_videos=2,
        num_frames=4,
        objects=(1, 1),
    )
    benchmark = evaluate.prepare(config, tmp_path / "ground_truth")
    dataset = benchmark.dataset
    made = load(root, "val", **config.evaluation.options.to_dict())
    for video, other in zip(dataset.videos, made.videos, strict=True):
        clip, expected = video.clip(range(4)), other.clip(range(4))
        np.testing.assert_array_equal(
            np.sort(clip.masks.sum(axis=(1, 2, 3))),
            np.sort(expected.masks.sum(axis=(1, 2, 3))),
        )
    tracks = [truth_as_tracks(video) for video in dataset.videos]
    figures = benchmark.score(tracks, tmp_path / "found", tmp_path / "scores.json")
    assert figures["J&F-Mean"] == 1


def truth_as_tracks(video):
    clip = video.clip(range(video.num_frames))
    tracks = tuple(
        Track(instance, 1, 1.0, tuple(map(rle.encode, masks)))
        for instance, masks in zip(clip.ids.tolist(), clip.masks, strict=True)
    )
    size = video.height, video.width, video.num_frames
    return VideoTracks(video.name, *size, tracks)


def test_real_objects_over_a_real_video(shared):
    dataset = load(
        shared / "data/DAVIS16_train",
        "train",
        sources={"davis16": {"sequences": ("bear", "bus", "lucia")}},
        num_videos=3,
        objects=(2, 2),
    )
    assert [video.base.name for video in dataset.videos] == ["bear", "bus", "lucia"]
    for video in dataset.videos:
        clip = video.clip(range(0, 40, 8))
        assert clip.frames.shape == (5, 288, 512, 3)
        np.testing.assert_array_equal(clip.ids, [1, 2, 3])
        areas = clip.masks.mean(axis=(2, 3))
        assert (areas[2] > 0.001).all() and (areas < 0.5).all()
