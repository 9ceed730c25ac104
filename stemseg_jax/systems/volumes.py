"""What systems share whose network takes a window of frames as one volume.

Features of a frame, and what its windows have in common beyond them (`SHARE`), are
computed once, however many windows see it; what the windows of a frame say is added up;
what is said of a window crosses to the host while the next one's work is under way.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent import futures
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, UInt, UInt8

from stemseg_jax import choices
from stemseg_jax.geometry import Geometry, Size, SizeRule
from stemseg_jax.modules.encoder import STRIDE, Encoder, Pyramid
from stemseg_jax.ops import pixels, resize
from stemseg_jax.structures import Variables
from stemseg_jax.systems import steps
from stemseg_jax.tracking import label_codes, statistics, windows
from stemseg_jax.tracks import Frame, LabelledFrames, Stage, Stages

# Frames that are encoded together, at most. More fill an accelerator better, but their
# features take memory, the first frame of a group waits for seven others, which matters
# to a live stream, and the last group of a shot is padded to as many.
GROUP = 8

# Whether the first convolutions of decoders, nearly all of their work, are done once
# for each frame ("always") or for each window that has it ("never"). What is kept of a
# frame is two to five times as large as its features. "auto": once on a CPU, where it
# was measured (experiments/benchmark_original), if windows overlap.
SHARE = ("auto", "always", "never")


@runtime_checkable
class Network(Protocol):
    """A Flax module, whose methods `apply` calls."""

    encoder: Encoder
    num_frames: int

    def encode(self, images: Float[Array, "*B H W 3"]) -> Pyramid:
        """Features of normalised frames, each frame on its own."""

    def decode(self, pyramid: Pyramid) -> Any:
        """Maps [B T h w ...] of a window from the features of its frames."""

    def frame_terms(self, pyramid: Pyramid) -> Any:
        """What of `decode` is the same in all windows of a frame: arrays [B T ...]."""

    def decode_terms(self, terms: tuple[Any, ...]) -> Any:
        """As `decode`, from the terms of each frame of the window, without T."""


# Of one frame: its features or, where they are shared, its terms. Arrays [B ...].
Encoded = Any


class Decoded(NamedTuple):
    """What one more frame, or the end of the video, makes possible."""

    geometry: Geometry
    complete: list[tuple[windows.Window, Any]]  # with their maps [T h w ...]
    final: list[windows.Window]  # no later window will share a frame with them
    keep_from: int  # frames before this one are in no window that is not final yet


def decoded(
    network: Network,
    variables: Variables,
    frames: Iterator[Frame],
    *,
    num_frames: int,
    overlap: int,
    share: str,
    sizes: SizeRule,
    stride: int,
) -> Iterator[Decoded]:
    """The maps of the windows of a video.

    Args:
        share: See `SHARE`.
        stride: Of the label maps.

    Raises:
        ValueError: If there is no frame, or frames differ in size.
    """
    shared = _is_shared(share, overlap)
    encoded: dict[int, Encoded] = {}
    waiting: list[windows.Window] = []
    schedule = windows.schedule(frames, num_frames, overlap, group=_group_size())
    for group, progress in schedule:
        if group is not None:
            geometry = sizes.geometry(group.images.shape[1:3], stride=stride)
            new = _encode_group(
                network, variables, group, geometry.resized, shared=shared
            )
            encoded.update(zip(group.indices, new, strict=False))
        complete = []
        for window in progress.complete:
            own = tuple(encoded[index] for index in window.frames)
            complete.append((window, _decode(network, variables, own, shared=shared)))
        forget(encoded, progress.keep_from)
        waiting += progress.complete
        waiting = [window for window in waiting if window not in progress.final]
        needed = [progress.keep_from, *(window.start for window in waiting)]
        yield Decoded(geometry, complete, progress.final, min(needed))


def forget(by_frame: dict[int, Any], oldest: int) -> None:
    for index in [index for index in by_frame if index < oldest]:
        del by_frame[index]


def stages(
    network: Network,
    variables: Variables,
    images: UInt8[np.ndarray, "T H W 3"],
    sizes: SizeRule,
    *,
    overlap: int,
    share: str,
) -> Stages:
    """`System.stages` up to the maps of a window, which it returns.

    Whole groups of frames are encoded, as in `decoded`: perhaps more than the window's.
    First convolutions that are shared belong to what is done with each frame.
    """
    T, group = network.num_frames, _group_size()
    shared = _is_shared(share, overlap)
    frames = math.ceil(T / group) * group
    groups = np.split(images[np.arange(frames) % len(images)], frames // group)
    resized = sizes.geometry(images.shape[1:3], stride=1).resized
    convention = network.encoder.convention

    def prepare(groups):
        return [pixels.prepare(images, resized, convention) for images in groups]

    def encode(groups):
        of_group = functools.partial(_encode, network, variables, shared=shared)
        return [x for images in groups for x in _frame_by_frame(of_group, images)]

    def encode_one(variables, prepared):
        return _encode(network, variables, prepared, shared=shared)

    def decode(variables, encoded):
        return _decode(network, variables, encoded, shared=shared)

    prepared = yield Stage("preprocess", prepare, (groups,), frames)
    one = (encode_one, (variables, prepared[0][:1]))
    name = "encode, first convolutions" if shared else "encode"
    encoded = yield Stage(name, encode, (prepared,), frames, one)
    return (yield Stage("decode heads", decode, (variables, tuple(encoded[:T])), T))


def _is_shared(share: str, overlap: int) -> bool:
    if share == "auto":
        return overlap > 0 and jax.default_backend() == "cpu"
    return choices.known("tracking.share_convolutions", share, SHARE) == "always"


def _group_size() -> int:
    """On a CPU a frame for each core, eight at most; see `_frame_by_frame`."""
    if jax.default_backend() != "cpu":
        return GROUP
    return min(os.cpu_count() or 1, GROUP)


def _encode_group(
    network: Network,
    variables: Variables,
    group: windows.Group,
    resized: Size,
    *,
    shared: bool,
) -> Sequence[Encoded]:
    """Each frame of a group."""

    def encode(images):
        prepared = pixels.prepare(images, resized, network.encoder.convention)
        return _encode(network, variables, prepared, shared=shared)

    images = group.images
    if jax.default_backend() == "cpu":  # there is no shape that has to be kept
        images = images[: len(group.indices)]
    return _frame_by_frame(encode, images)


def _frame_by_frame(
    encode: Callable[[Any], tuple[Encoded, ...]], images: Any
) -> Sequence[Encoded]:
    """On CPU the frames go one by one, in a thread for each core: maps of a whole group
    fit no cache, and XLA by itself leaves cores idle."""
    if jax.default_backend() != "cpu":
        return encode(images)

    def encode_alone(image):
        (encoded,) = encode(image[None])
        return jax.block_until_ready(encoded)

    return list(_threads().map(encode_alone, images))


@functools.cache
def _threads() -> futures.ThreadPoolExecutor:
    return futures.ThreadPoolExecutor(os.cpu_count())


@functools.partial(jax.jit, static_argnums=0, static_argnames="shared")
def _encode(
    network: Network,
    variables: Variables,
    images: Float[Array, "T H W 3"],
    *,
    shared: bool,
) -> tuple[Encoded, ...]:
    """Prepared frames, one by one."""
    encoded = network.apply(variables, images[None], method="encode")
    if shared:
        encoded = network.apply(variables, encoded, method="frame_terms")
    return tuple(
        jax.tree.map(lambda x, k=k: x[:, k], encoded) for k in range(images.shape[0])
    )


@functools.partial(jax.jit, static_argnums=0, static_argnames="shared")
def _decode(
    network: Network,
    variables: Variables,
    encoded: tuple[Encoded, ...],
    *,
    shared: bool,
) -> Any:
    """Maps of one window [T h w ...]."""
    if shared:
        maps = network.apply(variables, encoded, method="decode_terms")
    else:
        pyramid = jax.tree.map(lambda *x: jnp.stack(x, axis=1), *encoded)
        maps = network.apply(variables, pyramid, method="decode")
    return jax.tree.map(lambda x: x[0], maps)


def parts(
    network: Network,
    variables: Variables,
    frames: jax.ShapeDtypeStruct,
    *,
    named: Callable[[Any], steps.Arrays],
    meaning: Mapping[str, str],
) -> dict[str, steps.Step]:
    """`System.steps` of such a network.

    Args:
        named: Its maps by name.
        meaning: Of these.
    """
    encode = steps.encode(network, frames)

    def of_window(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        B, *size = x.shape
        return jax.ShapeDtypeStruct((B, network.num_frames, *size), x.dtype)

    def decode(variables: Variables, features: steps.Arrays) -> steps.Arrays:
        pyramid = steps.pyramid(features)
        return named(network.apply(variables, pyramid, method="decode"))

    takes = jax.tree.map(of_window, encode.gives(variables))
    meaning = steps.LEVELS | meaning
    return {"encode": encode, "decode": steps.Step(decode, takes, meaning)}


# ------------------------------------------------------------ what windows say together


class Sums(NamedTuple):
    """Maps of one frame, summed over the windows that have it. With an axis T: those of
    all frames of one window."""

    count: Float[Array, "*T"]
    maps: Any


def sums_of(maps: Any) -> Sums:
    """Of a window's maps [T h w ...]."""
    return Sums(jnp.ones(len(jax.tree.leaves(maps)[0])), maps)


