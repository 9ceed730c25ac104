"""STEm-Seg: spatio-temporal embeddings for instance segmentation in videos.

Athar, Mahadevan, Osep, Leal-Taixe, Leibe, ECCV 2020. A clip is a volume: every pixel
gets an embedding, a bandwidth and a seediness; around the best seeds, Gaussians in
embedding space gather the pixels of an object over all frames of the clip; clips
overlap, and what two of them say of the shared frames joins their objects.

Where paper and released program differ, `config.parity` chooses;
each such choice is named at its line.
"""

import dataclasses
import functools
from collections.abc import Generator, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, Key, UInt, UInt8
from ml_collections import ConfigDict

from stemseg_jax import choices, structures
from stemseg_jax.clustering import sequential
from stemseg_jax.geometry import SizeRule
from stemseg_jax.losses import embedding, segmentation
from stemseg_jax.modules import heads, squeeze_expand
from stemseg_jax.modules.encoder import STRIDE, Encoder, Pyramid
from stemseg_jax.modules.recipes import Recipe
from stemseg_jax.ops import gaussian, mixing, resize
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.structures import ClipBatch, Collections, LossReport, Scalar, Variables
from stemseg_jax.systems import steps, volumes
from stemseg_jax.tracking import label_codes, statistics, stitching, windows
from stemseg_jax.tracks import (
    Frame,
    LabelledFrames,
    Stage,
    Stages,
    TrackStatistics,
)

SCORES = ("size", "foreground", "confidence", "product")
CLASSES_OF = ("cells", "instances")

# ----------------------------------------------------------------------------- network


class Maps(NamedTuple):
    """What the network says of windows, at stride 4."""

    embeddings: Float[Array, "*B T h w E"]
    log_bandwidths: Float[Array, "*B T h w V"]
    seediness: Float[Array, "*B T h w"]
    class_logits: Float[Array, "*B T h w C"] | None  # background first
    foreground_logits: Float[Array, "*B T h w"] | None


