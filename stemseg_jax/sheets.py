"""Videos of a benchmark to look at: frames, their truth, and what was found."""

import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import UInt8

from stemseg_jax.data import readers
from stemseg_jax.formats import whole
from stemseg_jax.outputs import davis_results, overlay, report, video
from stemseg_jax.tracks import VideoTracks

SHOWN = 4  # videos as overlays and on the contact sheet,
COLUMNS = 6  # with so many frames each
FPS = 10
SHEET = "contact_sheet.png"


def show(
    folder: pathlib.Path,
    dataset: readers.Dataset,
    tracks: Sequence[VideoTracks],
    names: Mapping[int, str],
) -> None:
    """Writes overlays of the first videos, and a sheet of them."""
    whole.claim(folder, "overlays")
    for truth, found in zip(dataset.videos[:SHOWN], tracks, strict=False):
        every = range(truth.num_frames)
        path = whole.inside(folder / "overlays", f"{truth.name}.mp4")
        with video.Writer(path, fps=FPS) as writer:
            for pair in zip(
                draw_truth(truth, every),
                draw_tracks(truth, every, found, names),
                strict=True,
            ):
                writer.write(np.concatenate(pair, axis=1))
    shown = dataset._replace(videos=dataset.videos[:SHOWN])
    report.write_sheet(folder / SHEET, sheet(shown, tracks, names, columns=COLUMNS))


def sheet(
    dataset: readers.Dataset,
    tracks: Sequence[VideoTracks],
    names: Mapping[int, str],
    *,
    columns: int,
    width: int = 480,
) -> UInt8[np.ndarray, "H W 3"]:
    """Frames of each video, their truth, and the tracks that were found.

    Args:
        columns: Frames of each video.
        width: Of a frame on the sheet, in pixels.
    """
    rows, captions = [], []
    for truth, found in zip(dataset.videos, tracks, strict=False):
        picked = (
            np.linspace(0, truth.num_frames - 1, columns).round().astype(int).tolist()
        )
        rows.append([truth.frame(t) for t in picked])
        rows.append(list(draw_truth(truth, picked)))
        rows.append(list(draw_tracks(truth, picked, found, names)))
        captions += ["frames", "truth", "model"]
    return report.contact_sheet(rows, captions, title="Unseen videos", width=width)


def draw_truth(
    truth: readers.Video, indices: Iterable[int]
) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
    scale = overlay.enlargement(truth.height, truth.width)
    for t in indices:
        image, clip = truth.frame(t), truth.clip([t])
        labels = np.zeros(image.shape[:2], np.int32)
        for number, mask in zip(clip.ids, clip.masks[:, 0], strict=True):
            labels[mask] = number
        yield overlay.draw(image, labels, scale=scale)


def draw_tracks(
    truth: readers.Video,
    indices: Iterable[int],
    tracks: VideoTracks,
    names: Mapping[int, str],
) -> Iterator[UInt8[np.ndarray, "_ _ 3"]]:
    scale = overlay.enlargement(tracks.height, tracks.width)
    captions = {t.id: names.get(t.category, "") for t in tracks.tracks}
    for t in indices:
        labels = davis_results.paint(tracks, t)
        yield overlay.draw(truth.frame(t), labels, captions, scale=scale)
