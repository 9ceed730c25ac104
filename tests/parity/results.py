"""Labels of frames to tracks and result files."""

import json
import pathlib
import re
import tempfile
from collections.abc import Mapping
from typing import Any
from unittest import mock

import msgspec
import numpy as np

from stemseg_jax.formats import images, mots_txt, rle
from stemseg_jax.geometry import Geometry, SizeRule, padded
from stemseg_jax.outputs import collector, davis_results, mots_results, ytvis_results
from stemseg_jax.tracks import LabelledFrames, Track, TrackStatistics, VideoTracks
from tests import goldens
from tests.parity import figures
from tests.parity.figures import Figure

Masks = dict[tuple[int, int], np.ndarray]  # (frame, track) -> mask
SELECTIONS = {
    "davis": {"by": "lifetime"},
    "ytvis": {"by": "lifetime"},
    "kittimots": {"by": "pixels", "category_from": "votes"},
}
STRIDE = 4


def outputs(folder: pathlib.Path, name: str) -> list[Figure]:
    """Each dataset's writer, at both resolutions, and KITTI-MOTS's post-processing."""
    meta, arrays = goldens.load(folder, name)
    results = []
    for case, given in meta["cases"].items():
        labels = arrays[f"{case}.label_map"].astype(np.int32)
        dataset = case.partition("_")[0]
        statistics = _statistics(
            labels,
            logits=_category_logits(labels, given),
            classes=arrays.get(f"{case}.category_map"),
        )
        own = Files(dataset, labels, statistics, given)
        results.append(figures.equal(f"{case}: kept", own.kept, given["kept"]))
        for figure in own.compared(given["result"], arrays, prefix=f"{case}."):
            results.append(figure._replace(quantity=f"{case}: {figure.quantity}"))
    if "kitti_postprocess_default" in meta:
        results.append(_post_processing(**meta["kitti_postprocess_default"]))
    return results


def _post_processing(input: list[str], output: list[str]) -> Figure:
    """Which detections remain of the lines of a file."""
    fields = [_fields(line) for line in input]
    identities = list(dict.fromkeys(identity for _, identity, _, _ in fields))
    num_frames = 1 + max(frame for frame, *_ in fields)
    masks = {identity: [None] * num_frames for identity in identities}
    for frame, identity, _, mask in fields:
        masks[identity][frame] = mask
    category_of = {identity: category for _, identity, category, _ in fields}
    tracks = [
        Track(number, category_of[identity], 1.0, tuple(masks[identity]))
        for number, identity in enumerate(identities, start=1)
    ]
    height, width = fields[0][3]["size"]
    video = VideoTracks("video", height, width, num_frames, tuple(tracks))
    ours = {
        (frame, identities[track.id - 1])
        for track in mots_results.clean(video).tracks
        for frame, mask in enumerate(track.segmentations)
        if mask is not None
    }
    theirs = {(frame, identity) for frame, identity, _, _ in map(_fields, output)}
    return Figure("post-processing: detections", len(ours ^ theirs), 0)


def _statistics(
    labels: np.ndarray, *, logits: np.ndarray | None, classes: np.ndarray | None
) -> dict[int, TrackStatistics]:
    """What a system would say of the tracks of finished label maps."""
    statistics = {}
    for label in np.unique(labels[labels > 0]):
        frames = np.flatnonzero((labels == label).any(axis=(1, 2)))
        own = labels == label
        statistics[int(label)] = TrackStatistics(
            pixels=int(own.sum()),
            first=int(frames[0]),
            last=int(frames[-1]),
            logits=None if logits is None else logits[own].mean(axis=0),
            votes=None
            if classes is None
            else np.bincount(classes[own], minlength=3).astype(np.int32),
        )
    return statistics