def add_up(
    before: tuple[Sums, ...], new: Sums, repeats: Int32[Array, ""], *, together: bool
) -> tuple[Sums, ...]:
    """Adds what a window says to the sums of its frames.

    Frame 0 of a short video stands several times in its window; the last place has its
    sums.

    Args:
        repeats: Places at the front that only repeat frame 0.
        together: Whether all places where a frame stands count, or the last one alone.
    """
    after = []
    for k, sums in enumerate(before):
        if k and together:
            sums = jax.tree.map(
                functools.partial(jnp.where, k <= repeats), after[-1], sums
            )
        after.append(jax.tree.map(lambda total, x, k=k: total + x[k], sums, new))
    return tuple(after)


def mean(sums: tuple[Sums, ...]) -> Any:
    """Of the windows of each frame: maps [T h w ...]."""
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *sums)
    return jax.tree.map(
        lambda x: (1 / stacked.count).reshape(-1, *[1] * (x.ndim - 1)) * x,
        stacked.maps,
    )


def enlarge(maps: Float[Array, "T h w *rest"]) -> Float[Array, "T H W *rest"]:
    """From stride 4 to full size, bilinearly in space."""
    T, h, w = maps.shape[:3]
    flat = maps.reshape(T, h, w, -1)
    flat = resize.linear(flat, (h * STRIDE, w * STRIDE))
    return flat.reshape(T, h * STRIDE, w * STRIDE, *maps.shape[3:])


# -------------------------------------------------------------------------- to the host


class ForHost(NamedTuple):
    """What of a window crosses to the host."""

    ids: Int32[Array, "K"]  # of each slot's track
    sums: statistics.SlotSums
    codes: tuple[UInt[Array, "_ _"], ...]  # of the new frames, see `label_codes`
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
