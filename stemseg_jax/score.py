"""Scores result files of any method against the annotations, and prints the table."""

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from stemseg_jax.evaluation import METRICS


def run(
    *,
    task: str,
    ground_truth: str,
    results: Sequence[str],
    json_file: str | None = None,
) -> int:
    """`--mode=score`; gives the exit code."""
    figures(
        task=task,
        ground_truth=pathlib.Path(ground_truth),
        results=pathlib.Path(results[0]),
        json_file=json_file,
    )
    return 0


def figures(
    *,
    task: str,
    ground_truth: pathlib.Path,
    results: pathlib.Path,
    json_file: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """All figures of one result; prints the table and writes them to `json_file`."""
    if task not in METRICS:
        raise ValueError(f"task={task!r} is unknown; known: {', '.join(METRICS)}")
    report = METRICS[task](pathlib.Path(ground_truth), pathlib.Path(results))
    for name, value in report.items():
        if isinstance(value, float):
            print(f"{name:10} {value:8.4f}")
    if json_file:
        pathlib.Path(json_file).write_text(json.dumps(report))
    return report
