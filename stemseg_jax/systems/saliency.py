"""The foreground of a video as one object, as STEm-Seg has it for DAVIS'16.

Athar, Mahadevan, Osep, Leal-Taixe, Leibe, ECCV 2020: the encoder and one squeeze-expand
decoder, which tells foreground from background by a bootstrapped cross entropy; no
embeddings, no clustering. The authors' program does not hold it. Ours is what becomes
of windows that overlap: as with STEm-Seg's foreground channel, logits are averaged.
"""

import dataclasses
import functools
from collections.abc import Generator, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int32, Key, UInt, UInt8
from ml_collections import ConfigDict

from stemseg_jax import choices, structures
from stemseg_jax.geometry import SizeRule
from stemseg_jax.losses import segmentation
from stemseg_jax.modules import conv3d, squeeze_expand
from stemseg_jax.modules.encoder import Encoder, Pyramid
from stemseg_jax.modules.recipes import Recipe
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.structures import ClipBatch, Collections, LossReport, Scalar, Variables
from stemseg_jax.systems import steps, volumes
from stemseg_jax.tracking import label_codes, statistics, windows
from stemseg_jax.tracks import Frame, LabelledFrames, Stage, Stages, TrackStatistics

TRACK = 1  # the only one

# ----------------------------------------------------------------------------- network


class Network(nn.Module):
    """Features of each frame, one decoder, one logit a cell.

    Attributes:
        decoder: Makes a decoder; takes `channels`.
    """

    encoder: Encoder
    decoder: Recipe
    num_frames: int
    decoder_channels: tuple[int, ...]
    initialiser: str

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Network":
        channels = tuple(config.model.decoder_channels)
        return cls(
            encoder=Encoder.from_config(config.model),
            decoder=squeeze_expand.from_config(config, widths=channels),
            num_frames=config.num_frames,
            decoder_channels=channels,
            initialiser=config.model.initialiser,
        )

    def setup(self):
        nn.share_scope(self, self.encoder)
        self.foreground_decoder = self.decoder(channels=self.decoder_channels)
        self.foreground_head = conv3d.Pointwise(1, initialiser=self.initialiser)

    def __call__(self, images: Float[Array, "B T H W 3"]) -> Float[Array, "B T h w"]:
        return self.decode(self.encode(images))

    def encode(self, images: Float[Array, "*B H W 3"]) -> Pyramid:
        """Features of normalised frames, each frame on its own."""
        return self.encoder(images)

    def decode(self, pyramid: Pyramid) -> Float[Array, "B T h w"]:
        """Logits of a window's foreground from the features of its frames."""
        return self.foreground_head(self.foreground_decoder(pyramid))[..., 0]

    def frame_terms(self, pyramid: Pyramid) -> squeeze_expand.Maps:
        """What of `decode` is the same in all windows of a frame."""
        return self.foreground_decoder.frame_terms(pyramid)

    def decode_terms(
        self, terms: tuple[squeeze_expand.Maps, ...]
    ) -> Float[Array, "B T h w"]:
        """As `decode`, from the terms of each frame of the window."""
        return self.foreground_head(self.foreground_decoder.of_terms(terms))[..., 0]


# ------------------------------------------------------------------------------ system


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """What becomes of windows.

    Attributes:
        overlap: Frames that neighbouring windows share.
        foreground_threshold: Of the probability at full size; the mean logit of all
            windows of a frame gives it.
        share_convolutions: See `volumes.SHARE`.
    """

    overlap: int
    foreground_threshold: float
    share_convolutions: str


