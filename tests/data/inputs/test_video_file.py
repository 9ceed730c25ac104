"""Video files of all containers; what goes wrong is said."""

import itertools
import os
import re
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from stemseg_jax.data import inputs
from tests.data.inputs.written import FORMS, frame, values, write_video


def test_a_video_file_is_read_lazily_and_again(tmp_path):
    (source,) = inputs.find(write_video(tmp_path / "clip.mp4", 12))
    assert (source.name, source.height, source.width) == ("clip", 32, 48)
    assert (source.fps, source.num_frames) == (Fraction(30000, 1001), 12)
    assert isinstance(source.fps, Fraction)
    first = list(itertools.islice(source, 3))
    assert [frame.index for frame in first] == [0, 1, 2]
    assert first[0][1].dtype == np.uint8 and first[0][1].flags.c_contiguous
    np.testing.assert_allclose(first[0][1][4, 4], (255, 0, 0), atol=6)
    np.testing.assert_allclose(values(source), 10 * np.arange(12), atol=3)


def test_a_video_of_one_frame(tmp_path):
    (source,) = inputs.find(write_video(tmp_path / "one.mp4", 1))
    assert [frame.index for frame in source] == [0]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_phone_video_stands_upright(tmp_path, turns):
    """The track header's matrix says how to turn the stored frames for display."""
    path = write_video(tmp_path / "phone.mp4", 2)
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][turns]  # clockwise
    fixed = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = np.array(fixed, ">i4").tobytes()
    path.write_bytes(data)

    (source,) = inputs.find(path)
    upright = np.rot90(frame(0), -turns)
    assert (source.height, source.width) == upright.shape[:2]
    error = np.abs(next(iter(source))[1].astype(int) - upright)
    assert np.median(error) <= 3 and error.mean() < 6


def test_no_video_in_the_file(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.mp4: cannot be opened as a video"):
        inputs.find(tmp_path / "text.mp4")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ValueError, match=r"holds no video, only \['audio'\]"):
        inputs.find(tmp_path / "sound.wav")


def test_a_video_without_frames(tmp_path):
    path = tmp_path / "none.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(ValueError, match="no frame in this video"):
        inputs.find(path)


@pytest.mark.parametrize("name", FORMS)
def test_a_file_cut_short_is_not_taken_for_a_short_video(tmp_path, name):
    codec, options = FORMS[name]
    path = write_video(tmp_path / name, 90, codec=codec, options=options)
    (source,) = inputs.find(path)
    assert len(values(source)) == 90
    data = path.read_bytes()
    for share in (0.5, 0.6, 0.7):
        path.write_bytes(data[: int(share * len(data))])
        (source,) = inputs.find(path)
        count = 0
        message = r"\d( of 90 promised)? frames can be read. Copy the file again"
        with pytest.raises(inputs.BrokenVideoError, match=message) as error:
            for index, image, _ in source:
                count += 1
                assert abs(int(image[-4, -4].mean().round()) - 10 * index % 250) <= 12
        assert error.value.frames_read == count > 0
        promised = 90 if name in ("front.mp4", "a.avi") else None
        assert error.value.frames_promised == promised


def test_only_what_is_missing_counts(tmp_path):
    """The index at the end of an AVI is not needed, nor what cameras append."""
    path = write_video(tmp_path / "a.avi", 30, codec="mpeg4")
    path.write_bytes(path.read_bytes()[:-100])
    assert len(values(inputs.VideoFile(path))) == 30
    for name in ("a.mp4", "a.mkv"):
        path = write_video(tmp_path / name, 30)
        for tail in (bytes(100), b"made by a camera"):
            path.write_bytes(path.read_bytes() + tail)
            assert len(values(inputs.VideoFile(path))) == 30


def test_frames_that_are_missing_in_the_middle_are_told(tmp_path, caplog):
    """Nothing tells damage from what a camera left out, so this is no error."""
    parts = {"cluster_time_limit": "200"}
    path = write_video(tmp_path / "a.webm", 90, codec="libvpx", options=parts)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    count = len(values(inputs.VideoFile(path)))
    assert 0 < count < 90
    assert re.search(r"a.webm: no frame from \d.\d to \d.\d s", caplog.text)


