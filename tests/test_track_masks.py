"""--mode=track_masks on built-in videos: palette images and a COCO file, each cue."""

import json
import pathlib
import shutil

import numpy as np
import pytest
from absl import flags

from stemseg_jax import main, track_masks
from stemseg_jax.data.datasets import export, moving_shapes
from stemseg_jax.formats import images, rle
from stemseg_jax.tracking import linking
from stemseg_jax.tracks import Track, VideoTracks

VIDEOS = moving_shapes.load(
    split="val", num_videos=2, num_frames=6, height=96, width=160, objects=(2, 3)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A DAVIS folder of the videos; `found/` with masks whose numbers change from frame
    to frame; and found.json, which says the same."""
    root = tmp_path_factory.mktemp("videos")
    export.write_davis(VIDEOS, root / "DAVIS", "val")
    listed, found = [], []
    for video in VIDEOS.videos:
        (root / "found" / video.name).mkdir(parents=True)
        for t in range(video.num_frames):
            clip = video.clip([t])
            numbers = np.roll(np.arange(1, 1 + len(clip.ids)), t)
            labels = (clip.masks[:, 0] * numbers[:, None, None]).max(axis=0)
            name = f"{video.name}/{t:05d}.png"
            images.write_labels(root / "found" / name, labels.astype(np.uint8))
            number = len(listed)
            size = dict(height=video.height, width=video.width)
            listed.append(dict(id=number, file_name=name, **size))
            found += [
                dict(
                    image_id=number,
                    category_id=int(category),
                    score=0.25 + 0.5 * (t % 2),
                    segmentation=rle.to_json(rle.encode(mask)),
                )
                for mask, category in zip(
                    clip.masks[:, 0], clip.categories, strict=True
                )
            ]
    content = dict(images=listed, annotations=found)
    (root / "found.json").write_text(json.dumps(content))
    return root


def link(masks, output, *, by="overlap", task="davis19", **options):
    """The script, with paths as they come."""
    given = {
        k: str(v) if isinstance(v, pathlib.Path) else v for k, v in options.items()
    }
    track_masks.run(masks=str(masks), output=str(output), by=by, task=task, **given)


@pytest.mark.parametrize("cue", ["overlap", "flow"])
def test_true_masks_get_their_identities_back(folder, tmp_path, cue, capsys):
    """The metric's own figure of it is 1: no object moves far from frame to frame."""
    output, figures = tmp_path / "out", tmp_path / "scores.json"
    link(
        folder / "found",
        output,
        by=cue,
        frames=folder / "DAVIS/JPEGImages/480p",
        ground_truth=folder / "DAVIS",
        json_file=figures,
    )
    assert json.loads(figures.read_text())["J&F-Mean"] > 0.99
    assert "all objects" in capsys.readouterr().out
    assert sorted(f.name for f in output.iterdir() if f.is_dir()) == [
        video.name for video in VIDEOS.videos
    ]


def test_a_coco_file_gives_tracks_with_classes_and_scores(folder, tmp_path):
    truth = export.write_youtube_vis(VIDEOS, tmp_path / "truth", "valid")
    link(
        folder / "found.json",
        tmp_path / "out",
        task="ytvis",
        ground_truth=truth,
        json_file=tmp_path / "scores.json",
    )
    tracks = json.loads((tmp_path / "out/results.json").read_text())
    assert [one["score"] for one in tracks] == pytest.approx([0.5] * len(tracks))
    assert json.loads((tmp_path / "scores.json").read_text())["AP"] > 0.99


def test_looks_are_of_the_checkpoint(folder):
    """Of crops of the same thing they are alike, of others less."""
    look = track_masks.looks_of("real")
    (video, _) = VIDEOS.videos
    clip = video.clip([0, 3])
    seen = clip.masks.any(axis=(2, 3)).all(axis=1)
    first, second = (look(clip.frames[t], clip.masks[seen, t]) for t in (0, 1))
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (first, second)]
    alike = unit[0] @ unit[1].T
    assert alike.shape == (seen.sum(), seen.sum()) and seen.sum() > 1
    assert (np.diag(alike) >= alike.max(axis=1) - 1e-6).all()
    # Padding to whole slots changes nothing.
    alone = look(clip.frames[0], clip.masks[seen, 0][:1])
    np.testing.assert_allclose(alone, first[:1], rtol=1e-4, atol=1e-5)


def test_what_is_too_small_to_be_seen_is_like_nothing():
    look = track_masks.looks_of("real")
    (video, _) = VIDEOS.videos
    masks = np.zeros((2, 96, 160), bool)
    masks[0, 10:18, 10:18] = masks[1, 10:40, 10:40] = True
    tiny, large = look(video.frame(0), masks)
    assert not tiny.any() and large.any()


