import os
import pathlib

import pytest

from stemseg_jax.formats import files, images


def test_what_systems_leave_behind_is_no_data(tmp_path):
    for name in ("b.txt", "a.txt", "._a.txt", ".DS_Store", "Thumbs.db", "Desktop.ini"):
        (tmp_path / name).touch()
    (tmp_path / "__MACOSX").mkdir()
    assert [path.name for path in files.listed(tmp_path)] == ["a.txt", "b.txt"]
    assert files.listed(tmp_path, "*.db") == files.listed(tmp_path / "absent") == []
    assert files.is_data(pathlib.Path(".cache/frames/0.jpg"))  # by its own name


def test_text_is_utf_8(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffé\n".encode())
    assert files.read_text(path) == "é\n"
    path.write_bytes(b"\xe9\n")
    with pytest.raises(ValueError, match="a.txt: no readable text file .*utf-8"):
        files.read_text(path)
    with pytest.raises(ValueError, match="b.txt: no readable text file .*No such"):
        files.read_text(tmp_path / "b.txt")


def test_what_may_never_end_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    device = pathlib.Path("/dev/zero")
    for path in (tmp_path / "pipe.jpg", device):
        for read in (files.read_text, images.read_rgb, images.size, images.read_labels):
            with pytest.raises(ValueError, match=f"{path}: .*not a regular file"):
                read(path)
