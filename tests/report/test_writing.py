"""Where the page goes, what is refused, and that nothing else is lost."""

import re
import subprocess
import sys

import pytest

from stemseg_jax import report
from tests.report import folders


def test_it_lies_in_the_folder_and_is_written_anew(copy, capsys):
    assert report.run(str(copy), videos=0) == copy / "report.html"
    assert re.fullmatch(r".*/report\.html \(0\.0\d MB\)\n", capsys.readouterr().out)
    first = (copy / "report.html").read_text()
    report.run(str(copy), videos=0, command="stemseg --mode=report '--input=a b'")
    second = (copy / "report.html").read_text()
    assert "stemseg --mode=report &#39;--input=a b&#39;" in second and second != first
    assert not list(copy.glob(".*partial*"))


def test_it_lies_beside_a_folder_that_is_replaced_as_a_whole(tmp_path):
    folder = folders.write_predicted(tmp_path / "out" / "clip")
    before = sorted(folder.iterdir())
    assert report.run(str(folder)) == tmp_path / "out" / "clip_report.html"
    assert sorted(folder.iterdir()) == before


def test_predictions_of_a_run_are_those_of_its_report(copy):
    page = report.run(str(copy / "predictions"), videos=1)
    assert page == copy / "report.html"
    assert "J&amp;F-Mean" in page.read_text()


def test_folders_that_are_given_by_dots_have_their_names(tmp_path, monkeypatch):
    folder = folders.write_predicted(tmp_path / "out" / "clip")
    (folder / "panels").mkdir()
    for place, source in ((folder, "."), (folder / "panels", "..")):
        monkeypatch.chdir(place)
        page = report.run(source)
        assert page == tmp_path / "out" / "clip_report.html"
        assert "<h3>clip</h3>" in page.read_text()
        page.unlink()
    monkeypatch.chdir(tmp_path / "out")
    assert report.run(".") == tmp_path / "out" / "report.html"


def test_predictions_are_given_by_a_dot(copy, monkeypatch):
    monkeypatch.chdir(copy / "predictions")
    assert report.run(".", videos=0) == copy / "report.html"


def test_another_file(copy, tmp_path):
    path = tmp_path / "new" / "page.html"
    assert report.run(str(copy), output=str(path), videos=0) == path
    assert path.exists() and not (copy / "report.html").exists()


@pytest.mark.parametrize("kind", ["text", "page", "folder", "link"])
def test_what_is_not_ours_is_not_replaced(copy, tmp_path, kind):
    path = tmp_path / "report.html"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        report.run(str(copy), output=str(tmp_path / "other.html"), videos=0)
        path.symlink_to(tmp_path / "other.html")
    else:
        path.write_text("mine" if kind == "text" else "<!doctype html><p>mine</p>")
    with pytest.raises(ValueError, match="report.html is there already, and none of"):
        report.run(str(copy), output=str(path), videos=0)
    if path.is_file() and kind != "link":
        assert "mine" in path.read_text()


def test_a_folder_that_is_neither(tmp_path):
    expected = r"Expected a run's folder \(config.json, metrics.jsonl\), or one that "
    for name, found in (
        ("none", "no such folder. "),
        ("empty", "holds nothing. "),
        ("other", "holds a.txt, b.txt, c.txt, d.txt .... "),
    ):
        if name != "none":
            (tmp_path / name).mkdir()
        if name == "other":
            for letter in "abcde":
                (tmp_path / name / f"{letter}.txt").write_text("")
        with pytest.raises(ValueError, match=f"{name}: {found}{expected}"):
            report.run(str(tmp_path / name))
        assert not list(tmp_path.rglob("*.html"))


def test_a_file_of_a_folder_that_is_meant(copy):
    with pytest.raises(ValueError, match="is a file. .* Perhaps .*copy is meant"):
        report.run(str(copy / "metrics.jsonl"))


def test_fewer_than_no_videos(copy):
    with pytest.raises(ValueError, match="--videos=-1: expected 0 or more"):
        report.run(str(copy), videos=-1)


def test_names_that_are_no_text(tmp_path):
    """As file systems allow them."""
    folder = folders.write_predicted(tmp_path / "out" / "clip\udcff")
    page = report.run(str(folder.parent), videos=0)
    assert "clip?" in page.read_text("utf-8")


def test_jax_is_not_loaded():
    code = "import sys; from stemseg_jax import report; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
