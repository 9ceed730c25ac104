"""Target-aware object discovery and association.

Zhou, Li, Li, Shao, CVPR 2021. One network finds the objects of a frame, guided by the
foreground of the frame before. Each object that is followed has a model of what it
looks like, fitted while the video plays; where that model says the object is, a
proposal of the frame may stand that looks like it, and then takes its place. What no
object accounts for is a new one.

The authors released no program. What their paper leaves open follows the public code
that they build on, or is ours, as the docstrings say.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Generator, Iterator
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int32, Key, UInt8
from ml_collections import ConfigDict

from stemseg_jax import choices, structures
from stemseg_jax.clustering import centres_offsets
from stemseg_jax.geometry import Geometry, Size, SizeRule, padded
from stemseg_jax.losses import centres, segmentation, triplet
from stemseg_jax.modules import backbones, norms
from stemseg_jax.modules.crop_embedding import CropEmbedding
from stemseg_jax.modules.guided_discovery import (
    DESCRIPTORS,
    STRIDE,
    GuidedDiscovery,
    Maps,
)
from stemseg_jax.modules.recipes import Recipe
from stemseg_jax.modules.refiner import Refiner
from stemseg_jax.ops import crops, mask_noise, pixels, resize
from stemseg_jax.ops import masks as masks_ops
from stemseg_jax.structures import ClipBatch, Collections, LossReport, Scalar, Variables
from stemseg_jax.systems import steps
from stemseg_jax.tracking import (
    association,
    first_frame,
    label_codes,
    matching,
    online,
    statistics,
    target_model,
)
from stemseg_jax.tracks import Frame, LabelledFrames, Stages, TrackStatistics

PARTS = ("discovery", "refiner", "embedding")  # that train, one after the other
SIGMA = 10.0  # pixels, of the peak of a centre
COARSE = 2  # of the backbone's maps: stride 16, in which targets are looked for
# Of what exported steps take and give.
MEANING = {
    "before": "the frame before, as frames; the first frame itself",
    "foreground": "0 to 1: what is an object; taken: of the frame before, 0 beyond the "
    "picture, and everywhere for the first frame",
    "logits": "of the foreground, or of classes with the background first",
    "heatmap": "near 1 at the centres of objects, near 0 elsewhere",
    "offsets": "of each pixel to the centre of its object, (y, x) in pixels",
    "views": "as frames, warped to a square in which targets are looked for",
    "scores": "0 to 1: of each target, what its own model says of stride16",
    "mask_logits": "of each target, over the square",
    "crops": "as frames, the boxes of objects warped to a square",
    "vectors": "what crops look like, to be compared by their cosine",
}
# A target model for training is smaller and sees all pixels alike: FRTM's code.
IN_TRAINING = target_model.Settings(
    channels=32,
    ridge=(1e-5, 1e-4),
    preconditioner=(1e-5, 1e-4),
    capacity=1,
    balanced=False,
)

# ----------------------------------------------------------------------------- network


class Features(nn.Module):
    """The maps of a backbone, which does not learn."""

    backbone: Callable[[], nn.Module]

    def setup(self):
        self.body = self.backbone()

    def __call__(self, images: Array) -> tuple[Array, ...]:
        return jax.lax.stop_gradient(self.body(images))


class Network(nn.Module):
    """Four networks that share nothing: what finds objects, features in which targets
    are looked for, what makes masks of coarse scores, and what compares crops.

    Source: Zhou et al., Sec. 3; Robinson et al. (CVPR 2020) for features and refiner.
    """

    discovery: GuidedDiscovery
    targets: Features
    refiner: Refiner
    embedding: CropEmbedding

    @classmethod
    def from_config(cls, config: ConfigDict) -> "Network":
        model = config.model
        norm = norms.named(model.norm, epsilon=model.norm_epsilon)
        dtype = jnp.dtype(model.dtype)
        # What is taken as it is has norms that do not learn.
        learns = model.norm == "batch_norm"
        still = norms.named(
            "frozen_batch_norm" if learns else model.norm, epsilon=model.norm_epsilon
        )
        choices.known("model.descriptor", model.descriptor, DESCRIPTORS)

        def backbone(name: str) -> Recipe:
            return backbones.from_config(model, name=name, norm=still, freeze_at=0)

        return cls(
            discovery=GuidedDiscovery(
                backbone=backbones.from_config(model, dilated=True),
                outputs=model.num_classes or 1,
                norm=norm,
                channels=model.aspp_channels,
                gate_width=model.gate_channels,
                widths=tuple(model.decoder_channels),
                foreground_skips=tuple(model.foreground_skips),
                instance_skips=tuple(model.instance_skips),
                descriptor=model.descriptor,
                guided=model.guidance,
                dtype=dtype,
            ),
            targets=Features(backbone(model.target_backbone)),
            refiner=Refiner(norm=norm, channels=model.refiner_channels, dtype=dtype),
            embedding=CropEmbedding(backbone(model.embedding_backbone)),
        )

    def __call__(
        self, images: Float[Array, "B H W 3"], size: Size, side: int
    ) -> tuple[Maps, Array, Array]:
        """All four once, for the sake of their parameters."""
        before = jnp.concatenate([images, images[..., :1]], axis=-1)
        maps = self.look(images)
        scores = jnp.zeros((len(images), 1, *maps[COARSE].shape[1:3]))
        crop = jnp.zeros((1, side, side, 3))
        said = self.discover(images, before), self.refine(maps, scores, size)
        return (*said, self.embed(crop))

    def discover(
        self,
        images: Float[Array, "B H W 3"],
        before: Float[Array, "B H W 4"],
        keys: Key[Array, "B"] | None = None,
    ) -> Maps:
        """Of normalised frames, and those before them with their foreground; the maps
        are in the frames' own size."""
        size = images.shape[1:3]
        said = self.discovery(images, before, keys)
        return Maps(
            resize.linear_corners(said.logits, size),
            resize.linear_corners(said.heatmap[..., None], size)[..., 0],
            STRIDE * resize.linear_corners(said.offsets, size),
        )

    def look(self, views: Float[Array, "B S S 3"]) -> tuple[Array, ...]:
        """Maps of strides 4, 8, 16 and 32 of frames as targets are looked for in."""
        return self.targets(views)

    def refine(
        self,
        maps: tuple[Float[Array, "B _ _ _"], ...],
        scores: Float[Array, "B K h w"],
        size: Size,
    ) -> Float[Array, "B K H W"]:
        """Mask logits of targets."""
        return self.refiner(maps, scores, size)

    def embed(self, crops: Float[Array, "K S S 3"]) -> Float[Array, "K E"]:
        return self.embedding(crops)


