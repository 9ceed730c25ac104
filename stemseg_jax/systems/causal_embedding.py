"""The causal spatio-temporal embedding, with depth that learns from motion.

Hu, Kendall, Cipolla, "Learning a Spatio-Temporal Embedding for Video Instance
Segmentation" (arXiv 1912.08969). Each frame is encoded on its own; a temporal model
that looks back, and never ahead, makes of it an embedding of each pixel and a depth.
Pixels of one object lie near each other in the embedding over all frames, so that mean
shift over the last few frames finds the objects of the newest, and the means of those
that were seen say which is which. Depth has no labels: it has to explain how the view
of the neighbouring frames follows from the camera's motion. What is an object at all
is said by a network of its own.

The authors released no program. What their paper leaves open is decided as the
docstrings say; "ours" where nobody else's rule was at hand.
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
from stemseg_jax.clustering import mean_shift
from stemseg_jax.geometry import Geometry, Size, SizeRule, cover, padded
from stemseg_jax.losses import depth, discriminative, segmentation
from stemseg_jax.modules import backbones, norms
from stemseg_jax.modules.causal import TemporalModel
from stemseg_jax.modules.pose import PoseNetwork
from stemseg_jax.modules.skip_encoder import SkipEncoder
from stemseg_jax.modules.upsampling_decoder import UpsamplingDecoder
from stemseg_jax.ops import pixels
from stemseg_jax.structures import ClipBatch, Collections, LossReport, Scalar, Variables
from stemseg_jax.systems import steps
from stemseg_jax.tracking import (
    embedding_memory,
    label_codes,
    nearest_means,
    online,
    previous_frame,
    statistics,
)
from stemseg_jax.tracks import Frame, LabelledFrames, Stages, TrackStatistics

TEMPORAL = ("causal", "none")
PARTS = ("embedding", "foreground")  # that train, together or one after the other
SPANS = ("clip", "frame")  # over which the embedding of an object is to be one
IDENTITIES = ("embedding", "overlap")
PAST = ("past0", "past1")  # of the temporal model, as exported

# ----------------------------------------------------------------------------- network


class Maps(NamedTuple):
    """What the main network says of frames."""

    embeddings: Float[Array, "*B H W E"]
    disparity_logits: Float[Array, "*B H W"] | None


class Said(NamedTuple):
    """What is said of training clips; None where a part does not train."""

    maps: Maps | None
    motions: Float[Array, "B _ 6"] | None  # from each frame to the next
    foreground_logits: Float[Array, "B T H W"] | None


class Network(nn.Module):
    """The main network, the pose network, which only training needs, and that of the
    foreground, which shares nothing with them.

    Source: Sec. 3 and Table 5, whose numbers of parameters say more than its text.
    """

    encoder: SkipEncoder
    temporal: TemporalModel | None
    embedding_decoder: UpsamplingDecoder
    depth_decoder: UpsamplingDecoder | None
    pose: PoseNetwork | None
    mask_encoder: SkipEncoder
    mask_decoder: UpsamplingDecoder

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Network":
        model = config.model
        dtype = jnp.dtype(model.dtype)
        norm = norms.named(model.norm, epsilon=model.norm_epsilon)
        choices.known("model.temporal", model.temporal, TEMPORAL)
        channels = tuple(model.encoder_channels)
        encoder = functools.partial(
            SkipEncoder.from_config, model, channels=channels, norm=norm
        )
        decoder = functools.partial(
            UpsamplingDecoder,
            widths=tuple(model.decoder_channels),
            upsample=model.upsample,
            norm=norm,
            dtype=dtype,
        )
        temporal = TemporalModel(
            model.temporal_blocks, channels[-1], norm=norm, dtype=dtype
        )
        pose = PoseNetwork(
            backbones.from_config(model),
            width=model.pose_channels,
            reach=tuple(model.pose_reach),
            dtype=dtype,
        )
        return cls(
            encoder=encoder(),
            temporal=temporal if model.temporal == "causal" else None,
            embedding_decoder=decoder(model.embedding_dims),
            depth_decoder=decoder(1) if model.depth else None,
            pose=pose if model.depth else None,
            mask_encoder=encoder(),
            mask_decoder=decoder(1),
        )

    def __call__(
        self,
        images: Float[Array, "B T H W 3"],
        clean: Float[Array, "B T H W 3"],
        parts: tuple[str, ...] = PARTS,
    ) -> Said:
        """What the loss needs of clips.

        Args:
            images: As the encoders take them.
            clean: Colours in [0, 1] as the camera saw them.
            parts: Those that train.
        """
        maps = motions = logits = None
        if "embedding" in parts:
            maps, _ = self.look(images)
            if self.pose is not None and images.shape[1] > 1:
                motions = self.motion(clean)
        if "foreground" in parts:
            logits = self.foreground(images)
        return Said(maps, motions, logits)

    def look(
        self,
        images: Float[Array, "B T H W 3"],
        past: tuple[Float[Array, "B _ h w _"], ...] | None = None,
    ) -> tuple[Maps, tuple[Float[Array, "B _ h w _"], ...]]:
        """Maps of frames from these and the past, and what the next ones need of it.

        Without a past these are the first frames.
        """
        codes = self.encoder(images)
        if self.temporal is None:
            past = ()
        else:
            codes, past = self.temporal(codes, past or None)
        logits = None
        if self.depth_decoder is not None:
            logits = self.depth_decoder(codes)[..., 0]
        return Maps(self.embedding_decoder(codes), logits), past

    def motion(self, clean: Float[Array, "B T H W 3"]) -> Float[Array, "B _ 6"]:
        """Of the camera, from each frame to the next."""
        return self.pose(jnp.concatenate([clean[:, :-1], clean[:, 1:]], axis=-1))

    def foreground(self, images: Float[Array, "*B H W 3"]) -> Float[Array, "*B H W"]:
        return self.mask_decoder(self.mask_encoder(images))[..., 0]


# ------------------------------------------------------------------------------ system


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """How the objects of a frame are found and named.

    Attributes:
        span: Frames whose embeddings are clustered together, the newest among them.
        foreground_threshold: Probability above which a pixel belongs to an object.
        identity: By "embedding", or by "overlap" with the masks of the frame before.
        radius: Within which the mean of a cluster is that of a known track.
        time_to_live: Frames after which a track that was not seen is forgotten; none:
            never.
        max_tracks: That are remembered.
        true_masks: The foreground is that of the annotations (Table 3).
        true_means: A pixel belongs to the object of the annotations whose mean in this
            frame is nearest, if within the radius; identities are found as ever.
        seed: Of the seeds of mean shift.
    """

    span: int
    foreground_threshold: float
    identity: str
    radius: float
    time_to_live: int | None
    max_tracks: int
    true_masks: bool
    true_means: bool
    seed: int

    def __post_init__(self):
        choices.known("tracking.identity", self.identity, IDENTITIES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """What trains, and how.

    Attributes:
        parts: Of the network, see `PARTS`.
        weights: Of each term.
        span: Whether embeddings are to agree over a "clip" or in each "frame" alone.
    """

    parts: tuple[str, ...]
    weights: tuple[tuple[str, float], ...]
    span: str
    attraction_radius: float
    repulsion_radius: float
    automask: str

    def __post_init__(self):
        for part in self.parts:
            choices.known("loss.parts", part, PARTS)
        choices.known("loss.span", self.span, SPANS)
        choices.known("loss.automask", self.automask, depth.AUTOMASKS)


class State(NamedTuple):
    """What is remembered of the frames before."""

    past: tuple[Float[Array, "1 _ _ _ _"], ...]  # of the temporal model
    memory: embedding_memory.Memory
    tracks: nearest_means.Tracks
    previous: previous_frame.Masks
    frame: Int32[Array, ""]
    next_id: Int32[Array, ""]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CausalEmbedding:
    """The system: see `systems.base.System` and `tracking.online.Method`."""

    network: Network
    sizes: SizeRule
    exact: Size | None  # to which frames are squeezed, if they are in training
    depth_range: tuple[float, float]  # nearest and farthest
    objective: Loss
    clustering: mean_shift.Settings
    tracking: TrackingSettings
    # Ours: mean probability, over the frames of a track; the paper scores images.
    score: ClassVar[str] = "foreground"

    @classmethod
    def from_config(cls, config: ConfigDict) -> "CausalEmbedding":
        loss, frames = config.loss, config.evaluation
        choices.known("parity", config.parity, ("paper",))  # no program was released
        if config.model.num_classes:
            raise ValueError(
                f"model.num_classes={config.model.num_classes}: causal_embedding "
                "tells no classes apart; use 0, and data.options to choose one."
            )
        model, data = config.model, config.data
        frozen = model.freeze_stages or model.freeze_backbone
        if model.norm == "batch_norm" and frozen:
            raise ValueError(
                "model.norm='batch_norm' learns statistics in frozen layers, too: use "
                "model.freeze_stages=0 and freeze_backbone=False, or another norm."
            )
        if config.tracking.max_tracks < config.clustering.max_instances:
            raise ValueError(
                f"tracking.max_tracks={config.tracking.max_tracks} are fewer than the "
                f"clustering.max_instances={config.clustering.max_instances} of a frame"
                "; there has to be room for all of them."
            )
        squeezed = None
        if "resize" in data.transforms:
            squeezed = (data.height or data.min_dim, data.width or data.max_dim)
        return cls(
            network=Network.from_config(config),
            sizes=SizeRule(min_dim=frames.min_dim, max_dim=frames.max_dim),
            exact=squeezed,
            depth_range=tuple(config.model.depth_range),
            objective=Loss(
                parts=tuple(loss.parts),
                weights=tuple(loss.weights.items()),
                span=loss.span,
                attraction_radius=loss.attraction_radius,
                repulsion_radius=loss.repulsion_radius,
                automask=loss.automask,
            ),
            clustering=mean_shift.Settings(**config.clustering),
            tracking=TrackingSettings(**config.tracking),
        )

    def frozen_modules(self) -> tuple[str, ...]:
        """The parts that do not train, and the first stages of the backbones."""
        network = self.network
        main = ("encoder", "temporal", "embedding_decoder", "depth_decoder", "pose")
        modules = {"embedding": main, "foreground": ("mask_encoder", "mask_decoder")}
        idle = [p for p in PARTS if p not in self.objective.parts]
        pose = network.pose and network.pose.backbone()
        return (
            *(module for part in idle for module in modules[part]),
            *network.encoder.frozen_modules("encoder/"),
            *network.mask_encoder.frozen_modules("mask_encoder/"),
            *(backbones.frozen_stages(pose, "pose/body/") if pose else ()),
        )

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> Variables:
        """Fresh variables of all parts; they do not depend on the clips."""
        pair = jnp.zeros((1, 2, *batch.frames.shape[2:]))
        return self.network.init(key, pair, pair)

    def _normalise(self, frames):
        return self.network.encoder.convention.normalise(frames)

    def steps(
        self, variables: Variables, frames: jax.ShapeDtypeStruct
    ) -> dict[str, steps.Step]:
        """Maps of the next frame of each of B videos; what is an object in B frames."""

        def look(variables: Variables, arrays: steps.Arrays) -> steps.Arrays:
            images = self._normalise(arrays["frames"])[:, None]
            past = tuple(arrays[name] for name in PAST if name in arrays)
            maps, past = self.network.apply(variables, images, past, method="look")
            maps = jax.tree.map(lambda x: x[:, 0], maps)
            said = {"embeddings": maps.embeddings, "depth": self._depth(maps)}
            said = {name: x for name, x in said.items() if x is not None}
            return said | dict(zip(PAST, past, strict=False))

        def foreground(variables: Variables, arrays: steps.Arrays) -> steps.Arrays:
            images = self._normalise(arrays["frames"])
            logits = self.network.apply(variables, images, method="foreground")
            return {"foreground_logits": logits}

        squeezed = ", squeezed to {} x {}".format(*self.exact) if self.exact else ""
        meaning = {
            "frames": steps.IMAGES["frames"] + squeezed,
            **dict.fromkeys(PAST, "what the frame before gave; 0 for the first one"),
            "embeddings": "of each pixel: near one another if they are of one object, "
            "over the last frames",
            "depth": "of each pixel, from {:g} to {:g}".format(*self.depth_range),
            "foreground_logits": "above 0 if a pixel is more likely of an object",
        }
        first = steps.Step(look, {"frames": frames}, meaning)
        past = {k: x for k, x in first.gives(variables).items() if k in PAST}
        return {
            "look": first._replace(takes=first.takes | past),
            "foreground": first._replace(apply=foreground),
        }

    # -------------------------------------------------------------------------- loss

    def loss(
        self, variables: Variables, batch: ClipBatch, keys: Key[Array, "B"]
    ) -> tuple[Scalar, LossReport, Collections]:
        """Attraction, repulsion and size of embeddings; view synthesis and smoothness
        of depth; the foreground.

        The statistics of batch norms are over the frames of all clips of a forward pass
        (ours), so that a clip's loss does depend on those beside it.

        Source: Eq. 1-8. Where the paper is silent: weights and colours of depth are
            monodepth2's; sources are the frames beside each in its clip; the foreground
            has a cross entropy, and ignored ground does not count.
        """
        learnt = [name for name in (norms.STATISTICS,) if name in variables]
        clean = batch.frames if batch.clean is None else batch.clean
        clean = clean / jnp.float32(255)
        said, new = self.network.apply(
            variables,
            self._normalise(batch.frames),
            clean,
            self.objective.parts,
            mutable=learnt,
        )
        terms = jax.vmap(self._clip_terms)(said, clean, batch)
        report = LossReport.of_clips(terms, dict(self.objective.weights))
        return report.total(), report, structures.collections(variables) | new

    def _clip_terms(
        self, said: Said, clean: Float[Array, "T H W 3"], clip: ClipBatch
    ) -> dict[str, Scalar]:
        """Of one clip: fields without the axis B."""
        terms = {}
        if said.maps is not None:
            terms |= self._embedding_terms(said.maps.embeddings, clip)
        if said.motions is not None:
            nearest, farthest = self.depth_range
            found = depth.terms(
                nn.sigmoid(said.maps.disparity_logits),
                clean,
                clip.intrinsics,
                said.motions[:, :3],
                said.motions[:, 3:],
                automask=self.objective.automask,
                nearest=nearest,
                farthest=farthest,
            )
            terms |= found._asdict()
        if said.foreground_logits is not None:
            seen = (clip.masks & clip.valid[:, None, None, None]).any(axis=0)
            terms["foreground"] = segmentation.foreground(
                said.foreground_logits,
                seen.astype(jnp.float32),
                clip.ignore & ~seen,
            )
        return terms

    def _embedding_terms(
        self, embeddings: Float[Array, "T H W E"], clip: ClipBatch
    ) -> dict[str, Scalar]:
        terms = functools.partial(
            discriminative.terms,
            attraction_radius=self.objective.attraction_radius,
            repulsion_radius=self.objective.repulsion_radius,
        )
        if self.objective.span == "clip":
            return terms(embeddings, clip.masks, clip.valid)._asdict()
        found = jax.vmap(terms, in_axes=(0, 1, None))(
            embeddings, clip.masks, clip.valid
        )
        return {name: term.mean() for name, term in found._asdict().items()}

    # ------------------------------------------------------------------------- track

    def track(
        self, variables: Variables, frames: Iterator[Frame], *, maps: bool = False
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Frame by frame, from the past alone.

        Source: Sec. 4.4. One-to-one matching, the life of a track, the bandwidth and
            the smallest cluster are ours.
        """
        return online.track(self, variables, frames, maps=maps)

    def stages(
        self, variables: Variables, images: UInt8[np.ndarray, "T H W 3"]
    ) -> Stages:
        return online.stages(self, variables, images)

    def geometry(self, original: Size) -> Geometry:
        if self.exact is None:
            return self.sizes.geometry(original, stride=1)
        return Geometry(original, self.exact, padded(self.exact), 1)

    def start(self, variables: Variables, geometry: Geometry) -> State:
        return self._start(variables, padded(geometry.resized))

    @functools.partial(jax.jit, static_argnums=(0, 2))
    def _start(self, variables: Variables, size: Size) -> State:
        look = functools.partial(self.network.apply, variables, method="look")
        maps, past = jax.eval_shape(look, jnp.zeros((1, 1, *size, 3)))
        dims = maps.embeddings.shape[-1]
        return State(
            past=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), past),
            memory=embedding_memory.none(self.tracking.span - 1, size, dims),
            tracks=nearest_means.none(self.tracking.max_tracks, dims),
            previous=previous_frame.none(size, self.clustering.max_instances),
            frame=jnp.int32(0),
            next_id=jnp.int32(1),
        )

    def step(
        self, variables: Variables, state: State, frame: Frame, geometry: Geometry
    ) -> tuple[State, online.Labels]:
        convention = self.network.encoder.convention
        images = pixels.prepare(frame.image[None], geometry.resized, convention)
        inside = np.zeros(geometry.labels, bool)
        inside[: geometry.resized[0], : geometry.resized[1]] = True
        truth = self._truth(frame, geometry)
        return self._step(variables, state, images, inside, truth)

    def _truth(
        self, frame: Frame, geometry: Geometry
    ) -> Int32[np.ndarray, "H W"] | None:
        """The slot of the object that a pixel truly belongs to, or -1; the largest
        objects if there are more than slots. None if it is not asked for.

        Raises:
            ValueError: It is asked for, and there are no annotations.
        """
        if not (self.tracking.true_masks or self.tracking.true_means):
            return None
        if frame.truth is None:
            raise ValueError(
                "tracking.true_masks or true_means is on, but the video has no "
                "annotations: they are for --mode=evaluate alone."
            )
        numbers = cover(frame.truth(), geometry)
        found, sizes = np.unique(numbers[numbers > 0], return_counts=True)
        kept = found[np.argsort(-sizes, kind="stable")][: self.clustering.max_instances]
        slots = np.full(numbers.shape, -1, np.int32)
        for slot, number in enumerate(kept):
            slots[numbers == number] = slot
        return slots

    @functools.partial(jax.jit, static_argnums=0)
    def _step(
        self,
        variables: Variables,
        state: State,
        images: Float[Array, "1 H W 3"],
        inside: Bool[Array | np.ndarray, "H W"],
        truth: Int32[Array | np.ndarray, "H W"] | None,
    ) -> tuple[State, online.Labels]:
        """The same from a prepared frame, of which not all is inside."""
        K, settings = self.clustering.max_instances, self.tracking
        see = functools.partial(self.network.apply, variables)
        maps, past = see(images[None], state.past, method="look")
        maps = jax.tree.map(lambda x: x[0, 0], maps)
        embeddings = maps.embeddings.astype(jnp.float32)
        logits = see(images, method="foreground")[0]
        probabilities = nn.sigmoid(logits.astype(jnp.float32))
        seen = probabilities > settings.foreground_threshold
        if settings.true_masks:
            seen = truth >= 0
        seen &= inside
        if settings.true_means:
            slots = self._nearest_true(embeddings, seen, truth)
        else:
            slots = self._clusters(state, embeddings, seen)
        means, valid = _slot_means(embeddings, slots, K)
        tracks, previous = state.tracks, state.previous
        if settings.identity == "overlap":
            ids, previous, next_id = previous_frame.associate(
                previous, slots, valid, state.next_id
            )
        else:
            ids, tracks, next_id = nearest_means.associate(
                *(tracks, means, valid, state.frame, state.next_id),
                radius=settings.radius,
                time_to_live=settings.time_to_live,
            )
        sums = statistics.slot_sums(
            slots[None],
            jnp.ones(1, bool),
            num_slots=K,
            confidences={"foreground": probabilities[None]},
        )
        now = State(
            past=past,
            memory=embedding_memory.push(state.memory, embeddings, seen),
            tracks=tracks,
            previous=previous,
            frame=state.frame + 1,
            next_id=next_id,
        )
        return now, online.Labels(
            codes=label_codes.encode(slots, seen, num_slots=K),
            ids=ids,
            sums=sums,
            depth=self._depth(maps),
            maps={
                "embedding": embeddings,
                "foreground": probabilities[..., None],
            },
        )

    def _depth(self, maps: Maps) -> Float[Array, "*B H W"] | None:
        if maps.disparity_logits is None:
            return None
        disparity = nn.sigmoid(maps.disparity_logits.astype(jnp.float32))
        nearest, farthest = self.depth_range
        return depth.disparity_to_depth(disparity, nearest=nearest, farthest=farthest)

    def _clusters(
        self,
        state: State,
        embeddings: Float[Array, "H W E"],
        seen: Bool[Array, "H W"],
    ) -> Int32[Array, "H W"]:
        """The slot of each pixel by mean shift over the last frames, or -1."""
        points = jnp.concatenate([state.memory.embeddings, embeddings[None]])
        counted = jnp.concatenate([state.memory.counted, seen[None]])
        current = jnp.zeros(counted.shape, bool).at[-1].set(True)
        key = jax.random.key(self.tracking.seed)
        found = mean_shift.cluster(
            *(points.reshape(-1, points.shape[-1]), counted.ravel(), current.ravel()),
            jax.random.fold_in(key, state.frame),
            settings=self.clustering,
        )
        return found.labels.reshape(counted.shape)[-1]

    def _nearest_true(
        self,
        embeddings: Float[Array, "H W E"],
        seen: Bool[Array, "H W"],
        truth: Int32[Array | np.ndarray, "H W"],
    ) -> Int32[Array, "H W"]:
        """The slot of the nearest mean of a true object, if within the radius, or -1;
        as small clusters are dropped, so are these."""
        K = self.clustering.max_instances
        means, valid = _slot_means(embeddings, jnp.asarray(truth), K)
        steps = embeddings[:, :, None] - means  # [H W K E]
        squared = jnp.where(valid, jnp.square(steps).sum(axis=-1), jnp.inf)
        near = seen & (squared.min(axis=-1) < self.tracking.radius**2)
        slots = jnp.where(near, squared.argmin(axis=-1), -1)
        sizes = jnp.bincount(jnp.where(near, slots, K).ravel(), length=K)
        kept = sizes >= self.clustering.min_points
        return jnp.where(near & kept[slots], slots, -1).astype(jnp.int32)


def _slot_means(
    embeddings: Float[Array, "H W E"], slots: Int32[Array, "H W"], K: int
) -> tuple[Float[Array, "K E"], Bool[Array, "K"]]:
    """The mean of each slot, and whether it has a pixel."""
    flat = jnp.where(slots < 0, K, slots).ravel()
    sums = jax.ops.segment_sum(
        embeddings.reshape(len(flat), -1), flat, num_segments=K + 1
    )[:K]
    sizes = jax.ops.segment_sum(jnp.ones(len(flat)), flat, num_segments=K + 1)[:K]
    return sums / jnp.maximum(sizes, 1)[:, None], sizes > 0
