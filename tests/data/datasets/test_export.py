"""Exports read back with Pillow, pycocotools and the readers of the package."""

import json

import numpy as np
import PIL.Image
import pytest
from pycocotools import mask as coco

from stemseg_jax.data import readers
from stemseg_jax.data.datasets import davis, export, mots, moving_shapes, youtube_vis


@pytest.fixture(scope="module")
def dataset():
    return moving_shapes.load(
        split="val", num_videos=2, num_frames=4, height=48, width=80
    )


class HandMade:
    """Two frames of 2 x 3: id 7 in one; id 4 and an ignore region in the other."""

    name, height, width, num_frames, annotated = "hand", 2, 3, 2, True
    categories = {4: 2, 7: 1}
    annotated_frames = (0, 1)
    intrinsics = None
    masks = np.array(
        [
            [[[0, 0, 0], [0, 0, 0]], [[1, 1, 0], [0, 0, 0]]],
            [[[0, 1, 1], [0, 1, 1]], [[0, 0, 0], [0, 0, 0]]],
        ],
        bool,
    )
    ignore = np.array([[[0, 0, 0], [0, 0, 0]], [[0, 0, 1], [0, 0, 1]]], bool)

    def clip(self, indices):
        indices = list(indices)
        masks = self.masks[:, indices]
        seen = masks.any(axis=(1, 2, 3))
        return readers.RawClip(
            np.full((len(indices), 2, 3, 3), 90, np.uint8),
            np.array([4, 7])[seen],
            np.array([2, 1])[seen],
            masks[seen],
            self.ignore[indices],
        )

    def instances(self, index):
        return self.clip([index]).ids.tolist()

    def frame(self, index):
        return self.clip([index]).frames[0]


@pytest.fixture
def hand_made():
    return readers.Dataset("hand", {1: "a", 2: "b"}, [HandMade()])


def read_png(path):
    with PIL.Image.open(path) as image:
        return image.mode, np.asarray(image), image.getpalette()