def _category_logits(labels: np.ndarray, given: Mapping[str, Any]):
    """The recipe of the fixture: noise in which each track has a class."""
    if "category_logits_recipe" not in given:
        return None
    found = re.search(r"enumerate\(\[(.*?)\]\)", given["category_logits_recipe"])
    labels_with_a_class = [int(label) for label in found[1].split(",")]
    T, h, w = labels.shape
    rng = np.random.default_rng(given["seed"] + 3)
    logits = rng.standard_normal((T, 41, h, w), dtype=np.float32)
    for place, label in enumerate(labels_with_a_class):
        logits[:, 3 + 2 * place] += 0.7 * (labels == label)
    return np.moveaxis(logits, 1, -1)


class Files:
    """The result files of one video, and how they compare.

    Args:
        labels: Label maps, at the stride of the network or at its input's size.
        given: What the fixture says of sizes and limits.
        uncertain: Cells whose label may differ.
    """

    def __init__(
        self,
        dataset: str,
        labels: np.ndarray,
        statistics: Mapping[int, TrackStatistics],
        given: Mapping[str, Any],
        *,
        uncertain: np.ndarray | None = None,
    ):
        self.dataset, self.given, self.labels = dataset, given, labels
        self.uncertain = (
            np.zeros(labels.shape, bool) if uncertain is None else uncertain
        )
        rule = SizeRule(min_dim=given["min"], max_dim=given["max"])
        height, width = given["image_hw"]
        resized = rule.resized(height, width)
        stride = padded(resized)[0] // labels.shape[1]
        self.geometry = Geometry((height, width), resized, labels.shape[1:], stride)
        self.collector = collector.LabelCollector()
        self.collector.add(LabelledFrames(0, labels, self.geometry))
        self.chosen = collector.select(
            statistics, limit=given["max_tracks"], **SELECTIONS[dataset]
        )

    @property
    def kept(self) -> list[int]:
        """Labels in the order of their numbers."""
        return [track.label for track in sorted(self.chosen, key=lambda t: t.id)]

    def compared(
        self,
        expected: Mapping[str, Any],
        arrays: Mapping[str, Any],
        *,
        prefix: str = "",
    ) -> list[Figure]:
        """Against the authors' files.

        Args:
            arrays: Holds DAVIS's PNGs, "<prefix>png.<sequence>".
        """
        compare = getattr(self, f"_{self.dataset}")
        with tempfile.TemporaryDirectory() as temporary:
            return compare(pathlib.Path(temporary), expected, arrays, prefix)

    def _davis(self, folder, expected, arrays, prefix) -> list[Figure]:
        (key,) = (key for key in arrays if key.startswith(f"{prefix}png."))
        name = key.rpartition(".")[2]
        written = davis_results.write(folder, self.collector.tracks(name, self.chosen))
        files = sorted(written.iterdir())
        theirs = arrays[key]
        ours = np.stack([images.read_labels(file) for file in files])
        palette = images.palette().ravel()[:30].tolist()
        return [
            figures.different("pixels of PNGs", ours, theirs, near=self._near()),
            figures.equal("palette", palette, expected["palette_head"]),
        ]

    def _ytvis(self, folder, expected, arrays, prefix) -> list[Figure]:
        video = self.collector.tracks("video", self.chosen)
        file = ytvis_results.write(folder, [video], {"video": 1})
        ours = json.loads(file.read_text())
        theirs = expected["results"]
        if len(ours) != len(theirs):
            return [figures.equal("tracks", len(ours), len(theirs))]
        scores = [[entry["score"] for entry in entries] for entries in (ours, theirs)]
        classes = [
            [entry["category_id"] for entry in entries] for entries in (ours, theirs)
        ]
        return [
            figures.equal("categories", *classes),
            figures.relative("scores", *scores, figures.ROUNDING),
            self._masks("pixels", _of_json(ours), _of_json(theirs)),
        ]

    def _kittimots(self, folder, expected, arrays, prefix) -> list[Figure]:
        ((file, lines),) = expected["results"].items()
        video = self.collector.tracks(file.removesuffix(".txt"), self.chosen)
        written = mots_results.write(folder, video).read_text().splitlines()
        results = [self._lines("lines", written, lines)]
        if expected["results_nms"]:
            cleaned = self._cleaned(video)
            results.append(
                self._lines(
                    "post-processed", _lines(cleaned), expected["results_nms"][file]
                )
            )
        return results

    def _cleaned(self, video: VideoTracks) -> VideoTracks:
        limits = dict(mots_results.LIMITS)
        for category, word in zip(mots_results.LIMITS, ("car", "person"), strict=True):
            options = self.given.get("postprocess_kwargs", {})
            names = {
                "area": f"min_{word}_area",
                "detections": f"min_track_length_{word}",
            }
            changes = {field: options[n] for field, n in names.items() if n in options}
            limits[category] = limits[category]._replace(**changes)
        with mock.patch.dict(mots_results.LIMITS, limits):
            return mots_results.clean(video)

    def _lines(self, quantity: str, ours: list[str], theirs: list[str]) -> Figure:
        theirs = sorted(theirs, key=_by_track)
        if ours == theirs:
            return Figure(quantity, 0, 0)
        return self._masks(quantity, _of_lines(ours), _of_lines(theirs))

    def _masks(self, quantity: str, ours: Masks, theirs: Masks) -> Figure:
        """Counts pixels of any mask that differ."""
        near = self._near()
        differ = excused = 0
        blank = np.zeros(self.geometry.original, bool)
        for key in ours.keys() | theirs.keys():
            difference = ours.get(key, blank) ^ theirs.get(key, blank)
            excused += int((difference & near[key[0]]).sum())
            differ += int((difference & ~near[key[0]]).sum())
        note = f"{excused} near a threshold differ" if near.any() else ""
        return Figure(quantity, differ, 0, note)

    def _near(self) -> np.ndarray:
        """Pixels [T H W] that are uncertain, or about one half after resizing."""
        near = np.zeros((len(self.labels), *self.geometry.original), bool)
        for frame, labels, cells in zip(near, self.labels, self.uncertain, strict=True):
            frame |= _restored(cells, self.geometry) > 0
            for label in np.unique(labels[labels > 0]):
                share = _restored(labels == label, self.geometry)
                frame |= np.abs(share - 0.5) < figures.THRESHOLD
        return near


