"""The same work by the original program and by ours, in turn. See README.md.

    python experiments/benchmark_original/run.py --original=DIR --output=OUT

DIR is a checkout of sabarim/STEm-Seg; PyTorch has to be installed beside us.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import original as program

from configs import davis
from stemseg_jax import models, optimization
from stemseg_jax.clustering import sequential
from stemseg_jax.formats import whole
from stemseg_jax.losses import lovasz
from stemseg_jax.outputs import collector, davis_results, report
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems import stemseg
from stemseg_jax.tracking import stitching, windows

T, SIZE, TRAINING_SIZE, VIDEO = 8, (256, 448), (192, 320), 48
POINTS, CLUSTERED = 57_344, 200_000
BARS = {
    "network forward": 1.1,
    "training step": 1.0,
    "Lovász forward and backward": 1.0,
    "clustering": 8.0,
    "two clips clustered and stitched": 3.0,
    "48 frames to result masks": 1.5,
}
SLOW = ("48 frames to result masks",)
PARTS = ("ours", "theirs")


class Work(NamedTuple):
    ours: Callable
    theirs: Callable
    difference: Callable[[], float]  # of what both give; 0 is none


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--original", type=pathlib.Path, required=True)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=[*BARS])
    parser.add_argument("--small", action="store_true", help="to see whether it runs")
    options = parser.parse_args()
    if unknown := set(options.rows) - BARS.keys():
        parser.error(f"--rows: {', '.join(unknown)}: not one of {', '.join(BARS)}")
    if options.small:
        small()
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(options.original, pathlib.Path(scratch))
        lines = []
        for name in [name for name in BARS if name in options.rows]:
            # A round of the video takes as long as all others together.
            rounds = options.rounds // 3 if name in SLOW else options.rounds
            lines.append(measure(name, bench, max(rounds, 1)))
        machine = {
            "cores": os.cpu_count(),
            "device": jax.devices()[0].device_kind,
            "python": platform.python_version(),
            "jax": jax.__version__,
            "torch": bench.original.torch.__version__,
        }
        found = {"machine": machine, "rows": lines}
        if SLOW[0] in options.rows:
            found["peak memory (MB)"] = memories(bench, options.original)
    whole.write_text(options.output / "figures.json", json.dumps(found, indent=1))
    print(
        report.table([{k: v for k, v in line.items() if k != "all"} for line in lines])
    )
    print(json.dumps(machine), json.dumps(found.get("peak memory (MB)", {})))


def small() -> None:
    global SIZE, TRAINING_SIZE, VIDEO, POINTS, CLUSTERED
    SIZE, TRAINING_SIZE, VIDEO, POINTS, CLUSTERED = (96, 128), (96, 128), 13, 500, 500


def measure(name: str, bench: "Bench", rounds: int) -> dict:
    work = bench.work(name)
    difference = work.difference()
    work.ours(), work.theirs()
    seconds = {"ours": [], "theirs": []}
    for _ in range(rounds):
        for part in PARTS:
            begin = time.perf_counter()
            getattr(work, part)()
            seconds[part].append(time.perf_counter() - begin)
    ratios = [b / a for a, b in zip(seconds["ours"], seconds["theirs"], strict=True)]
    ordered = sorted(ratios)
    line = {
        "work": name,
        "ours (ms)": 1000 * statistics.median(seconds["ours"]),
        "theirs (ms)": 1000 * statistics.median(seconds["theirs"]),
        "times as fast": statistics.median(ratios),
        "quartiles": f"{ordered[rounds // 4]:.2f} to {ordered[-1 - rounds // 4]:.2f}",
        "of the fastest": min(seconds["theirs"]) / min(seconds["ours"]),
        "bar": BARS[name],
        "met": "yes" if statistics.median(ratios) >= BARS[name] else "no",
        "difference": f"{difference:.1e}",
        "all": seconds,
    }
    print(f"{name}: {line['times as fast']:.2f} times as fast", flush=True)
    return line


class Bench:
    """Both programs with the same weights, frames and maps."""

    def __init__(self, folder: pathlib.Path, scratch: pathlib.Path):
        self.scratch = scratch
        self.original = program.load(folder, size=SIZE, threads=os.cpu_count())
        self.torch = self.original.torch
        self.theirs = program.inference_model(self.original)
        checkpoint = scratch / "weights.pth"
        state = {k: v.cpu() for k, v in self.theirs._model.state_dict().items()}
        self.torch.save({"model": state}, checkpoint)
        self.model = models.load(config(), str(checkpoint))
        self.rng = np.random.default_rng(0)

    def work(self, name: str) -> Work:
        return {
            "network forward": self.forward,
            "training step": self.training,
            "Lovász forward and backward": self.lovasz,
            "clustering": self.clustering,
            "two clips clustered and stitched": self.stitching,
            "48 frames to result masks": self.video,
        }[name]()

    def tensor(self, array: np.ndarray):
        return self.torch.tensor(np.ascontiguousarray(array)).to(self.original.device)

    def wait(self, value=None):
        if self.torch.cuda.is_available():
            self.torch.cuda.synchronize()
        return value

    def frames(self, count: int, size: tuple[int, int]) -> np.ndarray:
        """Of colours that change slowly over the frame; RGB."""
        coarse = self.rng.integers(0, 256, (count, 8, 8, 3)).astype(np.float32)
        large = jax.image.resize(coarse, (count, *size, 3), "cubic")
        return np.asarray(large.clip(0, 255), np.uint8)

    def theirs_of(self, frames: np.ndarray):
        """Frames as their network takes them."""
        mean = np.array(self.original.cfg.INPUT.IMAGE_MEAN, np.float32)
        images = frames[..., ::-1].astype(np.float32) - mean
        tensors = self.tensor(images.transpose(0, 3, 1, 2)[None])
        return self.original.ImageList(tensors, [frames.shape[1:3]])

    # ------------------------------------------------------------------- the rows

    def forward(self) -> Work:
        """Features of one clip, and its embedding and seediness maps."""
        frames = self.frames(T, SIZE)
        system, variables = self.model.system, self.model.variables
        network = jax.jit(system.network.apply)
        images = system.network.encoder.convention.normalise(frames)[None]
        given, net = self.theirs_of(frames), self.theirs._model

        def theirs():
            with self.torch.no_grad():
                features = net.run_backbone(given)
                maps, _ = net.forward_embeddings_and_semseg(features, 1, T)
            return self.wait(maps)

        def ours():
            return jax.block_until_ready(network(variables, images))

        def difference():
            maps = np.moveaxis(theirs().cpu().numpy()[0], 0, -1)  # T h w C
            found = np.concatenate(
                [
                    *(np.asarray(x[0]) for x in ours()[:2]),
                    np.asarray(ours().seediness[0])[..., None],
                ],
                axis=-1,
            )
            return float(np.abs(maps - found).max() / np.abs(maps).max())

        return Work(ours, theirs, difference)

    def training(self) -> Work:
        """Forward, loss, backward and update of one clip with three instances."""
        height, width = TRAINING_SIZE
        frames = self.frames(T, TRAINING_SIZE)
        masks = np.zeros((3, T, height, width), bool)
        for n in range(3):
            y, x = height * (1 + 3 * n) // 11, width * (1 + 3 * n) // 11
            masks[n, :, y : y + height // 5, x : x + width // 4] = True
        model = self.model
        params = model.variables["params"]
        rest = {k: v for k, v in model.variables.items() if k != "params"}
        frozen = model.system.frozen_modules()
        tx = optimization.optimizer(model.config.optim, params, frozen=frozen)
        keys = jax.random.split(jax.random.key(0), 1)
        batch = ClipBatch(
            frames=jnp.asarray(frames[None]),
            masks=jnp.asarray(masks[None]),
            valid=jnp.ones((1, 3), bool),
            categories=jnp.ones((1, 3), jnp.int32),
            ignore=jnp.zeros((1, T, height, width), bool),
            intrinsics=jnp.full((1, T, 3, 3), jnp.nan),
        )

        @jax.jit
        def update(params, state):
            def loss(params):
                return model.system.loss({"params": params, **rest}, batch, keys)[0]

            value, gradient = jax.value_and_grad(loss)(params)
            changes, state = tx.update(gradient, state, params)
            return optax.apply_updates(params, changes), state, value

        state = tx.init(params)

        def ours():
            return jax.block_until_ready(update(params, state))[2]

        net, torch = self.theirs._model, self.torch
        cfg = self.original.cfg.TRAINING
        optimiser = torch.optim.SGD(
            [p for p in net.parameters() if p.requires_grad],
            *(0.0, cfg.MOMENTUM),  # weights stay as they are: so does the loss
            weight_decay=cfg.WEIGHT_DECAY,
            nesterov=cfg.NESTEROV,
        )
        images = self.theirs_of(frames)
        target = {
            "masks": self.tensor(masks.astype(np.uint8)),
            "ignore_masks": self.tensor(np.zeros(frames.shape[:3], np.uint8)),
            "category_ids": [1, 1, 1],
        }

        def theirs():
            net.train()
            optimiser.zero_grad()
            losses = net(images, [dict(target)])["optimization_losses"]
            total = sum(losses.values())
            total.backward()
            optimiser.step()
            net.eval()
            return self.wait(total.detach())

        def difference():
            expected = float(theirs())
            return abs(float(ours()) - expected) / expected

        return Work(ours, theirs, difference)

    def lovasz(self) -> Work:
        """Points of any error between 0 and 2, a fifth of them inside the mask."""
        logits = self.rng.uniform(-1, 1, POINTS).astype(np.float32)
        labels = self.rng.random(POINTS) < 0.2
        own = jax.jit(jax.value_and_grad(lovasz.hinge))
        given = jnp.asarray(logits), jnp.asarray(labels)
        hinge = self.original.LovaszHingeLoss()
        leaf, mask = self.tensor(logits), self.tensor(labels.astype(np.uint8))

        def theirs():
            x = leaf.clone().requires_grad_(True)
            loss = hinge(x, mask)
            loss.backward()
            return self.wait((loss.detach(), x.grad))

        def ours():
            return jax.block_until_ready(own(*given))

        def difference():
            (a, b), (c, d) = ours(), theirs()
            slopes = np.abs(np.asarray(b) - d.cpu().numpy()).max()
            return max(abs(float(a) - float(c)), float(slopes))

        return Work(ours, theirs, difference)

    def points(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Embeddings, bandwidths of two dimensions, seediness: five objects and what
        belongs to none."""
        kind = self.rng.integers(0, 6, shape)
        centres = self.rng.uniform(-1, 1, (6, 4))
        embeddings = centres[kind] + self.rng.normal(scale=0.05, size=(*shape, 4))
        lost = self.rng.uniform(-1, 1, (*shape, 4))
        embeddings = np.where((kind == 5)[..., None], lost, embeddings)
        seediness = np.where(kind == 5, 0.2, 0.9) + self.rng.uniform(0, 0.1, shape)
        bandwidths = self.rng.uniform(20, 40, (*shape, 2))
        return [x.astype(np.float32) for x in (embeddings, bandwidths, seediness)]

    def clustering(self) -> Work:
        arrays = self.points((CLUSTERED,))
        given = [*map(jnp.asarray, arrays), jnp.ones(CLUSTERED, bool)]
        settings, free = self.model.system.clustering, self.free
        own = jax.jit(
            lambda *points: sequential.cluster(*points, settings=settings, free=free)
        )
        tensors = [self.tensor(x) for x in arrays]
        clusterer = program.clusterer(self.original)

        def theirs():
            embeddings, bandwidths, seediness = tensors
            return self.wait(
                clusterer(
                    embeddings, bandwidths=bandwidths, seediness=seediness[:, None]
                )[0]
            )

        def ours():
            return jax.block_until_ready(own(*given)).labels

        def difference():
            expected = theirs().cpu().numpy()  # from 1, -1 for none
            found = np.where(np.asarray(ours()) < 0, -1, np.asarray(ours()) + 1)
            return float((found != expected).mean())

        return Work(ours, theirs, difference)

    @property
    def free(self) -> tuple[float, ...]:
        return tuple(std**-2 for std in self.model.system.free_std)

    def stitching(self) -> Work:
        """Two clips of eight frames that share six; a third is foreground."""
        h, w = SIZE[0] // 4, SIZE[1] // 4
        overlap = self.model.config.tracking.overlap
        length = 2 * T - overlap
        foreground = self.rng.random((length, h, w)) < 1 / 3
        maps = self.points((length, h, w))
        starts = (0, T - overlap)
        clips = [[x[start : start + T] for x in maps] for start in starts]
        masks = [foreground[start : start + T] for start in starts]
        system, K = self.model.system, self.model.system.clustering.max_instances

        @jax.jit
        def window(embeddings, bandwidths, seediness, mask, before, known, next_id):
            slots = sequential.cluster(
                *(x.reshape(-1, x.shape[-1]) for x in (embeddings, bandwidths)),
                *(seediness.ravel(), mask.ravel()),
                settings=system.clustering,
                free=self.free,
            ).labels.reshape(mask.shape)
            labels, ids = before
            found = stitching.stitch(
                *(labels, slots, mask, known, next_id),
                num_slots=K,
                max_alive=K * windows.labelling_windows(T, overlap),
                settings=system.stitching,
                known_ids=ids,
            )
            return found

        blank = jnp.zeros((T, h, w), jnp.int32), jnp.zeros(K, jnp.int32)
        inputs = [[*map(jnp.asarray, clip), jnp.asarray(m)] for clip, m in
                  zip(clips, masks, strict=True)]  # fmt: skip

        def ours():
            first = window(*inputs[0], blank, jnp.int32(0), jnp.int32(1))
            before = jnp.roll(first.labels, -starts[1], axis=0), first.ids
            second = window(*inputs[1], before, jnp.int32(overlap), first.next_id)
            return jax.block_until_ready((first, second))

        chainer = self.original.OnlineChainer(
            program.clusterer(self.original), embedding_resize_factor=1.0
        )
        mask = self.tensor(foreground.astype(np.uint8))
        tensors = [
            [self.tensor(np.moveaxis(x, -1, 0)) for x in (e, b, s[..., None])]
            for e, b, s in clips
        ]

        def theirs():
            found = chainer.process(
                mask,
                [
                    {
                        "frames": list(range(start, start + T)),
                        **dict(
                            zip(("embeddings", "bandwidths", "seediness"), t,
                                strict=True)
                        ),
                    }
                    for start, t in zip(starts, tensors, strict=True)
                ],
            )  # fmt: skip
            return self.wait(found[0][0])

        def difference():
            expected = np.concatenate([x.cpu().numpy() for x in theirs()])
            first, second = ours()
            labels = np.concatenate([first.labels, second.labels[overlap:]])
            return float((labels[foreground] != expected).mean())

        return Work(ours, theirs, difference)

    def video(self) -> Work:
        """From frames in memory to palette PNGs, as DAVIS wants them."""
        frames = self.frames(VIDEO, SIZE)
        levels = self.levels(frames[:T])
        own = config(*levels)
        model = self.model._replace(config=own, system=models.build(own))

        def ours():
            return masks(model, frames, self.scratch)

        def theirs():
            given = self.original, self.theirs, frames, self.scratch / "theirs"
            return program.masks(*given, levels=levels)

        def difference():
            import cv2

            unequal = []
            for a, b in zip(*(sorted(f().glob("*.png")) for f in (ours, theirs)),
                            strict=True):  # fmt: skip
                pair = (cv2.imread(str(x), cv2.IMREAD_UNCHANGED) for x in (a, b))
                unequal.append(float(np.not_equal(*pair).mean()))
            return float(np.mean(unequal))

        return Work(ours, theirs, difference)

    def levels(self, clip: np.ndarray) -> tuple[float, float]:
        """Seediness that a third of the cells have, and a tenth: untrained weights make
        no objects, but with these there is as much to label as in a video."""
        system, variables = self.model.system, self.model.variables
        images = system.network.encoder.convention.normalise(clip)[None]
        maps = jax.jit(system.network.apply)(variables, images)
        assert isinstance(maps, stemseg.Maps)
        return tuple(float(np.quantile(maps.seediness, q)) for q in (2 / 3, 0.9))


