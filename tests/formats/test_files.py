import pathlib

import pytest

from stemseg_jax.formats import files


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
