"""The Python interface: a model, ready to label videos."""

import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from stemseg_jax import compilation, models, options, results
from stemseg_jax.data import inputs
from stemseg_jax.formats import whole
from stemseg_jax.labelling import Labelling
from stemseg_jax.tracking import continuity, rejoining
from stemseg_jax.tracking.shots import Detector

REJOIN = 2.0  # seconds
Images = Iterable[np.ndarray]  # RGB, uint8
Video = str | os.PathLike | inputs.InputVideo | Images


class Predictor:
    """Labels videos.

        predictor = Predictor.from_checkpoint("real")
        video = predictor.track("clip.mp4")
        for frame in video:                          # each as soon as it is final
            print(frame.time, {label: m.sum() for label, m in frame.masks().items()})
        print(video.found)                           # the tracks that are kept
        predictor.predict("clip.mp4", "predicted")   # or all into files

    Args:
        shots: Whether tracks end where one shot is cut to the next; by default, unless
            the config asks for the authors' program.
        rejoin: Seconds within which an object that was away keeps its track, 0: it has
            a new one. The default is the same.
    """

    def __init__(
        self,
        model: models.Model,
        *,
        shots: bool | None = None,
        rejoin: float | int | None = None,
    ):
        ours = model.config.parity != "released"
        self.model = model
        self.shots = ours if shots is None else shots
        self.rejoin = (REJOIN if ours else 0) if rejoin is None else rejoin
        if not 0 <= self.rejoin < math.inf:
            raise ValueError(f"--rejoin={self.rejoin:g}: expected 0 seconds or more.")

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: str | os.PathLike = "real",
        *,
        config: ConfigDict | None = None,
        changes: Mapping[str, Any] | None = None,
        shots: bool | None = None,
        rejoin: float | int | None = None,
    ) -> "Predictor":
        """A trained model.

        Args:
            checkpoint: A run's folder, a .safetensors release, a file of the authors,
                or "real": the weights that come with stemseg_jax, for non-commercial
                research.
            config: That goes with it; none: the checkpoint's own.
            changes: Of options of the config, e.g. {"selection.min_score": 0.8}.
            shots, rejoin: As of the class.

        Raises:
            ValueError: If there is no such checkpoint, it carries no config and none is
                given, or an option is not known or out of range.
        """
        checkpoint = os.fspath(checkpoint)
        config = models.saved_config(checkpoint) if config is None else config
        options.check(config, origin=checkpoint)
        config = models.changed(config, changes or {})
        options.check(config, origin=checkpoint, overridden=True)
        models.set_precision(config)
        compilation.keep()
        return cls(models.load(config, checkpoint), shots=shots, rejoin=rejoin)

    def track(
        self,
        video: Video,
        *,
        choice: inputs.FrameChoice | None = None,
        images: bool = True,
        maps: bool = False,
    ) -> Labelling:
        """The frames with their objects, one after the other.

        Args:
            video: A file, a folder of frames, a glob, a camera or a stream; an opened
                one; or RGB images in order.
            choice: Which frames.
            images, maps: See `Labelling`.

        Raises:
            ValueError: If there is not exactly one video.
        """
        source = _opened(video, choice or inputs.FrameChoice())
        return self.label(source, images=images, maps=maps)

    def label(
        self, source: inputs.InputVideo, *, images: bool = True, maps: bool = False
    ) -> Labelling:
        """The same of an opened video."""
        settings = continuity.Continuity(
            cuts=Detector() if self.shots else None,
            absences=rejoining.Rejoining(max_absence=round(self.rejoin * source.fps)),
        )
        return Labelling(
            self.model, source, settings=settings, images=images, maps=maps
        )

    def predict(
        self,
        video: Video,
        output: str | os.PathLike,
        *,
        choice: inputs.FrameChoice | None = None,
        outputs: results.Outputs | None = None,
    ) -> pathlib.Path:
        """Labels one video into `output/<its name>/`, and gives that folder.

        What is wrong with a video whose first frames alone can be read is logged. Of
        one that Ctrl-C ends what is labelled is written, before the interruption goes
        on.

        Raises:
            ValueError: If there is not exactly one video, it has no frame that can be
                read, or the folder is there and was not written by this program.
        """
        source = _opened(video, choice or inputs.FrameChoice())
        folder = whole.inside(output, source.name)
        outputs = outputs or results.Outputs()
        written = results.write(self.label(source, **outputs.needs()), folder, outputs)
        if written.stopped:
            raise KeyboardInterrupt
        return folder


def _opened(
    video: Video,
    choice: inputs.FrameChoice,
) -> inputs.InputVideo:
    if isinstance(video, inputs.InputVideo):
        return video
    if not isinstance(video, str | os.PathLike):
        return inputs.Arrays(video, choice=choice)
    places = inputs.places(video, choice=choice)
    if len(places) != 1:
        names = ", ".join(place.name for place in places)
        raise ValueError(
            f"{video}: {len(places)} videos ({names}). Expected one; take them one "
            "after the other."
        )
    return places[0].open()
