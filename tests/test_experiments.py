"""Scripts of experiments, on the smallest of sizes."""

import importlib.util
import json
import pathlib
import sys

import pytest

FOLDER = pathlib.Path(__file__).parents[1] / "experiments"
WORK = ("forward", "both")


@pytest.fixture
def script(monkeypatch):
    """Calls the script of an experiment, with other values of its constants."""

    def call(name, *arguments, **constants):
        file = FOLDER / name / "run.py"
        spec = importlib.util.spec_from_file_location(f"{name}_experiment", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        for constant, value in constants.items():
            monkeypatch.setattr(module, constant, value)
        monkeypatch.setattr(sys, "argv", [str(file), *arguments])
        module.main()

    return call


def test_every_form_of_a_convolution_is_timed(script, tmp_path, capsys):
    script(
        *("convolutions", f"--output={tmp_path}", "--rounds=1"),
        LAYERS_2D={"halves": (1, 4, 6, 2, 3, 3, 2)},
        LAYERS_3D={"decoder": (2, 4, 6, 2, 3)},
    )
    tables = json.loads((tmp_path / "figures.json").read_text())
    forms = {"2-D": ("native", "products"), "3-D": ("native", "concat", "sum")}
    printed = capsys.readouterr().out
    for (title, (row,)), layer in zip(
        tables.items(), ("halves", "decoder"), strict=True
    ):
        assert row.pop("layer") == layer
        assert list(row) == [f"{form}, {w}" for form in forms[title] for w in WORK]
        assert min(row.values()) > 0 and f"{title}, milliseconds" in printed


def test_labelling_finds_the_five_discs(script, capsys):
    script("labelling", "--size", "96", "128", ROUNDS=1)
    found = json.loads(capsys.readouterr().out)
    assert found["seconds"] > 0 and found["MB"] > 0
    assert found["rule"] == "paper"
    cells = sorted(found["cells of new frames"], reverse=True)
    assert len(cells) >= 5 and sum(cells[:5]) > 0.95 * sum(cells)
