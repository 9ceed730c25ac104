"""Our metrics and the official programs on the same files, one after the other.

    python experiments/benchmark_metrics/run.py --cases CASES --python PYTHON \
        --davis DIR --cocoapi DIR --mots_tools DIR

CASES is a folder as `make parity_metrics` takes it. The three folders are checkouts of
davisvideochallenge/davis2017-evaluation, youtubevos/cocoapi and
VisualComputingInstitute/mots_tools; PYTHON is an interpreter that has what they need
(README.md). A program that is not given is left out.

Every measurement is a process of its own, official and ours in turn. Imports are not
counted; reading the files is. Times are medians; user time counts that process alone
and is the one to go by on a machine that others use. Memory is the largest resident
set, imports included.
"""

import argparse
import collections
import gzip
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import zipfile

REPOSITORY = pathlib.Path(__file__).parents[2]

HEAD = """
import json, os, resource, sys, time

def report(started, figures):
    wall, user = time.perf_counter() - started[0], os.times().user - started[1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    line = {"wall": wall, "user": user, "memory": memory, "figures": figures}
    print("RESULT" + json.dumps(line))

def start():
    return time.perf_counter(), os.times().user
"""

OURS = """
import pathlib
from stemseg_jax.evaluation import METRICS
task, truth, results, *names = sys.argv[1:]
started = start()
figures = METRICS[task](pathlib.Path(truth), pathlib.Path(results)).figures()
report(started, {name: float(figures[name]) for name in names})
"""

DAVIS = """
program, root, results = sys.argv[1:]
sys.path.insert(0, program)
import numpy as np
import skimage.morphology
from davis2017.evaluation import DAVISEvaluation
started = start()
evaluation = DAVISEvaluation(root, "unsupervised", "val", codalab=True)
found = evaluation.evaluate(results)
means = [float(np.mean(found[kind]["M"])) for kind in "JF"]
report(started, {"J&F-Mean": sum(means) / 2, "J-Mean": means[0], "F-Mean": means[1]})
"""

# The evaluator is of a time when NumPy rounded a number of samples by itself. Of its
# package, PyPI's pycocotools has the compiled part.
YTVIS = """
program, truth, results = sys.argv[1:]
import importlib.util
import numpy as np
import pycocotools
np.float = float
linspace = np.linspace
np.linspace = lambda low, high, count, **more: linspace(low, high, int(count), **more)
for name in ("ytvos", "ytvoseval"):
    full = "pycocotools." + name
    file = os.path.join(program, "PythonAPI", "pycocotools", name + ".py")
    spec = importlib.util.spec_from_file_location(full, file)
    sys.modules[full] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
from pycocotools.ytvos import YTVOS
from pycocotools.ytvoseval import YTVOSeval
started = start()
annotations = YTVOS(truth)
evaluation = YTVOSeval(annotations, annotations.loadRes(results), "segm")
evaluation.evaluate()
evaluation.accumulate()
evaluation.summarize()
names = ("AP", "AP50", "AP75", None, None, None, "AR1", "AR10")
figures = {n: float(v) for n, v in zip(names, evaluation.stats) if n}
report(started, figures)
"""

TRACKEVAL = """
truth, trackers = sys.argv[1:]
import trackeval
started = start()
quiet = dict(PRINT_RESULTS=False, PRINT_CONFIG=False, TIME_PROGRESS=False)
writes = dict.fromkeys(("OUTPUT_SUMMARY", "OUTPUT_DETAILED", "PLOT_CURVES",
                        "OUTPUT_EMPTY_CLASSES"), False)
evaluator = trackeval.Evaluator({**quiet, **writes, "USE_PARALLEL": False})
dataset = trackeval.datasets.KittiMOTS({"GT_FOLDER": truth, "TRACKERS_FOLDER": trackers,
    "SPLIT_TO_EVAL": "val", "PRINT_CONFIG": False})
quiet = {"PRINT_CONFIG": False}
metrics = [trackeval.metrics.HOTA(), trackeval.metrics.CLEAR(quiet),
           trackeval.metrics.Identity(quiet)]
found, _ = evaluator.evaluate([dataset], metrics)
found = found["KittiMOTS"]["pred"]["COMBINED_SEQ"]
figures = {}
for label in ("car", "pedestrian"):
    figures[label + " HOTA"] = float(found[label]["HOTA"]["HOTA"].mean())
    figures[label + " AssA"] = float(found[label]["HOTA"]["AssA"].mean())
    figures[label + " IDF1"] = float(found[label]["Identity"]["IDF1"])
report(started, figures)
"""

