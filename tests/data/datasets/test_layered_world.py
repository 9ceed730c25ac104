"""The layered world: true depth and motion lead from a frame to the next one."""

import hashlib
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import defaults
from stemseg_jax import check_data, evaluate, show_data
from stemseg_jax.data import pipeline, readers
from stemseg_jax.data.clips import transforms
from stemseg_jax.data.datasets import export, layered_world, mots, planes, street
from stemseg_jax.formats import rle
from stemseg_jax.tracks import Track, VideoTracks

SMALL = dict(num_videos=3, num_frames=6, height=48, width=80)


def digest(video, indices):
    clip = video.clip(indices)
    depths = [video.depth(index) for index in indices]
    data = [*clip[:5], *depths, *map(video.pose, indices)]
    return hashlib.sha256(b"".join(array.tobytes() for array in data)).hexdigest()


def project(depth, intrinsics, motion):
    """Where each pixel is seen after a motion: x, y, and its depth there."""
    y, x = np.indices(depth.shape)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(intrinsics).T
    points = depth[..., None] * rays @ motion[:3, :3].T + motion[:3, 3]
    pixels = points @ intrinsics.T
    return (
        pixels[..., 0] / pixels[..., 2],
        pixels[..., 1] / pixels[..., 2],
        points[..., 2],
    )


def look(image, x, y, **options):
    """The image at points between pixels."""
    options = dict(interpolation=cv2.INTER_LINEAR) | options
    return cv2.remap(image, x.astype(np.float32), y.astype(np.float32), **options)


def static_and_seen_twice(video, t, *, margin=2):
    """Pixels of what stands still, away from its edges, that the next frame shows."""
    depth, following = video.depth(t), video.depth(t + 1)
    x, y, z = project(depth, video.intrinsics, video.motion(t))
    inside = (x > 0) & (x < video.width - 1) & (y > 0) & (y < video.height - 1)
    there = look(following, x, y, interpolation=cv2.INTER_NEAREST)
    cars = [video.clip([index]).masks.any(axis=(0, 1)) for index in (t, t + 1)]
    moved = look(cars[1].astype(np.float32), x, y) > 0
    kernel = np.ones((2 * margin + 1,) * 2)
    spread = cv2.dilate(1 / depth, kernel) - cv2.erode(1 / depth, kernel)
    car_near = cv2.dilate(cars[0].astype(np.uint8), kernel) > 0
    return inside & (abs(there / z - 1) < 0.03) & ~moved & ~car_near & (spread < 0.05)


def difference(video, t, depth, motion):
    """How far frame t is from frame t + 1 as seen by that depth and motion."""
    x, y, _ = project(depth, video.intrinsics, motion)
    seen = look(video.frame(t + 1).astype(np.float32), x, y)
    return np.abs(seen - video.frame(t)).mean(axis=-1)


@pytest.fixture(scope="module")
def videos():
    return layered_world.load(split="val", num_videos=12).videos


@pytest.fixture(scope="module")
def areas(videos):
    """Visible and whole area of every car in every frame, [N T] for each video."""
    found = []
    for video in videos:
        clip = video.clip(range(video.num_frames))
        visible = np.zeros((len(video.categories), video.num_frames), int)
        visible[clip.ids - 1] = clip.masks.sum(axis=(2, 3))
        whole = [video.silhouettes(t).sum(axis=(1, 2)) for t in range(video.num_frames)]
        found.append((visible, np.stack(whole, axis=1)))
    return found


# -------------------------------------------------------------------------- geometry


