"""What one target looks like, learnt while the video plays.

Two linear layers over the features of a frame say where the target is. They are fitted
to the frame in which it appeared, and then, the first one frozen, to a memory of masks
that it was seen with. All is of one target: `vmap` over slots.

Source: FRTM (Robinson et al., CVPR 2020), which Zhou et al. (CVPR 2021), Eq. 9, take it
    from; the optimiser is `ops.gauss_newton`.
"""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key, UInt8

from stemseg_jax.ops import gauss_newton, resize

FEW = 10  # pixels: a mask of fewer says nothing
LEAST_SHARE = 0.1  # of an image, that a target counts for
TAPS = 3  # of the second layer, along each side
LEVELS = 255  # of a mask in the memory


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How targets are learnt.

    Attributes:
        channels: Between the layers.
        ridge: Of each layer; residuals are ridge * weights, so that squares count.
        preconditioner: Of each layer.
        first: Iterations of each step of the first fit, of both layers,
        then: and of the second layer alone.
        update: The same of each later fit.
        capacity: Samples of the memory.
        rate: At which the memory forgets.
        balanced: Whether pixels of target and background count alike, nearly.
    """

    channels: int = 96
    ridge: tuple[float, float] = (1e-4, 1e-2)
    preconditioner: tuple[float, float] = (1e-4, 1e-2)
    first: tuple[int, ...] = (5, 10, 10, 10, 10)
    then: tuple[int, ...] = (10,)
    update: tuple[int, ...] = (10,)
    capacity: int = 80
    rate: float = 0.1
    balanced: bool = True

    def __post_init__(self):
        if not 0 < self.rate < 1:
            raise ValueError(f"rate={self.rate}: expected a share between 0 and 1.")
        if min(self.preconditioner) <= 0:
            raise ValueError(
                f"preconditioner={self.preconditioner}: gradients are divided by it, "
                "so both numbers have to be above 0."
            )


class Layers(NamedTuple):
    project: Float[Array, "C D"]
    filter: Float[Array, "9 D"]  # taps row by row


class Memory(NamedTuple):
    """Samples; those of weight 0 are none."""

    features: Float[Array, "S h w D"]  # projected
    masks: UInt8[Array, "S H W"]  # of 255
    weights: Float[Array, "S"]
    newest: Int32[Array, ""]  # the sample that came last; -1: none came yet
    factor: Float[Array, ""]  # by which its weight is more than its age says


class Target(NamedTuple):
    layers: Layers
    directions: gauss_newton.Directions  # of the second layer
    memory: Memory


def fit(
    key: Key[Array, ""],
    features: Float[Array, "A h w C"],
    masks: Float[Array, "A H W"],
    *,
    settings: Settings,
) -> Target:
    """The model of a target, from the frame that it appeared in.

    Args:
        key: Draws the first weights.
        features: Of the frame, and of augmented copies of it.
        masks: Of the target in each, in [0, 1].
    """
    D, C = settings.channels, features.shape[-1]
    keys = jax.random.split(key)
    layers = Layers(
        _uniform(keys[0], (C, D), C), _uniform(keys[1], (TAPS**2, D), TAPS**2 * D)
    )
    samples = weights_of_first(len(features))
    joint = _Problem(features, masks, samples, settings)
    layers, _ = gauss_newton.minimise(
        joint.both,
        layers,
        gauss_newton.none(layers),
        settings.first,
        preconditioner=Layers(*settings.preconditioner),
    )
    small = features @ layers.project
    target = Target(
        layers,
        gauss_newton.none(layers.filter),
        _first_memory(small, masks, samples, settings),
    )
    return _refitted(
        target, _Problem(small, masks, samples, settings), settings.then, settings
    )


def update(target: Target, *, settings: Settings) -> Target:
    """The second layer, fitted to the memory as it is now."""
    memory = target.memory
    problem = _Problem(
        memory.features,
        memory.masks.astype(jnp.float32) / LEVELS,
        memory.weights,
        settings,
    )
    return _refitted(target, problem, settings.update, settings)


def score(target: Target, features: Float[Array, "h w C"]) -> Float[Array, "h w"]:
    """About 1 where the target is, and 0 elsewhere."""
    return _filtered(features @ target.layers.project, target.layers.filter)


def remember(
    target: Target,
    features: Float[Array, "h w C"],
    mask: Float[Array, "H W"],
    *,
    factor: Float[Array, ""] | float = 1.0,
    settings: Settings,
) -> Target:
    """The target with one more sample, in place of the one that counts least.

    A mask of fewer than 10 pixels is not taken.

    Args:
        features: Of a frame.
        mask: Of the target in it, in [0, 1].
        factor: How many times more than its age says the sample counts.
    """
    memory = target.memory
    weights, place = with_newest(
        memory.weights,
        memory.newest,
        rate=settings.rate,
        factor=factor,
        before=memory.factor,
    )
    small = features @ target.layers.project
    taken = Memory(
        memory.features.at[place].set(small),
        memory.masks.at[place].set(_quantised(mask)),
        weights,
        place,
        jnp.asarray(factor, jnp.float32),
    )
    tells = (mask > 0.5).sum() >= FEW
    memory = jax.tree.map(lambda new, old: jnp.where(tells, new, old), taken, memory)
    return target._replace(memory=memory)


def with_newest(
    weights: Float[Array, "S"],
    newest: Int32[Array, ""],
    *,
    rate: float,
    factor: Float[Array, ""] | float = 1.0,
    before: Float[Array, ""] | float = 1.0,
) -> tuple[Float[Array, "S"], Int32[Array, ""]]:
    """The weights with one more sample, and its place: where the smallest one was.

    A sample counts 1 / (1 - rate) times as much as the one before it, the first one
    `rate`, either times the sample's own factor; then all are made to sum to 1.

    Args:
        newest: The place of the sample before, or -1.
        factor: Of the sample,
        before: and of the one before it, which says nothing about this one: targets
            that are seen well for long would otherwise have a memory of a few frames.

    Source: FRTM's code, which also divides the weights that are there by 1 - rate
        before the first sample comes.
    """
    place = weights.argmin().astype(jnp.int32)
    weight = jnp.where(newest < 0, rate, weights[newest] / before / (1 - rate))
    others = jnp.where(newest < 0, weights / (1 - rate), weights)
    weights = others.at[place].set(weight * factor)
    return weights / weights.sum(), place


def weights_of_first(count: int) -> Float[Array, "{count}"]:
    """The frame itself counts twice as much as an augmented copy of it."""
    weights = jnp.ones(count).at[0].set(2)
    return weights / weights.sum()


def pixel_weights(masks: Float[Array, "*n H W"]) -> Float[Array, "*n H W"]:
    """By which residuals are multiplied, so that small targets are seen.

    With a the share of the target, and t the larger of a and 0.1: sqrt(t / a) on the
    target and sqrt((1 - t) / (1 - a)) elsewhere. A target of fewer than 10 pixels is
    taken to have a share of 0.1.
    """
    target = masks > 0.5
    pixels = target.sum(axis=(-2, -1), keepdims=True)
    share = pixels / (masks.shape[-2] * masks.shape[-1])
    share = jnp.where(pixels < FEW, LEAST_SHARE, share)
    wanted = jnp.maximum(share, LEAST_SHARE)
    on = jnp.sqrt(wanted / share)
    off = jnp.sqrt((1 - wanted) / jnp.maximum(1 - share, 1e-6))
    return jnp.where(target, on, off)


class _Problem:
    """The residuals of one target on some samples."""

    def __init__(self, features, masks, samples, settings: Settings):
        weights = jnp.sqrt(samples)[:, None, None]
        if settings.balanced:
            weights = weights * pixel_weights(masks)
        self._features, self._masks, self._weights = features, masks, weights
        self._ridge = settings.ridge

    def both(self, layers: Layers):
        small = self._features @ layers.project
        return (
            self._of_scores(_filtered(small, layers.filter)),
            self._ridge[0] * layers.project,
            self._ridge[1] * layers.filter,
        )

    def second(self, kernel: Float[Array, "9 D"]):
        return (
            self._of_scores(_filtered(self._features, kernel)),
            self._ridge[1] * kernel,
        )

    def _of_scores(self, scores: Float[Array, "A h w"]) -> Float[Array, "A H W"]:
        scores = resize.linear(scores[..., None], self._masks.shape[1:])[..., 0]
        return self._weights * (scores - self._masks)


def _refitted(target, problem: _Problem, schedule, settings: Settings) -> Target:
    """With another second layer; the old one if the new one is not finite."""
    kernel, directions = gauss_newton.minimise(
        problem.second,
        target.layers.filter,
        target.directions,
        schedule,
        preconditioner=settings.preconditioner[1],
    )
    new = target._replace(
        layers=target.layers._replace(filter=kernel), directions=directions
    )
    sound = jnp.isfinite(kernel).all()
    return jax.tree.map(lambda a, b: jnp.where(sound, a, b), new, target)


def _filtered(
    small: Float[Array, "*n h w D"], kernel: Float[Array, "9 D"]
) -> Float[Array, "*n h w"]:
    """A 3x3 convolution to one channel: as one product with all taps, whose maps are
    then shifted. A convolution with a kernel for each target is far slower."""
    *batch, h, w, _ = small.shape
    taps = small @ kernel.T  # [*n h w 9]
    around = [(0, 0)] * len(batch) + [(1, 1), (1, 1), (0, 0)]
    taps = jnp.pad(taps, around)
    return sum(
        taps[..., i : i + h, j : j + w, TAPS * i + j]
        for i in range(TAPS)
        for j in range(TAPS)
    )


def _first_memory(small, masks, samples, settings: Settings) -> Memory:
    missing = settings.capacity - len(small)
    if missing < 0:
        raise ValueError(
            f"capacity={settings.capacity}: the memory cannot hold the {len(small)} "
            "samples of the first frame."
        )

    def filled(values):
        return jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))

    return Memory(
        filled(small),
        filled(_quantised(masks)),
        filled(samples),
        jnp.int32(-1),
        jnp.float32(1),
    )


def _quantised(masks: Float[Array, "*n"]) -> UInt8[Array, "*n"]:
    return jnp.round(jnp.clip(masks, 0, 1) * LEVELS).astype(jnp.uint8)


def _uniform(key: Key[Array, ""], shape: tuple[int, ...], inputs: int) -> Array:
    limit = 1 / math.sqrt(inputs)
    return jax.random.uniform(key, shape, minval=-limit, maxval=limit)


def blank(
    count: int,
    size: tuple[int, int],
    image: tuple[int, int],
    channels: int,
    *,
    settings: Settings,
) -> Target:
    """Slots without a target, side by side: all zeros.

    Args:
        count: Slots.
        size: Of feature maps,
        image: and of masks.
        channels: Of features.
    """

    def one():
        empty = jnp.zeros((1, *size, channels)), jnp.zeros((1, *image))
        return fit(jax.random.key(0), *empty, settings=settings)

    shapes = jax.eval_shape(one)
    return jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype), shapes)


def chosen(which: Bool[Array, "K"], new: Target, old: Target) -> Target:
    """Slots of `new` where it says so, of `old` elsewhere."""
    return jax.tree.map(
        lambda a, b: jnp.where(which.reshape(-1, *[1] * (a.ndim - 1)), a, b), new, old
    )
