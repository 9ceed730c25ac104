"""A file that cannot be written is named, and what was there before stays.

The limit of a file's size stands for the end of a disk: the kernel refuses both alike.
"""

import contextlib
import errno
import os
import resource

import numpy as np
import pytest

from stemseg_jax import score
from stemseg_jax.conversion import release
from stemseg_jax.formats import images, whole
from stemseg_jax.outputs import tracks_json, video
from stemseg_jax.tracks import VideoTracks

ROOM = 100  # bytes
NOISE = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
TRACKS = VideoTracks("a" * ROOM, 64, 96, 1, ())


@contextlib.contextmanager
def full_disk(room=ROOM):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write_video(path):
    with video.Writer(path, fps=24) as writer:
        for _ in range(40):
            writer.write(NOISE)


def write_folder(path):
    with whole.folder(path, "a test") as folder:
        images.write_labels(folder / "0.png", NOISE[..., 0])


def write_nested(path):
    with whole.folder(path, "a test") as folder:
        images.write_png(folder / "0.png", NOISE)


WRITERS = {
    "text": lambda path: whole.write_text(path, "a" * 2 * ROOM),
    "scores": lambda path: score.write_json(path, {"J": [0.5] * ROOM}),
    "tracks": lambda path: tracks_json.write(path, TRACKS, fps=24, categories={}),
    "png": lambda path: images.write_png(path, NOISE),
    "video": write_video,
    "release": lambda path: release.write(path, {"params": {"w": NOISE}}, {}),
    "folder": write_folder,
    "nested": write_nested,
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("before", [False, True])
def test_what_cannot_be_written_is_named_and_the_old_stays(tmp_path, name, before):
    path = tmp_path / f"out.{'mp4' if name == 'video' else name}"
    if before and name in ("folder", "nested"):
        with whole.folder(path, "a test") as folder:
            (folder / "old").write_text("old")
    elif before:
        path.write_text("old")
    held = sorted(tmp_path.rglob("*"))
    with full_disk(), pytest.raises(whole.NotWritten) as caught:
        WRITERS[name](path)
    assert str(caught.value).startswith(f"{path}")
    assert "could not be written (File too large)" in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == held
    old = path / "old" if path.is_dir() else path
    assert not before or old.read_text() == "old"


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    with full_disk(0), pytest.raises(whole.NotWritten, match=".train.lock could not"):
        whole.lock(tmp_path, "train")
    whole.lock(tmp_path, "train").close()


def test_only_a_full_disk_asks_for_room(tmp_path):
    for number, room in ((errno.ENOSPC, True), (errno.EACCES, False)):
        with (
            pytest.raises(whole.NotWritten, match="write elsewhere") as caught,
            whole.file(tmp_path / "a") as partial,
        ):
            raise OSError(number, os.strerror(number), str(partial))
        assert ("room" in str(caught.value)) == room


def test_other_errors_are_not_called_those_of_the_disk(tmp_path):
    with pytest.raises(FileNotFoundError), whole.file(tmp_path / "a") as partial:
        partial.write_text((tmp_path / "missing").read_text())
    with pytest.raises(TimeoutError), whole.folder(tmp_path / "b", "a test"):
        raise TimeoutError("of something that is read")
