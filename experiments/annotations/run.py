"""What a large annotation file costs each process, parsed and kept. See README.md."""

import argparse
import json
import os
import pathlib
import random
import resource
import subprocess
import sys
import tempfile
import time

from stemseg_jax.data.clips import clip_sampler, sampling
from stemseg_jax.data.datasets import DATASETS

IMAGES = 118_287  # of COCO's train2017, which has 860,001 annotations


def write(root: pathlib.Path) -> pathlib.Path:
    """Annotations as many and as long as COCO's, of nothing."""
    file = root / "COCO/annotations/instances_train2017.json"
    if file.exists():
        return file
    rng = random.Random(0)
    images, annotations = [], []
    for number in range(1, IMAGES + 1):
        width, height = rng.choice([(640, 480), (640, 427), (480, 640)])
        name = f"{number:012d}.jpg"
        images.append({"id": number, "file_name": name, "width": width})
        images[-1] |= {"height": height, "coco_url": f"http://coco/train2017/{name}"}
        for _ in range(min(60, int(rng.expovariate(1 / 7.7)))):
            corners = 4 + min(200, int(rng.expovariate(1 / 22)))
            outline = [round(rng.uniform(1, 400), 2) for _ in range(2 * corners)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": rng.randint(1, 9),
                    "iscrowd": 0,
                    "area": round(rng.uniform(50, 9000), 4),
                    "bbox": [1.0, 2.0, 30.5, 40.25],
                    "segmentation": [outline],
                }
            )
    categories = [{"id": number, "name": str(number)} for number in range(1, 10)]
    (root / "COCO/train2017").mkdir(parents=True)
    file.parent.mkdir()
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))
    return file


def read(root: pathlib.Path) -> dict[str, float]:
    """Seconds and megabytes of this process."""
    begin = time.perf_counter()
    dataset = DATASETS["coco"](root, "train", categories="ytvis")
    loaded = time.perf_counter()
    figures = {"seconds": loaded - begin, "megabytes": _peak()}
    clip_sampler.ClipSampler(
        dataset,
        clip_sampler.Recipe(
            sampling=sampling.Sampling(num_frames=8),
            video_transforms=(),
            still_transforms=(),
            canvas=None,
        ),
    )
    figures["seconds of looking for clips"] = time.perf_counter() - loaded
    figures["megabytes after that"] = _peak()
    return figures


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--read", action="store_true", help="in this process, once")
    options = parser.parse_args()
    if options.read:
        print(json.dumps(read(options.output)))
        return
    size = write(options.output).stat().st_size
    print(f"{size / 1e6:.0f} MB of annotations")
    command = [sys.executable, __file__, f"--output={options.output}", "--read"]
    with tempfile.TemporaryDirectory() as kept:
        for name, cache in (("parsed", "off"), ("first", kept), ("kept", kept)):
            done = subprocess.run(
                command,
                env={**os.environ, "STEMSEG_CACHE": cache},
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            print(name, done.stdout.strip(), flush=True)


if __name__ == "__main__":
    main()
