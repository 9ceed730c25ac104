"""Lengths that containers write of themselves, on files of a few bytes."""

import pytest

from stemseg_jax.formats import containers

MP4 = b"\0\0\0\x0cftypisom" + b"\0\0\0\x0amdat12"
LONG = b"\0\0\0\x0cftypisom" + b"\0\0\0\x01mdat" + b"\0" * 7 + b"\x1212"
RIFF = b"RIFF\x08\0\0\0AVI 1234"
SEGMENT = b"\x1a\x45\xdf\xa3\x82aa" + b"\x18\x53\x80\x67\x40\x04abcd"


@pytest.mark.parametrize("data", [MP4, LONG, RIFF, SEGMENT])
def test_each_byte_that_is_missing_at_the_end_counts(tmp_path, data):
    path = tmp_path / "file"
    for tail in (b"", bytes(9)):
        path.write_bytes(data + tail)
        assert not containers.is_cut(path)
    for missing in (1, 2):
        path.write_bytes(data[:-missing])
        assert containers.is_cut(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"\0\0\0\x0cftypisom\0\0\0\0mdat12",  # to the end, whatever it is
        b"\x1a\x45\xdf\xa3\x82aa\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"ab",  # live
        b"RIFF\0\0\0\0AVI ",
    ],
)
def test_what_is_not_written_is_not_known(tmp_path, data):
    (tmp_path / "file").write_bytes(data)
    assert not containers.is_cut(tmp_path / "file")


def test_lengths_beyond_all_files(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"\0\0\0\x0cftypisom\0\0\0\x01mdat" + b"\xff" * 8)
    assert containers.is_cut(path)
