"""100 MB of JSON, read as declared types and by Python's reader that checks nothing.

    python experiments/benchmark_json/run.py [--megabytes=100]

Each read is a process of its own, the two ways in turn; the peak of memory is that of
the process, with what was imported taken off.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from stemseg_jax.formats import coco_json, declared, rle  # noqa: E402

HEIGHT, WIDTH, FRAMES = 480, 854, 20
KINDS = {
    "YouTube-VIS, runs": coco_json.VideoFile,
    "COCO, polygons": coco_json.ImageFile,
    "results, compressed": list[coco_json.Track],
}
WAYS = ("json.loads", "declared.read")


def generate(kind: str, size: int) -> bytes:
    """As many equal entries as make up the size."""
    rng = np.random.default_rng(0)
    mask = rng.random((HEIGHT, WIDTH)).cumsum(axis=0) % 40 < 20
    if kind == "COCO, polygons":
        corners = (rng.random(60) * 300).round(2).tolist()
        entry = {"id": 0, "image_id": 1, "category_id": 1, "segmentation": [corners]}
        entry |= {"area": 5.0, "bbox": [1.0, 2.0, 3.5, 4.0], "iscrowd": 0}
        image = {"id": 1, "file_name": "1.jpg", "height": HEIGHT, "width": WIDTH}
        content = {"images": [image], "annotations": entry}
    else:
        runs = np.diff(np.flatnonzero(np.diff(mask.T.ravel(), prepend=0, append=2)))
        runs = [HEIGHT * WIDTH - int(runs.sum()), *runs.tolist()]
        form = {"size": [HEIGHT, WIDTH], "counts": runs[:800]}
        if kind == "results, compressed":
            form = rle.to_json(rle.encode(mask))
        entry = {"video_id": 1, "category_id": 1, "segmentations": [form] * FRAMES}
        if kind == "results, compressed":
            content = entry | {"score": 0.5}
        else:
            files = [f"a/{t:05d}.jpg" for t in range(FRAMES)]
            video = {"id": 1, "height": HEIGHT, "width": WIDTH, "file_names": files}
            categories = [{"id": 1, "name": "person"}]
            content = {"videos": [video], "categories": categories}
            content["annotations"] = entry | {"id": 0, "areas": [9] * FRAMES}
    whole = json.dumps(content)
    one = json.dumps(content.get("annotations", content))
    many = ",".join([one] * (size // len(one)))
    before, _, after = whole.partition(one)
    return f"{before}[{many}]{after}".encode()


def read(way: str, kind: str, file: str) -> None:
    """In a process of its own: prints seconds and megabytes."""
    before = peak_memory()
    start = time.process_time()
    if way == "json.loads":
        content = json.loads(pathlib.Path(file).read_bytes())
    else:
        content = declared.read(pathlib.Path(file), KINDS[kind])
    seconds = time.process_time() - start
    print(json.dumps([seconds, peak_memory() - before]))
    del content


def peak_memory() -> float:
    """Megabytes of this process. (What `resource` gives begins at the parent's.)"""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", nargs=3, help="of the processes this starts")
    given = parser.parse_args()
    if given.read:
        return read(*given.read)
    print(f"| file | {' | '.join(WAYS)} | ratio | memory: {' | '.join(WAYS)} |")
    for kind in KINDS:
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            file.write(generate(kind, given.megabytes * 10**6))
            file.flush()
            found = {way: [] for way in WAYS}
            for _ in range(given.rounds):
                for way in WAYS:
                    command = [sys.executable, __file__, "--read", way, kind, file.name]
                    found[way].append(json.loads(subprocess.check_output(command)))
        plain, own = (map(statistics.median, zip(*found[w], strict=True)) for w in WAYS)
        (a, memory), (b, own_memory) = plain, own
        print(
            f"| {kind} | {a:.2f} s | {b:.2f} s | {a / b:.1f} | {memory:.0f} MB | "
            f"{own_memory:.0f} MB |"
        )


if __name__ == "__main__":
    main()