class Network(nn.Module):
    """Features of each frame; a temporal squeeze-expand decoder per output.

    Attributes:
        decoder: Makes a decoder; takes `channels`.
        seediness_decoder: Whether seediness has a decoder of its own (DAVIS) or is a
            head of the embedding decoder (YouTube-VIS, KITTI-MOTS).
        num_classes: Classes of the semantic decoder, background included; 0: none.
    """

    encoder: Encoder
    decoder: Recipe
    num_frames: int
    mixing: str
    bandwidth_std: float | None
    decoder_channels: tuple[int, ...]
    seediness_decoder: bool
    seediness_bias: float | None
    num_classes: int
    foreground: bool
    semantic_channels: tuple[int, ...]
    initialiser: str

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Network":
        model = config.model
        widths = (*model.decoder_channels, *model.semantic_channels)
        return cls(
            encoder=Encoder.from_config(model),
            decoder=squeeze_expand.from_config(config, widths=widths),
            num_frames=config.num_frames,
            mixing=choices.known("model.mixing", model.mixing, mixing.MIXINGS),
            bandwidth_std=model.bandwidth_std,
            decoder_channels=tuple(model.decoder_channels),
            seediness_decoder=model.seediness_decoder,
            seediness_bias=model.seediness_bias,
            num_classes=model.num_classes,
            foreground=model.foreground,
            semantic_channels=tuple(model.semantic_channels),
            initialiser=model.initialiser,
        )

    def setup(self):
        nn.share_scope(self, self.encoder)
        self.embedding_decoder = self.decoder(channels=self.decoder_channels)
        self.embedding_head = heads.EmbeddingHead(
            self.mixing,
            bandwidth_std=self.bandwidth_std,
            seediness=not self.seediness_decoder,
            seediness_bias=self.seediness_bias,
            initialiser=self.initialiser,
        )
        if self.seediness_decoder:
            self.own_seediness_decoder = self.decoder(channels=self.decoder_channels)
            self.seediness_head = heads.SeedinessHead(
                self.seediness_bias, initialiser=self.initialiser
            )
        if self.num_classes:
            self.semantic_decoder = self.decoder(channels=self.semantic_channels)
            self.semantic_head = heads.SemanticHead(
                self.num_classes, self.foreground, initialiser=self.initialiser
            )

    def __call__(self, images: Float[Array, "B T H W 3"]) -> Maps:
        return self.decode(self.encode(images))

    def encode(self, images: Float[Array, "*B H W 3"]) -> Pyramid:
        """Features of normalised frames, each frame on its own."""
        return self.encoder(images)

    def decode(self, pyramid: Pyramid) -> Maps:
        """Maps of a window from the features of its frames."""
        return self._maps({k: decode(pyramid) for k, decode in self._decoders.items()})

    def frame_terms(self, pyramid: Pyramid) -> dict[str, squeeze_expand.Maps]:
        """Of each decoder: what of `decode` is the same in all windows of a frame."""
        decoders = self._decoders.items()
        return {k: decoder.frame_terms(pyramid) for k, decoder in decoders}

    def decode_terms(self, terms: tuple[dict[str, squeeze_expand.Maps], ...]) -> Maps:
        """As `decode`, from the terms of each frame of the window."""
        decoders = self._decoders.items()
        return self._maps(
            {k: decoder.of_terms([x[k] for x in terms]) for k, decoder in decoders}
        )

    @property
    def _decoders(self) -> dict[str, nn.Module]:
        decoders = {"embedding": self.embedding_decoder}
        if self.seediness_decoder:
            decoders["seediness"] = self.own_seediness_decoder
        if self.num_classes:
            decoders["semantic"] = self.semantic_decoder
        return decoders

    def _maps(self, decoded: dict[str, Float[Array, "B T h w _"]]) -> Maps:
        """What the heads read off the decoders' maps."""
        maps = self.embedding_head(decoded["embedding"])
        seediness = maps.seediness
        if self.seediness_decoder:
            seediness = self.seediness_head(decoded["seediness"])
        semantic = heads.SemanticMaps(None, None)
        if self.num_classes:
            semantic = self.semantic_head(decoded["semantic"])
        return Maps(maps.embeddings, maps.log_bandwidths, seediness, *semantic)


# ------------------------------------------------------------------------------ system


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """How windows become tracks.

    Attributes:
        overlap: Frames that neighbouring windows share.
        foreground_threshold: Of the foreground channel's probability where there is
            one, otherwise of the seediness; averaged over all windows of a frame.
        full_size: Whether maps are enlarged to the network's input size before
            clustering (the authors do so for YouTube-VIS).
        score: Of a track. "size": its pixels over those of the largest, as the authors
            have it. "foreground": the foreground, as it is compared with the threshold,
            averaged over its clustered cells of each frame and then over frames.
            "confidence": the mean of that, of its mean seediness, and of the
            probability of its class, if there are classes. "product": the seediness of
            its seeds, averaged over its frames, times the probability of its class.
        share_convolutions: See `volumes.SHARE`.
    """

    overlap: int
    foreground_threshold: float
    full_size: bool
    score: str
    share_convolutions: str

    def __post_init__(self):
        choices.known("tracking.score", self.score, SCORES)


class Semantic(NamedTuple):
    """What the windows of a frame say of it, each adding its own."""

    foreground: Float[Array, "*T h w"]  # foreground logits, or seediness
    class_logits: Float[Array, "*T h w C"] | None


class FrameMemory(NamedTuple):
    """What is remembered of one frame."""

    sums: volumes.Sums  # of `Semantic`
    labels: Int32[Array, "_ _"]  # what the next windows are compared with, once known
    ids: Int32[Array, "K"]  # all that are among them


class Points(NamedTuple):
    """What a window's clusters are made of."""

    embeddings: Float[Array, "T h w E"]
    bandwidths: Float[Array, "T h w V"]  # without those of free dimensions
    seediness: Float[Array, "T h w"]
    foreground: Float[Array, "T h w"]  # mean over all windows of a frame


