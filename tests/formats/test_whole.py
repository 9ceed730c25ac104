"""What is written appears whole; what is not ours stays as it is."""

import contextlib
import os
import pathlib
import subprocess
import sys

import pytest

from stemseg_jax.formats import whole

ROOT = pathlib.Path(__file__).parents[2]


def tree(folder):
    """Every file below with its content, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def write(path, writer="a test", **files):
    with whole.folder(path, writer) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def test_a_file_appears_at_the_end(tmp_path):
    path = tmp_path / "new" / "a.json"
    with whole.file(path) as partial:
        partial.write_text("half")
        assert not path.exists() and partial.parent == path.parent
    assert tree(tmp_path) == {"new": None, "new/a.json": b"half"}
    assert whole.write_text(path, "whole") == path
    assert path.read_text() == "whole"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_leaves_what_was_there(tmp_path, kind):
    whole.write_text(tmp_path / "a.json", "old")
    write(tmp_path / "results", old="old")
    before = tree(tmp_path)
    with pytest.raises(kind), whole.file(tmp_path / "a.json") as partial:
        partial.write_text("half")
        raise kind
    with pytest.raises(kind), whole.folder(tmp_path / "results", "a test") as folder:
        (folder / "half").write_text("half")
        raise kind
    assert tree(tmp_path) == before


def test_a_folder_of_ours_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "results", old="1", both="1")
    with whole.folder(tmp_path / "results", "a test") as folder:
        (folder / "both").write_text("2")
        assert (tmp_path / "results" / "old").read_text() == "1"  # until then
    assert tree(tmp_path) == {
        "results": None,
        "results/.stemseg_jax": b"a test\n",
        "results/both": b"2",
    }


def test_an_empty_folder_may_be_taken(tmp_path):
    (tmp_path / "results").mkdir()
    write(tmp_path / "results", new="1")
    assert (tmp_path / "results" / "new").read_text() == "1"


def theirs(folder):
    write(folder / "results", new="1")
    (folder / "results" / ".stemseg_jax").unlink()


def of_another_writer(folder):
    write(folder / "results", "another test", new="1")


def a_file(folder):
    (folder / "results").write_text("mine")


def a_link(folder):
    write(folder / "elsewhere", new="1")
    (folder / "results").symlink_to(folder / "elsewhere")


def a_dangling_link(folder):
    (folder / "results").symlink_to(folder / "elsewhere")


def a_partial_folder(folder):
    (folder / ".results.partial").mkdir()
    (folder / ".results.partial" / "mine").write_text("mine")


@pytest.mark.parametrize(
    ("before", "found"),
    [
        (theirs, "holds new"),
        (of_another_writer, "was written by another test"),
        (a_file, "is a file"),
        (a_link, "is a link"),
        (a_dangling_link, "is a link"),
        (a_partial_folder, "holds mine"),
    ],
)
def test_what_is_not_ours_is_refused_before_anything_is_written(
    tmp_path, before, found
):
    before(tmp_path)
    held = tree(tmp_path)
    message = f"results.* is there already and {found}; only .*Choose another --output"
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "results", other="2")
    assert tree(tmp_path) == held


def test_what_came_meanwhile_is_not_replaced(tmp_path):
    with (
        pytest.raises(ValueError, match="results is there already and holds mine"),
        whole.folder(tmp_path / "results", "a test") as folder,
    ):
        (folder / "new").write_text("1")
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "mine").write_text("mine")
    assert tree(tmp_path) == {"results": None, "results/mine": b"mine"}


def test_a_run_that_was_killed_is_cleaned_up_after(tmp_path):
    with whole.folder(tmp_path / "results", "a test") as folder:
        (folder / "half").write_text("half")
        debris = tree(tmp_path)
    write(tmp_path / "results", new="1")
    complete = tree(tmp_path)
    for name, content in debris.items():  # as it lay there before the end
        path = tmp_path / name
        path.mkdir() if content is None else path.write_bytes(content)
    # Killed between the two renames: the older results still have another name.
    (tmp_path / "results").rename(tmp_path / ".results.old")
    with pytest.raises(OSError), whole.folder(tmp_path / "results", "a test"):
        raise OSError
    assert tree(tmp_path) == complete


def test_a_folder_without_a_marker_is_replaced_in_a_folder_of_ours(tmp_path):
    with whole.folder(tmp_path / "results", "a test") as top:
        for text in "12":
            with whole.folder(top / "dog", "a test", marked=False) as folder:
                (folder / text).write_text(text)
    held = tree(tmp_path / "results")
    assert held == {".stemseg_jax": b"a test\n", "dog": None, "dog/2": b"2"}
    (tmp_path / "results" / ".stemseg_jax").unlink()
    with (
        pytest.raises(ValueError, match="dog is there already"),
        whole.folder(tmp_path / "results" / "dog", "a test", marked=False),
    ):
        raise AssertionError
    assert (tmp_path / "results" / "dog" / "2").exists()


def test_an_unmarked_folder_that_was_never_named_is_cleaned_up_after(tmp_path):
    """Its marker goes last, so that what a killed run leaves is known as ours."""
    partial = tmp_path / ".video.partial"
    partial.mkdir()
    (partial / whole.MARKER).write_text("a test\n")
    with whole.folder(tmp_path / "video", "a test", marked=False) as folder:
        (folder / "frame").write_text("0")
    assert tree(tmp_path) == {"video": None, "video/frame": b"0"}


def test_names_stay_inside(tmp_path):
    assert whole.inside(tmp_path, "a b..") == tmp_path / "a b.."
    assert whole.inside(tmp_path, "a/b") == tmp_path / "a" / "b"
    for name in (
        "",
        ".",
        "..",
        "...",
        ".hidden",
        "../a",
        "a/..",
        "a/../..",
        "/a",
        "./",
    ):
        with pytest.raises(ValueError, match="cannot be a name in"):
            whole.inside(tmp_path, name)


def test_a_file_is_ours_once_it_was_claimed(tmp_path):
    whole.lock(tmp_path, "evaluate", writes=("scores.json",)).close()
    (tmp_path / "config.json").write_text("mine")
    (tmp_path / ".yarn.lock").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="config.json is there already, and no run"):
        whole.lock(tmp_path, "train", writes=("config.json",))
    with pytest.raises(ValueError, match="config.json is there already"):
        whole.claim(tmp_path, "config.json")
    assert tree(tmp_path) == before
    whole.claim(tmp_path, "scores.json")
    (tmp_path / "scores.json").write_text("ours")
    whole.claim(tmp_path, "scores.json")
    whole.lock(tmp_path, "evaluate", writes=("scores.json",)).close()


@pytest.mark.parametrize("kind", ["a link", "a folder", "a device or a pipe"])
def test_what_is_no_file_is_neither_replaced_nor_written_through(tmp_path, kind):
    (tmp_path / "mine").write_text("mine")
    for path in (tmp_path / "a.json", tmp_path / ".train.lock"):
        match kind:
            case "a link":
                path.symlink_to(tmp_path / "mine")
            case "a folder":
                path.mkdir()
            case _:
                os.mkfifo(path)
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=f"a.json is {kind}; expected a file"):
        whole.write_text(tmp_path / "a.json", "new")
    with pytest.raises(ValueError, match=f".train.lock is {kind}"):
        whole.lock(tmp_path, "train")
    assert tree(tmp_path) == before
    assert (tmp_path / "a.json").is_file() == (kind == "a link")


def test_a_lock_of_somebody_else_stays(tmp_path):
    (tmp_path / ".train.lock").write_text("mine")
    (tmp_path / ".results.lock").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=".train.lock is not ours"):
        whole.lock(tmp_path, "train")
    with pytest.raises(ValueError, match=".results.lock is not ours"):
        write(tmp_path / "results", new="1")
    assert tree(tmp_path) == before


def test_two_writers_of_a_file_do_not_meet(tmp_path):
    (tmp_path / ".a.partial").write_text("mine")
    with whole.file(tmp_path / "a") as first, whole.file(tmp_path / "a") as second:
        first.write_text("first")
        second.write_text("second")
    assert tree(tmp_path) == {".a.partial": b"mine", "a": b"first"}
    (tmp_path / "b").write_text("as files usually are")
    modes = {(tmp_path / name).stat().st_mode for name in "ab"}
    assert len(modes) == 1


def test_a_lock_that_was_taken_away_meanwhile_is_made_anew(tmp_path, monkeypatch):
    lock, taken = tmp_path / ".results.lock", []

    def locked(descriptor):
        if not taken:
            taken.append(lock.unlink())  # by who held it before
        return True

    monkeypatch.setattr(whole, "_locked", locked)
    with whole.folder(tmp_path / "results", "a test"):
        assert taken and lock.exists()
    assert not lock.exists()


def test_who_comes_between_two_renames_takes_nothing_away(tmp_path):
    write(tmp_path / "results", old="1")
    with whole.folder(tmp_path / "results", "a test") as folder:
        (folder / "new").write_text("1")
        (tmp_path / "results").rename(tmp_path / ".results.old")
        with pytest.raises(ValueError, match="another process is writing here"):
            write(tmp_path / "results", other="1")
        assert (tmp_path / ".results.old").is_dir()
    assert (tmp_path / "results" / "new").exists()


HOLD = """
import sys, time
from stemseg_jax.formats import whole
{}
    print("held", flush=True)
    time.sleep(600)