def test_davis_numbers_instances_as_they_appear(hand_made, tmp_path):
    export.write_davis(hand_made, tmp_path, "train")
    folder = tmp_path / "Annotations_unsupervised/480p/hand"
    mode, first, colours = read_png(folder / "00000.png")
    assert mode == "P"
    assert colours[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    np.testing.assert_array_equal(first, [[0, 1, 1], [0, 1, 1]])
    _, second, _ = read_png(folder / "00001.png")
    np.testing.assert_array_equal(second, [[2, 2, 255], [0, 0, 255]])
    assert (tmp_path / "ImageSets/2017/train.txt").read_text() == "hand\n"


def test_youtube_vis_has_null_where_the_instance_is_absent(hand_made, tmp_path):
    content = json.loads(export.write_youtube_vis(hand_made, tmp_path).read_text())
    (video,) = content["videos"]
    assert (video["height"], video["width"], video["length"]) == (2, 3, 2)
    assert video["file_names"] == ["hand/00000.jpg", "hand/00001.jpg"]
    first, second = content["annotations"]
    assert [(a["id"], a["video_id"], a["category_id"]) for a in (first, second)] == [
        (1, 1, 1),
        (2, 1, 2),
    ]
    assert first["segmentations"][1] is first["bboxes"][1] is first["areas"][1] is None
    assert first["bboxes"][0] == [1, 0, 2, 2]
    assert first["areas"] == [4, None]
    np.testing.assert_array_equal(
        coco.decode(first["segmentations"][0]), HandMade.masks[1, 0]
    )
    assert second["segmentations"][0] is None
    assert second["bboxes"][1] == [0, 0, 2, 1]


def test_kitti_mots_png_and_txt_say_the_same(hand_made, tmp_path):
    seqmap = export.write_kitti_mots(hand_made, tmp_path)
    assert seqmap.read_text() == "0000 empty 000000 000002\n"
    lines = (tmp_path / "instances_txt/0000.txt").read_text().splitlines()
    assert [line.split()[:5] for line in lines] == [
        ["0", "1001", "1", "2", "3"],
        ["1", "2002", "2", "2", "3"],
        ["1", "10000", "10", "2", "3"],
    ]
    labels = [
        read_png(tmp_path / f"instances/0000/{name}.png")[1]
        for name in ("000000", "000001")
    ]
    np.testing.assert_array_equal(labels[0], [[0, 1001, 1001], [0, 1001, 1001]])
    np.testing.assert_array_equal(labels[1], [[2002, 2002, 10000], [0, 0, 10000]])
    for line in lines:
        frame, number, _, height, width, counts = line.split()
        mask = coco.decode({"size": [int(height), int(width)], "counts": counts})
        np.testing.assert_array_equal(mask, labels[int(frame)] == int(number))


def test_kitti_mots_frames_are_lossless_and_classes_can_be_chosen(dataset, tmp_path):
    export.write_kitti_mots(dataset, tmp_path, classes={1: 2, 2: 2, 3: 2, 4: 2})
    for number, video in enumerate(dataset.videos):
        for index in range(4):
            name = f"{number:04d}/{index:06d}.png"
            frame = read_png(tmp_path / "training/image_02" / name)[1]
            np.testing.assert_array_equal(frame, video.frame(index))
            mode, labels, _ = read_png(tmp_path / "instances" / name)
            assert mode.startswith("I")
            assert set((labels[labels > 0] // 1000).tolist()) == {2}
            masks = video.clip([index]).masks
            np.testing.assert_array_equal(labels > 0, masks.any(axis=(0, 1)))


def test_readers_find_what_was_written(dataset, tmp_path):
    export.write_davis(dataset, tmp_path / "DAVIS", "val")
    export.write_youtube_vis(dataset, tmp_path / "YouTubeVIS", "valid")
    as_davis = davis.load(str(tmp_path), "val")
    as_youtube = youtube_vis.load(str(tmp_path), "valid")
    export.write_kitti_mots(dataset, tmp_path / "KITTI_MOTS")
    as_kitti = mots.load_kitti(str(tmp_path), "train", sequences=("0000", "0001"))
    assert dict(as_youtube.categories) == dict(dataset.categories)
    for video, *read in zip(
        dataset.videos,
        as_davis.videos,
        as_kitti.videos,
        as_youtube.videos,
        strict=True,
    ):
        clip = video.clip(range(4))
        for copy in read:
            assert copy.num_frames == 4
            again = copy.clip(range(4))
            same = clip.masks[:, None] == again.masks[None]  # [N N T H W]
            same = same.all(axis=(2, 3, 4))
            assert same.sum() == len(clip.ids) == len(again.ids)
            difference = again.frames.astype(int) - clip.frames
            assert np.abs(difference).mean() < 3
        order = same.argmax(axis=1)
        np.testing.assert_array_equal(again.categories[order], clip.categories)


def test_davis_2016_has_one_foreground(dataset, tmp_path):
    export.write_davis(dataset, tmp_path / "DAVIS", "val", single=True)
    assert not (tmp_path / "DAVIS/Annotations_unsupervised").exists()
    read = davis.load(str(tmp_path), "val", year=2016).videos
    for video, copy in zip(dataset.videos, read, strict=True):
        whole = video.clip(range(4)).masks.any(axis=0)
        np.testing.assert_array_equal(copy.clip(range(4)).masks, whole[None])
        file = tmp_path / "DAVIS/Annotations/480p" / video.name / "00000.png"
        assert set(np.unique(read_png(file)[1]).tolist()) == {0, 255}


def test_splits_lie_beside_each_other(dataset, tmp_path):
    train = moving_shapes.load(num_videos=1, num_frames=2, height=48, width=80)
    for part, split in ((train, "train"), (dataset, "val")):
        export.write_davis(part, tmp_path / "DAVIS", split)
        export.write_youtube_vis(part, tmp_path / "YouTubeVIS", split)
    assert len(davis.load(str(tmp_path), "train").videos) == 1
    assert len(youtube_vis.load(str(tmp_path), "val").videos) == 2


@pytest.mark.parametrize(
    "write", [export.write_davis, export.write_youtube_vis, export.write_kitti_mots]
)
def test_an_interrupted_export_does_not_look_complete(write, tmp_path):
    class Broken(HandMade):
        name = "broken"

        def clip(self, indices):
            if 1 in indices:
                raise KeyboardInterrupt
            return super().clip(indices)

    interrupted = readers.Dataset("hand", {1: "a", 2: "b"}, [HandMade(), Broken()])
    with pytest.raises(KeyboardInterrupt):
        write(interrupted, tmp_path)
    lists = [p for p in tmp_path.rglob("*") if p.suffix in (".json", ".seqmap")]
    assert not lists
    assert not (tmp_path / "ImageSets").exists()
    for name in ("broken", "0001", ".part"):
        assert not [p for p in tmp_path.rglob("*") if p.is_dir() and name in p.name]
    write(readers.Dataset("hand", {1: "a", 2: "b"}, [HandMade()]), tmp_path)


@pytest.mark.parametrize(
    "write", [export.write_davis, export.write_youtube_vis, export.write_kitti_mots]
)
def test_what_cannot_be_written_is_refused(write, hand_made, tmp_path):
    class Unlabelled(HandMade):
        annotated = False

    with pytest.raises(ValueError, match="no annotations"):
        write(hand_made._replace(videos=[Unlabelled()]), tmp_path)
    with pytest.raises(ValueError, match="share a name"):
        write(hand_made._replace(videos=[HandMade(), HandMade()]), tmp_path)
    write(hand_made, tmp_path)
    with pytest.raises(ValueError, match="holds this split already"):
        write(hand_made, tmp_path)


def test_more_instances_than_the_layout_can_number_are_refused(tmp_path):
    class Crowd(HandMade):
        def clip(self, indices):
            ids = np.arange(1, 256)
            clip = super().clip(indices)
            return clip._replace(
                ids=ids, categories=ids, masks=np.repeat(clip.masks[:1], 255, axis=0)
            )

    crowd = readers.Dataset("crowd", {1: "a"}, [Crowd()])
    with pytest.raises(ValueError, match="more than 254 instances"):
        export.write_davis(crowd, tmp_path)
    assert not list(tmp_path.rglob("*.png"))
