"""Writes a dataset to disk in the official layout of a benchmark.

For generated videos: readers and metrics can be tried on them without a download. The
folders of the videos get their names when all are whole, and the list by which readers
find the videos comes last, so that an interrupted export leaves nothing.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import PIL.Image
from jaxtyping import UInt16

from stemseg_jax.data import readers
from stemseg_jax.formats import coco_json, davis_png, images, mots_txt, rle, whole

KITTI_IGNORE = mots_txt.IGNORE * mots_txt.IDS_PER_CLASS


def write_davis(
    dataset: readers.Dataset,
    root: str | os.PathLike,
    split: str = "train",
    *,
    single: bool = False,
) -> pathlib.Path:
    """Writes the layout of DAVIS 2017 unsupervised; gives the path of the list.

        JPEGImages/480p/<video>/00000.jpg                   whatever the frames' size
        Annotations_unsupervised/480p/<video>/00000.png     palette PNG, 255 is void
        ImageSets/2017/<split>.txt                          one video a line

    Instances are numbered from 1 as they appear; categories have no place here.

    Args:
        single: Whether to write that of DAVIS 2016, in `Annotations` and
            `ImageSets/2016`: 255 is the one foreground; what is ignored is background.

    Raises:
        ValueError: The list is there already, two videos share a name, or a video has
            no annotations or more than 254 instances.
    """
    root = pathlib.Path(root)
    listing = root / "ImageSets" / ("2016" if single else "2017") / f"{split}.txt"
    annotations = root / davis_png.ANNOTATIONS[2016 if single else 2019] / "480p"
    _check(dataset, listing)
    with contextlib.ExitStack() as stack:
        for video in dataset.videos:
            frames = _new(stack, root / "JPEGImages/480p", video.name)
            masks = _new(stack, annotations, video.name)
            for index, clip, numbers in _numbered_frames(
                video, most=davis_png.VOID - 1
            ):
                _save_jpeg(frames / f"{index:05d}.jpg", clip)
                if single:
                    labels = _foreground(clip)
                else:
                    labels = _label_map(clip, numbers, ignore=davis_png.VOID)
                images.write_labels(
                    masks / davis_png.frame_name(index), labels.astype(np.uint8)
                )
    return whole.write_text(listing, "".join(f"{v.name}\n" for v in dataset.videos))


def write_youtube_vis(
    dataset: readers.Dataset, root: str | os.PathLike, split: str = "train"
) -> pathlib.Path:
    """Writes the layout of YouTube-VIS; gives the path of the JSON file.

        <split>/JPEGImages/<video>/00000.jpg
        <split>.json          compressed RLE; null in frames without the instance

    Ignore regions have no place here.

    Raises:
        ValueError: The JSON file is there already, two videos share a name, or a video
            has no annotations.
    """
    root = pathlib.Path(root)
    listing = root / f"{split}.json"
    _check(dataset, listing)
    videos = []
    with contextlib.ExitStack() as stack:
        for video in dataset.videos:
            folder = _new(stack, root / split / "JPEGImages", video.name)
            files = [f"{video.name}/{t:05d}.jpg" for t in range(video.num_frames)]
            description = {
                "height": video.height,
                "width": video.width,
                "length": video.num_frames,
                "file_names": files,
            }
            tracks = _save_frames_and_collect_tracks(video, folder)
            videos.append((description, tracks))
    info = {"description": f"{dataset.name} {split}, in YouTube-VIS form"}
    return coco_json.write_annotations(
        listing, videos, dataset.categories, info=info, licenses=[]
    )


def write_kitti_mots(
    dataset: readers.Dataset,
    root: str | os.PathLike,
    *,
    classes: Mapping[int, int] | None = None,
) -> pathlib.Path:
    """Writes the layout of KITTI MOTS; gives the path of the seqmap.

        training/image_02/0000/000000.png
        instances/0000/000000.png       16 bits: class * 1000 + instance, 10000 ignore
        instances_txt/0000.txt          frame, object, class, height, width, RLE
        training/calib/0000.txt         the camera's matrix, P2, if it is known
        evaluate_mots.seqmap            sequence, first frame, number of frames

    Videos are numbered from 0000 in their order. Instances are numbered from 1 as they
    appear; where masks overlap, the later one in the clip has the pixel.

    Args:
        classes: 1 (car) or 2 (pedestrian) for each category of the dataset. Without it
            odd categories are cars and even ones pedestrians.

    Raises:
        ValueError: The seqmap is there already, two videos share a name, or a video has
            no annotations or more than 999 instances.
    """
    root = pathlib.Path(root)
    listing = root / "evaluate_mots.seqmap"
    _check(dataset, listing)
    classes = classes or {c: 1 + (c - 1) % 2 for c in dataset.categories}
    seqmap, texts = [], {}
    with contextlib.ExitStack() as stack:
        for number, video in enumerate(dataset.videos):
            sequence = f"{number:04d}"
            frames = _new(stack, root / "training/image_02", sequence)
            masks = _new(stack, root / "instances", sequence)
            lines = []
            for index, clip, numbers in _numbered_frames(video, most=999):
                name = f"{index:06d}.png"
                PIL.Image.fromarray(clip.frames[0]).save(frames / name)
                kinds = [classes[category] for category in clip.categories.tolist()]
                objects = [
                    mots_txt.IDS_PER_CLASS * kind + n
                    for kind, n in zip(kinds, numbers, strict=True)
                ]
                labels = _label_map(clip, objects, ignore=KITTI_IGNORE)
                PIL.Image.fromarray(labels).save(masks / name)
                lines += [f"{line}\n" for line in _kitti_lines(index, labels)]
            texts[root / "instances_txt" / f"{sequence}.txt"] = "".join(lines)
            if video.intrinsics is not None:
                rows = np.column_stack([video.intrinsics, np.zeros(3)]).ravel()
                text = f"P2: {' '.join(map(repr, rows.tolist()))}\n"
                texts[root / "training/calib" / f"{sequence}.txt"] = text
            seqmap.append(f"{sequence} empty 000000 {video.num_frames:06d}\n")
    for path, text in texts.items():
        whole.write_text(path, text)
    return whole.write_text(listing, "".join(seqmap))


def _check(dataset: readers.Dataset, listing: pathlib.Path):
    if listing.exists():
        raise ValueError(
            f"{listing} exists: the folder holds this split already. Remove it or "
            f"choose another folder."
        )
    names = [video.name for video in dataset.videos]
    for video in dataset.videos:
        if not video.annotated:
            raise ValueError(f"video {video.name!r} has no annotations to write.")
    if len(set(names)) < len(names):
        raise ValueError(f"dataset {dataset.name!r}: two videos share a name.")


def _numbered_frames(
    video: readers.Video, *, most: int
) -> Iterator[tuple[int, readers.RawClip, list[int]]]:
    """Each frame as a clip, with numbers from 1 for its instances."""
    numbers = {}
    for index in range(video.num_frames):
        clip = video.clip([index])
        of_clip = [numbers.setdefault(i, len(numbers) + 1) for i in clip.ids.tolist()]
        if len(numbers) > most:
            raise ValueError(
                f"video {video.name!r}: more than {most} instances, which this layout "
                f"cannot number."
            )
        yield index, clip, of_clip


def _foreground(clip: readers.RawClip) -> UInt16[np.ndarray, "H W"]:
    return np.where(clip.masks[:, 0].any(axis=0), np.uint16(255), np.uint16(0))


def _label_map(
    clip: readers.RawClip, numbers: Sequence[int], *, ignore: int
) -> UInt16[np.ndarray, "H W"]:
    labels = np.where(clip.ignore[0], np.uint16(ignore), np.uint16(0))
    for number, mask in zip(numbers, clip.masks[:, 0], strict=True):
        labels[mask] = number
    return labels


def _kitti_lines(
    index: int, labels: UInt16[np.ndarray, "H W"]
) -> Iterator[mots_txt.Line]:
    for number in np.unique(labels[labels > 0]).tolist():
        kind = number // mots_txt.IDS_PER_CLASS
        yield mots_txt.Line(index, number, kind, rle.encode(labels == number))


def _save_frames_and_collect_tracks(
    video: readers.Video, folder: pathlib.Path
) -> list[dict]:
    """Writes the frames; what a YouTube-VIS annotation says of each instance."""
    categories, tracks = {}, {}
    for index in range(video.num_frames):
        clip = video.clip([index])
        _save_jpeg(folder / f"{index:05d}.jpg", clip)
        categories |= zip(clip.ids.tolist(), clip.categories.tolist(), strict=True)
        for instance, mask in zip(clip.ids.tolist(), clip.masks[:, 0], strict=True):
            masks = tracks.setdefault(instance, [None] * video.num_frames)
            masks[index] = rle.encode(mask)
    return [
        {"category_id": categories[instance], **coco_json.track(masks)}
        for instance, masks in tracks.items()
    ]


def _new(stack: contextlib.ExitStack, folder: pathlib.Path, name: str) -> pathlib.Path:
    """A folder to fill, which gets its name when all of the stack went well."""
    path = whole.inside(folder, name)
    return stack.enter_context(whole.folder(path, "export", marked=False))


def _save_jpeg(path: pathlib.Path, clip: readers.RawClip):
    # Colours at full resolution: they would bleed over the edges of small objects.
    PIL.Image.fromarray(clip.frames[0]).save(path, quality=95, subsampling=0)
