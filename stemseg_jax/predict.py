"""Labels any video: palette masks, tracks, and an overlay to watch."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import jax
from absl import logging
from ml_collections import ConfigDict
from tqdm import tqdm

from stemseg_jax import models
from stemseg_jax.data import input_video
from stemseg_jax.data.datasets import categories
from stemseg_jax.formats import images, whole
from stemseg_jax.outputs import collector, davis_results, overlay, tracks_json, video
from stemseg_jax.tracks import VideoTracks

MAX_TRACKS = 254  # that a palette PNG can tell apart


class Files(NamedTuple):
    """What is written for a video."""

    masks: pathlib.Path  # a folder of palette PNGs, one per frame
    tracks: pathlib.Path  # see outputs/tracks_json.py
    overlay: pathlib.Path


def run(
    config: ConfigDict, *, checkpoint: str, source: str, output: str
) -> list[Files]:
    """Labels the videos that `source` stands for, each into `output/<its name>/`.

    Raises:
        ValueError: If `source` is no video (see `input_video.find`), or the checkpoint
            belongs to another model.
    """
    videos = input_video.find(source)
    model = models.load(config, checkpoint)
    return [predict_video(model, video, pathlib.Path(output)) for video in videos]


def category_names(config: ConfigDict) -> Mapping[int, str]:
    """What the model calls its classes; empty if they have no names."""
    return categories.of_model(config.model.categories, config.model.num_classes)


def predict_video(
    model: models.Model, source: input_video.InputVideo, output: pathlib.Path
) -> Files:
    """Labels one video into `output/<name>/`, which appears once all is in it.

    The source is read twice: which tracks are drawn is known only at the end. A track
    has the same id, from 1, in the masks, in the JSON and in the overlay.

    Raises:
        ValueError: If the source cannot be read to its end, or `output/<name>` is there
            and was not written by this function.
    """
    selection, names = model.config.selection, category_names(model.config)
    folder = whole.inside(output, source.name)
    with whole.folder(folder, "--mode=predict") as partial:
        labels, statistics = track(model, source)
        limit = min(selection["limit"], MAX_TRACKS)
        chosen = collector.select(statistics, **{**selection, "limit": limit})
        tracks = labels.tracks(
            source.name,
            chosen,
            progress=lambda frames: _bar(frames, f"masks of {source.name}"),
        )
        files = Files(
            partial / "masks", partial / "tracks.json", partial / "overlay.mp4"
        )
        tracks_json.write(files.tracks, tracks, fps=source.fps, categories=names)
        draw(files, source, tracks, names)
    logging.info(
        "%s: %d track(s) in %d frame(s), written to %s",
        *(source.name, len(tracks.tracks), tracks.num_frames, folder),
    )
    if not tracks.tracks:
        logging.warning(
            "%s: no object was found. What a model finds is what it was trained on "
            "(docs/model_card.md for the weights 'real'); "
            "--config.selection.min_score=0 keeps what is doubtful.",
            source.name,
        )
    return Files(*(folder / file.name for file in files))


def track(model: models.Model, source: input_video.InputVideo) -> models.Tracked:
    """The labels of all frames, with a progress bar."""
    bar = _bar(source, f"track {source.name}", total=source.num_frames)
    with bar, _without_compilation(bar):
        return model.track(image for _, image in bar)


def draw(
    files: Files,
    source: input_video.InputVideo,
    tracks: VideoTracks,
    names: Mapping[int, str],
) -> None:
    """Masks and overlay, frame by frame."""
    files.masks.mkdir()
    captions = {
        track.id: names.get(track.category, "").replace("_", " ")
        for track in tracks.tracks
    }
    scale = overlay.enlargement(source.height, source.width)
    frames = _bar(source, f"draw {source.name}", total=tracks.num_frames)
    with video.Writer(files.overlay, fps=source.fps) as writer:
        for index, image in frames:
            labels = davis_results.paint(tracks, index)
            images.write_labels(files.masks / f"{index:05d}.png", labels)
            writer.write(overlay.draw(image, labels, captions, scale=scale))


def _bar(frames, description: str, **options) -> tqdm:
    return tqdm(frames, desc=description, unit="frame", smoothing=0, **options)


@contextlib.contextmanager
def _without_compilation(bar: tqdm) -> Iterator[None]:
    """Keeps the time that XLA compiles out of the bar's rate, and says it."""
    compilation = 0.0

    def listen(event: str, seconds: float, **_) -> None:
        nonlocal compilation
        if event == "/jax/core/compile/backend_compile_duration":
            compilation += seconds
            if not bar.disable:
                bar.start_t += seconds

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    if compilation:
        logging.info("Compiled in %.1f s, which the rate leaves out", compilation)
