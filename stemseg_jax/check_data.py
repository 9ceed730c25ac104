"""Looks for faults in a dataset folder: `--mode=check_data --input=FOLDER`."""

import contextlib
import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from tqdm import tqdm

from stemseg_jax.data import checking, readers
from stemseg_jax.formats import whole
from stemseg_jax.outputs import annotations, report

SHOWN = 50  # faults in the table; the JSON file has all
VIDEOS, FRAMES = 6, 4  # of the contact sheet


def run(input_folder: str, json_file: str | None = None) -> int:
    """Prints faults and figures of a folder; 0 only when one can train on it.

    Every fault and figure goes to `json_file` (runs/check_data/<folder>.json without
    one), and a contact sheet of the first videos beside it.
    """
    name = pathlib.Path(input_folder).resolve().name.lstrip(".") or "data"
    path = pathlib.Path(json_file or f"runs/check_data/{name}.json")
    if path.suffix.lower() == ".png":
        raise ValueError(
            f"--json={path}: the report is text, and pictures go beside it as .png; "
            "expected another ending, such as .json."
        )
    pictures = path.with_suffix(".png")
    report.refuse_foreign(pictures)
    found = checking.find(input_folder)
    summaries = []
    for part in found:
        bar = functools.partial(tqdm, desc=f"{part.name} {part.split}", unit="video")
        summaries.append(checking.check(part, progress=bar))
    faults = [(s, fault) for s in summaries for fault in s.faults]
    print(report.table([_figures(summary) for summary in summaries]))
    for summary in summaries:
        counts = summary.instances_by_class.items()
        listed = ", ".join(f"{name} {count}" for name, count in counts)
        print(f"{summary.name} {summary.split}, instances: {listed or 'none'}")
    if faults:
        print(report.table([_row(*fault) for fault in faults[:SHOWN]]))
    if len(faults) > SHOWN:
        print(f"... and {len(faults) - SHOWN} more")

    whole.write_text(path, json.dumps([_as_json(s) for s in summaries], indent=1))
    print(f"every fault and figure: {path}")
    if (sheet := _contact_sheet(found)) is not None:
        print(f"contact sheet: {report.write_sheet(pictures, sheet)}")

    trainable = any(summary.annotated_videos for summary in summaries)
    if faults:
        print(f"{len(faults)} fault{'s' * (len(faults) > 1)}: mend them first.")
    elif trainable:
        print("No faults: ready for training.")
    else:
        print("No faults, but no annotations either: good for prediction alone.")
    return 0 if trainable and not faults else 1


def _figures(summary: checking.Summary) -> dict[str, str | int]:
    shortest, median, longest = summary.lengths
    sizes = list(summary.sizes)
    return {
        "set": summary.name,
        "split": summary.split,
        "videos": summary.videos,
        "annotated": summary.annotated_videos,
        "frames": summary.frames,
        "instances": summary.instances,
        "length": f"{shortest}..{longest} (median {median})",
        "size": ", ".join(sizes[:3]) + (" ..." if len(sizes) > 3 else ""),
        "faults": len(summary.faults),
    }


def _row(summary: checking.Summary, fault: readers.Fault) -> dict[str, str]:
    return {"split": summary.split, "kind": fault.kind, "where": fault.where} | {
        "fault": fault.what
    }


def _as_json(summary: checking.Summary) -> dict:
    faults = [fault._asdict() for fault in summary.faults]
    return dataclasses.asdict(summary) | {"faults": faults}


def _contact_sheet(found: Sequence[checking.FoundSet]) -> np.ndarray | None:
    """A few frames of the first videos that can be read."""
    rows, captions = [], []
    for part in found:
        try:
            dataset = part.read(lambda fault: None)
        except ValueError:
            continue
        for video in dataset.videos:
            if len(rows) < VIDEOS and (row := _pictures(video, dataset.categories)):
                rows.append(row)
                captions.append(video.name)
    return report.contact_sheet(rows, captions) if rows else None


def _pictures(video: readers.Video, categories: Mapping[int, str]) -> list[np.ndarray]:
    indices = np.linspace(0, video.num_frames - 1, min(FRAMES, video.num_frames))
    clips = []
    for index in indices.astype(int).tolist():
        with contextlib.suppress(readers.BrokenSample):  # it is in the table
            clips.append(video.clip([index]))
    kinds = {
        instance: category
        for clip in clips
        for instance, category in zip(
            clip.ids.tolist(), clip.categories.tolist(), strict=True
        )
    }
    number_of = {instance: n for n, instance in enumerate(sorted(kinds), start=1)}
    return [
        annotations.draw(
            clip.frames[0],
            clip.masks[:, 0],
            clip.ignore[0],
            numbers=[number_of[i] for i in clip.ids.tolist()],
            names={number_of[i]: categories.get(c, "?") for i, c in kinds.items()},
        )
        for clip in clips
    ]