"""


@contextlib.contextmanager
def other_process(code):
    """Runs `with ...:` until it is killed; the test goes on once it is inside."""
    command = [sys.executable, "-c", HOLD.format(code)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as other:
        try:
            assert other.stdout.readline() == "held\n"
            yield other
        finally:
            other.kill()


def test_a_second_run_is_told_who_is_at_work(tmp_path):
    with other_process(f"with whole.lock({str(tmp_path)!r}, 'train'):") as other:
        with pytest.raises(ValueError) as caught:
            whole.lock(tmp_path, "train")
        assert f"{tmp_path}: another train is at work" in str(caught.value)
        assert f"process {other.pid} on" in str(caught.value)
        whole.lock(tmp_path, "evaluate").close()  # other work may go on beside it
    for _ in range(3):
        whole.lock(tmp_path, "train").close()  # it was killed
    holder = (tmp_path / ".train.lock").read_text()
    assert holder.startswith(f"{os.getpid()} on") and holder.count("\n") == 1


def test_a_folder_that_another_process_writes_is_left_alone(tmp_path):
    path = tmp_path / "results"
    with other_process(f"with whole.folder({str(path)!r}, 'a test'):"):
        with pytest.raises(ValueError, match="another process is writing here"):
            write(path, new="1")
        assert (tmp_path / ".results.partial").is_dir()
    write(path, new="1")
    assert tree(path) == {".stemseg_jax": b"a test\n", "new": b"1"}


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(whole.NotWritten, match=r"file/run cannot be made \(Not a dir"):
        whole.lock(tmp_path / "file" / "run", "train")
