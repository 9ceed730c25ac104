"""The documentation as a site, and the figures in it."""

import pathlib
import re
import runpy
import subprocess
import sys

import pytest

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def test_figures_are_drawn_by_the_package(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(DOCS / "figures")
    draw = runpy.run_path(str(DOCS / "figures/draw.py"))["main"]
    draw([f"--output={tmp_path}"])
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in (DOCS / "figures").glob("*.svg")}
    assert all("<svg" in (tmp_path / name).read_text()[:999] for name in drawn)


@pytest.mark.slow
def test_the_site_is_built_without_a_warning_and_says_types_as_they_are(tmp_path):
    pytest.importorskip("sphinx")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet"]
    ended = subprocess.run([*command, DOCS, tmp_path], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr

    def page(name):
        html = (tmp_path / f"{name}.html").read_text()
        return re.sub(r"\s+", " ", re.sub("<.*?>", "", html)).replace("&#39;", "'")

    losses = page("api/stemseg_jax.losses")
    assert "labels: Bool[Array, '*points']" in losses
    assert "Source: Berman et al." in losses and "jaxlib" not in losses
    start = page("index")
    for shown in ("Bottom-up video instance segmentation", "Concepts", "Changelog"):
        assert shown in start
    assert "To add" in page("extending") and "0.2.0" in page("changelog")
