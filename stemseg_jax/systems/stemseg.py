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
from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int32, Key
from ml_collections import ConfigDict

from stemseg_jax.clustering import sequential
from stemseg_jax.losses import embedding, segmentation
from stemseg_jax.modules import (
    conv3d,
    fpn,
    heads,
    initialisers,
    norms,
    squeeze_expand,
)
from stemseg_jax.modules.backbones import BACKBONES
from stemseg_jax.ops import gaussian, mixing, pixels, resize
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.structures import ClipBatch, LossReport, Scalar
from stemseg_jax.tracking import stitching, windows
from stemseg_jax.tracks import Frame, Geometry, LabelledFrames, TrackStatistics

Pyramid = tuple[Float[Array, "B T _ _ C"], ...]  # strides 4, 8, 16, 32
FramePyramid = tuple[Float[Array, "B _ _ C"], ...]  # of one frame
STRIDE = 4  # of all output maps


class Maps(NamedTuple):
    """What the network says of a window, at stride 4."""

    embeddings: Float[Array, "B T h w E"]
    log_bandwidths: Float[Array, "B T h w V"]
    seediness: Float[Array, "B T h w"]
    class_logits: Float[Array, "B T h w C"] | None  # background first
    foreground_logits: Float[Array, "B T h w"] | None


# ----------------------------------------------------------------------------- network