MOTS_TOOLS = """
program, truth, results, seqmap = sys.argv[1:]
sys.path.insert(0, program)
from mots_common.io import load_seqmap, load_sequences
from mots_eval.eval import evaluate_class
started = start()
names, last = load_seqmap(seqmap)
truth, results = load_sequences(truth, names), load_sequences(results, names)
figures = {}
for label, number in (("car", 1), ("pedestrian", 2)):
    found = evaluate_class(truth, results, last, number)
    figures[label + " sMOTSA"] = float(found.sMOTSA)
    figures[label + " IDS"] = float(found.id_switches)
report(started, figures)
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=pathlib.Path, required=True)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--davis", type=pathlib.Path)
    parser.add_argument("--cocoapi", type=pathlib.Path)
    parser.add_argument("--mots_tools", type=pathlib.Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--copies", type=int, default=10)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    measured = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, official, ours in jobs(options, pathlib.Path(folder)):
            measured[name] = compare(name, official, ours, options)
    machine = f"{processor()}, Python {platform.python_version()}"
    print(f"\n{machine}, load {os.getloadavg()[0]:.1f}\n")
    print(table(measured))
    if options.json:
        options.json.write_text(json.dumps(measured, indent=1) + "\n")
    return 0 if all(row["difference"] < 1e-9 for row in measured.values()) else 1


def jobs(options, scratch):
    """Name, the official program with its arguments, the arguments of ours."""
    if options.davis:
        root = unpack(options.cases / "davis/unsup_real.zip", scratch / "davis")
        yield (
            "DAVIS unsupervised, J and F",
            [DAVIS, options.davis, root, root / "results/rvos"],
            ["davis19", root, root / "results/rvos", "J&F-Mean", "J-Mean", "F-Mean"],
        )
    if options.cocoapi:
        truth, results = copy_videos(options.cases, scratch, options.copies)
        yield (
            f"YouTube-VIS, {options.copies} x 8 videos",
            [YTVIS, options.cocoapi, truth, results],
            ["ytvis", truth, results, "AP", "AP50", "AP75", "AR1", "AR10"],
        )
    kitti = unpack(options.cases / "mots/real_kitti.zip", scratch / "kitti")
    seqmap = copy_sequences(kitti, options.copies)
    truth, results = kitti / "gt", kitti / "trackers/pred/data"
    both = ("car", "pedestrian")
    sequences = f"{options.copies} x 8 sequences"
    yield (
        f"KITTI MOTS: HOTA, CLEAR, IDF1 (TrackEval), {sequences}",
        [TRACKEVAL, truth, kitti / "trackers"],
        ["kitti_mots", truth, results]
        + [f"{label} {name}" for label in both for name in ("HOTA", "AssA", "IDF1")],
    )
    if options.mots_tools:
        yield (
            f"KITTI MOTS: sMOTSA (mots_tools), {sequences}",
            [MOTS_TOOLS, options.mots_tools, truth / "label_02", results, seqmap],
            ["kitti_mots", truth, results]
            + [f"{label} {name}" for label in both for name in ("sMOTSA", "IDS")],
        )


def compare(name, official, ours, options) -> dict:
    """Medians of both, their ratio, and the largest difference of a figure."""
    runs = collections.defaultdict(list)
    for number in range(options.repeats):
        print(f"{name}: {number + 1} of {options.repeats}", file=sys.stderr)
        runs["official"].append(measure(options.python, *official))
        runs["ours"].append(measure(sys.executable, OURS, *ours))
    row = {}
    for who, measurements in runs.items():
        row[who] = {
            key: statistics.median(own[key] for own in measurements)
            for key in ("wall", "user", "memory")
        }
    theirs, own = (runs[who][0]["figures"] for who in ("official", "ours"))
    row["difference"] = max(abs(theirs[key] - own[key]) for key in theirs)
    return row


def measure(python, program, *arguments) -> dict:
    """Runs a program on one core and reads what it reports of itself."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, "1")}
    environment["PYTHONPATH"] = str(REPOSITORY)
    command = [python, "-c", HEAD + program, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        raise RuntimeError(f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return json.loads(lines[-1].removeprefix("RESULT"))


def table(measured) -> str:
    lines = [
        "| | official: s | user s | MB | ours: s | user s | MB | ratio of s | user s "
        "| largest difference |",
        "|---|" + "---:|" * 9,
    ]
    for name, row in measured.items():
        theirs, own = row["official"], row["ours"]
        cells = [
            *(f"{who[key]:.2f}" for who in (theirs, own) for key in ("wall", "user")),
            *(f"{who['memory']:.0f}" for who in (theirs, own)),
        ]
        cells = [*cells[:2], cells[4], *cells[2:4], cells[5]]
        ratios = [f"{theirs[key] / own[key]:.1f}" for key in ("wall", "user")]
        cells += [*ratios, f"{row['difference']:.0e}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def unpack(file, folder) -> pathlib.Path:
    with zipfile.ZipFile(file) as archive:
        archive.extractall(folder)
    return folder


def copy_videos(cases, folder, copies):
    """The case `ytvis/real` several times over, under new ids."""
    truth, results = (
        json.loads(gzip.decompress((cases / f"ytvis/real.{kind}.json.gz").read_bytes()))
        for kind in ("gt", "pred")
    )
    step = 1 + max(video["id"] for video in truth["videos"])
    count = 1 + max(annotation["id"] for annotation in truth["annotations"])

    def moved(entries, key, by, number):
        return [entry | {key: entry[key] + by * number} for entry in entries]

    videos, annotations, predictions = [], [], []
    for number in range(copies):
        videos += moved(truth["videos"], "id", step, number)
        own = moved(truth["annotations"], "video_id", step, number)
        annotations += moved(own, "id", count, number)
        predictions += moved(results, "video_id", step, number)
    content = truth | {"videos": videos, "annotations": annotations}
    files = folder / "truth.json", folder / "results.json"
    for file, values in zip(files, (content, predictions), strict=True):
        file.write_text(json.dumps(values))
    return files


def copy_sequences(kitti, copies) -> pathlib.Path:
    """The sequences several times over, under new numbers; gives the seqmap."""
    seqmap = kitti / "gt/evaluate_mots.seqmap.val"
    lines = seqmap.read_text().split("\n")
    copied = []
    for number in range(copies):
        for line in filter(None, lines):
            name, _, first, last = line.split()
            new = f"{int(name) + 100 * number:04d}"
            copied.append(f"{new} empty {first} {last}\n")
            for folder in (kitti / "gt/label_02", kitti / "trackers/pred/data"):
                (folder / f"{new}.txt").write_bytes(
                    (folder / f"{name}.txt").read_bytes()
                )
    seqmap.write_text("".join(copied))
    return seqmap


def processor() -> str:
    text = pathlib.Path("/proc/cpuinfo").read_text()
    names = {line.split(": ")[1] for line in text.splitlines() if "model name" in line}
    return ", ".join(sorted(names))


if __name__ == "__main__":
    sys.exit(main())