def _restored(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """A mask in the original frame before it is cut at one half, in float64."""
    padded = [n * geometry.stride for n in geometry.labels]
    share = _interpolation(geometry.labels[0], padded[0]) @ mask.astype(float)
    share = share @ _interpolation(geometry.labels[1], padded[1]).T
    rows, columns = geometry.resized
    height, width = geometry.original
    share = _interpolation(rows, height) @ share[:rows, :columns]
    return share @ _interpolation(columns, width).T


def _interpolation(length: int, size: int) -> np.ndarray:
    """The matrix [size length] of linear interpolation with half-pixel centres."""
    place = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    low = np.minimum(place.astype(int), length - 1)
    high = np.minimum(low + 1, length - 1)
    matrix = np.zeros((size, length))
    matrix[np.arange(size), low] += 1 - (place - low)
    matrix[np.arange(size), high] += place - low
    return matrix


def _of_json(entries: list[dict[str, Any]]) -> Masks:
    return {
        (frame, number): rle.decode(
            rle.from_json(msgspec.convert(mask, rle.Segmentation), *mask["size"])
        )
        for number, entry in enumerate(entries)
        for frame, mask in enumerate(entry["segmentations"])
        if mask is not None
    }


def _of_lines(lines: list[str]) -> Masks:
    return {
        (frame, track): rle.decode(mask)
        for frame, track, _, mask in map(_fields, lines)
    }


def _fields(line: str) -> tuple[int, int, int, dict[str, Any]]:
    *numbers, counts = line.split(" ")
    frame, track, category, height, width = map(int, numbers)
    return frame, track, category, {"size": (height, width), "counts": counts.encode()}


def _by_track(line: str) -> tuple[int, int]:
    frame, track, _, _ = _fields(line)
    return track % mots_txt.IDS_PER_CLASS, frame


def _lines(video: VideoTracks) -> list[str]:
    with tempfile.TemporaryDirectory() as temporary:
        return (
            mots_results.write(pathlib.Path(temporary), video).read_text().splitlines()
        )
