"""The tables of README.md, from what run.py left.

python experiments/gpu/table.py --output=OUT
"""

import argparse
import json
import pathlib
import re
from collections.abc import Iterable
from typing import Any

from stemseg_jax.outputs import report

ORIGINAL = "original"  # the folder of experiments/benchmark_original
FAILED = "failed"
Found = dict[str, Any]  # a file
Line = dict[str, str]  # of a table


def of(folder: pathlib.Path) -> str:
    """All tables of what is there, in Markdown."""
    every = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    kinds: dict[str, list[Found]] = {}
    for found in every:
        kind = FAILED if "failed" in found else found["case"]["kind"]
        kinds.setdefault(kind, []).append(found)
    peaks = {f["case"]["dtype"]: f["GFLOP/s"] for f in kinds.get("peak", [])}
    parts = [machine(every)]
    for title, kind, lines in (
        ("The peak: a product of matrices", "peak", peak),
        ("Updates", "training", lambda found: updates(found, peaks)),
        ("Parts of an update of one clip", "training", parts_of_updates),
        ("Inference", "inference", lambda found: inference(found, peaks)),
        ("3-D convolutions", "convolution", lambda found: convolutions(found, peaks)),
        ("The Lovász hinge, 20 instances", "lovasz", operations),
        ("Sorts of the same points", "sort", operations),
        ("The demo", "demo", operations),
        ("Not measured", FAILED, failures),
    ):
        if kind in kinds:
            parts.append(f"## {title}\n\n{report.markdown(lines(kinds[kind]))}")
    if (beside := folder / ORIGINAL / "figures.json").exists():
        parts.append(f"## Beside the original\n\n{original(beside)}")
    return "\n\n".join(parts)


def machine(every: Iterable[Found]) -> str:
    names = {f"{f['device']}, jax {f['jax']}" for f in every if "device" in f}
    small = "; at a size that says nothing" * any(found["small"] for found in every)
    return "; ".join(sorted(names)) + small


def peak(every: list[Found]) -> list[Line]:
    return [
        {"type": f["case"]["dtype"], "side": str(f["side"])}
        | {"TFLOP/s": number(f["GFLOP/s"], 1e-3)}
        for f in every
    ]


def updates(every: list[Found], peaks: dict[str, float]) -> list[Line]:
    lines = []
    for found in every:
        row, clips = found["rows"][0], found["case"]["clips"]
        seconds = row["median (s)"]
        line = settings(found) | {
            "clips": str(clips),
            "compile (s)": number(row["compile (s)"]),
            "update (ms)": number(seconds, 1e3),
            "frames/s": number(clips * found["frames"] / seconds),
        }
        line |= rate(found["GFLOP"], seconds, peaks.get(found["case"]["dtype"]))
        lines.append(line | memory(found))
    return lines


def parts_of_updates(every: list[Found]) -> list[Line]:
    return [
        settings(found)
        | {f"{r['stage']} (ms)": number(r["median (s)"], 1e3) for r in found["rows"]}
        for found in every
        if found["case"]["clips"] == 1
    ]


def inference(every: list[Found], peaks: dict[str, float]) -> list[Line]:
    """Stages in milliseconds a frame; those with FLOPs enough as shares of the peak."""
    lines = []
    for found in every:
        track, *stages = found["rows"]
        of_card = peaks.get(found["case"]["dtype"])
        line = settings(found) | {
            "compile (s)": number(track["compile (s)"]),
            "frames/s": number(found["frames"] / track["median (s)"]),
        }
        for row in stages:
            name, frames = re.fullmatch(r"(.*) \((\d+) frames\)", row["stage"]).groups()
            line[f"{name} (ms)"] = number(row["median (s)"] / int(frames), 1e3)
            if name in ("encode", "decode heads"):
                found_rate = rate(row["GFLOP"], row["median (s)"], of_card)
                line[f"{name}, of the peak"] = found_rate["of the peak"]
        lines.append(line | memory(found))
    return lines


def convolutions(every: list[Found], peaks: dict[str, float]) -> list[Line]:
    """A line for each layer, a column for each form."""
    lines: dict[tuple[str, str], Line] = {}
    for found in every:
        dtype, form = found["case"]["dtype"], found["case"]["form"]
        for row in found["rows"]:
            line = lines.setdefault((dtype, row["stage"]), {"layer": row["stage"]})
            line["type"] = dtype
            line[f"{form} (ms)"] = number(row["median (s)"], 1e3)
            of_peak = rate(row["GFLOP"], row["median (s)"], peaks.get(dtype))
            line[f"{form}, of the peak"] = of_peak["of the peak"]
    return list(lines.values())


def operations(every: list[Found]) -> list[Line]:
    return [
        {"": found["case"]["form"] or found["case"]["config"]}
        | {"compile (s)": number(found["rows"][0]["compile (s)"])}
        | {"median (ms)": number(found["rows"][0]["median (s)"], 1e3)}
        | memory(found)
        for found in every
    ]


def failures(every: list[Found]) -> list[Line]:
    return [{"": found["name"], "why": found["failed"]} for found in every]


def original(file: pathlib.Path) -> str:
    held = json.loads(file.read_text())
    told = ("ours (ms)", "theirs (ms)", "times as fast")
    lines = [
        {"": row["work"]}
        | {name: number(row[name]) for name in told}
        | {"difference": row["difference"]}
        for row in held["rows"]
    ]
    return f"{report.markdown(lines)}\n\n{json.dumps(held['machine'])}"


def settings(found: Found) -> Line:
    case = found["case"]
    return {
        "": case["config"] or case["kind"],
        "frames": " x ".join(map(str, [found["frames"], *found["size"]])),
        "type": case["dtype"],
        "form": case["form"],
        "remat": "yes" if case["remat"] else "",
    }


def rate(gflop: float | None, seconds: float, peak: float | None) -> Line:
    reached = gflop and gflop / seconds
    share = f"{reached / peak:.0%}" if reached and peak else "-"
    return {"TFLOP/s": number(reached, 1e-3), "of the peak": share}


def memory(found: Found) -> Line:
    of_device = found["peak memory"]["device (MB)"]
    return {"peak memory (GB)": number(of_device, 2**20 / 1e9)}


def number(value: float | None, times: float = 1.0) -> str:
    """With three digits that count."""
    if value is None:
        return "-"
    value *= times
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    print(of(parser.parse_args().output))


if __name__ == "__main__":
    main()
