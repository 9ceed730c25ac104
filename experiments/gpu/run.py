"""Real sizes on a GPU, each case in a process of its own. See README.md.

    python experiments/gpu/run.py --output=OUT [--cases='training-ytvis*,peak*']

A case whose figures are in OUT is not measured again.
"""

import argparse
import fnmatch
import itertools
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator

import cases
import jax
import networks
import operations
import table

from stemseg_jax import device_memory
from stemseg_jax.formats import whole
from stemseg_jax.losses import lovasz
from stemseg_jax.modules import conv3d

BESIDE = pathlib.Path(__file__).parents[1] / "benchmark_original/run.py"
CONFIGS = ("davis_stage2", "ytvis", "moving_shapes")
DTYPES = ("float32", "bfloat16")
CLIPS = (2, 4, 8)  # of a forward pass, beside one
MEASURES = {
    "peak": operations.of_peak,
    "lovasz": operations.of_lovasz,
    "sort": operations.of_sort,
    "convolution": operations.of_convolution,
    "inference": networks.of_inference,
    "training": networks.of_training,
    "demo": networks.of_demo,
}


def main() -> None:
    known = {case.name: case for case in every()}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--cases", default="*", help="names or patterns, by commas")
    parser.add_argument("--small", action="store_true", help="to see whether it runs")
    parser.add_argument("--list", action="store_true", help="the names of the cases")
    parser.add_argument(
        "--original", type=pathlib.Path, help="a checkout of sabarim/STEm-Seg, to run"
    )
    parser.add_argument("--case", choices=known, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        return measure(known[options.case], options)
    chosen = []
    for pattern in options.cases.split(","):
        matching = fnmatch.filter(known, pattern)
        if not matching:
            parser.error(f"--cases: no case is called {pattern!r}; --list has them all")
        chosen += [name for name in matching if name not in chosen]
    if options.list:
        return print("\n".join(chosen))
    for name in chosen:
        file = options.output / f"{name}.json"
        if file.exists() and json.loads(file.read_text())["small"] != options.small:
            parser.error(f"{file} is of another size: choose another --output")
    for number, name in enumerate(chosen, 1):
        print(f"{number}/{len(chosen)} {name}: ", end="", flush=True)
        print(run(known[name], options), flush=True)
    if options.original:
        beside(options)
    print(table.of(options.output))


def every() -> Iterator[cases.Case]:
    """All cases, those first that say most for their time."""
    for dtype in DTYPES:
        yield cases.Case("peak", dtype=dtype)
    for form in lovasz.FORMS:
        yield cases.Case("lovasz", form=form)
    for form in operations.SORTS:
        yield cases.Case("sort", form=form)
    forms = [form for form in conv3d.FORMS if form != "auto"]
    for dtype, form in itertools.product(DTYPES, forms):
        yield cases.Case("convolution", form=form, dtype=dtype)
    grid = list(itertools.product(CONFIGS, DTYPES, ("native", "concat")))
    for config, dtype, form in grid:
        yield cases.Case("inference", config, form, dtype)
    for config, dtype, form in grid:
        for remat in (False, True):
            yield cases.Case("training", config, form, dtype, remat)
    for clips, config, dtype in itertools.product(CLIPS, CONFIGS, DTYPES):
        for remat in (False, True):
            yield cases.Case("training", config, "auto", dtype, remat, clips)
    yield cases.Case("demo", "moving_shapes", dtype="float32")


def run(case: cases.Case, options: argparse.Namespace) -> str:
    """Has the figures of a case written, or why there are none; says how it went."""
    file, log = (options.output / f"{case.name}.{end}" for end in ("json", "log"))
    if file.exists():
        return "is there already"
    options.output.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, f"--output={options.output}"]
    command += [f"--case={case.name}"] + ["--small"] * options.small
    begin = time.perf_counter()
    memory = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}  # of the device
    with log.open("w") as said:
        done = subprocess.run(
            command, stdout=said, stderr=said, env=environment(memory), check=False
        )
    if not file.exists():
        write(case, options, {"failed": f"exit status {done.returncode}, see {log}"})
    seconds = f"{time.perf_counter() - begin:.0f} s"
    failed = json.loads(file.read_text()).get("failed")
    return f"failed after {seconds}: {failed}" if failed else seconds


def environment(memory: dict[str, str]) -> dict[str, str]:
    """With nothing that was compiled before; what the user says of memory stands."""
    given = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    return memory | given | {"STEMSEG_CACHE": "off"}


def measure(case: cases.Case, options: argparse.Namespace) -> None:
    size = cases.SMALL if options.small else cases.REAL
    try:
        with device_memory.explained(f"measuring {case.name}", "a smaller case"):
            found = MEASURES[case.kind](case, size)
    except Exception as error:
        first = f"{type(error).__name__}: {error}".partition("\n")[0]
        write(case, options, {"failed": first})
        raise
    found["device"] = jax.devices()[0].device_kind
    write(case, options, found | {"jax": jax.__version__})


def write(case: cases.Case, options: argparse.Namespace, found: cases.Figures) -> None:
    of = {"name": case.name, "case": case._asdict(), "small": options.small}
    text = json.dumps(of | found, indent=1) + "\n"
    whole.write_text(options.output / f"{case.name}.json", text)


def beside(options: argparse.Namespace) -> None:
    """The original program and ours in turn, by experiments/benchmark_original."""
    folder = options.output / table.ORIGINAL
    if (folder / "figures.json").exists():
        return
    command = [sys.executable, BESIDE, f"--original={options.original}"]
    command += [f"--output={folder}"] + ["--small"] * options.small
    memory = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # PyTorch needs some, too
    done = subprocess.run(command, env=environment(memory), check=False)
    if done.returncode:
        print(f"original: exit status {done.returncode}; what it said stands above")


if __name__ == "__main__":
    main()
