"""Scores result files of any method against the annotations, and prints the table."""

import functools
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from stemseg_jax import choices
from stemseg_jax.evaluation import METRICS, comparison, mots
from stemseg_jax.evaluation.scored import Figures, Scored
from stemseg_jax.formats import whole

MOST = 2**14  # pixels of a side


def run(
    *,
    task: str,
    ground_truth: str,
    results: Sequence[str],
    also_at: Sequence[int] = (),
    json_file: str | None = None,
) -> int:
    """`--mode=score`: one result, or two and their difference. Gives the exit code.

    Args:
        also_at: See `read`.
    """
    if len(results) > 2:
        raise ValueError(f"--results is given {len(results)} times; at most 2 compare")
    if len(results) == 1:
        figures(
            task=task,
            ground_truth=pathlib.Path(ground_truth),
            results=pathlib.Path(results[0]),
            also_at=also_at,
            json_file=json_file,
        )
        return 0
    first, second = (
        read(task, pathlib.Path(ground_truth), pathlib.Path(result), also_at=also_at)
        for result in results
    )
    progress = functools.partial(tqdm, desc="bootstrap", leave=False)
    compared = comparison.compare(first, second, progress=progress)
    print(f"A = {results[0]}\nB = {results[1]}")
    print_table(
        [
            (
                name,
                {
                    "A": row.first,
                    "B": row.second,
                    "B - A": row.difference,
                    "95 % from": row.low,
                    "to": row.high,
                },
            )
            for name, row in compared.items()
        ]
    )
    print(f"Interval: bootstrap over {len(first.videos)} videos.")
    if json_file:
        write_json(
            json_file,
            {
                "A": first.report(),
                "B": second.report(),
                "comparison": {name: row._asdict() for name, row in compared.items()},
            },
        )
    return 0


def figures(
    *,
    task: str,
    ground_truth: pathlib.Path,
    results: pathlib.Path,
    also_at: Sequence[int] = (),
    json_file: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Scores one result: prints the table, writes and gives every figure."""
    scored = read(task, ground_truth, results, also_at=also_at)
    print_table(scored.table())
    report = scored.report()
    if json_file:
        write_json(json_file, report)
    return report


def read(
    task: str,
    ground_truth: pathlib.Path,
    results: pathlib.Path,
    *,
    also_at: Sequence[int] = (),
) -> Scored:
    """Scores the files of one result.

    Args:
        also_at: (height, width) of a second size at which masks of MOTS are scored.

    Raises:
        ValueError: An unknown task, one that has no second size, or files that cannot
            be scored: which, and why.
    """
    metric = METRICS[choices.known("task", task, METRICS)]
    if also_at:
        _check_size(task, also_at)
        metric = functools.partial(metric, also_at=tuple(also_at))
    progress = functools.partial(tqdm, desc="score", unit="video", leave=False)
    return metric(ground_truth, results, progress=progress)


def _check_size(task: str, also_at: Sequence[int]) -> None:
    if task not in mots.BENCHMARKS:
        raise ValueError(
            f"also_at={','.join(map(str, also_at))}: {task} is scored at full size "
            f"alone; {', '.join(mots.BENCHMARKS)} at a second one, too."
        )
    if len(also_at) != 2 or not all(0 < side <= MOST for side in also_at):
        raise ValueError(
            f"also_at={','.join(map(str, also_at))}: expected height,width in pixels, "
            f"e.g. 192,640, each from 1 to {MOST}."
        )


def print_table(rows: Sequence[tuple[str, Figures]]) -> None:
    """One line a row; a blank before each row whose columns are others."""
    width = max(len(name) for name, _ in rows)
    header: list[str] = []
    for name, values in rows:
        if [*values] != header:
            header = [*values]
            print("\n" + " " * width, *(f"{column:>9}" for column in header))
        print(f"{name:{width}}", *(_cell(value) for value in values.values()))


def write_json(file: str | pathlib.Path, report: dict[str, Any]) -> None:
    """JSON knows no NaN and no infinity: they are written as strings."""
    whole.write_text(file, json.dumps(_plain(report), allow_nan=False) + "\n")


def _cell(value: int | float) -> str:
    return f"{value:9d}" if isinstance(value, int) else f"{value:9.4f}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"
    return value