# ------------------------------------------------------------------------------ system


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """How objects are followed.

    Attributes:
        targets: Off: each proposal of a frame is a track of this frame alone, so that
            they can be scored.
        size: Side of the square that frames are warped to, to look for targets.
        refiner: Whether the refiner makes masks of coarse scores; else they are
            enlarged, and a mask is what is above one half.
        verification: Whether a proposal may take the place of a mask (Table 4).
        memory_update: Whether models go on learning (Table 4).
        min_similarity: Sum of two cosines, above which a proposal is the target.
        min_overlap: IoU above which it can be.
        max_overlap: IoU with every mask, below which a proposal is a new object.
        update_every: Frames after which a model learns, if it was not verified.
        max_tracks: That are followed at a time. If there are more, a new one takes the
            place of the one that has been gone longest, which ends so.
        copies: Augmented ones of the frame in which a target appears.
        crop: Side of the square in which crops are compared.
        seed: Of first weights and augmentations.
    """

    targets: bool
    size: int
    refiner: bool
    verification: bool
    memory_update: bool
    min_similarity: float
    min_overlap: float
    max_overlap: float
    update_every: int
    max_tracks: int
    copies: int
    crop: int
    seed: int


class Tracks(NamedTuple):
    """The targets that are followed, in K slots."""

    models: target_model.Target
    firsts: Float[Array, "K E"]  # embeddings of their first masks
    ids: Int32[Array, "K"]  # from 1; 0 in free slots
    ages: Int32[Array, "K"]  # frames since they appeared
    last_seen: Int32[Array, "K"]  # frame


class State(NamedTuple):
    """What is remembered of the frames before."""

    image: Float[Array, "1 H W 3"]
    foreground: Float[Array, "H W"]
    frame: Int32[Array, ""]
    tracks: Tracks
    next_id: Int32[Array, ""]


class Fates(NamedTuple):
    """What becomes of the proposals of a frame."""

    track: Int32[Array, "P"]  # whose slot a proposal takes, or -1
    is_new: Bool[Array, "P"]  # whether the slot was another's, or free

    def at_slots(self, values: Array, empty: float | int | bool, K: int) -> Array:
        """What each of K slots has of its proposal; `empty` without one."""
        # What no slot has takes place K, which is dropped.
        to = jnp.where(self.track < 0, K, self.track)
        table = jnp.full((K + 1, *values.shape[1:]), empty, values.dtype)
        return table.at[to].set(values)[:K]


