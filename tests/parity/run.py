"""Every case of a folder of reference figures, compared with the authors' program.

    make parity GOLDENS=DIR [JSON=FILE]

prints a table (case, quantity, largest error, bar, met or not) and fails if any bar is
missed. The folder's `index.json` lists the cases; nothing is tied to their seeds, sizes
or settings, which each case states.
"""

import argparse
import json
import math
import pathlib
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import jax
from tqdm import tqdm

from tests.parity import (
    grouping,
    images,
    inference,
    network,
    results,
    training,
    weights,
)
from tests.parity.figures import Figure

# By the beginning of a case's name.
CHECKS: dict[str, Callable[[pathlib.Path, str], list[Figure]]] = {
    "chainer": grouping.chainer,
    "clusterer": grouping.clusterer,
    "data": images.data,
    "decoders": network.decoders,
    "grids": network.grids,
    "inference": inference.inference,
    "legacy_checkpoint": weights.legacy_checkpoint,
    "losses": training.losses,
    "model": network.model,
    "optim": training.optim,
    "outputs": results.outputs,
    "preproc": images.preproc,
    "state_dict": weights.state_dict,
    "train_step": training.train_step,
}


def check(folder: pathlib.Path, case: str) -> list[Figure]:
    """The figures of one case; one that cannot be computed counts as missed."""
    kinds = [kind for kind in CHECKS if case == kind or case.startswith(f"{kind}_")]
    if not kinds:
        return [Figure("known kind of case", 1, 0, f"known: {sorted(CHECKS)}")]
    try:
        return CHECKS[kinds[0]](folder, case)
    except Exception as error:  # the other cases are worth knowing all the same
        traceback.print_exc()
        return [Figure("computable", 1, 0, f"{type(error).__name__}: {error}")]


def run(folder: pathlib.Path, cases: list[str]) -> dict[str, list[Figure]]:
    """The figures of each case."""
    return {case: check(folder, case) for case in tqdm(cases, desc="parity")}


def table(compared: dict[str, list[Figure]]) -> str:
    lines = [f"{'case':24} {'quantity':44} {'error':>9} {'bar':>8}  met"]
    for case, figures in compared.items():
        for figure in figures:
            met = "yes" if figure.met else "NO"
            lines.append(
                f"{case:24} {figure.quantity:44} {figure.error:9.2g} {figure.bar:8.2g}"
                f"  {met:3} {figure.note}".rstrip()
            )
    figures = [figure for each in compared.values() for figure in each]
    missed = sum(not figure.met for figure in figures)
    lines.append(f"{len(figures)} quantities in {len(compared)} cases, {missed} missed")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goldens", type=pathlib.Path, required=True)
    parser.add_argument("--json", type=pathlib.Path, help="every figure in full")
    parser.add_argument("--cases", nargs="*", help="only these")
    options = parser.parse_args(arguments)
    # GPUs and TPUs would otherwise multiply with fewer bits than float32 has.
    jax.config.update("jax_default_matmul_precision", "float32")
    index = json.loads((options.goldens / "index.json").read_text())
    begin = time.perf_counter()
    compared = run(options.goldens, options.cases or sorted(index["files"]))
    print(table(compared))
    print(f"{time.perf_counter() - begin:.0f} s")
    if options.json:
        content = {case: [*map(_entry, each)] for case, each in compared.items()}
        options.json.write_text(json.dumps(content, indent=1))
    return int(any(not f.met for figures in compared.values() for f in figures))


def _entry(figure: Figure) -> dict[str, Any]:
    """What JSON can say of a figure; it has no infinity and no NaN."""
    numbers = {
        name: float(value) if math.isfinite(value) else None
        for name, value in (("error", figure.error), ("bar", figure.bar))
    }
    return {**figure._asdict(), **numbers, "met": figure.met}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