def test_looks_go_all_the_way(folder, tmp_path):
    link(
        folder / "found",
        tmp_path / "out",
        by="looks",
        frames=folder / "DAVIS/JPEGImages/480p",
        ground_truth=folder / "DAVIS",
        json_file=tmp_path / "scores.json",
    )
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["J&F-Mean"] > 0.5  # by the looks of untrained-for shapes alone


@pytest.mark.parametrize("task", ["davis19", "davis16"])
def test_a_task_takes_so_many_tracks(tmp_path, task):
    labels = np.arange(1, 26, dtype=np.uint8).repeat(4)[None].repeat(20, axis=0)
    (tmp_path / "found/v").mkdir(parents=True)
    images.write_labels(tmp_path / "found/v/00000.png", labels)
    link(tmp_path / "found", tmp_path / "out", task=task)
    written = images.read_labels(tmp_path / "out/v/00000.png", bits=8)
    assert set(np.unique(written)) == {*range(21)}


def test_a_video_without_masks_is_told(tmp_path, caplog):
    (tmp_path / "found/v").mkdir(parents=True)
    void = np.full((20, 30), 255, np.uint8)
    images.write_labels(tmp_path / "found/v/00000.png", void)
    link(tmp_path / "found", tmp_path / "out")
    assert "v: no masks were found (255 is void" in caplog.text


def test_the_cues_are_those_of_the_command_line():
    assert [*track_masks.LINKINGS] == [*linking.CUES]
    assert main.MODES["track_masks"]
    assert flags.FLAGS["link"].parser.enum_values == [*linking.CUES]


def test_masks_of_tracks_lose_their_identities():
    """And come back as tracks; empty masks are none."""
    mask = rle.encode(VIDEOS.videos[0].clip([0]).masks[0, 0])
    empty = rle.encode(np.zeros((96, 160), bool))
    tracks = (Track(4, 2, 0.5, (mask, None)), Track(9, 2, 0.5, (None, empty)))
    found = track_masks.of_tracks(VideoTracks("v", 96, 160, 2, tracks))
    assert [len(found.masks(t)) for t in range(2)] == [1, 0]
    again = track_masks.tracked(found, None, track_masks.LINKINGS["overlap"])
    assert again.tracks == (Track(1, 2, 0.5, (mask, None)),)


def test_the_largest_are_kept():
    (video, _) = VIDEOS.videos
    clip = video.clip(range(6))
    own = [
        Track(n, 1, 1.0, tuple(rle.encode(mask) for mask in masks))
        for n, masks in enumerate(clip.masks, start=1)
    ]
    found = track_masks.of_tracks(VideoTracks(video.name, 96, 160, 6, tuple(own)))
    (kept,) = track_masks.tracked(
        found, None, track_masks.LINKINGS["overlap"], limit=1
    ).tracks
    areas = clip.masks.sum(axis=(1, 2, 3))
    assert rle.areas(kept.segmentations).sum() == areas.max()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(by="flow"), "--link=flow looks at the frames: name them by --frames"),
        (dict(task="ytvis"), "--task=ytvis calls videos by the numbers"),
        (dict(task="davis"), "task='davis'.*davis19"),
        (dict(task="kitti_mots"), "val_000000: --task=kitti_mots has classes"),
        (dict(json_file="scores.json"), "--json takes the scores"),
        (dict(by="flow", frames="DAVIS"), "DAVIS/val_000000: no such folder"),
        (
            dict(by="looks", frames="found", checkpoint="gone"),
            "gone: no such checkpoint",
        ),
    ],
)
def test_mistakes_are_named(folder, tmp_path, changes, message):
    options = dict(changes)
    if "frames" in options:
        options["frames"] = folder / options["frames"]
    with pytest.raises(ValueError, match=message):
        link(folder / "found", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_frames_without_masks_are_named(folder, tmp_path):
    shutil.copytree(folder / "found", tmp_path / "found")
    (tmp_path / "found/val_000001/00002.png").unlink()
    with pytest.raises(ValueError, match="val_000001: 1 frames of .* first is 00002"):
        link(
            tmp_path / "found",
            tmp_path / "out",
            by="flow",
            frames=folder / "DAVIS/JPEGImages/480p",
        )


def test_frames_that_are_not_there_are_named(folder, tmp_path):
    frames = tmp_path / "frames"
    for video in VIDEOS.videos:
        (frames / video.name).mkdir(parents=True)
        images.write_png(frames / video.name / "00000.png", video.frame(0))
    with pytest.raises(ValueError, match="no image 00001 for the masks of val_000000"):
        link(
            folder / "found",
            tmp_path / "out",
            by="flow",
            frames=frames,
        )