class Seen(NamedTuple):
    """Where targets are in a frame."""

    slots: Int32[Array, "H W"]  # of each pixel, or -1
    scores: Float[Array, "K"]  # what speaks for each
    masks: Float[Array, "K H W"]  # as they are remembered
    verified: Bool[Array, "K"]  # a proposal has taken the place of its mask
    is_new: Bool[Array, "K"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetAware:
    """The system: see `systems.base.System` and `tracking.online.Method`."""

    network: Network
    convention: pixels.Convention
    sizes: SizeRule
    parts: tuple[str, ...]
    loss_weights: tuple[tuple[str, float], ...]
    noise: mask_noise.Noise
    min_box: int  # pixels, of the shorter side of what crops are learnt from
    clustering: centres_offsets.Settings
    target: target_model.Settings
    tracking: TrackingSettings
    # Of a track: the mean, over the frames that show it, of the proposal's score where
    # one took the mask's place and of the mask's probability elsewhere, times
    # the mean probability of its class, where there are classes.
    score: ClassVar[str] = "product"

    @classmethod
    def from_config(cls, config: ConfigDict) -> "TargetAware":
        loss, frames = config.loss, config.evaluation
        tracking = dict(config.tracking)
        target = dict(tracking.pop("target"))
        choices.known("parity", config.parity, ("paper",))  # no program was released
        for part in loss.parts:
            choices.known("loss.parts", part, PARTS)
        least = {"discovery": 2, "refiner": 2, "embedding": 1}
        for part in loss.parts:
            if config.num_frames < least[part]:
                raise ValueError(
                    f"num_frames={config.num_frames}: to train {part!r} clips have at "
                    f"least {least[part]} frames."
                )
        return cls(
            network=Network.from_config(config),
            convention=pixels.Convention.from_config(config.model.pixels),
            sizes=SizeRule(min_dim=frames.min_dim, max_dim=frames.max_dim),
            parts=tuple(loss.parts),
            loss_weights=tuple(loss.weights.items()),
            noise=mask_noise.Noise(**loss.guidance_noise),
            min_box=loss.min_box,
            clustering=centres_offsets.Settings(**config.clustering),
            target=target_model.Settings(**target),
            tracking=TrackingSettings(**tracking),
        )

    def frozen_modules(self) -> tuple[str, ...]:
        """Parts that do not train, and the first stages of the backbones that do."""
        idle = ["targets", *(part for part in PARTS if part not in self.parts)]
        if "discovery" not in self.parts:
            return tuple(idle)
        discovery = self.network.discovery
        bodies = ["discovery/body"] + ["discovery/guide/body"] * discovery.guided
        body = discovery.backbone()
        stages = (backbones.frozen_stages(body, f"{path}/") for path in bodies)
        return (*idle, *itertools.chain(*stages))

    def init(self, key: Key[Array, ""], batch: ClipBatch) -> Variables:
        """Fresh variables of all parts; they do not depend on the clips."""
        images = jnp.zeros((1, *batch.frames.shape[2:]))
        return self.network.init(key, images, images.shape[1:3], self.tracking.crop)

    def steps(
        self, variables: Variables, frames: jax.ShapeDtypeStruct
    ) -> dict[str, steps.Step]:
        """What finds objects, and as far as targets are followed: the features in which
        they are looked for, their masks, and what crops look like."""
        see, normalise = self.network.apply, self.convention.normalise

        def discover(variables: Variables, arrays: steps.Arrays) -> steps.Arrays:
            before = normalise(arrays["before"]), arrays["foreground"][..., None]
            maps = see(
                *(variables, normalise(arrays["frames"])),
                jnp.concatenate(before, axis=-1),
                method="discover",
            )
            return {**steps.named(maps), "foreground": maps.foreground()}

        def refine(variables: Variables, arrays: steps.Arrays) -> steps.Arrays:
            looked, size = steps.pyramid(arrays), (self.tracking.size,) * 2
            logits = see(variables, looked, arrays["scores"], size, method="refine")
            return {"mask_logits": logits}

        def of_squares(name, side, method, named) -> steps.Step:
            def apply(variables: Variables, arrays: steps.Arrays) -> steps.Arrays:
                return named(see(variables, normalise(arrays[name]), method=method))

            size = (frames.shape[0], side, side, 3)
            return steps.Step(apply, {name: shape(size, frames.dtype)}, meaning)

        shape, meaning = jax.ShapeDtypeStruct, steps.IMAGES | steps.LEVELS | MEANING
        foreground = shape(frames.shape[:3], jnp.float32)
        pairs = {"frames": frames, "before": frames, "foreground": foreground}
        found = {"discover": steps.Step(discover, pairs, meaning)}
        tracking = self.tracking
        if not tracking.targets:
            return found
        look = of_squares("views", tracking.size, "look", steps.of_pyramid)
        found["look"] = look
        if tracking.refiner:
            takes = look.gives(variables)
            B, h, w, _ = takes[[*steps.LEVELS][COARSE]].shape
            takes["scores"] = shape((B, tracking.max_tracks, h, w), jnp.float32)
            found["refine"] = steps.Step(refine, takes, meaning)
        if tracking.verification:
            found["embed"] = of_squares(
                *("crops", tracking.crop, "embed"), lambda x: {"vectors": x}
            )
        return found

    # -------------------------------------------------------------------------- loss

    def loss(
        self, variables: Variables, batch: ClipBatch, keys: Key[Array, "B"]
    ) -> tuple[Scalar, LossReport, Collections]:
        """Of the parts that train; each has clips and a config of its own.

        The statistics of batch norms are over the frames of all clips of a forward
        pass, so that with them a clip's loss does depend on those beside it.

        Source: Zhou et al., Sec. 4, for the kinds of the terms of discovery, whose
            weights are Panoptic-DeepLab's; Robinson et al. for the refiner.
        """
        learnt = [name for name in (norms.STATISTICS,) if name in variables]
        rest = structures.collections(variables)
        terms: dict[str, Array] = {}
        for part in self.parts:
            found, new = getattr(self, f"_{part}_terms")(
                functools.partial(self.network.apply, mutable=learnt),
                {**variables, **rest},
                batch,
                keys,
            )
            terms |= found
            rest = rest | new
        report = LossReport.of_clips(terms, dict(self.loss_weights))
        return report.total(), report, rest

    def _discovery_terms(self, apply, variables, batch: ClipBatch, keys):
        """Of the last frame of each clip; the guidance is the true foreground of the
        first one, disturbed (X-20 of the reference).

        Masks are compared in full size. Of classes there is the cross entropy.
        """
        masks = batch.masks & batch.valid[:, :, None, None, None]
        draws = jax.vmap(lambda key: jax.random.split(key, 2))(keys)
        guidance = jax.vmap(functools.partial(mask_noise.disturb, noise=self.noise))(
            draws[:, 0], masks[:, :, 0].any(axis=1)
        )
        images = self.convention.normalise(batch.frames)
        before = jnp.concatenate([images[:, 0], guidance[..., None]], axis=-1)
        maps, new = apply(
            variables, images[:, -1], before, draws[:, 1], method="discover"
        )
        terms = jax.vmap(_terms_of_maps)(maps, masks[:, :, -1], batch)
        return terms, new

    def _refiner_terms(self, apply, variables, batch: ClipBatch, keys):
        """The masks of an object of the first frame in the other ones; of one model
        that is fitted to that frame, without augmented copies."""
        size = (self.tracking.size,) * 2
        images = self.convention.normalise(batch.frames)
        B, T = images.shape[:2]
        views = resize.linear(images.reshape(B * T, *images.shape[2:]), size)
        maps, _ = apply(variables, views, method="look")
        features = maps[COARSE].reshape(B, T, *maps[COARSE].shape[1:])
        truth = jax.vmap(_one_object)(keys, batch.masks, batch.valid)  # [B T H W]
        masks = resize.linear(
            truth.reshape(B * T, *truth.shape[2:], 1).astype(jnp.float32), size
        ).reshape(B, T, *size)

        def scores(key, features, masks):
            first = features[:1], masks[:1]
            target = target_model.fit(key, *first, settings=IN_TRAINING)
            return jax.vmap(functools.partial(target_model.score, target))(features[1:])

        found = jax.lax.stop_gradient(jax.vmap(scores)(keys, features, masks))
        later = tuple(
            x.reshape(B, T, *x.shape[1:])[:, 1:].reshape(-1, *x.shape[1:]) for x in maps
        )
        logits, new = apply(
            variables,
            later,
            found.reshape(B * (T - 1), 1, *found.shape[2:]),
            size,
            method="refine",
        )
        logits = logits.reshape(B, T - 1, *size)
        nowhere = jnp.zeros(logits.shape[1:], bool)
        there = truth[:, 0].any(axis=(1, 2))  # else there was nothing to look for
        terms = jax.vmap(lambda x, y: segmentation.foreground(x, y, nowhere))(
            logits, masks[:, 1:]
        )
        return {"refinement": jnp.where(there, terms, 0)}, new

    def _embedding_terms(self, apply, variables, batch: ClipBatch, keys):
        """Each object of a clip beside itself in other frames, and the others.

        An object whose box is too small in a frame is not compared there.

        Differs from PReMVOS in: the crops of an object are those of the frames of one
            clip, and what they are compared with are the others of that clip, as many
            as there are; there a batch has groups of 4 crops of objects of all videos.
        """
        del keys
        images = self.convention.normalise(batch.frames)
        masks = batch.masks & batch.valid[:, :, None, None, None]
        B, N, T, H, W = masks.shape
        extent = jnp.array([H, W], jnp.float32)

        def cut(image, masks):
            boxes = crops.boxes(masks, extent)
            sizes = masks_ops.outlines(masks).sizes.min(axis=-1)
            large = crops.shown(boxes) & (sizes >= self.min_box)
            return crops.cut(image, boxes, side=self.tracking.crop), large

        # [B T N S S 3] and [B T N]
        found, large = jax.vmap(jax.vmap(cut))(images, masks.swapaxes(1, 2))
        flat = found.reshape(-1, *found.shape[3:])
        embeddings, new = apply(variables, flat, method="embed")
        embeddings = embeddings.reshape(B, T * N, -1)
        ids = jnp.tile(jnp.arange(N, dtype=jnp.int32), T)
        terms = jax.vmap(lambda x, valid: triplet.batch_hard(x, ids, valid))(
            embeddings, large.reshape(B, T * N)
        )
        return {"triplet": terms}, new

    # ------------------------------------------------------------------------- track

    def track(
        self, variables: Variables, frames: Iterator[Frame], *, maps: bool = False
    ) -> Generator[LabelledFrames, None, dict[int, TrackStatistics]]:
        """Frame by frame.

        A target that is not seen keeps its model and its id, until all slots are taken
        and a new one needs its own.

        Source: Zhou et al., Sec. 3.2 and 3.3.
            Differs from them in: IoUs are those of masks in the size that objects are
            found in, which is that of the frames in their configs (X-22).
            That no more than `max_tracks` are followed at a time, and that the one gone
            longest ends for a new one, is ours. The reference follows all, and chooses
            at the end of the video (X-17), as `selection.limit` does here.
        """
        return online.track(self, variables, frames, maps=maps)

    def stages(
        self, variables: Variables, images: UInt8[np.ndarray, "T H W 3"]
    ) -> Stages:
        return online.stages(self, variables, images)

    def geometry(self, original: Size) -> Geometry:
        return self.sizes.geometry(original, stride=1)

    def start(self, variables: Variables, geometry: Geometry) -> State:
        return self._start(variables, padded(geometry.resized))

    @functools.partial(jax.jit, static_argnums=(0, 2))
    def _start(self, variables: Variables, size: Size) -> State:
        K, side = self.tracking.max_tracks, self.tracking.size
        K = K if self.tracking.targets else 0
        view, crop = (1, side, side, 3), (1, *[self.tracking.crop] * 2, 3)

        def shape(method, of):
            apply = functools.partial(self.network.apply, variables, method=method)
            return jax.eval_shape(apply, jnp.zeros(of))

        *coarse, channels = shape("look", view)[COARSE].shape[1:]
        numbers = jnp.zeros(K, jnp.int32)
        return State(
            image=jnp.zeros((1, *size, 3)),
            foreground=jnp.zeros(size),
            frame=jnp.int32(0),
            tracks=Tracks(
                models=target_model.blank(
                    *(K, tuple(coarse), (side, side), channels), settings=self.target
                ),
                firsts=jnp.zeros((K, *shape("embed", crop).shape[1:])),
                ids=numbers,
                ages=numbers,
                last_seen=numbers,
            ),
            next_id=jnp.int32(1),
        )

    def step(
        self, variables: Variables, state: State, frame: Frame, geometry: Geometry
    ) -> tuple[State, online.Labels]:
        images = frame.image[None]
        return self._step(
            variables,
            state,
            pixels.prepare(images, geometry.resized, self.convention),
            pixels.warped(images, (self.tracking.size,) * 2, self.convention),
            jnp.asarray(geometry.resized, jnp.float32),
        )

    @functools.partial(jax.jit, static_argnums=0)
    def _step(
        self,
        variables: Variables,
        state: State,
        images: Float[Array, "1 H W 3"],
        view: Float[Array, "1 S S 3"],
        extent: Float[Array, "2"],
    ) -> tuple[State, online.Labels]:
        """The same from a prepared frame.

        Args:
            view: The frame in which targets are looked for.
            extent: Height and width of the frame, less padding.
        """
        see = functools.partial(self.network.apply, variables)
        size = images.shape[1:3]
        # The first frame is its own past, in which nothing was.
        past = jnp.where(state.frame > 0, state.image, images)
        before = jnp.concatenate([past, state.foreground[None, ..., None]], axis=-1)
        maps = jax.tree.map(lambda x: x[0], see(images, before, method="discover"))
        foreground = maps.foreground()
        rows, columns = (jnp.arange(n) < m for n, m in zip(size, extent, strict=True))
        inside = rows[:, None] & columns
        proposals = centres_offsets.propose(
            *(maps.heatmap, maps.offsets, foreground, inside), settings=self.clustering
        )
        if self.tracking.targets:
            tracks, next_id, slots, scores = self._follow(
                *(see, state, proposals, images[0], view, inside, extent)
            )
        else:
            tracks, slots, scores = state.tracks, proposals.labels, proposals.scores
            ids, next_id = association.number(
                jnp.zeros(len(scores), jnp.int32), proposals.valid, state.next_id
            )
        ids = tracks.ids if self.tracking.targets else ids
        several = maps.logits.shape[-1] > 1
        sums = statistics.slot_sums(
            slots[None],
            jnp.ones(1, bool),
            num_slots=len(ids),
            logits=maps.logits[None] if several else None,
            soft=True,
        )
        sums = sums._replace(confidences={"object": scores[None]})
        foreground = jnp.where(inside, foreground, 0)
        state = State(images, foreground, state.frame + 1, tracks, next_id)
        return state, online.Labels(
            codes=label_codes.encode(
                slots, foreground > self.clustering.min_foreground, num_slots=len(ids)
            ),
            ids=ids,
            sums=sums,
            maps={
                "embedding": masks_ops.cells(size) + maps.offsets,
                "seediness": foreground[..., None],
            },
        )

    def _follow(
        self,
        see: Callable,
        state: State,
        proposals: centres_offsets.Proposals,
        image: Float[Array, "H W 3"],
        view: Float[Array, "1 S S 3"],
        inside: Bool[Array, "H W"],
        extent: Float[Array, "2"],
    ) -> tuple[Tracks, Int32[Array, ""], Int32[Array, "H W"], Float[Array, "K"]]:
        """The tracks after a frame, the next id, the slot of each pixel, or -1, and
        what speaks for each track."""
        tracks, K = state.tracks, self.tracking.max_tracks
        alive = tracks.ids > 0
        looked = see(view, method="look")
        masks = self._masks(see, looked, tracks.models, inside, extent)
        masks = jnp.where(alive[:, None, None], masks, 0)
        # The background is as likely as the likeliest target is unlikely.
        best = masks.argmax(axis=0).astype(jnp.int32)
        tracked = jnp.where(masks.max(axis=0) > 0.5, best, -1)
        fates, looks = self._fates(
            *(see, tracks, state.frame, proposals, tracked, image, extent)
        )
        seen = _seen(masks, tracked, proposals, fates)
        is_new = seen.is_new
        ages = jnp.where(is_new, 0, tracks.ages + alive)
        models = self._models_after(
            *(see, tracks.models, looked[COARSE][0], view, seen, extent),
            *(alive & ~is_new, ages, state.frame),
        )
        # Of the objects of a frame the one whose centre comes first is numbered first.
        numbers, next_id = association.number(
            jnp.zeros_like(fates.track), fates.is_new, state.next_id
        )
        looks = fates.at_slots(looks, 0.0, K)
        shown = (seen.slots == jnp.arange(K)[:, None, None]).any(axis=(1, 2))
        tracks = Tracks(
            models=models,
            firsts=jnp.where(is_new[:, None], looks, tracks.firsts),
            ids=jnp.where(is_new, fates.at_slots(numbers, 0, K), tracks.ids),
            ages=ages,
            last_seen=jnp.where(shown | is_new, state.frame, tracks.last_seen),
        )
        return tracks, next_id, seen.slots, seen.scores

    def _masks(
        self,
        see: Callable,
        looked: tuple[Float[Array, "1 _ _ _"], ...],
        models: target_model.Target,
        inside: Bool[Array, "H W"],
        extent: Float[Array, "2"],
    ) -> Float[Array, "K H W"]:
        """That a pixel of the frame is the target's: probabilities; 0 of a model that
        is not finite.

        Differs from the reference in: without the refiner it is the score, which is
            fitted to 0 and 1, and not the sigmoid of it.
        """
        scores = jax.vmap(target_model.score, (0, None))(models, looked[COARSE][0])
        size = (self.tracking.size,) * 2
        if self.tracking.refiner:
            found = nn.sigmoid(see(looked, scores[None], size, method="refine")[0])
        else:
            found = jnp.clip(resize.linear(scores[..., None], size)[..., 0], 0, 1)
        found = jnp.where(jnp.isfinite(found), found, 0)
        enlarge = functools.partial(resize.placed, extent=extent, size=inside.shape)
        return jnp.where(inside, jax.vmap(enlarge)(found[..., None])[..., 0], 0)

    def _fates(
        self,
        see: Callable,
        tracks: Tracks,
        frame: Int32[Array, ""],
        proposals: centres_offsets.Proposals,
        tracked: Int32[Array, "H W"],
        image: Float[Array, "H W 3"],
        extent: Float[Array, "2"],
    ) -> tuple[Fates, Float[Array, "P E"]]:
        """Which proposals are known targets, and which are new ones; and what the
        proposals look like.

        Source: Zhou et al., Eq. 10; best pairs first (X-15).
        """
        P, K = len(proposals.valid), len(tracks.ids)
        counts = matching.joint_counts(
            tracked, proposals.labels, num_rows=K, num_columns=P
        )
        overlaps = matching.iou(counts)  # [K P]
        looks = jnp.zeros((P, tracks.firsts.shape[1]))
        taken = jnp.full(P, -1, jnp.int32)
        if self.tracking.verification:
            # Of proposals, and of what was tracked in the same frame.
            both = jnp.concatenate(
                [proposals.labels == jnp.arange(P)[:, None, None]]
                + [tracked == jnp.arange(K)[:, None, None]]
            )
            cut = crops.cut(image, crops.boxes(both, extent), side=self.tracking.crop)
            vectors = see(cut, method="embed")
            looks, now = vectors[:P], vectors[P:]
            similar = _cosines(now, looks) + _cosines(tracks.firsts, looks)
            possible = (overlaps > self.tracking.min_overlap) & (tracks.ids > 0)[
                :, None
            ]
            possible &= similar > self.tracking.min_similarity
            taken = association.closest_pairs(-similar, possible)
        is_new = proposals.valid & (overlaps < self.tracking.max_overlap).all(axis=0)
        # Free slots first, then those of tracks that have been gone longest.
        visible = (counts[:K].sum(axis=1) > 0) & (tracks.ids > 0)
        order = jnp.argsort(
            jnp.where(
                tracks.ids == 0, -1, jnp.where(visible, frame + 1, tracks.last_seen)
            )
        )
        number = jnp.cumsum(is_new) - 1
        is_new &= number < (~visible).sum()
        slot = order[jnp.clip(number, 0, K - 1)].astype(jnp.int32)
        return Fates(jnp.where(is_new, slot, taken), is_new), looks

    def _models_after(
        self, see, models, features, view, seen: Seen, extent, old, ages, frame
    ) -> target_model.Target:
        """The models of all slots once the frame is known.

        Args:
            features: Of the view.
            old: Slots whose target was there before.
        """
        box = jnp.concatenate([jnp.zeros(2), extent])
        side = (self.tracking.size,) * 2
        masks = jax.vmap(lambda x: resize.part(x[..., None], box, side)[..., 0])(
            seen.masks
        )
        if self.tracking.memory_update:
            models = self._learnt(models, features, masks, old, seen.verified, ages)
        return self._fitted(see, models, view, masks, seen.is_new, frame)

    def _learnt(self, models, features, masks, alive, verified, ages):
        """The models with one more sample, and those whose time it is fitted to it.

        Source: Zhou et al., Sec. 3.3: what was verified counts twice, and is learnt at
            once. That the next sample counts as if it had not is ours.
        """
        remember = functools.partial(target_model.remember, settings=self.target)
        factors = jnp.where(verified, 2.0, 1.0)
        remembered = jax.vmap(
            lambda model, mask, factor: remember(model, features, mask, factor=factor)
        )(models, masks, factors)
        models = target_model.chosen(alive, remembered, models)
        due = alive & (verified | (ages % self.tracking.update_every == 0))
        update = jax.vmap(functools.partial(target_model.update, settings=self.target))
        return jax.lax.cond(
            due.any(),
            lambda models: target_model.chosen(due, update(models), models),
            lambda models: models,
            models,
        )

    def _fitted(self, see, models, view, masks, is_new, frame):
        """The models with those of new targets, from the frame and its copies.

        All that is random is the same for all targets of a frame, so that nothing
        depends on their order. Features of a target's copies are made only if it is
        new: cost and memory are those of one target at a time.
        """
        copies = self.tracking.copies
        key = jax.random.fold_in(jax.random.key(self.tracking.seed), frame)
        keys = jax.random.split(key)

        def samples(mask):
            images, masks = first_frame.views(keys[0], view[0], mask, copies=copies)
            return see(images, method="look")[COARSE], masks

        shapes = jax.eval_shape(samples, masks[0])

        def of_slot(slot):
            mask, wanted = slot
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
            return jax.lax.cond(wanted, samples, lambda mask: nothing, mask)

        def fit(models):
            features, seen = jax.lax.map(of_slot, (masks, is_new))
            fitted = jax.vmap(
                functools.partial(target_model.fit, keys[1], settings=self.target)
            )(features, seen)
            return target_model.chosen(is_new, fitted, models)

        return jax.lax.cond(is_new.any(), fit, lambda models: models, models)


def _seen(
    masks: Float[Array, "K H W"],
    tracked: Int32[Array, "H W"],
    proposals: centres_offsets.Proposals,
    fates: Fates,
) -> Seen:
    """Proposals in front, then what was tracked of those that have none (X-16).

    A target is remembered as its proposal, which is sure of itself, or as its own
    probabilities: above one half where it is seen in the end, and nowhere else.
    """
    K, P = len(masks), len(fates.track)
    proposal = fates.at_slots(jnp.arange(P, dtype=jnp.int32), -1, K)
    is_new = fates.at_slots(fates.is_new, False, K)
    painted = jnp.where(proposals.labels >= 0, fates.track[proposals.labels], -1)
    own = jnp.where((tracked >= 0) & (proposal[tracked] < 0), tracked, -1)
    slots = jnp.where(painted >= 0, painted, own).astype(jnp.int32)
    seen = slots == jnp.arange(K)[:, None, None]  # [K H W]
    mean = (masks * seen).sum(axis=(1, 2)) / jnp.maximum(seen.sum(axis=(1, 2)), 1)
    around = (slots < 0) & (masks <= 0.5)
    return Seen(
        slots=slots,
        scores=jnp.where(proposal >= 0, fates.at_slots(proposals.scores, 0.0, K), mean),
        masks=jnp.where(
            (proposal >= 0)[:, None, None], seen, jnp.where(seen | around, masks, 0)
        ),
        verified=(proposal >= 0) & ~is_new,
        is_new=is_new,
    )


def _terms_of_maps(
    maps: Maps, masks: Bool[Array, "N H W"], clip: ClipBatch
) -> dict[str, Scalar]:
    """Of the last frame of one clip: fields without the axis B."""
    wanted = centres.targets(masks, sigma=SIGMA)
    ignore = clip.ignore[-1] & ~wanted.instance
    found = centres.terms(maps.heatmap, maps.offsets, wanted, ignore)
    if maps.logits.shape[-1] == 1:
        foreground = segmentation.foreground(
            maps.logits[None, ..., 0],
            wanted.instance[None].astype(jnp.float32),
            ignore[None],
        )
    else:
        labels = segmentation.labels(masks[:, None], clip.categories, clip.valid)
        foreground = segmentation.semantic(maps.logits[None], labels, ignore[None])
    return {"foreground": foreground, "centre": found.centre, "offset": found.offset}


def _one_object(
    key: Key[Array, ""], masks: Bool[Array, "N T H W"], valid: Bool[Array, "N"]
) -> Bool[Array, "T H W"]:
    """A random object of the first frame, in all frames."""
    there = valid & masks[:, 0].any(axis=(-2, -1))
    index = jax.random.categorical(key, jnp.where(there, 0.0, -jnp.inf))
    return masks[index] & there.any()


def _cosines(a: Float[Array, "K E"], b: Float[Array, "P E"]) -> Float[Array, "K P"]:
    """0 of a vector without length."""
    unit = (
        x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-8)
        for x in (a, b)
    )
    first, second = unit
    return jnp.matmul(first, second.T, precision="highest")