def test_a_plane_by_hand():
    """A texture of 2 x 2 metres, 4 metres away, before a camera that looks ahead."""
    plane = planes.Plane(
        np.full((4, 4, 4), 255, np.uint8),
        place=np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]),
        point=np.array([[0.5, 0, -0.75], [0, 0.5, -0.75], [0, 0, 1]]),
    )
    intrinsics = np.array([[8.0, 0, 5], [0, 8, 4], [0, 0, 1]])
    view = planes.view(intrinsics, np.eye(4))
    seen = plane.at(np.array([0.0, 0, 4])).seen(view, (9, 12))
    whole = np.zeros((9, 12), bool)
    whole[seen.window] = seen.mask
    # A metre is two pixels there, so it reaches from 3 to 7 and from 2 to 6.
    np.testing.assert_array_equal(whole.any(axis=0).nonzero()[0], [3, 4, 5, 6, 7])
    np.testing.assert_array_equal(whole.any(axis=1).nonzero()[0], [2, 3, 4, 5, 6])
    np.testing.assert_allclose(seen.inverse_depth, 0.25)
    nearer = np.eye(4)
    nearer[2, 3] = 2
    seen = plane.at(np.array([0.0, 0, 4])).seen(
        planes.view(intrinsics, nearer), (9, 12)
    )
    np.testing.assert_allclose(seen.inverse_depth, 0.5)


def test_a_plane_out_of_view_is_not_seen():
    plane = planes.Plane(
        np.full((4, 4, 4), 255, np.uint8),
        place=np.array([[1.0, 0, 50], [0, 1, 0], [0, 0, 4], [0, 0, 1]]),
        point=np.eye(3),
    )
    intrinsics = np.array([[8.0, 0, 5], [0, 8, 4], [0, 0, 1]])
    seen = plane.seen(planes.view(intrinsics, np.eye(4)), (9, 12))
    assert seen.mask.size == 0 and seen.inverse_depth.size == 0


def test_the_depth_of_the_ground_is_that_of_its_plane(videos):
    """A ray of the lowest row, cut with the ground by hand."""
    for video in videos[:4]:
        pose = video.pose(3)
        x, y = 5, video.height - 1
        ray = np.linalg.inv(video.intrinsics) @ (x, y, 1)
        direction = pose[:3, :3] @ ray
        depth = -pose[1, 3] / direction[1]  # the ray has length 1 along the axis
        if not video.silhouettes(3)[:, y, x].any():
            assert video.depth(3)[y, x] == pytest.approx(depth, rel=1e-5)


def test_motion_is_what_lies_between_two_poses(videos):
    video = videos[0]
    point = np.array([1.0, 2, 8, 1])
    there = np.linalg.inv(video.pose(5)) @ (video.pose(4) @ point)
    np.testing.assert_allclose(video.motion(4) @ point, there)
    for index in range(3):
        rotation = video.pose(index)[:3, :3]
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_depth_and_motion_lead_to_the_next_frame(videos):
    for t, video in enumerate(videos):
        same = static_and_seen_twice(video, t)
        assert same.mean() > 0.2
        depth, motion = video.depth(t), video.motion(t)
        right = difference(video, t, depth, motion)[same].mean()
        assert right < 2
        for wrong in (
            difference(video, t, depth, np.linalg.inv(motion)),
            difference(video, t, depth, np.eye(4)),
        ):
            assert wrong[same].mean() > 2 * right
    # Over the set: how well two wrong depths explain the frames.
    means = []
    for factor in (1, 0.5, 2):
        each = []
        for t, video in enumerate(videos):
            same = static_and_seen_twice(video, t)
            found = difference(video, t, factor * video.depth(t), video.motion(t))
            each.append(found[same].mean())
        means.append(np.mean(each))
    right, nearer, farther = means
    assert right < 1.2 and nearer > 3 * right and farther > 2 * right


def test_near_things_pass_faster_than_far_ones(videos):
    """The part of the flow that depth decides, in pixels of 96 x 160 a frame."""
    near, far = [], []
    for video in videos:
        depth = video.depth(8)
        x, y, _ = project(depth, video.intrinsics, video.motion(8))
        x0, y0, _ = project(np.full_like(depth, 1e9), video.intrinsics, video.motion(8))
        parallax = np.hypot(x - x0, y - y0)
        near.append(np.median(parallax[depth < 6]))
        far.append(np.median(parallax[depth > 25]))
        assert depth.min() > 2 and depth.max() < 34
    assert np.min(near) > 1 and np.max(near) < 6
    assert np.max(far) < 1 and np.mean(far) < np.mean(near) / 4


