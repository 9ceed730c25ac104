"""Who may import whom: the table of the house, checked on the source."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "stemseg_jax"

FOUNDATION = {"structures", "choices", "geometry", "ranges"}
DEVICE = {"compilation", "device_memory"}  # for the scripts, not for methods
VIDEO = {"tracks", "geometry"}
BUILDING = {"ops", *FOUNDATION}
METHOD = {"modules", "losses", "clustering", "tracking", *BUILDING}
HOST = {"data", "outputs"}
SCRIPT = {
    "models",
    "systems",
    "optimization",
    "parallel",
    "hosts",
    "checkpoints",
    "conversion",
    "evaluation",
    "formats",
    *VIDEO,
    *METHOD,
    *HOST,
    *DEVICE,
}
SCRIPTS = {
    "train",
    "evaluate",
    "predict",
    "score",
    "track_masks",
    "check_data",
    "show_data",
    "pack",
    "export_weights",
    "export",
    "benchmark",
    "demo",
    "report",
}

MAY_IMPORT = {
    "structures": set(),
    "choices": set(),
    "ranges": set(),
    "geometry": set(),
    "formats": set(),
    "tracks": {"formats", "geometry"},
    "parallel": set(),
    "hosts": {"formats"},
    "caches": set(),
    "compilation": {"caches"},
    "device_memory": set(),
    "ops": FOUNDATION,
    "modules": BUILDING,
    "losses": BUILDING,
    "clustering": BUILDING,
    "tracking": BUILDING | VIDEO,
    "data": {"caches", "choices", "formats", "geometry", "ranges"},
    "outputs": {"choices", "formats", *VIDEO},
    "evaluation": {"formats"},
    "systems": METHOD | VIDEO,
    "optimization": FOUNDATION,
    "checkpoints": {"formats", "hosts", *FOUNDATION},
    "models": {
        "systems",
        "checkpoints",
        "conversion",
        "data",
        "outputs",
        "tracking",
        *FOUNDATION,
        *VIDEO,
    },
    "options": {
        "systems",
        "optimization",
        "conversion",
        "data",
        "evaluation",
        "modules",
        *FOUNDATION,
    },
    "conversion": {"formats", *FOUNDATION},
    "run_log": {"formats", "hosts"},
    "profiling": {"hosts"},
    "sheets": {"data", "formats", "outputs", "tracks"},
    "validation": {
        *("checkpoints", "evaluate", "hosts", "models", "score", "sheets"),
        *("device_memory", "evaluation"),
        *("formats", "structures", "systems"),
    },
    "tasks": {"data", "formats", "outputs", "tracks"},
    "pipelining": set(),
    "interruption": set(),
    # One video, from its frames to its files.
    "labelling": {"models", "pipelining", *SCRIPT},
    "drawings": {"labelling", "pipelining", *HOST, "formats", *VIDEO},
    "recording": {*HOST},
    "results": {
        *("labelling", "drawings", "recording", "pipelining", "compilation"),
        "interruption",
        *("choices", "formats", *HOST, *VIDEO),
    },
    "predictor": {
        *("models", "options", "labelling", "results", "compilation"),
        *("data", "formats", "tracking"),
    },
    **dict.fromkeys(SCRIPTS, SCRIPT),
    "benchmark": {"train", *SCRIPT},
    "train": {"run_log", "profiling", "interruption", "validation", *SCRIPT},
    "predict": {"predictor", "results", *SCRIPT},
    "export": {"export_weights", *SCRIPT},
    "evaluate": {"score", "tasks", *SCRIPT},  # a model is scored like any result file
    "track_masks": {"score", "tasks", *SCRIPT},
    "demo": {"train", "evaluate", "tasks", "track_masks", "sheets", *SCRIPT},
    "report": {"tasks", "choices", "evaluation", "formats", "tracks", *HOST},
    # Curves in a notebook are those that the page of a run has.
    "figures": {"models", "systems", "report", *METHOD, *HOST},
    "studies": {"train", "evaluate", "sheets", *SCRIPT},
    "main": {
        *("models", "options", "data", "results", "compilation", "hosts", "ranges"),
        *SCRIPTS,
    },
}
WITHOUT_JAX = {
    "caches",
    "choices",
    "data",
    "evaluation",
    "formats",
    "geometry",
    "outputs",
    "ranges",
    "report",
    "score",
    "tasks",
    "tracks",
}
OWN = "stemseg_jax"

FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: pathlib.Path) -> set[str]:
    """Full names: `from stemseg_jax import ops` gives "stemseg_jax.ops"."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_table(path):
    part = part_of(path)
    if part == "__init__":
        allowed = {"predictor"}  # when it is asked for
    else:
        assert part in MAY_IMPORT, f"{part} is not in the table"
        allowed = MAY_IMPORT[part] | {part}
    for name in imported_modules(path):
        package, _, rest = name.partition(".")
        if package == OWN:
            assert rest.partition(".")[0] in allowed | {"__version__"}, (
                f"{path.relative_to(PACKAGE)} imports {name}; {part} may import "
                f"{sorted(allowed)}"
            )


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_host_side_needs_no_jax(path):
    if part_of(path) in WITHOUT_JAX:
        roots = {name.partition(".")[0] for name in imported_modules(path)}
        assert not roots & {"jax", "flax", "optax"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_tensorflow_and_no_torch(path):
    roots = {name.partition(".")[0] for name in imported_modules(path)}
    assert not roots & {"tensorflow", "torch"}


@pytest.mark.parametrize(
    ("module", "owner"), [("orbax", "checkpoints"), ("jax.sharding", "parallel")]
)
def test_one_file_owns(module, owner):
    for path in FILES:
        if any(name.startswith(module) for name in imported_modules(path)):
            assert part_of(path) == owner
