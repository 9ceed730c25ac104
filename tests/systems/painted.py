"""Frames that carry what the network is to say of them.

Each cell of 4 x 4 pixels holds 48 numbers, three in each of its pixels. The network
reads its maps off them, so that the maps of any clip are known without it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from stemseg_jax.ops import mixing
from stemseg_jax.systems import stemseg
from stemseg_jax.tracks import Frame
from tests.systems import stemseg_reference

CELL = 4
NUMBERS = 3 * CELL * CELL
SIZE = 8, 16  # h and w of all maps: 32 x 64 pixels
# The mean colour of the published weights, red first. What is padded has it.
MEAN = np.array([122.7717, 115.9465, 102.9801], np.float32)
# Which of a cell's numbers mean what.
EMBEDDING, BANDWIDTH, SEEDINESS, FOREGROUND, CLASSES = 0, 4, 7, 8, 9
MAX_CLASSES = 5  # that its looks tell apart


def maps(cells, *, mixture: str, num_classes: int) -> tuple:
    """The maps of clips from their cells [... T h w 48], of NumPy or of JAX.

    The same frame gives other maps at another place of a clip, as with a network.
    """
    spec = mixing.get(mixture)
    T = cells.shape[-4]
    place = np.arange(T, dtype=np.float32)[:, None, None] / T
    first = np.eye(max(spec.dimensions, num_classes), dtype=np.float32)[0]
    embeddings = cells[..., EMBEDDING : EMBEDDING + spec.dimensions] / 64 - 2
    log_bandwidths = cells[..., BANDWIDTH : BANDWIDTH + spec.bandwidths] / 64 - 2
    seediness = (cells[..., SEEDINESS] + np.float32(0.3)) / 256 * (1 - place / 8)
    classes = foreground = None
    if num_classes:
        classes = cells[..., CLASSES : CLASSES + num_classes] / 32 - 4
        classes = classes + place[..., None] * first[:num_classes]
        foreground = (cells[..., FOREGROUND] - np.float32(127.7)) / 32 + place - 0.5
    embeddings = embeddings + place[..., None] / 4 * first[: spec.dimensions]
    return embeddings, log_bandwidths, seediness, classes, foreground


class PaintedNetwork(stemseg.Network):
    """Reads its maps off the frames; it has no parameters."""

    def setup(self):
        pass

    def encode(
        self, images: Float[Array, "B T H W 3"]
    ) -> tuple[Float[Array, "B T h w 48"]]:
        values = (images[..., ::-1] + MEAN) * 16  # blue first there
        return (_cells(values.round() / 16),)

    def decode(self, pyramid: tuple[Float[Array, "B T h w 48"]]) -> stemseg.Maps:
        (cells,) = pyramid
        return stemseg.Maps(
            *maps(cells, mixture=self.mixing, num_classes=self.num_classes)
        )

    def frame_terms(self, pyramid):
        return pyramid

    def decode_terms(self, terms):
        return self.decode(jax.tree.map(lambda *x: jnp.stack(x, axis=1), *terms))


def system(
    config: ConfigDict, network: type[stemseg.Network] = PaintedNetwork
) -> stemseg.STEmSeg:
    """The system of a config, with such a network in place of its own."""
    made = stemseg.STEmSeg.from_config(config)
    fields = {
        field.name: getattr(made.network, field.name)
        for field in dataclasses.fields(made.network)
        if field.name not in ("parent", "name")
    }
    return dataclasses.replace(made, network=network(**fields))


@dataclasses.dataclass(frozen=True)
class Video:
    """A video by its cells.

    Attributes:
        cells: [L h w 48], whole numbers from 1 to 254.
        resized: Height and width that the network sees, less padding.
        scale: How many times larger the frames themselves are: 1 or 2.
    """

    cells: np.ndarray
    resized: tuple[int, int]
    scale: int = 1

    def frames(self) -> list[Frame]:
        L, h, w, _ = self.cells.shape
        images = self.cells.reshape(L, h, w, CELL, CELL, 3).swapaxes(2, 3)
        images = images.reshape(L, h * CELL, w * CELL, 3)
        images = images[:, : self.resized[0], : self.resized[1]].astype(int)
        if self.scale == 2:  # each pixel becomes four whose mean it is
            images = images.repeat(2, axis=1).repeat(2, axis=2)
            images[:, ::2, ::2] += 1
            images[:, 1::2, ::2] -= 1
        return [Frame(k, image) for k, image in enumerate(images.astype(np.uint8))]

    def seen(self) -> np.ndarray:
        """The cells as the network has to see them; padding has the mean colour."""
        L, h, w, _ = self.cells.shape
        images = np.empty((L, h * CELL, w * CELL, 3), np.float32)
        images[:] = (MEAN * 16).round() / 16
        height, width = self.resized
        whole = dataclasses.replace(self, resized=images.shape[1:3], scale=1)
        for image, frame in zip(images, whole.frames(), strict=True):
            image[:height, :width] = frame.image[:height, :width]
        return _cells(images)

    def said(self, clip: list[int], config: ConfigDict) -> stemseg_reference.Maps:
        """What the network says of a clip of these frames."""
        model = config.model
        return stemseg_reference.Maps(
            *maps(
                self.seen()[clip], mixture=model.mixing, num_classes=model.num_classes
            )
        )


def _cells(images):
    """[... H W 3] -> [... H/4 W/4 48], of NumPy or of JAX."""
    *batch, H, W, _ = images.shape
    cells = images.reshape(*batch, H // CELL, CELL, W // CELL, CELL, 3)
    return cells.swapaxes(-4, -3).reshape(*batch, H // CELL, W // CELL, NUMBERS)


@dataclasses.dataclass(frozen=True)
class Thing:
    """A rectangle that moves evenly.

    Attributes:
        name: Things of one name look alike.
        frames: The frames that show it.
        at: Top and left cell in frame 0.
        size: Height and width in cells.
        speed: Cells per frame, down and to the right.
    """

    name: int
    frames: range
    at: tuple[float, float]
    size: tuple[int, int] = (3, 4)
    speed: tuple[float, float] = (0.0, 0.0)


def outlines(length: int, things: list[Thing]) -> np.ndarray:
    """Which thing each cell shows [L h w]: its place in the list from 1, or 0.

    The later ones are in front.
    """
    shown = np.zeros((length, *SIZE), int)
    for number, thing in enumerate(things, start=1):
        for frame in thing.frames:
            box = []
            for axis in range(2):
                start = round(thing.at[axis] + frame * thing.speed[axis])
                box.append(slice(max(start, 0), max(start + thing.size[axis], 0)))
            shown[(frame, *box)] = number
    return shown


def paint(
    length: int, things: list[Thing], *, spread: int = 10, stray: int = 80
) -> np.ndarray:
    """Cells [L h w 48] that show these things.

    Args:
        spread: How far a thing's embeddings lie from their middle, in 64ths.
        stray: The highest seediness of the background, in 256ths.
    """
    rng = np.random.default_rng(length)
    shown = outlines(length, things)
    cells = rng.integers(1, 255, (*shown.shape, NUMBERS))
    cells[..., SEEDINESS] = rng.integers(1, stray, shown.shape)
    cells[..., FOREGROUND] = rng.integers(1, 140, shown.shape)
    cells[..., CLASSES] = 200  # the background's
    for number, thing in enumerate(things, start=1):
        looks = np.random.default_rng(thing.name).integers(40, 216, NUMBERS)
        count = (shown == number).sum()
        part = looks + rng.integers(-spread, spread + 1, (count, NUMBERS))
        part[:, BANDWIDTH:SEEDINESS] = rng.integers(112, 144, (count, 3))
        part[:, SEEDINESS] = rng.integers(120, 255, count)
        part[:, FOREGROUND] = rng.integers(115, 240, count)
        part[:, CLASSES] = 60
        part[:, CLASSES + 1 :] += rng.integers(-30, 30, part[:, CLASSES + 1 :].shape)
        cells[shown == number] = part.clip(1, 254)
    return cells
