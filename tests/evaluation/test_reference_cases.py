"""Every figure of the official programs, on cases made to tell programs apart."""

import pathlib

import pytest

from tests import parity_metrics

HERE = pathlib.Path(__file__).parent / "cases"
CASES = sorted(HERE.glob("*/*.expected.json"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.split(".")[0])
def test_figures_equal_the_official_ones(case):
    check(case)


@pytest.mark.parametrize(
    "name",
    [
        "davis/void_real",
        "mots/real_kitti",
        "mots/real_motschallenge",
        "mots/synth_generic",
        "ytvis/real",
        "ytvis/real.ovis",
        "ytvis/synth_crowd",
    ],
)
def test_figures_equal_the_official_ones_on_larger_cases(shared, name):
    check(shared / "reference/metrics" / f"{name}.expected.json")


def check(case):
    try:
        differences = dict(parity_metrics.compare(case))
    except parity_metrics.Refused:
        return
    assert differences
    assert not {k: v for k, v in differences.items() if not v <= 1e-12}


def test_the_runner_reports_and_judges(tmp_path, monkeypatch, capsys):
    """A figure that was tampered with is found."""
    folder = tmp_path / "ytvis"
    folder.mkdir()
    for file in (HERE / "ytvis").glob("synth_thresholds.*"):
        (folder / file.name).write_bytes(file.read_bytes())
    arguments = ["parity_metrics", "--cases", str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*arguments, "--json", str(tmp_path / "o.json")])
    assert parity_metrics.main() == 0
    expected = folder / "synth_thresholds.expected.json"
    expected.write_text(expected.read_text().replace('"AP75":', '"AP75":1e-8+'[:-3], 1))
    text = expected.read_text()
    start = text.index('"AP75":') + len('"AP75":')
    expected.write_text(text[:start] + "0.123456" + text[text.index(",", start) :])
    assert parity_metrics.main() == 1
    assert "synth_thresholds" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["parity_metrics", "--cases", str(folder)])
    assert parity_metrics.main() == 2
