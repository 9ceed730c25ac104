"""SRNet: spatial relations for online instance segmentation in videos.

Ying, Li, Chuah, ACM MM 2021. Two offsets in one coordinate system: every pixel points
at the centre of its object, and every object's centre points at where it was in the
frame before. Pixels around the best seeds are the objects of a frame; each takes the id
of the previous object that it points at. All that a frame hands to the next is one
coarse feature map and its objects' centres.

Where the paper leaves something open, the docstring of the part says what is done.
"""

import dataclasses
import functools
from collections.abc import Generator, Iterator
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int32, Key, UInt8
from ml_collections import ConfigDict

from stemseg_jax import choices, structures
from stemseg_jax.clustering import sequential
from stemseg_jax.geometry import Geometry, Size, SizeRule, padded
from stemseg_jax.losses import displacement, embedding, segmentation
from stemseg_jax.modules import heads, initialisers, norms, two_frame_decoder
from stemseg_jax.modules.encoder import STRIDE, Encoder, Pyramid
from stemseg_jax.ops import gaussian, heatmap, mixing, pixels, resize
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.structures import ClipBatch, Collections, LossReport, Scalar, Variables
from stemseg_jax.systems import steps
from stemseg_jax.tracking import association, label_codes, online, statistics
from stemseg_jax.tracks import Frame, LabelledFrames, Stages, TrackStatistics

ACTIVATIONS = {"tanh": lambda x: jnp.tanh(0.25 * x), "none": lambda x: x}
CENTRES = ("mass", "embedding", "box")
PAST = ("previous", "current")

# ----------------------------------------------------------------------------- network


class Maps(NamedTuple):
    """What the network says of frames, at stride 4."""

    embeddings: Float[Array, "*B h w E"]  # offset and grid: (y, x) of the centre, ...
    log_bandwidths: Float[Array, "*B h w 2"]
    objectness: Float[Array, "*B h w"]  # in [0, 1]
    tracking: Float[Array, "*B h w 2"]  # (y, x) from the centre to the previous one
    class_logits: Float[Array, "*B h w C"] | None  # background first


class Network(nn.Module):
    """Features of each frame; one decoder over two frames, a head per output.

    Only the tracking head sees the heat map of previous objects: no mask depends on it.

    Attributes:
        mixing: "xy", with up to three free dimensions.
        head_channels: Of the first convolution of every head.
        objectness_bias: Initial bias of the objectness logit; none: the initialiser's.
        num_classes: Background included; 0: there is no category head.

    Source: SRNet, Sec. 3. The paper gives no activation of the offsets; tanh(v / 4) is
        STEm-Seg's on the same grid.
    """

    encoder: Encoder
    decoder: two_frame_decoder.TwoFrameDecoder
    mixing: str
    embedding_activation: str
    head_channels: int
    objectness_bias: float | None
    num_classes: int
    initialiser: str

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Network":
        model = config.model
        schemes = initialisers.INITIALISERS
        scheme = choices.known("model.initialiser", model.initialiser, schemes)
        decoder = two_frame_decoder.TwoFrameDecoder(
            channels=tuple(model.decoder_channels),
            norm=norms.group_norm(
                groups=model.decoder_norm_groups, widths=model.decoder_channels
            ),
            initialiser=scheme,
            dtype=jnp.dtype(model.dtype),
        )
        return cls(
            encoder=Encoder.from_config(model),
            decoder=decoder,
            mixing=choices.known("model.mixing", model.mixing, mixing.PLANAR),
            embedding_activation=choices.known(
                "model.embedding_activation", model.embedding_activation, ACTIVATIONS
            ),
            head_channels=model.head_channels,
            objectness_bias=model.objectness_bias,
            num_classes=model.num_classes,
            initialiser=scheme,
        )

    def setup(self):
        nn.share_scope(self, self.encoder)
        head = functools.partial(
            heads.ConvolutionHead,
            width=self.head_channels,
            initialiser=self.initialiser,
        )
        bias = "scheme" if self.objectness_bias is None else self.objectness_bias
        self.embedding_head = head(mixing.get(self.mixing).dimensions)
        self.bandwidth_head = head(2)
        self.objectness_head = head(1, bias=bias)
        self.tracking_head = head(2)
        if self.num_classes:
            self.category_head = head(self.num_classes)

    def __call__(
        self, images: Float[Array, "B 2 H W 3"], heatmaps: Float[Array, "B h w"]
    ) -> Maps:
        """Maps of the second frame of each pair, given the objects of the first."""
        pyramid = self.encode(images)
        current = tuple(level[:, 1] for level in pyramid)
        return self.decode(current, pyramid[-1][:, 0], heatmaps)

    def encode(self, images: Float[Array, "*B H W 3"]) -> Pyramid:
        """Features of normalised frames, each frame on its own."""
        return self.encoder(images)

    def decode(
        self,
        pyramid: Pyramid,
        past: Float[Array, "B _ _ _"],
        heatmaps: Float[Array, "B h w"],
    ) -> Maps:
        """Maps of frames from their features and the coarsest ones of the past."""
        x = self.decoder(pyramid, past)
        offsets = ACTIVATIONS[self.embedding_activation](self.embedding_head(x))
        (grid,) = mixing.get(self.mixing).grid((1, *x.shape[1:3]))
        with_peaks = jnp.concatenate([x, heatmaps[..., None].astype(x.dtype)], axis=-1)
        return Maps(
            embeddings=offsets + grid,
            log_bandwidths=self.bandwidth_head(x),
            objectness=nn.sigmoid(self.objectness_head(x)[..., 0]),
            tracking=self.tracking_head(with_peaks),
            class_logits=self.category_head(x) if self.num_classes else None,
        )


