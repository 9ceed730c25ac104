"""Scores a folder of cases and compares every figure with the official programs'.

python tests/parity_metrics.py --cases DIR [--json FILE]

The folder has `davis/`, `ytvis/` and `mots/`, and in them pairs of an input and a
`NAME.expected.json`. Each case goes through the code of `--mode=score`. The exit code
is not zero if a figure is missing or differs by more than 1e-9.
"""

import argparse
import collections
import json
import pathlib
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from stemseg_jax import score
from stemseg_jax.evaluation import davis

TOLERANCE = 1e-9
TASKS = {
    "unsupervised": "davis19",
    "semi-supervised": "davis17",
    "davis-2016": "davis16",
    "kitti": "kitti_mots",
    "motschallenge": "mots_challenge",
}
SIZES = {"s": "small", "m": "medium", "l": "large"}
# Masks for fewer frames than the video has: a careful program refuses them.
REFUSED = {"quirk_short_prediction_list": "segmentations for"}

Figures = Iterator[tuple[str, Any, Any]]  # name, expected, ours


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path)
    options = parser.parse_args()
    cases = sorted(options.cases.glob("*/*.expected.json"))
    if not cases:
        print(f"{options.cases}: no */*.expected.json", file=sys.stderr)
        return 2
    per_figure: dict[str, float] = collections.defaultdict(float)
    per_case, notes = {}, {}
    for case in cases:
        name = f"{case.parent.name}/{case.name.removesuffix('.expected.json')}"
        try:
            differences = dict(compare(case))
        except Refused as refusal:
            per_case[name], notes[name] = 0.0, f"refused, as it should be: {refusal}"
        except (ValueError, KeyError, OSError) as error:
            per_case[name], notes[name] = np.inf, f"{type(error).__name__}: {error}"
        else:
            per_case[name] = max(differences.values())
            for figure, difference in differences.items():
                key = f"{case.parent.name} {figure}"
                per_figure[key] = max(per_figure[key], difference)
        print(f"{name:50} {per_case[name]:8.1e} {notes.get(name, '')}")
    print()
    for figure, difference in sorted(per_figure.items()):
        print(f"{figure:50} {difference:8.1e}")
    largest = max(per_case.values())
    print(f"\n{len(cases)} cases, largest difference {largest:.1e}")
    if options.json:
        report = {
            "largest": largest,
            "per_figure": dict(per_figure),
            "per_case": per_case,
            "notes": notes,
        }
        score.write_json(options.json, report)
    return 0 if largest <= TOLERANCE else 1


class Refused(Exception):
    """An input that ought to be refused has been."""


def compare(case: pathlib.Path) -> Iterator[tuple[str, float]]:
    """The largest difference of each figure of one case."""
    expected = json.loads(case.read_text())
    name = case.name.removesuffix(".expected.json")
    pairs = {"davis": davis_figures, "ytvis": ytvis_figures, "mots": mots_figures}
    largest: dict[str, float] = collections.defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        try:
            figures = pairs[case.parent.name](case.parent, name, expected, folder)
            for figure, theirs, ours in figures:
                largest[figure] = max(largest[figure], difference(theirs, ours))
        except ValueError as error:
            if REFUSED.get(name, "\0") in str(error):
                raise Refused(error) from error
            raise
        if name in REFUSED:
            raise ValueError("ought to be refused")
    yield from largest.items()


def difference(expected: Any, ours: Any) -> float:
    """The largest of two values or lists; infinite for another shape."""
    expected, ours = np.array(expected, float), np.array(ours, float)
    if expected.shape != ours.shape and (expected.size or ours.size):
        return np.inf
    same = (expected == ours) | (np.isnan(expected) & np.isnan(ours))
    with np.errstate(invalid="ignore"):
        return float(np.where(same, 0, np.abs(expected - ours)).max(initial=0))


