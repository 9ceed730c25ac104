"""Every switch of docs/ablations.md is one, and so is every row of its study; its table
is of its figures."""

import json
import pathlib
import re
import runpy
import shlex
from typing import NamedTuple

import pytest
from absl import flags
from ml_collections import config_flags

from configs import davis
from stemseg_jax import models, options
from stemseg_jax.data import pipeline
from stemseg_jax.outputs import report

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 200  # of a study
ROWS = runpy.run_path(str(ROOT / "experiments/ablations/run.py"))["rows"](STEPS)


class Line(NamedTuple):
    """Of a table in the page."""

    overrides: str
    row: str  # of the study


def lines() -> list[Line]:
    page = (ROOT / "docs/ablations.md").read_text()
    return [Line(*found) for found in re.findall(r"`(--.*?)` \| `(.*?)` \|\n", page)]


def sound(config):
    options.check(config)
    pipeline.check(config)
    return models.build(config)


def test_the_page_has_the_rows_of_the_study():
    named = [line.row for line in lines()]
    assert len(named) == len(set(named))
    assert {*named, "stemseg"} == ROWS.keys()


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.row)
def test_overrides_of_the_page_are_taken_by_the_command_line(line):
    values, argv = flags.FlagValues(), ["stemseg", *shlex.split(line.overrides)]
    config_flags.DEFINE_config_dict(
        "config", davis.get_config(), flag_values=values, sys_argv=argv
    )
    assert values(argv) == ["stemseg"]
    sound(values.config)


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("name", ROWS)
def test_rows_of_the_study_can_be_trained(name, variant):
    row = ROWS[name]
    config = row.config(variant)
    config.update_from_flattened_dict(row.changes)
    system = sound(config)
    assert config.optim.steps == STEPS
    assert system.network.num_frames == config.num_frames


def test_the_table_of_the_study_is_the_one_that_its_script_makes():
    folder = ROOT / "experiments/ablations"
    table = runpy.run_path(str(folder / "table.py"))
    found = json.loads((folder / "figures.json").read_text())
    assert found.keys() == ROWS.keys() - {"frames_24"}
    assert all(seeds.keys() == {"0", "1", "2"} for seeds in found.values())
    made = report.markdown(table["lines"](found))
    assert made in (folder / "README.md").read_text()
    assert (folder / "spread.svg").read_text() == table["plot"](found)
