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
import itertools
import os
from collections.abc import Generator, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int32, Key, UInt
from ml_collections import ConfigDict

from stemseg_jax import choices, structures
from stemseg_jax.clustering import sequential
from stemseg_jax.geometry import Geometry, Size, SizeRule
from stemseg_jax.losses import embedding, segmentation
from stemseg_jax.modules import conv3d, heads, initialisers, norms, squeeze_expand
from stemseg_jax.modules.encoder import STRIDE, Encoder, Pyramid
from stemseg_jax.modules.recipes import Recipe
from stemseg_jax.ops import gaussian, mixing, pixels, resize
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.structures import ClipBatch, Collections, LossReport, Scalar, Variables
from stemseg_jax.tracking import label_codes, statistics, stitching, windows
from stemseg_jax.tracks import Frame, LabelledFrames, TrackStatistics

SCORES = ("size", "foreground", "confidence")

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
        scheme = choices.known(
            "model.initialiser", model.initialiser, initialisers.INITIALISERS
        )
        decoder = Recipe(
            squeeze_expand.SqueezeExpandDecoder,
            num_frames=config.num_frames,
            norm=norms.group_norm(
                groups=model.decoder_norm_groups,
                widths=(*model.decoder_channels, *model.semantic_channels),
            ),
            pooling=model.temporal_pooling,
            convolution=choices.known("model.conv3d", model.conv3d, conv3d.FORMS),
            initialiser=scheme,
            remat=model.remat,
            dtype=jnp.dtype(model.dtype),
        )
        return cls(
            encoder=Encoder.from_config(model),
            decoder=decoder,
            num_frames=config.num_frames,
            mixing=choices.known("model.mixing", model.mixing, mixing.MIXINGS),
            bandwidth_std=model.bandwidth_std,
            decoder_channels=tuple(model.decoder_channels),
            seediness_decoder=model.seediness_decoder,
            seediness_bias=model.seediness_bias,
            num_classes=model.num_classes,
            foreground=model.foreground,
            semantic_channels=tuple(model.semantic_channels),
            initialiser=scheme,
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

    def encode(self, images: Float[Array, "B T H W 3"]) -> Pyramid:
        """Features of normalised frames, each frame on its own."""
        return self.encoder(images)

    def decode(self, pyramid: Pyramid) -> Maps:
        """Maps of a window from the features of its frames."""
        maps = self.embedding_head(self.embedding_decoder(pyramid))
        seediness = maps.seediness
        if self.seediness_decoder:
            seediness = self.seediness_head(self.own_seediness_decoder(pyramid))
        semantic = heads.SemanticMaps(None, None)
        if self.num_classes:
            semantic = self.semantic_head(self.semantic_decoder(pyramid))
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
            probability of its class, if there are classes.
    """

    overlap: int
    foreground_threshold: float
    full_size: bool
    score: str

    def __post_init__(self):
        choices.known("tracking.score", self.score, SCORES)


class FrameSums(NamedTuple):
    """What the windows of one frame say together."""

    count: Float[Array, ""]
    foreground: Float[Array, "h w"]  # foreground logits, or seediness
    class_logits: Float[Array, "h w C"] | None


class FrameMemory(NamedTuple):
    """What is remembered of one frame."""

    sums: FrameSums
    labels: Int32[Array, "_ _"]  # what the next windows are compared with, once known


class Points(NamedTuple):
    """What a window's clusters are made of."""

    embeddings: Float[Array, "T h w E"]
    bandwidths: Float[Array, "T h w E"]
    seediness: Float[Array, "T h w"]
    foreground: Float[Array, "T h w"]  # mean over all windows of a frame
    class_logits: Float[Array, "T h w C"] | None  # the same


class WindowLabels(NamedTuple):
    """One window's labels and what its new frames add to the tracks' statistics."""

    memory: tuple[FrameMemory, ...]  # of each frame
    codes: tuple[UInt[Array, "_ _"], ...]  # its labels, see `label_codes`; or full size
    next_id: Int32[Array, ""]
    ids: Int32[Array, "K"]  # of each slot, 0 for none
    sums: statistics.SlotSums


class ForHost(NamedTuple):
    """What of a window crosses to the host."""

    ids: Int32[Array, "K"]
    sums: statistics.SlotSums
    codes: tuple[UInt[Array, "_ _"], ...]  # of the new frames
    maps: dict[str, Float[Array, "T _ _ _"]] | None  # of all


class Pending(NamedTuple):
    """A window whose labels are on their way."""

    window: windows.Window
    geometry: Geometry
    arrays: ForHost

    def send(self) -> "Pending":
        for array in jax.tree.leaves(self.arrays):
            array.copy_to_host_async()
        return self

    def fetch(self, seen: statistics.Accumulator) -> LabelledFrames:
        """Waits for them; what they say of tracks goes into `seen`."""
        ids, sums, codes, maps = jax.device_get(self.arrays)
        seen.add(self.window.start, ids, sums)
        return LabelledFrames(
            first=self.window.new,
            labels=label_codes.decode(np.stack(codes), ids),
            geometry=self.geometry,
            maps=maps and {k: maps[k][self.window.known :] for k in maps},
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class STEmSeg:
    """The system: see `systems.base.System`."""

    network: Network
    sizes: SizeRule
    free_std: tuple[float, ...]  # of each free dimension
    loss_weights: tuple[tuple[str, float], ...]
    target: str  # see `ops.masks.TO_STRIDE`
    parity: str  # "paper" or "released"
    clustering: sequential.Settings
    stitching: stitching.Settings
    tracking: TrackingSettings

    @classmethod
    def from_config(cls, config: ConfigDict) -> "STEmSeg":
        parity = choices.known("parity", config.parity, ("paper", "released"))
        target = choices.known("loss.target", config.loss.target, masks_ops.TO_STRIDE)
        rule = config.clustering.rule
        score = config.tracking.score
        if parity == "released":
            target, rule, score = "and", "released", "size"
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
            parity=parity,
            clustering=sequential.Settings(**{**config.clustering, "rule": rule}),
            stitching=stitching.Settings(rule=rule),
            tracking=TrackingSettings(**{**config.tracking, "score": score}),
        )

    def frozen_modules(self) -> tuple[str, ...]:
        return self.network.encoder.frozen_modules()

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> Variables:
        """Fresh variables; they do not depend on the size of the frames."""
        return self.network.init(key, self._normalise(batch.frames[:1]))

    def _normalise(self, frames):
        return self.network.encoder.convention.normalise(frames)

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
        found = embedding.terms(
            maps.embeddings,
            maps.log_bandwidths,
            maps.seediness,
            masks,
            clip.valid,
            ignore,
            free_std=self.free_std,
            parity=self.parity,
        )
        terms = {
            "lovasz": found.overlap,
            "smoothness": found.smoothness,
            "seediness": found.seediness,
        }
        if maps.class_logits is not None:
            classes = segmentation.labels(masks, clip.categories, clip.valid)
            terms["semantic"] = segmentation.semantic(
                maps.class_logits, classes, ignore, parity=self.parity
            )
        if maps.foreground_logits is not None:
            if self.target == "fraction":  # cells on a border are part foreground
                target = masks_ops.fraction(clip.masks.any(axis=0))
            else:
                target = masks.any(axis=0).astype(jnp.float32)
            terms["foreground"] = segmentation.foreground(
                maps.foreground_logits, target, ignore
            )
        return terms

    # ------------------------------------------------------------------------- track

    def track(
        self, variables: Variables, frames: Iterator[Frame], *, maps: bool = False
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Windows, clusters, tracks.

        A frame's labels are final once no later window can change its foreground: at
        most two window lengths after it came. They come out when the next window's
        work is under way, so that the device does not wait while the host fetches: at
        most three window lengths after the frame, and all when the video has ended.

        Source: STEm-Seg, Sec. 3.3 and 3.4.
        """
        size, overlap = self.network.num_frames, self.tracking.overlap
        stride = 1 if self._labels_full_size else STRIDE
        features: dict[int, Pyramid] = {}
        said: dict[int, Maps] = {}  # by the window's start
        memory: dict[int, FrameMemory] = {}
        blank = next_id = pending = None
        seen = statistics.Accumulator(score=self.tracking.score)
        for groups, progress in windows.schedule(frames, size, overlap):
            for group in groups:
                geometry = self.sizes.geometry(group.images.shape[1:3], stride=stride)
                pyramids = self._encode_group(variables, group, geometry.resized)
                features.update(zip(group.indices, pyramids, strict=False))
            for window in progress.complete:
                pyramids = tuple(features[index] for index in window.frames)
                new = said[window.start] = _decode(self.network, variables, pyramids)
                if blank is None:
                    # Where maps lie: the programs of the first window then do for all.
                    place = new.seediness.sharding
                    blank, next_id = jax.device_put(self._blank(new), place)
                old = tuple(memory.get(index, blank) for index in window.frames)
                repeats = np.int32(window.repeats)
                after = _add_up(old, new, repeats)
                memory.update(zip(window.frames, after, strict=True))
            _forget(features, progress.keep_from)
            for window in progress.final:
                old = tuple(memory[index] for index in window.frames)
                own, known = said.pop(window.start), window.known
                found = self._label(
                    own, old, np.int32(window.repeats), np.int32(known), next_id
                )
                next_id = found.next_id
                labelled = zip(window.frames, found.memory, strict=True)
                memory.update(itertools.islice(labelled, known, None))
                _forget(memory, min([progress.keep_from, *said]))
                if pending:
                    yield pending.fetch(seen)
                shown = _shown(own) if maps else None
                arrays = ForHost(found.ids, found.sums, found.codes[known:], shown)
                pending = Pending(window, geometry, arrays).send()
        yield pending.fetch(seen)
        return seen.finish()

    @property
    def _labels_full_size(self) -> bool:
        return self.tracking.full_size or self.clustering.rule == "refined"

    @property
    def _clusters_full_size(self) -> bool:
        return self.tracking.full_size and self.clustering.rule != "refined"

    def _encode_group(
        self, variables: Variables, group: windows.Group, resized: Size
    ) -> Sequence[Pyramid]:
        """Features of each frame of a group.

        On CPU the frames go one by one, in a thread for each core: maps of a whole
        group fit no cache, and XLA by itself leaves cores idle.
        """
        network = self.network

        def encode(images):
            prepared = pixels.prepare(images, resized, network.encoder.convention)
            return _encode(network, variables, prepared)

        def encode_alone(image):
            (pyramid,) = encode(image[None])
            return jax.block_until_ready(pyramid)

        if jax.default_backend() != "cpu":
            return encode(group.images)
        return list(_threads().map(encode_alone, group.images[: len(group.indices)]))

    @functools.partial(jax.jit, static_argnums=0)
    def _blank(self, maps: Maps) -> tuple[FrameMemory, Int32[Array, ""]]:
        """What is remembered of a frame that no window has seen; and the first id."""
        sums = jax.tree.map(lambda x: jnp.zeros_like(x[0]), _window_sums(maps))
        h, w = maps.seediness.shape[1:]
        scale = STRIDE if self._clusters_full_size else 1
        labels = jnp.zeros((scale * h, scale * w), jnp.int32)
        return FrameMemory(sums, labels), jnp.int32(1)

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
        points = self._points(maps, tuple(frame.sums for frame in memory))
        is_real = (jnp.arange(T) >= repeats)[:, None, None]
        chosen = is_real & (points.foreground > self.tracking.foreground_threshold)
        slots = self._cluster(points, chosen)
        stitched = stitching.stitch(
            jnp.stack([frame.labels for frame in memory]),
            slots,
            chosen,
            known,
            next_id,
            num_slots=K,
            max_alive=K * windows.labelling_windows(T, self.tracking.overlap),
            settings=self.stitching,
        )
        shown, unassigned = slots, chosen
        if self.clustering.rule == "refined":
            full = self._full_size(slots, points.foreground)
            shown = jnp.where(is_real, full, -1)
            unassigned = jnp.zeros(shown.shape, bool)
        sums = statistics.slot_sums(
            slots,
            jnp.arange(T) >= known,
            num_slots=K,
            logits=points.class_logits,
            confidences={
                "foreground": points.foreground,
                "seediness": points.seediness,
            },
        )
        return WindowLabels(
            tuple(
                frame._replace(labels=labels)
                for frame, labels in zip(memory, stitched.labels, strict=True)
            ),
            tuple(label_codes.encode(shown, unassigned, num_slots=K)),
            stitched.next_id,
            stitched.ids,
            sums,
        )

    def _points(self, maps: Maps, sums: tuple[FrameSums, ...]) -> Points:
        """What is clustered: a window's own maps, the foreground of all windows."""
        mean = jax.tree.map(lambda *x: jnp.stack(x), *sums)
        mean = jax.tree.map(lambda x: _per_frame(1 / mean.count, x) * x, mean)
        points = Points(
            embeddings=maps.embeddings,
            bandwidths=gaussian.bandwidths(maps.log_bandwidths, self.free_std),
            seediness=maps.seediness,
            foreground=mean.foreground,
            class_logits=mean.class_logits,
        )
        if self._clusters_full_size:
            points = jax.tree.map(_enlarge, points)
        if maps.foreground_logits is None:
            return points
        # Enlarged as logits, by the authors too.
        return points._replace(foreground=jax.nn.sigmoid(points.foreground))

    def _cluster(
        self, points: Points, chosen: Bool[Array, "T h w"]
    ) -> Int32[Array, "T h w"]:
        """The slot of each chosen point; -1 for none."""
        clusters = sequential.cluster(
            points.embeddings.reshape(-1, points.embeddings.shape[-1]),
            points.bandwidths.reshape(-1, points.bandwidths.shape[-1]),
            points.seediness.ravel(),
            chosen.ravel(),
            settings=self.clustering,
        )
        if self.clustering.rule != "refined":
            return clusters.labels.reshape(chosen.shape)
        return sequential.assign_nearest(  # foreground belongs to some object
            points.embeddings,
            chosen,
            clusters,
            min_probability=self.clustering.min_probability,
        )

    def _full_size(
        self, slots: Int32[Array, "T h w"], foreground: Float[Array, "T h w"]
    ) -> Int32[Array, "T H W"]:
        """The slot of each pixel, for which neighbouring cells vote; -1 for none.

        Enlarging the embeddings instead invents some in between two objects, which are
        near a third.
        """
        size = tuple(STRIDE * n for n in slots.shape[1:])
        full = resize.labels(slots, size)
        chosen = _enlarge(foreground) > self.tracking.foreground_threshold
        return jnp.where(chosen, full, -1)


@functools.cache
def _threads() -> futures.ThreadPoolExecutor:
    return futures.ThreadPoolExecutor(os.cpu_count())


@functools.partial(jax.jit, static_argnums=0)
def _encode(
    network: Network, variables: Variables, images: Float[Array, "T H W 3"]
) -> tuple[Pyramid, ...]:
    """Features of prepared frames, frame by frame."""
    pyramid = network.apply(variables, images[None], method="encode")
    return tuple(
        tuple(level[:, k] for level in pyramid) for k in range(images.shape[0])
    )


@functools.partial(jax.jit, static_argnums=0)
def _decode(
    network: Network, variables: Variables, pyramids: tuple[Pyramid, ...]
) -> Maps:
    """Maps of one window [T h w ...] from the features of its frames."""
    pyramid = jax.tree.map(lambda *levels: jnp.stack(levels, axis=1), *pyramids)
    maps = network.apply(variables, pyramid, method="decode")
    return jax.tree.map(lambda x: x[0], maps)


@jax.jit
def _add_up(
    memory: tuple[FrameMemory, ...], maps: Maps, repeats: Int32[Array, ""]
) -> tuple[FrameMemory, ...]:
    """Adds a window's foreground and classes to those of its frames.

    Frame 0 of a short video stands several times in its window; the last place has its
    sums. Like the authors, we average the semantic decoder's maps over all of them, but
    not the seediness.
    """
    new, after = _window_sums(maps), []
    for k, frame in enumerate(memory):
        before = frame.sums
        if k and maps.foreground_logits is not None:
            repeated = after[-1].sums
            before = jax.tree.map(
                functools.partial(jnp.where, k <= repeats), repeated, before
            )
        sums = jax.tree.map(lambda total, x, k=k: total + x[k], before, new)
        after.append(frame._replace(sums=sums))
    return tuple(after)


def _window_sums(maps: Maps) -> FrameSums:
    """What one window says of its frames: fields with an axis T."""
    semantic = maps.foreground_logits is not None
    return FrameSums(
        jnp.ones(maps.seediness.shape[0]),
        maps.foreground_logits if semantic else maps.seediness,
        maps.class_logits,
    )


@jax.jit
def _shown(maps: Maps) -> dict[str, Float[Array, "T h w _"]]:
    return {
        "embedding": maps.embeddings,
        "bandwidth": gaussian.bandwidths(maps.log_bandwidths),
        "seediness": maps.seediness[..., None],
    }


def _per_frame(values: Float[Array, "T"], like: Array) -> Array:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _enlarge(maps: Float[Array, "T h w *rest"]) -> Float[Array, "T H W *rest"]:
    """From stride 4 to full size, bilinearly in space."""
    T, h, w = maps.shape[:3]
    flat = maps.reshape(T, h, w, -1)
    flat = resize.linear(flat, (h * STRIDE, w * STRIDE))
    return flat.reshape(T, h * STRIDE, w * STRIDE, *maps.shape[3:])


def _forget(by_frame: dict[int, Any], oldest: int) -> None:
    for index in [index for index in by_frame if index < oldest]:
        del by_frame[index]