class WindowLabels(NamedTuple):
    """Of one window."""

    ids: Int32[Array, "1"]
    sums: statistics.SlotSums
    codes: tuple[UInt[Array, "H W"], ...]  # of each frame, see `label_codes`


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saliency:
    """The system: see `systems.base.System`."""

    network: Network
    sizes: SizeRule
    loss_weights: tuple[tuple[str, float], ...]
    target: str  # see `ops.masks.TO_STRIDE`
    hardest: float  # the share of a clip's cells that counts
    tracking: TrackingSettings

    score = "foreground"  # of the track, see `statistics.Accumulator`

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Saliency":
        windows.check(config.num_frames, config.tracking.overlap)
        loss = config.loss
        return cls(
            network=Network.from_config(config),
            sizes=SizeRule(
                min_dim=config.evaluation.min_dim, max_dim=config.evaluation.max_dim
            ),
            loss_weights=tuple(loss.weights.items()),
            target=choices.known("loss.target", loss.target, masks_ops.TO_STRIDE),
            hardest=loss.hardest,
            tracking=TrackingSettings(**config.tracking),
        )

    def frozen_modules(self) -> tuple[str, ...]:
        return self.network.encoder.frozen_modules()

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> Variables:
        """Fresh variables; they do not depend on the size of the frames."""
        return self.network.init(key, self._normalise(batch.frames[:1]))

    def _normalise(self, frames):
        return self.network.encoder.convention.normalise(frames)

    def steps(
        self, variables: Variables, frames: jax.ShapeDtypeStruct
    ) -> dict[str, steps.Step]:
        """Features of frames, the foreground of windows."""
        logits = "foreground_logits"
        return volumes.parts(
            *(self.network, variables, frames),
            named=lambda maps: {logits: maps},
            meaning={logits: "above 0 if a cell is more likely of the foreground"},
        )

    # -------------------------------------------------------------------------- loss

    def loss(
        self, variables: Variables, batch: ClipBatch, keys: Key[Array, "B"]
    ) -> tuple[Scalar, LossReport, Collections]:
        """Bootstrapped cross entropy of each clip; all of its instances are the
        foreground."""
        del keys  # nothing here is random
        logits = self.network.apply(variables, self._normalise(batch.frames))
        terms = {"foreground": jax.vmap(self._of_clip)(logits, batch)}
        report = LossReport.of_clips(terms, dict(self.loss_weights))
        return report.total(), report, structures.collections(variables)

    def _of_clip(self, logits: Float[Array, "T h w"], clip: ClipBatch) -> Scalar:
        masks = masks_ops.TO_STRIDE[self.target](clip.masks)
        return segmentation.bootstrapped(
            logits,
            masks_ops.foreground(clip.masks, rule=self.target),
            masks_ops.ignored(clip.ignore, masks),
            share=self.hardest,
        )

    # ------------------------------------------------------------------------- track

    def track(
        self, variables: Variables, frames: Iterator[Frame], *, maps: bool = False
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """One track: what is foreground at full size.

        Frames come out as late as those of STEm-Seg: at most three window lengths, and
        a group of frames, after they came.
        """
        memory: dict[int, volumes.Sums] = {}
        blank = pending = None
        seen = statistics.Accumulator(score=self.score)
        for ready in volumes.decoded(
            *(self.network, variables, frames),
            num_frames=self.network.num_frames,
            overlap=self.tracking.overlap,
            share=self.tracking.share_convolutions,
            sizes=self.sizes,
            stride=1,
        ):
            for window, logits in ready.complete:
                if blank is None:
                    # Where maps lie: the programs of the first window then do for all.
                    blank = jax.device_put(_blank(logits), logits.sharding)
                old = tuple(memory.get(index, blank) for index in window.frames)
                after = _add_up(old, logits, np.int32(window.repeats))
                memory.update(zip(window.frames, after, strict=True))
            for window in ready.final:
                sums = tuple(memory[index] for index in window.frames)
                found, logits = self._label(sums, np.int32(window.known))
                if pending:
                    yield pending.fetch(seen)
                arrays = volumes.ForHost(
                    *(found.ids, found.sums, found.codes[window.known :]),
                    {"foreground": logits} if maps else None,
                )
                pending = volumes.Pending(window, ready.geometry, arrays).send()
            volumes.forget(memory, ready.keep_from)
        yield pending.fetch(seen)
        return seen.finish()

    def stages(
        self, variables: Variables, images: UInt8[np.ndarray, "T H W 3"]
    ) -> Stages:
        """As the contract has it, of a window in the middle of a video."""
        T = self.network.num_frames
        logits = yield from volumes.stages(
            *(self.network, variables, images, self.sizes),
            overlap=self.tracking.overlap,
            share=self.tracking.share_convolutions,
        )
        known = np.int32(self.tracking.overlap)

        def add_up(sums, logits):
            return _add_up(sums, logits, np.int32(0))

        def label(sums):
            return self._label(sums, known)

        blank = (_blank(logits),) * T
        sums = yield Stage("add up windows", add_up, (blank, logits), T)
        yield Stage("label, sum up", label, (sums,), T - self.tracking.overlap)

    @functools.partial(jax.jit, static_argnums=0)
    def _label(
        self, sums: tuple[volumes.Sums, ...], known: Int32[Array, ""]
    ) -> tuple[WindowLabels, Float[Array, "T h w 1"]]:
        """Labels of one window, and the mean probabilities at stride 4.

        Args:
            known: Places at the front that have labels or only repeat frame 0.
        """
        logits = volumes.mean(sums)
        foreground = jax.nn.sigmoid(volumes.enlarge(logits))
        slots = jnp.where(foreground > self.tracking.foreground_threshold, 0, -1)
        labels = WindowLabels(
            jnp.full(1, TRACK, jnp.int32),
            statistics.slot_sums(
                slots,
                jnp.arange(len(sums)) >= known,
                num_slots=1,
                confidences={"foreground": foreground},
            ),
            tuple(label_codes.encode(slots, slots == 0, num_slots=1)),
        )
        return labels, jax.nn.sigmoid(logits)[..., None]


@jax.jit
def _blank(logits: Float[Array, "T h w"]) -> volumes.Sums:
    """What is known of a frame that no window has seen."""
    return jax.tree.map(lambda x: jnp.zeros_like(x[0]), volumes.sums_of(logits))


@jax.jit
def _add_up(
    sums: tuple[volumes.Sums, ...],
    logits: Float[Array, "T h w"],
    repeats: Int32[Array, ""],
) -> tuple[volumes.Sums, ...]:
    return volumes.add_up(sums, volumes.sums_of(logits), repeats, together=True)