def masks(model: models.Model, frames: np.ndarray, scratch: pathlib.Path):
    """The folder of the PNGs."""
    labels, statistics = model.track(frames)
    chosen = collector.select(statistics, **model.config.selection)
    folder = tempfile.mkdtemp(dir=scratch)  # a new one each time
    video = labels.tracks("video", chosen)
    return davis_results.write(pathlib.Path(folder), video)


def config(threshold: float = 0.25, least: float = 0.8):
    """DAVIS with ResNet-50, every choice as the original program makes it."""
    own = davis.get_config().unlock()
    own.init_from = ""
    own.parity = "released"
    own.model.backbone = "resnet50"
    own.evaluation.min_dim, own.evaluation.max_dim = min(SIZE), max(SIZE)
    own.tracking.foreground_threshold = threshold
    own.clustering.min_seediness = least
    return own


def memories(bench: Bench, folder: pathlib.Path) -> dict[str, float]:
    """MB that a process of each program takes at most, with all it imports, for the
    video twice; and how many times ours theirs are."""
    frames = bench.frames(VIDEO, SIZE)
    levels = bench.levels(frames[:T])
    np.save(bench.scratch / "frames.npy", frames)
    found = {}
    for part in PARTS:
        command = [sys.executable, str(pathlib.Path(__file__).parent / "memory.py")]
        command += [part, f"--original={folder}", f"--scratch={bench.scratch}"]
        command += [f"--levels={levels[0]},{levels[1]}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[part] = float(done.stdout.splitlines()[-1])
    return found | {"ours of theirs": found["ours"] / found["theirs"]}


if __name__ == "__main__":
    main()