# ------------------------------------------------------------------------------ system


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """What a frame takes from the one before, and at which size it is clustered.

    Attributes:
        instance_heatmap: Whether the tracking head sees the previous objects.
        temporal_features: "previous", or "current": the frame's own in their place.
        upsample: Whether maps are enlarged to the network's input size before
            clustering, with aligned corners, which keep the grid.
        centre: What is matched: the "mass" centre of a mask, the "embedding" of its
            seed, or the middle of its "box". Training is on mass centres.
    """

    instance_heatmap: bool
    temporal_features: str
    upsample: bool
    centre: str

    def __post_init__(self):
        choices.known("tracking.temporal_features", self.temporal_features, PAST)
        choices.known("tracking.centre", self.centre, CENTRES)


class State(NamedTuple):
    """What is remembered of the frame before."""

    features: Float[Array, "1 _ _ _"]  # of stride 32
    started: Bool[Array, ""]  # whether there was one
    objects: association.Objects  # in cells of the label map
    next_id: Int32[Array, ""]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SRNet:
    """The system: see `systems.base.System` and `tracking.online.Method`."""

    network: Network
    sizes: SizeRule
    free_std: tuple[float, ...]  # of each free dimension
    loss_weights: tuple[tuple[str, float], ...]
    target: str  # see `ops.masks.TO_STRIDE`
    overlap: str  # see `losses.embedding.OVERLAPS`
    noise: heatmap.Noise
    clustering: sequential.Settings
    tracking: TrackingSettings
    score: ClassVar[str] = "seed"  # of a track: the mean objectness of its seeds

    @classmethod
    def from_config(cls, config: ConfigDict) -> "SRNet":
        model, loss, frames = config.model, config.loss, config.evaluation
        options = dict(config.clustering)
        choices.known("parity", config.parity, ("paper",))  # no program was released
        if config.num_frames != 2:
            raise ValueError(
                f"num_frames={config.num_frames}: srnet trains on pairs; use 2, and "
                "data.sampling.gaps for how far apart they lie."
            )
        tracking = TrackingSettings(**config.tracking)
        if tracking.upsample:  # the option counts cells of stride 4
            options["min_cells"] *= STRIDE**2
        return cls(
            network=Network.from_config(config),
            sizes=SizeRule(min_dim=frames.min_dim, max_dim=frames.max_dim),
            free_std=(model.free_dim_std,) * mixing.get(model.mixing).free,
            loss_weights=tuple(loss.weights.items()),
            target=choices.known("loss.target", loss.target, masks_ops.TO_STRIDE),
            overlap=choices.known("loss.overlap", loss.overlap, embedding.OVERLAPS),
            noise=heatmap.Noise(**loss.heatmap_noise),
            clustering=sequential.Settings(**options),
            tracking=tracking,
        )

    def frozen_modules(self) -> tuple[str, ...]:
        return self.network.encoder.frozen_modules()

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> Variables:
        """Fresh variables; they do not depend on the size of the frames."""
        images = self._normalise(batch.frames[:1])
        size = (length // STRIDE for length in images.shape[2:4])
        return self.network.init(key, images, jnp.zeros((1, *size)))

    def _normalise(self, frames):
        return self.network.encoder.convention.normalise(frames)

    def steps(
        self, variables: Variables, frames: jax.ShapeDtypeStruct
    ) -> dict[str, steps.Step]:
        """Features of frames; maps of frames, given those before."""
        encode = steps.encode(self.network, frames)
        features = encode.gives(variables)
        peaks = jax.ShapeDtypeStruct(features["stride4"].shape[:3], jnp.float32)

        def decode(variables: Variables, arrays: steps.Arrays) -> steps.Arrays:
            given = steps.pyramid(arrays), arrays["past"], arrays["heatmap"]
            maps = self.network.apply(variables, *given, method="decode")
            return steps.named(maps)

        takes = {**features, "past": features["stride32"], "heatmap": peaks}
        meaning = steps.LEVELS | {
            "past": "stride32 of the frame before; of the first frame its own",
            "heatmap": "0 to 1: a Gaussian peak for each object of the frame before, "
            "at its centre; 0 everywhere for the first frame",
            "embeddings": "of each cell: the centre (y, x) of its object, and free "
            "dimensions; the shorter side of a frame spans -1 to 1",
            "log_bandwidths": steps.bandwidths(self.free_std),
            "objectness": "0 to 1: how well a cell stands for its object",
            "tracking": "(y, x) from the centre of its object to where that was",
            "class_logits": "background first",
        }
        return {"encode": encode, "decode": steps.Step(decode, takes, meaning)}

    # -------------------------------------------------------------------------- loss

    def loss(
        self, variables: Variables, batch: ClipBatch, keys: Key[Array, "B"]
    ) -> tuple[Scalar, LossReport, Collections]:
        """Of the second frame of each pair: IoU, smoothness, score, tracking, category.

        The keys draw the disturbance of the first frame's heat map.

        Source: SRNet, Eq. 3-9. Smoothness is on raw logits, as in STEm-Seg's code.
            Differs from the paper in: background that is to be ignored does not count;
            smoothness is squared, as `losses.embedding.terms` says.
        """
        masks = masks_ops.TO_STRIDE[self.target](batch.masks)  # [B N 2 h w]
        masks = masks & batch.valid[:, :, None, None, None]
        heatmaps = jax.vmap(self._disturbed_heatmap)(keys, masks[:, :, 0])
        images = self._normalise(batch.frames)
        maps = self.network.apply(variables, images, heatmaps)
        terms = jax.vmap(self._pair_terms)(maps, masks, batch)
        report = LossReport.of_clips(terms, dict(self.loss_weights))
        return report.total(), report, structures.collections(variables)

    def _disturbed_heatmap(
        self, key: Key[Array, ""], masks: Bool[Array, "N h w"]
    ) -> Float[Array, "h w"]:
        seen = masks_ops.outlines(masks)
        peaks = heatmap.Peaks(seen.centres, seen.sizes, seen.cells > 0)
        return heatmap.draw(heatmap.disturb(key, peaks, self.noise), masks.shape[1:])

    def _pair_terms(
        self, maps: Maps, masks: Bool[Array, "N 2 h w"], pair: ClipBatch
    ) -> dict[str, Scalar]:
        """Of one pair: fields without the axis B."""
        now = masks[:, 1:]
        ignore = masks_ops.ignored(pair.ignore[1:], now)
        found = embedding.terms(
            *(maps.embeddings[None], maps.log_bandwidths[None], maps.objectness[None]),
            *(now, pair.valid, ignore),
            free_std=self.free_std,
            overlap=self.overlap,
            seediness_mean="points",
            outside=masks_ops.outside(
                *(pair.within, ignore.shape),
                stride=pair.ignore.shape[-1] // ignore.shape[-1],
            ),
        )
        terms = {
            "overlap": found.overlap,
            "smoothness": found.smoothness,
            "score": found.seediness,
            "tracking": displacement.distance(maps.tracking, masks[:, 0], masks[:, 1]),
        }
        if maps.class_logits is not None:
            classes = segmentation.labels(now, pair.categories, pair.valid)
            logits = maps.class_logits[None]
            terms["category"] = segmentation.semantic(logits, classes, ignore)
        return terms

    # ------------------------------------------------------------------------- track

    def track(
        self, variables: Variables, frames: Iterator[Frame], *, maps: bool = False
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Frame by frame. An object that was missed for one frame has a new id.

        Source: SRNet, Algorithm 1.
            Differs from it in: see `clustering.sequential`. The score of a track, the
            mean objectness of its seeds, and its class, of the largest sum of logits,
            are ours.
        """
        return online.track(self, variables, frames, maps=maps)

    def stages(
        self, variables: Variables, images: UInt8[np.ndarray, "T H W 3"]
    ) -> Stages:
        return online.stages(self, variables, images)

    def geometry(self, original: Size) -> Geometry:
        stride = 1 if self.tracking.upsample else STRIDE
        return self.sizes.geometry(original, stride=stride)

    def start(self, variables: Variables, geometry: Geometry) -> State:
        return self._start(variables, padded(geometry.resized))

    @functools.partial(jax.jit, static_argnums=(0, 2))
    def _start(self, variables: Variables, size: Size) -> State:
        encode = functools.partial(self.network.apply, method="encode")
        features = jax.eval_shape(encode, variables, jnp.zeros((1, *size, 3)))[-1]
        return State(
            features=jnp.zeros(features.shape, features.dtype),
            started=jnp.array(False),
            objects=association.none(self.clustering.max_instances),
            next_id=jnp.int32(1),
        )

    def step(
        self,
        variables: Variables,
        state: State,
        frame: Frame,
        geometry: Geometry,
    ) -> tuple[State, online.Labels]:
        convention = self.network.encoder.convention
        images = pixels.prepare(frame.image[None], geometry.resized, convention)
        return self._step(variables, state, images)

    @functools.partial(jax.jit, static_argnums=0)
    def _step(
        self, variables: Variables, state: State, images: Float[Array, "1 H W 3"]
    ) -> tuple[State, online.Labels]:
        """The same from a prepared frame."""
        pyramid = self.network.apply(variables, images, method="encode")
        features, small = pyramid[-1], pyramid[0].shape[1:3]
        use_past = state.started & (self.tracking.temporal_features == "previous")
        scale = STRIDE if self.tracking.upsample else 1
        size = (scale * small[0], scale * small[1])
        maps = self.network.apply(
            variables,
            pyramid,
            jnp.where(use_past, state.features, features),
            self._heatmap(state.objects, size, small)[None],
            method="decode",
        )
        said = maps = jax.tree.map(lambda x: x[0], maps)
        if self.tracking.upsample:
            maps = jax.tree.map(_enlarge, maps)
        clusters, found, expected = self._detect(maps)
        found, next_id = association.associate(
            *(state.objects, found, expected, state.next_id),
            spacing=mixing.spacing(size),
        )
        slots = clusters.labels.reshape(size)
        sums = statistics.slot_sums(
            slots[None],
            jnp.ones(1, bool),
            num_slots=len(found.ids),
            logits=jax.tree.map(lambda x: x[None], maps.class_logits),
            confidences={"seediness": maps.objectness[None]},
        )
        sums.confidences["seed"] = clusters.seediness[None]
        return State(features, jnp.array(True), found, next_id), online.Labels(
            codes=label_codes.encode(
                slots, jnp.zeros(size, bool), num_slots=len(found.ids)
            ),
            ids=found.ids,
            sums=sums,
            maps={
                "embedding": said.embeddings,
                "bandwidth": gaussian.bandwidths(said.log_bandwidths),
                "seediness": said.objectness[..., None],
                "offset": said.tracking,
            },
        )

    def _heatmap(
        self, objects: association.Objects, labels: Size, size: Size
    ) -> Float[Array, "h w"]:
        """On a map of stride 4, of objects on the label map."""
        ratio = mixing.spacing(labels) / mixing.spacing(size)
        shown = objects.valid & self.tracking.instance_heatmap
        peaks = heatmap.Peaks(objects.centres * ratio, objects.sizes * ratio, shown)
        return heatmap.draw(peaks, size)

    def _detect(
        self, maps: Maps
    ) -> tuple[sequential.Clusters, association.Objects, Float[Array, "K 2"]]:
        """The objects of a frame, best first and still without ids, and where they say
        that they were."""
        size = maps.objectness.shape
        bandwidths = gaussian.bandwidths(maps.log_bandwidths, self.free_std)
        clusters = sequential.cluster(
            maps.embeddings.reshape(-1, maps.embeddings.shape[-1]),
            bandwidths.reshape(-1, bandwidths.shape[-1]),
            maps.objectness.ravel(),
            jnp.ones(maps.objectness.size, bool),
            settings=self.clustering,
        )
        slots = jnp.arange(self.clustering.max_instances)[:, None, None]
        seen = masks_ops.outlines(clusters.labels.reshape(size) == slots)
        centres = {
            "mass": seen.centres,
            "embedding": mixing.to_cells(clusters.centres[:, :2], size),
            "box": seen.middles,
        }[self.tracking.centre]
        steps = resize.nearest(maps.tracking, centres) / mixing.spacing(size)
        without_ids = jnp.zeros(len(slots), jnp.int32)
        objects = association.Objects(centres, seen.sizes, without_ids, clusters.valid)
        return clusters, objects, centres + steps


def _enlarge(values: Float[Array, "h w *rest"]) -> Float[Array, "H W *rest"]:
    """From stride 4 to full size."""
    h, w, *rest = values.shape
    size = (STRIDE * h, STRIDE * w)
    return resize.linear_corners(values.reshape(h, w, -1), size).reshape(*size, *rest)