def test_light_does_not_change():
    """A camera that stands still sees the same wherever no car passes."""
    for video in layered_world.load(num_videos=2, speed=0).videos:
        first, last = video.clip([0]), video.clip([19])
        still = ~(video.silhouettes(0) | video.silhouettes(19)).any(axis=0)
        still = cv2.erode(still.astype(np.uint8), np.ones((5, 5))) > 0
        np.testing.assert_array_equal(first.frames[0, still], last.frames[0, still])
        np.testing.assert_allclose(video.motion(0), np.eye(4), atol=1e-12)
        assert (first.frames != last.frames).any()  # but cars do


def test_textures_have_detail_everywhere(videos):
    for video in videos[:6]:
        grey = video.frame(0).mean(axis=-1).astype(np.float32)
        contrast = cv2.blur(grey**2, (9, 9)) - cv2.blur(grey, (9, 9)) ** 2
        assert np.quantile(np.sqrt(np.maximum(contrast, 0)), 0.05) > 1


# ---------------------------------------------------------------------- cars and masks


def test_masks_follow_from_depth(videos):
    """Of the cars that cover a pixel the nearest one is seen, or what hides them."""
    for video in videos[:6]:
        scene = video._street
        depth, whole = video.depth(7), video.silhouettes(7)
        masks = np.zeros_like(whole)
        clip = video.clip([7])
        masks[clip.ids - 1] = clip.masks[:, 0]
        assert masks.sum(axis=0).max() <= 1
        assert not (masks & ~whole).any()
        # Planes face the camera but for its small turns: a metre is a clear order.
        away = scene.away.at(7) - video.pose(7)[2, 3]
        for n, mask in enumerate(masks):
            if mask.any():
                assert abs(depth[mask].mean() - away[n]) < 0.5
            for other in range(len(whole)):
                if away[other] > away[n]:
                    assert not (masks[other] & whole[n]).any()
        np.testing.assert_array_equal(masks[-1], whole[-1])  # nothing hides the nearest


def test_cars_are_large_enough_to_be_learnt(areas):
    visible = np.concatenate([seen[seen > 0] for seen, _ in areas])
    assert np.mean(visible >= 500) > 0.6


def test_many_videos_hide_a_car_wholly_and_show_it_again(areas):
    count = 0
    for visible, whole in areas:
        for seen, inside in zip(visible, whole, strict=True):
            hidden = ((seen == 0) & (inside > 0)).nonzero()[0]
            count += any(seen[:t].max(initial=0) > 50 < seen[t:].max() for t in hidden)
    assert count >= len(areas) / 4


def test_hidden_cars_are_in_view_and_not_seen(videos, areas):
    listed = 0
    for video, (visible, whole) in zip(videos, areas, strict=True):
        for t in range(0, video.num_frames, 3):
            expected = ((visible[:, t] == 0) & (whole[:, t] > 0)).nonzero()[0] + 1
            assert video.hidden(t) == expected.tolist()
            listed += len(expected)
    assert listed


def test_the_nearest_car_never_leaves():
    for video in layered_world.load(num_videos=3, num_frames=300).videos:
        for t in range(0, 300, 5):
            assert len(video.categories) in video.instances(t)
    for size in ((32, 320), (160, 32)):
        data = layered_world.load(
            num_videos=4, num_frames=80, height=size[0], width=size[1], objects=(1, 1)
        )
        for video in data.videos:
            assert all(video.instances(t) for t in range(0, 80, 4))


