"""experiments/gpu at a size of seconds: it waits for a machine with a GPU."""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys

import jax
import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "experiments/gpu"


@pytest.fixture
def experiment(monkeypatch):
    """Its modules, which know each other as scripts do."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("cases", "operations", "networks", "table", "run")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield argparse.Namespace(**{name: importlib.import_module(name) for name in names})
    for name in names:  # others may have modules of these names, too
        del sys.modules[name]


@pytest.fixture
def options(tmp_path):
    return argparse.Namespace(output=tmp_path / "out", small=True, original=None)


@pytest.fixture
def command(experiment, monkeypatch, tmp_path):
    def call(*arguments):
        argv = ["run.py", f"--output={tmp_path / 'out'}", "--small", *arguments]
        monkeypatch.setattr(sys, "argv", argv)
        experiment.run.main()

    return call


def of_kind(experiment, *kinds):
    """The last case of each."""
    return {c.kind: c for c in experiment.run.every() if c.kind in kinds}.values()


def rows(markdown, title):
    """Of the table below what begins with a title, by its columns."""
    table = markdown.partition(f"## {title}")[2].split("\n\n")[1]
    lines = table.splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def test_operations_are_measured_in_small_and_stand_in_the_tables(experiment, options):
    for case in of_kind(experiment, "peak", "lovasz", "sort", "convolution"):
        experiment.run.measure(case, options)
    printed = experiment.table.of(options.output)
    assert "at a size that says nothing" in printed
    (peak,) = rows(printed, "The peak")
    assert peak["side"] == "64" and float(peak["TFLOP/s"]) > 0
    forward, both = rows(printed, "3-D convolutions")
    assert forward["layer"] == "4 x 6 x 8, 3 to 5, forward"
    assert both["layer"].endswith("both") and both["sum, of the peak"].endswith("%")
    (hinge,), (sort,) = rows(printed, "The Lovász hinge"), rows(printed, "Sorts")
    assert float(hinge["median (ms)"]) > 0 and float(sort["median (ms)"]) > 0
    assert hinge[""] == "ranks" and sort[""] == "places of uint32"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["inference", "training", "demo"])
def test_networks_are_measured_in_small(kind, experiment, options):
    (last,) = of_kind(experiment, kind)
    for case in {last, last._replace(clips=1)}:
        experiment.run.measure(case, options)
    printed = experiment.table.of(options.output)
    if kind == "demo":
        assert [row[""] for row in rows(printed, "The demo")] == ["moving_shapes"]
    if kind == "inference":
        (row,) = rows(printed, "Inference")
        assert float(row["frames/s"]) > 0 and "cluster, stitch, sum up (ms)" in row
    if kind == "training":
        one, eight = sorted(rows(printed, "Updates"), key=lambda row: row["clips"])
        assert (one["clips"], eight["clips"]) == ("1", "8")
        (parts,) = rows(printed, "Parts of an update")
        assert float(parts["optimiser (ms)"]) > 0


def test_every_form_of_the_package_is_a_case(experiment):
    every = list(experiment.run.every())
    assert len({case.name for case in every}) == len(every)
    assert f"all {len(every)} cases" in (FOLDER / "README.md").read_text()
    for kind, module in (
        ("lovasz", experiment.operations.lovasz),
        ("convolution", experiment.operations.conv3d),
    ):
        forms = {case.form for case in every if case.kind == kind}
        assert forms == module.FORMS.keys() - {"auto"}


def test_boxes_have_places_of_their_own(experiment):
    case = experiment.cases.Case("training", "ytvis", "auto", "float32")
    config = experiment.networks.config_of(case, experiment.cases.SMALL)
    batch = experiment.networks.random_clips(config, 2).unpacked()
    assert batch.masks.shape == (2, 5, 8, 64, 128)
    assert batch.masks.any(axis=(2, 3, 4)).all()
    assert batch.masks.sum(axis=1).max() == 1
    assert batch.categories.min() >= 1
    assert batch.categories.max() < config.model.num_classes


def test_figures_become_shares_by_hand(experiment, tmp_path):
    def leave(name, **found):
        case = experiment.cases.Case(*name.split("-"))._asdict()
        held = {"name": name, "small": False, "device": "card", "jax": "1"}
        text = json.dumps(held | {"case": case} | found)
        (tmp_path / f"{name}.json").write_text(text)

    def row(stage, seconds):
        return {"stage": stage, "compile (s)": 2.0, "median (s)": seconds}

    memory = {"device (MB)": 1000.0, "host (MB)": 1.0}
    leave("peak---bfloat16", **{"side": 8, "GFLOP/s": 200e3})
    leave(
        "training-ytvis-native-bfloat16",
        rows=[row("an update in all", 0.1), row("optimiser", 0.004)],
        **{"GFLOP": 8e3, "frames": 8, "size": (640, 1216), "peak memory": memory},
    )
    leave("sort--float32", failed="too large")
    printed = experiment.table.of(tmp_path)
    assert printed.startswith("card, jax 1\n")
    (update,) = rows(printed, "Updates")
    assert update == {
        **{"": "ytvis", "frames": "8 x 640 x 1216", "type": "bfloat16"},
        **{"form": "native", "clips": "1", "compile (s)": "2"},
        **{"update (ms)": "100", "frames/s": "80", "TFLOP/s": "80"},
        **{"of the peak": "40%", "peak memory (GB)": "1.05"},
    }
    (parts,) = rows(printed, "Parts of an update")
    assert parts["optimiser (ms)"] == "4"
    assert rows(printed, "Not measured") == [{"": "sort--float32", "why": "too large"}]


def test_a_case_has_a_process_and_is_not_measured_twice(command, capsys, tmp_path):
    command("--cases=peak-float32")
    first = (tmp_path / "out/peak-float32.json").read_text()
    assert json.loads(first)["GFLOP/s"] > 0
    command("--cases=peak-float32")
    assert "peak-float32: is there already" in capsys.readouterr().out
    assert (tmp_path / "out/peak-float32.json").read_text() == first


def test_a_case_that_does_not_fit_says_so(experiment, options, monkeypatch):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory allocating 3221225472 bytes.\nMore."
        )

    monkeypatch.setitem(experiment.run.MEASURES, "peak", exhausted)
    (case,) = of_kind(experiment, "peak")
    with pytest.raises(MemoryError):
        experiment.run.measure(case, options)
    (line,) = rows(experiment.table.of(options.output), "Not measured")
    assert line[""] == case.name
    assert "out of memory while measuring peak" in line["why"]
    assert "3.00GiB more were needed" in line["why"]


def test_a_process_that_dies_ends_no_other(command, monkeypatch, capsys):
    killed = subprocess.CompletedProcess([], returncode=-9)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: killed)
    command("--cases=peak*")
    printed = capsys.readouterr().out
    lines = rows(printed, "Not measured")
    assert [line[""] for line in lines] == ["peak-bfloat16", "peak-float32"]
    assert all("exit status -9, see" in line["why"] for line in lines)


def test_what_cannot_be_measured_is_refused(command, capsys, tmp_path):
    with pytest.raises(SystemExit):
        command("--cases=peak*,paek*")
    assert "no case is called 'paek*'; --list has them" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out/peak-float32.json").write_text('{"small": false}')
    with pytest.raises(SystemExit):
        command("--cases=peak*")
    assert "is of another size: choose another --output" in capsys.readouterr().err