@pytest.mark.parametrize("name", ["a.mkv", "a.webm"])
def test_a_clock_of_varying_rate_promises_no_frames(tmp_path, caplog, name):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        codec = "libvpx" if name == "a.webm" else "mpeg4"
        stream = container.add_stream(codec, rate=Fraction(60))
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for i, time in enumerate([*range(30), *range(30, 90, 12)]):
            image = av.VideoFrame.from_ndarray(frame(i))
            image.pts, image.time_base = time, Fraction(1, 60)
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    assert len(values(inputs.VideoFile(path))) == 35
    assert not caplog.text


def test_an_unknown_codec_is_named(tmp_path):
    path = write_video(tmp_path / "a.mp4", 2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(ValueError, match="a.mp4: FFmpeg does not know how its frames"):
        inputs.VideoFile(path)


def test_frames_beyond_memory_are_refused_by_the_header(tmp_path):
    path = tmp_path / "huge.y4m"
    path.write_bytes(b"YUV4MPEG2 W16384 H8192 F25:1 C420jpeg\nFRAME\n" + bytes(99))
    with pytest.raises(ValueError, match=r"huge.y4m: is 8192 x 16384, more"):
        inputs.VideoFile(path)


def test_playlists_are_no_videos(tmp_path):
    """They would lead to other files, and live ones never end."""
    write_video(tmp_path / "a.mp4", 3)
    write_video(tmp_path / "a.ts", 3)
    concat = "ffconcat version 1.0\nfile a.mp4\n"
    live = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:0.1,\na.ts\n"
    for name, text in (("list.mp4", concat), ("list.txt", concat), ("a.m3u8", live)):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name}: cannot be opened as a video"):
            inputs.find(tmp_path / name)


def test_a_pipe_is_no_video(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(ValueError, match=r"clip.mp4: cannot be opened .*not a regular"):
        inputs.find(tmp_path / "clip.mp4")


@pytest.mark.parametrize("size", [(4, 4000), (4000, 4), (2, 2)])
def test_absurd_shapes_are_read(tmp_path, size):
    height, width = size
    path = write_video(tmp_path / "a.mkv", 3, codec="ffv1", height=height, width=width)
    (source,) = inputs.find(path)
    assert (source.height, source.width) == size and len(list(source)) == 3


def test_a_damaged_video_frame_is_named(shared, tmp_path):
    data = bytearray((shared / "data/videos/person_and_dog.mp4").read_bytes())
    middle = len(data) // 2
    for i in range(middle, middle + 4000):
        data[i] = (data[i] * 7 + 13) % 256
    (tmp_path / "bad.mp4").write_bytes(data)
    (source,) = inputs.find(tmp_path / "bad.mp4")
    with pytest.raises(ValueError, match=r"bad\.mp4: frame 1\d\d cannot be decoded"):
        list(source)


def test_a_video_that_changes_its_size_is_refused(tmp_path):
    path = tmp_path / "changes.mjpeg"
    with path.open("wb") as file:
        for size in ((32, 48), (32, 48), (48, 32)):
            file.write(cv2.imencode(".jpg", frame(0, *size))[1].tobytes())
    (source,) = inputs.find(path)
    with pytest.raises(ValueError, match=r"frame 2 is 48 x 32.*before it are 32 x 48"):
        list(source)


@pytest.mark.parametrize(
    ("name", "size", "count", "fps"),
    [
        ("person_and_dog", (720, 1280), 289, Fraction(30000, 1001)),
        ("street_pedestrians", (1080, 1920), 8, Fraction(3)),
    ],
)
def test_real_videos(shared, name, size, count, fps):
    (source,) = inputs.find(shared / f"data/videos/{name}.mp4")
    assert (source.name, source.height, source.width) == (name, *size)
    assert (source.num_frames, source.fps) == (count, fps)
    assert sum(1 for _ in source) == count