def test_some_cars_of_a_video_look_alike():
    def painted(video):
        return [
            cv2.cvtColor(
                car.texture[None, len(car.texture) // 3, :, :3], cv2.COLOR_RGB2HSV
            )
            for car in video._street.cars
        ]

    alike = 0
    data = layered_world.load(num_videos=12, objects=(2, 2)).videos
    for video in data:
        one, other = (np.median(row[0, :, 0].astype(int)) for row in painted(video))
        distance = abs(one - other)
        alike += min(distance, 180 - distance) < 8
    assert 3 <= alike < 12


# ------------------------------------------------------------------ the same every time


def test_same_settings_give_the_same_bytes_here_and_in_another_process():
    program = (
        "import hashlib\n"
        "from stemseg_jax.data.datasets import layered_world\n"
        f"video = layered_world.load(**{SMALL}, seed=5).videos[2]\n"
        "depths = [video.depth(index) for index in (4, 1)]\n"
        "data = [*video.clip([4, 1])[:5], *depths, *map(video.pose, (4, 1))]\n"
        "data = b''.join(array.tobytes() for array in data)\n"
        "print(hashlib.sha256(data).hexdigest())\n"
    )
    there = subprocess.check_output([sys.executable, "-c", program], text=True)
    video = layered_world.load(**SMALL, seed=5).videos[2]
    assert digest(video, [4, 1]) == there.strip()
    layered_world._street.cache_clear()
    assert digest(pickle.loads(pickle.dumps(video)), [4, 1]) == there.strip()


def test_seed_split_and_index_each_give_another_video():
    def first(**options):
        return digest(layered_world.load(**{**SMALL, **options}).videos[0], [0, 1])

    digests = [first(split=split) for split in ("train", "val", "test")]
    digests += [first(seed=1), digest(layered_world.load(**SMALL).videos[1], [0, 1])]
    assert len(set(digests)) == 5


def test_more_videos_and_frames_leave_the_first_as_they_were():
    few = layered_world.load(**SMALL)
    more = layered_world.load(**{**SMALL, "num_videos": 9, "num_frames": 60})
    assert digest(few.videos[1], [5]) == digest(more.videos[1], [5])
    assert few.videos[1].name == more.videos[1].name


def test_a_frame_alone_equals_the_frame_in_a_clip():
    video = layered_world.load(**SMALL).videos[0]
    clip = video.clip([3, 0, 5])
    for position, index in enumerate([3, 0, 5]):
        alone = video.clip([index])
        np.testing.assert_array_equal(clip.frames[position], alone.frames[0])
        np.testing.assert_array_equal(clip.frames[position], video.frame(index))
        in_clip = clip.masks[np.isin(clip.ids, alone.ids), position]
        np.testing.assert_array_equal(in_clip, alone.masks[:, 0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(split="valid"), "'valid' is unknown.*'train', 'val'"),
        (dict(num_frames=0), "0 frames"),
        (dict(height=16), "16 x 160: expected 32 x 32"),
        (dict(objects=(3, 2)), r"\(3, 2\): expected the fewest first"),
        (dict(objects=(0, 2)), "0 cars in a street: expected 1 to 100"),
        (dict(speed=-1.0), "speed=-1.0: expected 0 to 10"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        layered_world.load(**options)


def test_a_frame_beyond_the_end_is_refused():
    video = layered_world.load(**SMALL).videos[0]
    for ask in (video.frame, video.depth, video.pose, video.silhouettes):
        with pytest.raises(IndexError, match="train_000000: frame 6 of 6"):
            ask(6)
    with pytest.raises(IndexError, match="train_000000: frame 6 of 6"):
        video.motion(5)


# ---------------------------------------------------------------- through the package


@pytest.mark.parametrize(
    "change",
    [
        transforms.Resize(height=64, width=192),
        transforms.Flip(probability=1.0),
        transforms.ScaleAndCrop(height=64, width=96, scale=(1.1, 1.1)),
    ],
    ids=lambda change: type(change).__name__,
)
def test_intrinsics_follow_resize_mirror_and_crop(videos, change):
    """Changed frames and depths lead to one another by the changed intrinsics."""
    video, first, last = videos[1], 4, 9
    assert isinstance(video, readers.Video)
    tiled = np.tile(video.intrinsics, (2, 1, 1))
    # Depth comes along as a picture would, in 1 / 500 of 1 / metres.
    inverse = [np.rint(500 / video.depth(t)).astype(np.uint8) for t in (first, last)]
    clip = video.clip([first, last])._replace(
        intrinsics=tiled, clean=np.repeat(np.stack(inverse)[..., None], 3, axis=-1)
    )
    changed = change(np.random.default_rng(0), clip)
    motion = np.linalg.inv(video.pose(last)) @ video.pose(first)
    unchanged = motion
    if isinstance(change, transforms.Flip):  # the camera of a mirrored world
        assert changed.intrinsics[0, 0, 2] == video.width - 1 - tiled[0, 0, 2]
        mirror = np.diag([-1.0, 1, 1, 1])
        motion = mirror @ motion @ mirror
    near = changed.clean[..., 0].astype(np.float32)
    height, width = near.shape[1:]
    x, y, z = project(500 / near[0], changed.intrinsics[0], motion)
    there = look(near[1], x, y, interpolation=cv2.INTER_NEAREST) / 500
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    cars = cv2.dilate(changed.masks.any(axis=(0, 1)).astype(np.uint8), np.ones((9, 9)))
    steady = cv2.morphologyEx(near[0], cv2.MORPH_GRADIENT, np.ones((5, 5))) < 15
    same = inside & (cars == 0) & steady & (abs(there * z - 1) < 0.06)
    assert same.mean() > 0.1
    frames = changed.frames.astype(np.float32)
    right = np.abs(look(frames[1], x, y) - frames[0]).mean(axis=-1)[same].mean()
    assert right < 3
    x, y, _ = project(500 / near[0], video.intrinsics, unchanged)
    wrong = np.abs(look(frames[1], x, y) - frames[0]).mean(axis=-1)[same].mean()
    assert wrong > 1.5 * right


def test_kitti_mots_scores_it_and_keeps_the_camera(tmp_path):
    config = defaults.get_config()
    config.evaluation.dataset = "layered_world"
    config.evaluation.split = "val"
    options = dict(num_videos=2, num_frames=6)
    config.evaluation.options = ConfigDict(options)
    config.evaluation.task = "kitti_mots"
    benchmark = evaluate.prepare(config, tmp_path / "truth")
    data = layered_world.load(split="val", **options)

    def perfect():
        for written, video in zip(benchmark.dataset.videos, data.videos, strict=True):
            clip = video.clip(range(video.num_frames))
            tracks = tuple(
                Track(int(i), 1, 1.0, tuple(rle.encode(m) for m in masks))
                for i, masks in zip(clip.ids, clip.masks, strict=True)
            )
            yield VideoTracks(written.name, 96, 160, 6, tracks)

    figures = benchmark.score(perfect(), tmp_path / "results")
    car = figures["car"]
    assert car["FP"] == car["IDS"] == 0 and car["MOTSP"] == 1
    # Results leave out what is tiny, and cars that are mostly gone.
    assert car["TP"] >= 12 and car["FN"] < car["TP"] / 2
    for written, video in zip(benchmark.dataset.videos, data.videos, strict=True):
        np.testing.assert_array_equal(written.intrinsics, video.intrinsics)


def test_it_is_checked_once_it_is_written(tmp_path, capsys):
    export.write_kitti_mots(
        layered_world.load(**SMALL | dict(num_videos=1)), tmp_path / "KITTI_MOTS"
    )
    assert mots.load_kitti(str(tmp_path), "train", sequences=("0000",)).videos
    json_file = str(tmp_path / "report.json")
    assert check_data.run(str(tmp_path / "KITTI_MOTS"), json_file) == 0
    assert "No faults" in capsys.readouterr().out


def test_it_is_shown_and_batches_know_the_camera(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(show_data, "CLIPS", 1)
    config = defaults.get_config()
    defaults.smoke(config)
    config.data.mixture = ConfigDict(dict(layered_world=1.0))
    config.data.options = ConfigDict(dict(layered_world=SMALL | dict(num_frames=10)))
    config.data.span = ConfigDict({})
    config.data.duplicate = ()
    assert show_data.run(config, str(tmp_path)) == 0
    assert "layered_world/train_" in capsys.readouterr().out
    assert (tmp_path / "clips.png").is_file()
    batch = next(pipeline.training_batches(config, batch_size=1))
    height, width = batch["frames"].shape[2:4]
    focal = batch["intrinsics"][0, :, 1, 1]
    scale = min(height / 48, width / 80)
    np.testing.assert_allclose(focal, scale * street.FOCAL * 48, rtol=0.02)


def test_a_street_has_the_cars_it_was_asked_for():
    data = layered_world.load(num_videos=4, objects=(1, 3))
    assert [len(video.categories) for video in data.videos] == [1, 2, 3, 1]
    assert data.categories == street.CATEGORIES
    assert {c for video in data.videos for c in video.categories.values()} == {1}