def davis_figures(folder, name, expected, scratch) -> Figures:
    single = expected["task"] == "davis-2016"
    source = name.removesuffix("_matched_on_J_only")
    if single:
        source = source.replace("single_object", "semisup")
    root = unpacked(folder / source, scratch)
    results = root / "results" / expected["result"]
    if expected.get("metric") == ["J"]:
        ours = davis.score(root, results, task="unsupervised, on J alone").report()
    else:
        ours = report(TASKS[expected["task"]], root, results)
    corrected = expected.get("global_without_overflow", {})
    for figure, value in expected["global"].items():
        yield figure, corrected.get(figure, value), ours[figure]
    if {*ours["per_sequence"]} != {*expected["sequences"]}:
        raise ValueError("other sequences than expected")
    for sequence, theirs in expected["sequences"].items():
        own = ours["per_sequence"][sequence]
        if single:
            yield from davis_object_figures(theirs, own["objects"][0])
            continue
        yield "n_frames", theirs["n_frames"], own["num_frames"]
        yield "n_proposals", theirs["n_proposals"], own["num_proposals"]
        yield "n_gt", theirs["n_gt"], len(own["objects"])
        if "matching_score" in theirs:
            yield "matching_score", theirs["matching_score"], own["matching_score"]
        of_ours, of_theirs = own["objects"], theirs["objects"]
        if theirs.get("assignment_unique", True):
            of_theirs = sorted(of_theirs, key=lambda entry: entry["gt_id"])
        else:  # SciPy's version decides who of equals gets which proposal
            of_ours, of_theirs = (sorted(o, key=by_value) for o in (of_ours, of_theirs))
        for entry, own_entry in zip(of_theirs, of_ours, strict=True):
            if theirs.get("assignment_unique"):
                proposal = own_entry["proposal"]
                yield "proposal_id", entry["proposal_id"], proposal
            yield from davis_object_figures(entry, own_entry)


def by_value(entry) -> list[float]:
    return [round(value, 9) for value in entry["J-per-frame"]]


def davis_object_figures(expected, ours) -> Figures:
    for figure, value in expected.items():
        if figure.endswith("-without-overflow") or figure in ("gt_id", "proposal_id"):
            continue
        value = expected.get(f"{figure}-without-overflow", value)
        if figure.endswith("per-frame") and value[0] == "NaN":
            value = value[1:-1]  # the list names the first and last, which do not count
        yield figure, value, ours[figure]


def ytvis_figures(folder, name, expected, scratch) -> Figures:
    source = name.removesuffix(".ovis")
    ours = report(
        expected["benchmark"],
        folder / f"{source}.gt.json.gz",
        folder / f"{source}.pred.json.gz",
    )
    for figure, value in expected["stats"].items():
        kind, size = figure[:2], SIZES.get(figure[2:])
        yield figure, value, ours[f"{kind}_{size}" if size else figure]
    for category, theirs in expected["per_category"].items():
        for figure, value in theirs.items():
            own = ours["per_category"][category][figure]
            yield f"{figure} of a category", value, own
    for key, own in (
        ("ap_iou_category_area_maxdets", ours["precision"]),
        ("recall_iou_category_area_maxdets", ours["recall"]),
    ):
        if key in expected:
            sizes = len(expected["axes"]["area"])
            yield key, expected[key], np.array(own)[:, :, :sizes]
    for key, matrix in expected["iou_matrices"].items():
        yield "iou_matrices", matrix, ours["iou"][key]


def mots_figures(folder, name, expected, scratch) -> Figures:
    root = unpacked(folder / name, scratch)
    between = {"kitti": "", "motschallenge": "MOTS-train"}[expected["layout"]]
    results = root / "trackers" / between / "pred" / "data"
    ours = report(TASKS[expected["layout"]], root / "gt" / between, results)
    for program in ("mots_tools", "trackeval"):
        for label, sequences in expected[program].items():
            for sequence, theirs in sequences.items():
                own = ours if sequence == "all" else ours["per_sequence"][sequence]
                own = own[label][program]
                groups = [("", theirs, own)]
                if program == "trackeval":
                    groups = [(f"{k} ", v, own[k]) for k, v in theirs.items()]
                for group, figures, values in groups:
                    for figure, value in figures.items():
                        yield f"{program} {group}{figure}", value, values[figure]


def report(task: str, ground_truth: pathlib.Path, results: pathlib.Path) -> dict:
    return score.read(task, ground_truth, results).report()


def unpacked(case: pathlib.Path, scratch: str) -> pathlib.Path:
    """The folder of a case, which may be a zip."""
    if case.is_dir():
        return case
    with zipfile.ZipFile(case.with_name(f"{case.name}.zip")) as archive:
        archive.extractall(scratch)
    return pathlib.Path(scratch)


if __name__ == "__main__":
    sys.exit(main())
