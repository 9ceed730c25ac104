"""How good masks can get that are balls in the embedding. See README.md."""

import argparse
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import run

from stemseg_jax import models, studies
from stemseg_jax.formats import images
from stemseg_jax.ops import gaussian, masks, pixels, resize
from stemseg_jax.outputs import overlay, report

STRIDE = 4
LEAST = 64  # pixels of an object that counts
SHOWN = (0, 3, 6, 9, 12, 15)  # frames on the sheet


class Said(NamedTuple):
    """What a network says of consecutive frames, at stride 4."""

    embeddings: np.ndarray  # [T h w E]
    bandwidths: np.ndarray  # [T h w E]
    seediness: np.ndarray  # [T h w]
    foreground: np.ndarray  # [T h w], of its own head, or the seediness


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--variant", default="")
    options = parser.parse_args()
    lines, sheet, captions = [], [], []
    for row, read in (("stemseg", windows_of_stemseg), ("srnet", frames_of_srnet)):
        config, workdir = studies.recipe(run.ROWS, row, 0, options)
        model = models.load(config, str(workdir))
        found: dict[str, list[float]] = {}
        for number, video in enumerate(studies.unseen(config)):
            drawn = {}
            for start, said in read(model, video):
                clip = video.clip(range(start, start + len(said.seediness)))
                for name, overlap in overlaps(said, clip.masks, drawn, start).items():
                    found.setdefault(name, []).extend(overlap)
            if number == 0:
                frames = [video.frame(t) for t in SHOWN]
                truth = [labels(video.clip([t]).masks[:, 0]) for t in SHOWN]
                for name, maps in (
                    ("truth", truth),
                    (f"{row}: balls of the true centres", [drawn[t] for t in SHOWN]),
                ):
                    if name not in captions:
                        pairs = zip(frames, maps, strict=True)
                        sheet.append([overlay.draw(*pair, scale=2) for pair in pairs])
                        captions.append(name)
        lines.append({"": row} | {k: float(np.mean(v)) for k, v in found.items()})
    picture = report.contact_sheet(sheet, captions, title="Balls in the embedding")
    images.write_png(options.output / "ceiling.png", picture)
    print(report.table(lines))


def windows_of_stemseg(model: models.Model, video) -> Iterator[tuple[int, Said]]:
    network, T = model.system.network, model.config.num_frames

    @jax.jit
    def maps_of(frames):
        shown = pixels.prepare(frames, frames.shape[1:3], network.encoder.convention)
        maps = jax.tree.map(lambda x: x[0], network.apply(model.variables, shown[None]))
        bandwidths = gaussian.bandwidths(maps.log_bandwidths, model.system.free_std)
        foreground = jax.nn.sigmoid(maps.foreground_logits)
        return Said(maps.embeddings, bandwidths, maps.seediness, foreground)

    for start in range(0, video.num_frames - T + 1, T):
        frames = [video.frame(start + t) for t in range(T)]
        yield start, jax.tree.map(np.asarray, maps_of(jnp.stack(frames)))


def frames_of_srnet(model: models.Model, video) -> Iterator[tuple[int, Said]]:
    network = model.system.network

    @jax.jit
    def maps_of(frame, past):
        shown = pixels.prepare(frame[None], frame.shape[:2], network.encoder.convention)
        pyramid = network.apply(model.variables, shown, method="encode")
        heat = jnp.zeros(pyramid[0].shape[:3])  # masks do not depend on it
        past = pyramid[-1] if past is None else past
        maps = network.apply(model.variables, pyramid, past, heat, method="decode")
        bandwidths = gaussian.bandwidths(maps.log_bandwidths, model.system.free_std)
        said = Said(maps.embeddings, bandwidths, maps.objectness, maps.objectness)
        return said, pyramid[-1]

    past = None
    for t in range(video.num_frames):
        said, past = maps_of(jnp.asarray(video.frame(t)), past)
        yield t, jax.tree.map(np.asarray, said)


def overlaps(
    said: Said, truth: np.ndarray, drawn: dict[int, np.ndarray], start: int
) -> dict[str, list[float]]:
    """IoU, frame by frame, of the balls of each object's mean embedding and bandwidth,
    of those of its best seed, and of the foreground; the first are put into `drawn`.

    Args:
        truth: [N T H W].
    """
    cells = np.asarray(masks.majority(jnp.asarray(truth)))
    about_means = np.zeros(truth.shape, bool)
    found: dict[str, list[float]] = {"true centre": [], "best seed": []}
    for n, inside in enumerate(cells):
        if not inside.any():
            continue
        seed = np.unravel_index(
            np.where(inside, said.seediness, -1).argmax(), inside.shape
        )
        for name, of in (
            ("true centre", lambda values: values[inside].mean(axis=0)),  # noqa: B023
            ("best seed", lambda values: values[seed]),  # noqa: B023
        ):
            ball = ball_of(said, of(said.embeddings), of(said.bandwidths))
            found[name] += of_frames(truth[n], ball)
            if name == "true centre":
                about_means[n] = ball
    for t in range(truth.shape[1]):
        drawn[start + t] = labels(about_means[:, t])
    whole = enlarge(said.foreground) > 0.5
    return found | {"foreground": of_frames(truth.any(axis=0), whole)}


def ball_of(said: Said, centre: np.ndarray, bandwidth: np.ndarray) -> np.ndarray:
    """Where the probability is above 1/2, in pixels."""
    distance = (np.square(said.embeddings - centre) * bandwidth).sum(axis=-1)
    return enlarge(np.exp(-distance / 2)) > 0.5


def enlarge(values: np.ndarray) -> np.ndarray:
    size = tuple(STRIDE * length for length in values.shape[1:])
    return np.asarray(resize.linear(jnp.asarray(values)[..., None], size))[..., 0]


def of_frames(truth: np.ndarray, found: np.ndarray) -> list[float]:
    """IoU of each frame in which enough is to be seen."""
    return [
        np.count_nonzero(a & b) / np.count_nonzero(a | b)
        for a, b in zip(truth, found, strict=True)
        if np.count_nonzero(a) >= LEAST
    ]


def labels(objects: np.ndarray) -> np.ndarray:
    """[N H W] -> numbers from 1; later ones lie on top."""
    painted = np.zeros(objects.shape[1:], np.int32)
    for number, mask in enumerate(objects, start=1):
        painted[mask] = number
    return painted


if __name__ == "__main__":
    main()