class WindowLabels(NamedTuple):
    """One window's labels and what its new frames add to the tracks' statistics."""

    labels: tuple[Int32[Array, "_ _"], ...]  # of each frame, see `FrameMemory`
    codes: tuple[UInt[Array, "_ _"], ...]  # its labels, see `label_codes`; or full size
    next_id: Int32[Array, ""]
    ids: Int32[Array, "K"]  # of each slot, 0 for none
    sums: statistics.SlotSums


@dataclasses.dataclass(frozen=True, kw_only=True)
class STEmSeg:
    """The system: see `systems.base.System`."""

    network: Network
    sizes: SizeRule
    free_std: tuple[float, ...]  # of each free dimension
    loss_weights: tuple[tuple[str, float], ...]
    target: str  # see `ops.masks.TO_STRIDE`
    classes_of: str  # what has one: "cells" or "instances"
    parity: str  # "paper" or "released"
    clustering: sequential.Settings
    stitching: stitching.Settings
    tracking: TrackingSettings
    votes: bool  # whether tracks are asked for the votes of their pixels

    @classmethod
    def from_config(cls, config: ConfigDict) -> "STEmSeg":
        parity = choices.known("parity", config.parity, ("paper", "released"))
        target = choices.known("loss.target", config.loss.target, masks_ops.TO_STRIDE)
        classes_of = choices.known(
            "loss.classes_of", config.loss.classes_of, CLASSES_OF
        )
        rule = config.clustering.rule
        score = config.tracking.score
        if parity == "released":
            target, classes_of, rule, score = "and", "cells", "released", "size"
        windows.check(config.num_frames, config.tracking.overlap)
        return cls(
            network=Network.from_config(config),
            sizes=SizeRule(
                min_dim=config.evaluation.min_dim, max_dim=config.evaluation.max_dim
            ),
            free_std=(config.model.free_dim_std,)
            * mixing.get(config.model.mixing).free,
            loss_weights=tuple(config.loss.weights.items()),
            target=target,
            classes_of=classes_of,
            parity=parity,
            clustering=sequential.Settings(**{**config.clustering, "rule": rule}),
            stitching=stitching.Settings(rule=rule),
            tracking=TrackingSettings(**{**config.tracking, "score": score}),
            votes=config.selection.category_from == "votes",
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
        """Features of frames, maps of windows."""
        spec = mixing.get(self.network.mixing)
        axes = [*spec.coordinates, *spec.plain * ["plain"], *spec.free * ["free"]]
        meaning = {
            "embeddings": f"of each cell, along {', '.join(axes)}: near one another if "
            "cells are of one object, over all frames of a window",
            "log_bandwidths": steps.bandwidths(self.free_std),
            "seediness": "0 to 1: how well a cell stands for its object",
            "class_logits": "background first",
            "foreground_logits": "above 0 if a cell is more likely of an object",
        }
        return volumes.parts(
            *(self.network, variables, frames), named=steps.named, meaning=meaning
        )

    # -------------------------------------------------------------------------- loss

    def loss(
        self, variables: Variables, batch: ClipBatch, keys: Key[Array, "B"]
    ) -> tuple[Scalar, LossReport, Collections]:
        """Lovasz hinge, smoothness, seediness and, with a semantic decoder, two more.

        Source: STEm-Seg, Sec. 3.2; the foreground term is the authors' code's.
            Differs from it in: normalised per clip, which is the same for the one clip
            per device that the authors train with.
        """
        del keys  # nothing here is random
        maps = self.network.apply(variables, self._normalise(batch.frames))
        terms = jax.vmap(self._clip_terms)(maps, batch)
        report = LossReport.of_clips(terms, dict(self.loss_weights))
        return report.total(), report, structures.collections(variables)

    def _clip_terms(self, maps: Maps, clip: ClipBatch) -> dict[str, Scalar]:
        """Of one clip: fields without the axis B."""
        masks = masks_ops.TO_STRIDE[self.target](clip.masks)
        if self.parity == "released":
            # Borders of objects are background, even on ignored ground.
            ignore = masks_ops.central_and(clip.ignore)
        else:
            ignore = masks_ops.ignored(clip.ignore, masks)
        outside = masks_ops.outside(clip.within, ignore.shape, stride=STRIDE)
        found = embedding.terms(
            maps.embeddings,
            maps.log_bandwidths,
            maps.seediness,
            masks,
            clip.valid,
            ignore,
            free_std=self.free_std,
            parity=self.parity,
            outside=outside,
        )
        terms = {
            "lovasz": found.overlap,
            "smoothness": found.smoothness,
            "seediness": found.seediness,
        }
        if maps.class_logits is not None:
            terms["semantic"] = self._class_loss(
                maps.class_logits, masks, ignore, outside, clip
            )
        if maps.foreground_logits is not None:
            target = masks_ops.foreground(clip.masks, rule=self.target)
            terms["foreground"] = segmentation.foreground(
                maps.foreground_logits, target, ignore
            )
        return terms

    def _class_loss(self, logits, masks, ignore, outside, clip: ClipBatch) -> Scalar:
        if self.classes_of == "instances":
            return segmentation.of_instances(logits, masks, clip.categories, clip.valid)
        labels = segmentation.labels(masks, clip.categories, clip.valid)
        return segmentation.semantic(
            logits, labels, ignore, parity=self.parity, outside=outside
        )

    # ------------------------------------------------------------------------- track

    def track(
        self, variables: Variables, frames: Iterator[Frame], *, maps: bool = False
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Windows, clusters, tracks.

        A frame's labels are final once no later window can change its foreground: at
        most two window lengths after it came. They come out when the next window's
        work is under way, so that the device does not wait while the host fetches: at
        most three window lengths after the frame, and all when the video has ended.
        A frame also waits until its group is whole, see `volumes.GROUP`.

        Source: STEm-Seg, Sec. 3.3 and 3.4.
        """
        said: dict[int, Maps] = {}  # by the window's start
        memory: dict[int, FrameMemory] = {}
        blank = next_id = pending = None
        seen = statistics.Accumulator(score=self.tracking.score)
        for ready in volumes.decoded(
            *(self.network, variables, frames),
            num_frames=self.network.num_frames,
            overlap=self.tracking.overlap,
            share=self.tracking.share_convolutions,
            sizes=self.sizes,
            stride=1 if self._labels_full_size else STRIDE,
        ):
            for window, new in ready.complete:
                said[window.start] = new
                if blank is None:
                    # Where maps lie: the programs of the first window then do for all.
                    place = new.seediness.sharding
                    blank, next_id = jax.device_put(self._blank(new), place)
                old = tuple(memory.get(index, blank) for index in window.frames)
                repeats = np.int32(window.repeats)
                after = _add_up(old, new, repeats)
                memory.update(zip(window.frames, after, strict=True))
            for window in ready.final:
                old = tuple(memory[index] for index in window.frames)
                own, known = said.pop(window.start), window.known
                found = self._label(
                    own, old, np.int32(window.repeats), np.int32(known), next_id
                )
                next_id = found.next_id
                for index, labels in zip(
                    window.frames[known:], found.labels[known:], strict=True
                ):
                    memory[index] = FrameMemory(memory[index].sums, labels, found.ids)
                if pending:
                    yield pending.fetch(seen)
                arrays = volumes.ForHost(
                    *(found.ids, found.sums, found.codes[known:]),
                    _shown(own) if maps else None,
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
        maps = yield from volumes.stages(
            *(self.network, variables, images, self.sizes),
            overlap=self.tracking.overlap,
            share=self.tracking.share_convolutions,
        )
        blank, next_id = self._blank(maps)
        zero, known = np.int32(0), np.int32(self.tracking.overlap)

        def add_up(memory, maps):
            return _add_up(memory, maps, zero)

        def cluster(maps, memory):
            points = self._points(maps, volumes.mean(_sums(memory)).foreground)
            chosen = points.foreground > self.tracking.foreground_threshold
            return self._cluster(points, chosen)

        def stitch(memory, slots, next_id):
            return self._stitch(memory, slots, slots >= 0, jnp.asarray(known), next_id)

        def label(maps, memory, next_id):
            return self._label(maps, memory, zero, known, next_id)

        memory = yield Stage("add up windows", add_up, ((blank,) * T, maps), T)
        first = self._label(maps, memory, zero, zero, next_id)
        memory = tuple(
            FrameMemory(frame.sums, labels, first.ids)
            for frame, labels in zip(memory, first.labels, strict=True)
        )
        work = jax.jit(cluster), (maps, memory)
        slots, _ = yield Stage("cluster", *work, T, counted=False)
        work = jax.jit(stitch), (memory, slots, first.next_id)
        yield Stage("stitch", *work, T, counted=False)
        work, new = (label, (maps, memory, first.next_id)), T - self.tracking.overlap
        yield Stage("cluster, stitch, sum up", *work, new, counted=False)

    @property
    def _labels_full_size(self) -> bool:
        return self.tracking.full_size or self.clustering.rule == "refined"

    @property
    def _clusters_full_size(self) -> bool:
        return self.tracking.full_size and self.clustering.rule != "refined"

    @functools.partial(jax.jit, static_argnums=0)
    def _blank(self, maps: Maps) -> tuple[FrameMemory, Int32[Array, ""]]:
        """What is remembered of a frame that no window has seen; and the first id."""
        sums = volumes.sums_of(_semantic(maps))
        sums = jax.tree.map(lambda x: jnp.zeros_like(x[0]), sums)
        h, w = maps.seediness.shape[1:]
        scale = STRIDE if self._clusters_full_size else 1
        labels = jnp.zeros((scale * h, scale * w), jnp.int32)
        ids = jnp.zeros(self.clustering.max_instances, jnp.int32)
        return FrameMemory(sums, labels, ids), jnp.int32(1)

    @functools.partial(jax.jit, static_argnums=0)
    def _label(
        self,
        maps: Maps,
        memory: tuple[FrameMemory, ...],
        repeats: Int32[Array, ""],
        known: Int32[Array, ""],
        next_id: Int32[Array, ""],
    ) -> WindowLabels:
        """Clusters one window and names its clusters.

        Args:
            maps: [T h w ...] at stride 4.
            memory: Of each frame.
            repeats: Places at the front that only repeat frame 0.
            known: Places at the front that have labels or are repeats.
        """
        T, K = len(memory), self.clustering.max_instances
        mean = volumes.mean(_sums(memory))
        points = self._points(maps, mean.foreground)
        is_real = (jnp.arange(T) >= repeats)[:, None, None]
        chosen = is_real & (points.foreground > self.tracking.foreground_threshold)
        slots, seeds = self._cluster(points, chosen)
        stitched = self._stitch(memory, slots, chosen, known, next_id)
        shown, unassigned = slots, chosen
        if self.clustering.rule == "refined":
            shown = self._full_size(slots, points.foreground, known)
            unassigned = jnp.zeros(shown.shape, bool)
        sums = statistics.slot_sums(
            slots,
            jnp.arange(T) >= known,
            num_slots=K,
            logits=mean.class_logits,
            votes=self.votes,
            confidences=self._confidences(points, slots, seeds),
        )
        return WindowLabels(
            tuple(stitched.labels),
            tuple(label_codes.encode(shown, unassigned, num_slots=K)),
            stitched.next_id,
            stitched.ids,
            sums,
        )

    def _stitch(
        self,
        memory: tuple[FrameMemory, ...],
        slots: Int32[Array, "T _ _"],
        chosen: Bool[Array, "T _ _"],
        known: Int32[Array, ""],
        next_id: Int32[Array, ""],
    ) -> stitching.Stitched:
        T, K = len(memory), self.clustering.max_instances
        return stitching.stitch(
            jnp.stack([frame.labels for frame in memory]),
            slots,
            chosen,
            known,
            next_id,
            num_slots=K,
            max_alive=K * windows.labelling_windows(T, self.tracking.overlap),
            settings=self.stitching,
            known_ids=jnp.stack([frame.ids for frame in memory]),
        )

    def _points(self, maps: Maps, foreground: Float[Array, "T h w"]) -> Points:
        """What is clustered: a window's own maps, the foreground of all windows."""
        points = Points(
            embeddings=maps.embeddings,
            bandwidths=gaussian.bandwidths(maps.log_bandwidths),
            seediness=maps.seediness,
            foreground=foreground,
        )
        if self._clusters_full_size:
            points = jax.tree.map(volumes.enlarge, points)
        if maps.foreground_logits is None:
            return points
        # Enlarged as logits, by the authors too.
        return points._replace(foreground=jax.nn.sigmoid(points.foreground))

    def _cluster(
        self, points: Points, chosen: Bool[Array, "T h w"]
    ) -> tuple[Int32[Array, "T h w"], Float[Array, "K"]]:
        """The slot of each chosen point, -1 for none; the seediness of each seed."""
        clusters = sequential.cluster(
            points.embeddings.reshape(-1, points.embeddings.shape[-1]),
            points.bandwidths.reshape(-1, points.bandwidths.shape[-1]),
            points.seediness.ravel(),
            chosen.ravel(),
            settings=self.clustering,
            free=tuple(std**-2 for std in self.free_std),
        )
        if self.clustering.rule != "refined":
            return clusters.labels.reshape(chosen.shape), clusters.seediness
        nearest = sequential.assign_nearest(  # foreground belongs to some object
            points.embeddings,
            chosen,
            clusters,
            min_probability=self.clustering.min_probability,
        )
        return nearest, clusters.seediness

    def _confidences(
        self, points: Points, slots: Int32[Array, "T h w"], seeds: Float[Array, "K"]
    ) -> dict[str, Float[Array, "T h w"]]:
        """What is known of each point beside its class, as the score of tracks has
        it."""
        if self.tracking.score == "product":
            return {"seed": seeds[slots]}
        return {"foreground": points.foreground, "seediness": points.seediness}

    def _full_size(
        self,
        slots: Int32[Array, "T h w"],
        foreground: Float[Array, "T h w"],
        known: Int32[Array, ""],
    ) -> Int32[Array, "T H W"]:
        """The slot of each pixel, for which neighbouring cells vote; -1 for none.

        Enlarging the embeddings instead invents some in between two objects, which are
        near a third.

        Args:
            known: Frames at the front that nobody asks for; they are -1.
        """
        size = tuple(STRIDE * n for n in slots.shape[1:])

        def add_frame(index, shown):
            full = resize.labels(slots[index][None], size)
            chosen = volumes.enlarge(foreground[index][None])
            chosen = chosen > self.tracking.foreground_threshold
            return shown.at[index].set(jnp.where(chosen, full, -1)[0])

        T = len(slots)
        return lax.fori_loop(known, T, add_frame, jnp.full((T, *size), -1, jnp.int32))


@jax.jit
def _add_up(
    memory: tuple[FrameMemory, ...], maps: Maps, repeats: Int32[Array, ""]
) -> tuple[FrameMemory, ...]:
    """Adds a window's foreground and classes to those of its frames.

    Like the authors, we average the semantic decoder's maps over all places where frame
    0 of a short video stands, but not the seediness.
    """
    sums = volumes.add_up(
        _sums(memory),
        volumes.sums_of(_semantic(maps)),
        repeats,
        together=maps.foreground_logits is not None,
    )
    return tuple(
        frame._replace(sums=own) for frame, own in zip(memory, sums, strict=True)
    )


def _sums(memory: tuple[FrameMemory, ...]) -> tuple[volumes.Sums, ...]:
    return tuple(frame.sums for frame in memory)


def _semantic(maps: Maps) -> Semantic:
    """What a window adds to its frames: fields with an axis T."""
    if maps.foreground_logits is None:
        return Semantic(maps.seediness, maps.class_logits)
    return Semantic(maps.foreground_logits, maps.class_logits)


@jax.jit
def _shown(maps: Maps) -> dict[str, Float[Array, "T h w _"]]:
    return {
        "embedding": maps.embeddings,
        "bandwidth": gaussian.bandwidths(maps.log_bandwidths),
        "seediness": maps.seediness[..., None],
    }
