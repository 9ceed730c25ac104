"""What canvases of several forms keep of clips, and what they cost. See README.md."""

import argparse
import json
import pathlib
import tracemalloc

import numpy as np

from configs import davis, kitti_mots, kitti_mots_stage2, moving_shapes, ytvis
from stemseg_jax import geometry, train
from stemseg_jax.data import pipeline, readers
from stemseg_jax.data.clips import canvas, stills
from stemseg_jax.formats import whole
from stemseg_jax.outputs import report

CONFIGS = {
    "davis": davis.get_config(),
    "ytvis": ytvis.get_config(),
    "kitti_mots": kitti_mots.get_config(),
    "kitti_mots:paper": kitti_mots.get_config("paper"),
    "kitti_mots_stage2": kitti_mots_stage2.get_config(),
}
# Of the one canvas that each had before: min_dim x max_dim, but for the last.
ONE = {"kitti_mots_stage2": (544, 1792)}
FORMS = {  # height and width of frames
    "16:9": (720, 1280),
    "3:2": (427, 640),
    "4:3": (480, 640),
    "1:1": (512, 512),
    "3:4": (640, 480),
    "9:16": (1280, 720),
    "KITTI": (375, 1242),
}


def areas() -> list[dict[str, str]]:
    """Of the authors' area, before and now; and of the canvas, what is padded beyond
    the multiples of 32 that the authors' program pads to, too."""
    rows = []
    for name, config in CONFIGS.items():
        data = config.data
        rule = geometry.SizeRule(min_dim=data.min_dim, max_dim=data.max_dim)
        one = ONE.get(name) or geometry.padded((data.min_dim, data.max_dim))
        for form, frame in FORMS.items():
            if name == "kitti_mots_stage2" and form not in ("16:9", "KITTI"):
                continue  # there are no others in its data
            size = rule.resized(*frame)
            several = pipeline.canvas_sizes(data)
            chosen = several[canvas.best(several, size)]
            rows.append(
                {
                    "config": name,
                    "frames": form,
                    "canvas": "{} x {}".format(*chosen),
                    "area before": f"{canvas.area_kept(one, size):.2f}",
                    "area": f"{canvas.area_kept(chosen, size):.2f}",
                    "padding before": f"{padding(one, size):.2f}",
                    "padding": f"{padding(chosen, size):.2f}",
                }
            )
    return rows


def padding(on: geometry.Size, size: geometry.Size) -> float:
    shrunk = geometry.scaled(size, canvas.area_kept(on, size) ** 0.5)
    height, width = geometry.padded(shrunk)
    return 1 - height * width / (on[0] * on[1])


def rates(root: pathlib.Path, output: pathlib.Path, rounds: int) -> dict[str, float]:
    """Updates a second on COCO's images, as the log of a run has them; the two take
    turns."""
    found = {"one canvas": [], "three canvases": []}
    for number in range(1, rounds + 1):
        for name, rates in found.items():
            config = moving_shapes.get_config().unlock()
            config.model.num_classes, config.model.categories = 2, "object"
            config.data.root = str(root)
            config.data.mixture = dict(coco=1.0)
            config.data.options = dict(coco=dict(categories="object"))
            config.data.span = {}
            if name == "three canvases":
                config.data.aspects = ("16:9", "4:3", "9:16")
            config.optim.steps = 60 * number
            config.log_every = 60
            train.run(config.lock(), str(output / name.replace(" ", "_")))
            log = (output / name.replace(" ", "_") / "metrics.jsonl").read_text()
            rates.append(json.loads(log.splitlines()[-1])["steps_per_second"])
    return {name: float(np.median(rates)) for name, rates in found.items()}


def memory() -> dict[str, float]:
    """Megabytes: the most that making a clip of a still of 60 instances holds, and what
    a clip of 16 frames weighs on its way to the device."""
    rng = np.random.default_rng(0)
    masks = np.zeros((60, 1, 480, 640), bool)
    for number, mask in enumerate(masks[:, 0]):
        top, left = 60 * (number // 8), 80 * (number % 8)
        mask[top : top + 40, left : left + 60] = True
    still = readers.RawClip(
        frames=rng.integers(0, 256, (1, 480, 640, 3), np.uint8),
        ids=np.arange(60),
        categories=np.ones(60, int),
        masks=masks,
        ignore=np.zeros((1, 480, 640), bool),
    )
    place = canvas.Canvas(height=736, width=992).place
    figures = {}
    for name, most in (("all expanded", None), ("chosen first", 20)):
        tracemalloc.start()
        clip = stills.clip_from_still(
            np.random.default_rng(0),
            still,
            num_frames=8,
            size=(736, 981),
            motion=stills.PAPER,
            fill=(123, 116, 103),
            most=most,
        )
        placed = place(clip)
        figures[f"still of 60 instances, {name}"] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert placed.dropped == 40
    pixels = 16 * 736 * 1248
    figures["clip of 16 frames, bytes"] = pixels * (3 + 20 + 1)
    figures["clip of 16 frames, bits"] = pixels * 3 + pixels * (20 + 1) // 8
    return {name: bytes / 1e6 for name, bytes in figures.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--root", type=pathlib.Path, help="the folder of COCO/")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    found = {"areas": areas(), "megabytes": memory()}
    if options.root:
        found["updates a second"] = rates(options.root, options.output, options.rounds)
    print(report.table(found["areas"]))
    print(json.dumps({k: v for k, v in found.items() if k != "areas"}, indent=2))
    whole.write_text(options.output / "figures.json", json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