class Network(nn.Module):
    """Backbone and FPN per frame; temporal squeeze-expand decoders per window.

    Attributes:
        num_classes: Classes of the semantic decoder, background included; 0: none.
        seediness_decoder: Whether seediness has a decoder of its own (DAVIS) or is a
            head of the embedding decoder (YouTube-VIS, KITTI-MOTS).
        freeze_backbone: Backbone and FPN get no gradient.
    """

    backbone: str = "resnet101"
    norm: norms.Norm = norms.FrozenBatchNorm
    backbone_fields: tuple[tuple[str, Any], ...] = ()
    freeze_backbone: bool = False
    fpn_channels: int = 256
    mixing: str = "xyff"
    decoder_channels: tuple[int, ...] = (256, 256, 128, 128)
    seediness_decoder: bool = False
    seediness_bias: float | None = None
    num_classes: int = 0
    foreground: bool = True
    semantic_channels: tuple[int, ...] = (256, 256, 128, 128)
    decoder_norm: norms.Norm = norms.group_norm()
    num_frames: int = 8
    convolution: str = "auto"
    initialiser: str = "torch"
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self):
        if self.backbone not in BACKBONES:
            raise ValueError(
                f"backbone={self.backbone!r} is unknown; known: {sorted(BACKBONES)}."
            )
        self.body = BACKBONES[self.backbone](
            norm=self.norm,
            remat=self.remat,
            dtype=self.dtype,
            name="body",
            **dict(self.backbone_fields),
        )
        self.fpn = fpn.FeaturePyramid(self.fpn_channels, dtype=self.dtype, name="fpn")
        decoder = functools.partial(
            squeeze_expand.SqueezeExpandDecoder,
            num_frames=self.num_frames,
            norm=self.decoder_norm,
            convolution=self.convolution,
            initialiser=self.initialiser,
            remat=self.remat,
            dtype=self.dtype,
        )
        self.embedding_decoder = decoder(channels=self.decoder_channels)
        self.embedding_head = heads.EmbeddingHead(
            self.mixing,
            seediness=not self.seediness_decoder,
            seediness_bias=self.seediness_bias,
            initialiser=self.initialiser,
        )
        if self.seediness_decoder:
            self.own_seediness_decoder = decoder(channels=self.decoder_channels)
            self.seediness_head = heads.SeedinessHead(
                self.seediness_bias, initialiser=self.initialiser
            )
        if self.num_classes:
            self.semantic_decoder = decoder(channels=self.semantic_channels)
            self.semantic_head = heads.SemanticHead(
                self.num_classes, self.foreground, initialiser=self.initialiser
            )

    def __call__(self, images: Float[Array, "B T H W 3"]) -> Maps:
        return self.decode(self.encode(images))

    def encode(self, images: Float[Array, "B T H W 3"]) -> Pyramid:
        """Features of normalised frames, each frame on its own."""
        B, T = images.shape[:2]
        maps = self.fpn(self.body(images.reshape(B * T, *images.shape[2:])))
        maps = tuple(x.reshape(B, T, *x.shape[1:]) for x in maps)
        return jax.lax.stop_gradient(maps) if self.freeze_backbone else maps

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
    """

    overlap: int = 4
    foreground_threshold: float = 0.25
    full_size: bool = False


class Sums(NamedTuple):
    """What the windows of one frame say together."""

    count: Float[Array, ""]
    foreground: Float[Array, "h w"]  # foreground logits, or seediness
    class_logits: Float[Array, "h w C"] | None


class Labels(NamedTuple):
    """One window's labels and what its new frames add to the tracks' statistics."""

    memory: Int32[Array, "T h w"]  # what the next windows are compared with
    output: Int32[Array, "T h w"]  # the same, or at full size
    next_id: Int32[Array, ""]
    ids: Int32[Array, "K"]  # of each slot, 0 for none
    cells: Int32[Array, "T K"]  # of each slot in each new frame
    logits: Float[Array, "K C"] | None  # summed over the new frames' cells
    votes: Int32[Array, "K C"] | None  # new cells whose best class is c


@dataclasses.dataclass(frozen=True, kw_only=True)
class STEmSeg:
    """The system: see `systems.base.System`."""

    network: Network
    convention: pixels.Convention
    size_rule: pixels.SizeRule
    free_dim_std: float
    loss_weights: tuple[tuple[str, float], ...]
    target: str
    released: bool
    clustering: sequential.Settings
    stitching: stitching.Settings
    tracking: TrackingSettings

    @classmethod
    def from_config(cls, config: ConfigDict) -> "STEmSeg":
        model, released = config.model, config.parity == "released"
        if config.parity not in ("paper", "released"):
            raise ValueError(f"parity={config.parity!r} is not 'paper' or 'released'.")
        rule = "released" if released else config.clustering.rule
        for option, value, known in (
            ("model.backbone", model.backbone, BACKBONES),
            ("model.mixing", model.mixing, mixing.MIXINGS),
            ("model.norm", model.norm, norms.NORMS),
            ("model.initialiser", model.initialiser, initialisers.INITIALISERS),
            ("model.conv3d", model.conv3d, conv3d.FORMS),
            ("loss.target", config.loss.target, masks_ops.TO_STRIDE),
        ):
            if value not in known:
                raise ValueError(f"{option}={value!r} is unknown; known: {[*known]}.")
        windows.Planner(config.num_frames, config.tracking.overlap)  # refuses a bad one
        body_norm = norms.NORMS[model.norm]
        if model.norm == "frozen_batch_norm":
            body_norm = functools.partial(body_norm, epsilon=model.norm_epsilon)
        body_fields = {"freeze_at": model.freeze_stages}
        if model.backbone in ("resnet50", "resnet101", "resnext101_32x8d"):
            body_fields["stride_in_1x1"] = model.stride_in_1x1
        network = Network(
            backbone=model.backbone,
            norm=body_norm,
            backbone_fields=tuple(body_fields.items()),
            freeze_backbone=model.freeze_backbone,
            fpn_channels=model.fpn_channels,
            mixing=model.mixing,
            decoder_channels=tuple(model.decoder_channels),
            seediness_decoder=model.seediness_decoder,
            seediness_bias=model.seediness_bias,
            num_classes=model.num_classes,
            foreground=model.foreground,
            semantic_channels=tuple(model.semantic_channels),
            decoder_norm=norms.group_norm(groups=model.decoder_norm_groups),
            num_frames=config.num_frames,
            convolution=model.conv3d,
            initialiser=model.initialiser,
            remat=model.remat,
            dtype=jnp.dtype(model.dtype),
        )
        return cls(
            network=network,
            convention=pixels.Convention(
                order=model.pixels.order,
                mean=tuple(model.pixels.mean),
                std=tuple(model.pixels.std),
            ),
            size_rule=pixels.SizeRule(
                min_dim=config.evaluation.min_dim, max_dim=config.evaluation.max_dim
            ),
            free_dim_std=model.free_dim_std,
            loss_weights=tuple(config.loss.weights.items()),
            target="and" if released else config.loss.target,
            released=released,
            clustering=sequential.Settings(**{**config.clustering, "rule": rule}),
            stitching=stitching.Settings(rule=rule),
            tracking=TrackingSettings(**config.tracking),
        )

    def frozen_modules(self) -> tuple[str, ...]:
        """Prefixes of the parameters that training leaves alone."""
        if self.network.freeze_backbone:
            return ("body", "fpn")
        stages = ("body/stem", *(f"body/stage{k}" for k in (1, 2, 3, 4)))
        return stages[: dict(self.network.backbone_fields)["freeze_at"]]

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> dict:
        """Fresh variables; they do not depend on the size of the frames."""
        return self.network.init(key, self.convention.normalise(batch.frames[:1]))

    def loss(
        self, variables: dict, batch: ClipBatch, key: Key[Array, ""]
    ) -> tuple[Scalar, LossReport]:
        """Lovasz hinge, smoothness, seediness and, with a semantic decoder, two more.

        Source: STEm-Seg, Sec. 3.2; the foreground term is the authors' code's.
            Differs from it in: normalised per clip, which is the same for the one clip
            per device that the authors train with.
        """
        del key  # nothing here is random
        images = self.convention.normalise(batch.frames)
        maps = self.network.apply(variables, images)
        terms = jax.vmap(self._clip_terms)(maps, batch)
        terms = {name: term.mean() for name, term in terms.items()}
        weights = dict(self.loss_weights)
        report = LossReport(terms, {name: weights[name] for name in terms})
        return report.total(), report

    def _clip_terms(self, maps: Maps, clip: ClipBatch) -> dict[str, Scalar]:
        """Of one clip: fields without the axis B."""
        parity = "released" if self.released else "paper"
        masks = masks_ops.TO_STRIDE[self.target](clip.masks)
        ignore = masks_ops.TO_STRIDE[self.target](clip.ignore)
        sums = embedding.clip_sums(
            maps.embeddings,
            maps.log_bandwidths,
            maps.seediness,
            masks,
            clip.valid,
            ignore,
            free_std=self._free_std,
            parity=parity,
        )
        terms = embedding.mean(jax.tree.map(lambda x: x[None], sums))._asdict()
        if maps.class_logits is not None:
            classes = segmentation.labels(masks, clip.categories, clip.valid)
            terms["semantic"] = segmentation.semantic(
                maps.class_logits, classes, ignore, parity=parity
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

    @property
    def _free_std(self) -> tuple[float, ...]:
        return (self.free_dim_std,) * mixing.get(self.network.mixing).free

    # ------------------------------------------------------------------------- track

    def track(
        self, variables: dict, frames: Iterator[Frame]
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Windows, clusters, tracks.

        A frame's labels are final once no later window can change its foreground: at
        most two window lengths after it came.

        Source: STEm-Seg, Sec. 3.3 and 3.4.
        """
        size = self.network.num_frames
        planner = windows.Planner(size, self.tracking.overlap)
        features: dict[int, FramePyramid] = {}
        maps: dict[int, Maps] = {}  # by the window's start
        sums: dict[int, Sums] = {}
        labels: dict[int, Array] = {}
        unlabelled = None
        statistics = Statistics()
        next_id = jnp.int32(1)
        arrived: list[np.ndarray] = []
        geometry = None

        for frame in itertools.chain(frames, [None]):
            if frame is not None:
                geometry = geometry or self._geometry(frame.image)
                _refuse_other_size(frame, geometry)
                arrived.append(frame.image)
            progress = planner.end() if frame is None else planner.arrive()

            for group in progress.groups:
                padding = [arrived[-1]] * (planner.group - len(group))
                images = np.stack(arrived + padding)
                arrived = []
                pyramids = self._encode(variables, images, geometry.resized)
                features.update(zip(group, pyramids, strict=False))

            for window in progress.complete:
                pyramid = tuple(features[index] for index in window.frames)
                maps[window.start] = self._decode(variables, pyramid)
                self._add_up(sums, window, maps[window.start])
            _forget(features, progress.keep_from)

            for window in progress.final:
                result = self._label(
                    maps.pop(window.start),
                    tuple(sums[index] for index in window.frames),
                    tuple(labels.get(index, unlabelled) for index in window.frames),
                    jnp.int32(max(-window.start, 0)),
                    jnp.int32(window.known),
                    next_id,
                )
                next_id = result.next_id
                unlabelled = jnp.zeros_like(result.memory[0])
                new = range(window.known, size)
                labels.update((window.start + k, result.memory[k]) for k in new)
                statistics.add(window.new, window.known, jax.device_get(result[3:]))
                yield LabelledFrames(
                    window.new, np.asarray(result.output[window.known :]), geometry
                )
                oldest = min([progress.keep_from, *maps])
                _forget(sums, oldest)
                _forget(labels, oldest)
        return statistics.finish()

    def _geometry(self, image: np.ndarray) -> Geometry:
        original = image.shape[:2]
        resized = self.size_rule.resized(*original)
        stride = 1 if self._labels_full_size else STRIDE
        height, width = pixels.padded(resized)
        return Geometry(original, resized, (height // stride, width // stride), stride)

    @property
    def _labels_full_size(self) -> bool:
        return self.tracking.full_size or self.clustering.rule == "refined"

    @functools.partial(jax.jit, static_argnums=(0, 3))
    def _encode(self, variables, images, resized) -> tuple[FramePyramid, ...]:
        """Features of a group of frames, frame by frame."""
        prepared = pixels.prepare(images, resized, self.convention)
        pyramid = self.network.apply(variables, prepared[None], method="encode")
        return tuple(
            tuple(level[:, k] for level in pyramid) for k in range(images.shape[0])
        )

    @functools.partial(jax.jit, static_argnums=0)
    def _decode(self, variables, pyramids: tuple[FramePyramid, ...]) -> Maps:
        """Maps of one window [T h w ...] from the features of its frames."""
        pyramid = jax.tree.map(lambda *levels: jnp.stack(levels, axis=1), *pyramids)
        maps = self.network.apply(variables, pyramid, method="decode")
        return jax.tree.map(lambda x: x[0], maps)

    def _add_up(self, sums: dict, window: windows.Window, maps: Maps) -> None:
        """Adds a window's foreground and classes to those of its frames.

        Frame 0 of a short video stands several times in its window. Like the authors,
        we average the semantic decoder's maps over all of them, but not the seediness.
        """
        for k, index in enumerate(window.frames):
            if maps.foreground_logits is None and window.start + k < 0:
                continue
            sums[index] = _add(sums.get(index), maps, k)

    @functools.partial(jax.jit, static_argnums=0)
    def _label(
        self,
        maps: Maps,
        sums: tuple[Sums, ...],
        previous: tuple[Int32[Array, "h w"] | None, ...],
        repeats: Int32[Array, ""],
        known: Int32[Array, ""],
        next_id: Int32[Array, ""],
    ) -> Labels:
        """Clusters one window and names its clusters.

        Args:
            maps: [T h w ...] at stride 4.
            sums: Of each frame.
            previous: Labels of each frame that has any yet.
            repeats: Places at the front that only repeat frame 0.
            known: Places at the front that have labels or are repeats.
        """
        T = maps.seediness.shape[0]
        refined = self.clustering.rule == "refined"
        K = self.clustering.max_instances
        mean = jax.tree.map(lambda *x: jnp.stack(x), *sums)
        mean = jax.tree.map(lambda x: _per_frame(1 / mean.count, x) * x, mean)
        foreground, logits = mean.foreground, mean.class_logits
        embeddings, seediness = maps.embeddings, maps.seediness
        bandwidths = gaussian.bandwidths(maps.log_bandwidths, self._free_std)
        if self.tracking.full_size and not refined:
            embeddings, bandwidths = _enlarge(embeddings), _enlarge(bandwidths)
            seediness, foreground = _enlarge(seediness), _enlarge(foreground)
            logits = None if logits is None else _enlarge(logits)
        if maps.foreground_logits is not None:  # enlarged as logits, by the authors too
            foreground = jax.nn.sigmoid(foreground)

        def chosen(foreground):
            is_real = (jnp.arange(T) >= repeats)[:, None, None]
            return is_real & (foreground > self.tracking.foreground_threshold)

        clusters = sequential.cluster(
            embeddings.reshape(-1, embeddings.shape[-1]),
            bandwidths.reshape(-1, bandwidths.shape[-1]),
            seediness.ravel(),
            chosen(foreground).ravel(),
            settings=self.clustering,
        )
        slots = clusters.labels.reshape(seediness.shape)
        if refined:  # whatever is foreground belongs to some object
            slots = sequential.assign_nearest(
                embeddings,
                chosen(foreground),
                clusters,
                min_probability=self.clustering.min_probability,
            )
        unlabelled = jnp.zeros(slots.shape[1:], jnp.int32)
        stitched = stitching.stitch(
            jnp.stack([unlabelled if x is None else x for x in previous]),
            slots,
            chosen(foreground),
            known,
            next_id,
            num_slots=K,
            max_alive=K * windows.labelling_windows(T, self.tracking.overlap),
            settings=self.stitching,
        )
        output = stitched.labels
        if refined:
            # Neighbouring cells vote on each pixel. Enlarging the embeddings instead
            # invents some in between two objects, which are near a third.
            size = tuple(STRIDE * n for n in foreground.shape[1:])
            full = resize.labels(slots, size, num_labels=K)
            full = jnp.where(chosen(_enlarge(foreground)), full, -1)
            output = jnp.where(full < 0, 0, stitched.ids[full])

        is_new = (jnp.arange(T) >= known)[:, None, None]
        counted = jnp.where(is_new & (slots >= 0), slots, K)  # [T h w]
        sum_by_slot = functools.partial(jax.ops.segment_sum, num_segments=K + 1)
        cells = jax.vmap(lambda x: sum_by_slot(jnp.ones_like(x), x))(
            counted.reshape(T, -1)
        )
        totals = votes = None
        if logits is not None:
            flat = logits.reshape(-1, logits.shape[-1])
            totals = sum_by_slot(flat, counted.ravel())[:K]
            votes = jnp.zeros((K + 1, flat.shape[-1]), jnp.int32)
            votes = votes.at[counted.ravel(), flat.argmax(axis=-1)].add(1)[:K]
        return Labels(
            stitched.labels,
            output,
            stitched.next_id,
            stitched.ids,
            cells[:, :K],
            totals,
            votes,
        )


class Statistics:
    """Collects what is known of each track while a video goes by."""

    def __init__(self):
        self._tracks: dict[int, dict] = {}  # in order of first appearance

    def add(self, first: int, known: int, window: tuple) -> None:
        """Takes (ids, cells, logits, votes) of a window; its frames from `known` on are
        the video's frames from `first` on."""
        ids, cells, logits, votes = window
        for frame, row in enumerate(cells[known:], start=first):
            for slot in sorted(np.flatnonzero(row), key=lambda k: ids[k]):
                track = self._tracks.setdefault(
                    int(ids[slot]), {"pixels": 0, "first": frame, "sums": (None, None)}
                )
                track["pixels"] += int(row[slot])
                track["last"] = frame
        if logits is None:
            return
        for slot in np.flatnonzero(cells.sum(axis=0)):
            track = self._tracks[int(ids[slot])]
            before = track["sums"]
            track["sums"] = tuple(
                new[slot] if old is None else old + new[slot]
                for old, new in zip(before, (logits, votes), strict=True)
            )

    def finish(self) -> dict[int, TrackStatistics]:
        """Of each track, in order of first appearance."""
        return {
            number: TrackStatistics(
                pixels=track["pixels"],
                first=track["first"],
                last=track["last"],
                logits=None
                if track["sums"][0] is None
                else track["sums"][0] / track["pixels"],
                votes=track["sums"][1],
            )
            for number, track in self._tracks.items()
        }


@functools.partial(jax.jit, static_argnums=2)
def _add(sums: Sums | None, maps: Maps, place: int) -> Sums:
    semantic = maps.foreground_logits is not None
    new = Sums(
        jnp.float32(1),
        (maps.foreground_logits if semantic else maps.seediness)[place],
        None if maps.class_logits is None else maps.class_logits[place],
    )
    return new if sums is None else jax.tree.map(jnp.add, sums, new)


def _per_frame(values: Float[Array, "T"], like: Array) -> Array:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _enlarge(maps: Float[Array, "T h w ..."]) -> Float[Array, "T H W ..."]:
    """From stride 4 to full size, bilinearly in space."""
    T, h, w = maps.shape[:3]
    flat = maps.reshape(T, h, w, -1)
    flat = resize.linear(flat, (h * STRIDE, w * STRIDE))
    return flat.reshape(T, h * STRIDE, w * STRIDE, *maps.shape[3:])


def _forget(by_frame: dict[int, Any], oldest: int) -> None:
    for index in [index for index in by_frame if index < oldest]:
        del by_frame[index]


def _refuse_other_size(frame: Frame, geometry: Geometry) -> None:
    if frame.image.shape[:2] != geometry.original:
        raise ValueError(
            f"Frame {frame.index} is {frame.image.shape[:2]}, but the video began with "
            f"{geometry.original} (height, width). All frames of a video must have one "
            "size: resize them or split the video."
        )
