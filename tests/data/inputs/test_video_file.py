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
from stemseg_jax.data.inputs import decoding
from tests.data.inputs.written import (
    FORMS,
    frame,
    moving,
    times,
    values,
    write_video,
)


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


def cut(path, share: float) -> bytes:
    """The file up to a share of what lies between its first and its last frame."""
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux() if packet.size]
    end = min(places) + int(share * (max(places) - min(places)))
    return path.read_bytes()[:end]


@pytest.mark.parametrize("name", FORMS)
def test_a_file_cut_short_is_not_taken_for_a_short_video(tmp_path, name):
    codec, options = FORMS[name]
    whole = write_video(tmp_path / f"whole_{name}", 90, codec=codec, options=options)
    assert len(values(inputs.VideoFile(whole))) == 90
    path = tmp_path / name
    for share in (0.4, 0.6, 0.8):
        path.write_bytes(cut(whole, share))
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
    codec = "libvpx" if name == "a.webm" else "mpeg4"
    stamps = [*range(30), *range(30, 90, 12)]
    path = tmp_path / name
    write_video(path, 35, codec=codec, fps=Fraction(60), stamps=stamps)
    source = inputs.VideoFile(path)
    np.testing.assert_allclose(times(source), np.array(stamps) / 60, atol=1e-3)
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


def test_times_are_those_of_the_file_from_its_first_frame(tmp_path):
    """As of a phone, whose rate changes with the light."""
    stamps = [7, 8, 9, 12, 13, 20]
    path = write_video(tmp_path / "a.mp4", 6, fps=Fraction(25), stamps=stamps)
    expected = [0, 0.04, 0.08, 0.2, 0.24, 0.52]
    assert times(inputs.VideoFile(path)) == expected
    late = inputs.VideoFile(path, choice=inputs.FrameChoice(start=0.08))
    assert times(late) == expected[2:]


def test_files_without_stamps_go_at_their_rate(tmp_path):
    raw = write_video(tmp_path / "a.h264", 5, fps=Fraction(25))
    assert times(inputs.VideoFile(raw)) == [0, 0.04, 0.08, 0.12, 0.16]


def test_an_avi_with_frames_out_of_order_has_times_in_order(tmp_path):
    """It has only the times of decoding."""
    path = tmp_path / "a.avi"
    write_video(path, 12, fps=Fraction(25), picture=moving, bf="3")
    source = inputs.VideoFile(path)
    np.testing.assert_allclose(times(source), np.arange(12) / 25, atol=1e-9)


def test_recordings_that_were_joined_go_on(tmp_path):
    path = write_video(tmp_path / "a.mpg", 10, codec="mpeg2video", fps=Fraction(25))
    path.write_bytes(2 * path.read_bytes())
    np.testing.assert_allclose(times(inputs.VideoFile(path)), np.arange(20) / 25)
    late = inputs.VideoFile(path, choice=inputs.FrameChoice(start=0.3, end=0.5))
    np.testing.assert_allclose(times(late), [0.32, 0.36, 0.4, 0.44, 0.48])


LATE = {  # name -> codec and its options, with key frames each 10
    **{name: (codec, {}) for name, (codec, _) in FORMS.items()},
    "open.mp4": ("libx264", {"x264-params": "open-gop=1:bframes=3"}),
    "a.ts": ("libx264", {}),
    "a.mpg": ("mpeg2video", {"bf": "2"}),
    "order.avi": ("mpeg4", {"bf": "2"}),
    "a.wmv": ("wmv2", {}),
    "a.gif": ("gif", {}),
    "raw.h264": ("libx264", {}),
}


@pytest.mark.parametrize("name", LATE)
def test_a_late_start_gives_the_frames_of_reading_from_the_front(tmp_path, name):
    codec, encoding = LATE[name]
    _, options = FORMS.get(name, (None, {}))
    path = tmp_path / name
    how = dict(codec=codec, options=options, fps=Fraction(25), picture=moving)
    write_video(path, 60, **how, **encoding)
    every = [(time, image.tobytes()) for _, image, time in inputs.VideoFile(path)]
    assert len(every) == 60
    for start in (0.04, 1.56, 1.61, 2.36):
        source = inputs.VideoFile(path, choice=inputs.FrameChoice(start=start))
        found = list(source)
        assert [frame.index for frame in found] == list(range(len(found)))
        found = [(time, image.tobytes()) for _, image, time in found]
        assert found == [one for one in every if one[0] >= start], start


def test_without_key_frames_it_is_decoded_from_the_front(tmp_path):
    """Each of x264's frames renews a part: what a seek finds is whole only later."""
    path = tmp_path / "a.mp4"
    refresh = {"x264-params": "intra-refresh=1:bframes=0", "g": "20"}
    write_video(path, 100, fps=Fraction(25), picture=moving, crf="23", **refresh)
    every = [image.tobytes() for _, image, _ in inputs.VideoFile(path)]
    source = inputs.VideoFile(path, choice=inputs.FrameChoice(start=90 / 25))
    assert [image.tobytes() for _, image, _ in source] == every[90:]


def test_a_late_start_decodes_little(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", 100, fps=Fraction(25))
    source = inputs.VideoFile(path, choice=inputs.FrameChoice(start=3.4))
    decoded = []
    stamp = decoding.stamp
    monkeypatch.setattr(
        decoding, "stamp", lambda *frame: decoded.append(frame) or stamp(*frame)
    )
    assert len(values(source)) == 15 and len(decoded) < 25


def test_a_part_is_chosen_and_thinned(tmp_path):
    path = write_video(tmp_path / "a.mp4", 50, fps=Fraction(25))
    choice = inputs.FrameChoice(start=0.4, end=1.2, fps=10, stride=2)
    source = inputs.VideoFile(path, choice=choice)
    expected = [0.4, 0.6, 0.8, 1.0]
    assert times(source) == expected and source.fps == 5
    assert source.num_frames == len(expected)
    values_there = [int(time * 25) * 10 % 250 for time in expected]
    np.testing.assert_allclose(values(source), values_there, atol=3)


@pytest.mark.parametrize("name", ["front.mp4", "a.mkv"])
def test_damage_behind_the_end_is_none(tmp_path, name):
    codec, options = FORMS[name]
    whole = tmp_path / f"whole_{name}"
    write_video(whole, 90, codec=codec, options=options, fps=Fraction(25))
    path = tmp_path / name
    path.write_bytes(cut(whole, 0.6))
    with pytest.raises(inputs.BrokenVideoError) as error:
        list(inputs.VideoFile(path))
    sound = error.value.frames_read
    assert 0 < sound < 90

    upto = inputs.FrameChoice(end=sound / 25)
    assert len(list(inputs.VideoFile(path, choice=upto))) == sound
    beyond = inputs.FrameChoice(start=0.2, end=(sound + 2) / 25)
    with pytest.raises(inputs.BrokenVideoError, match=f"{name}: ") as error:
        list(inputs.VideoFile(path, choice=beyond))
    assert error.value.frames_read == sound - 5


def test_a_late_start_leads_past_damage(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, 60, fps=Fraction(25), picture=moving)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux() if packet.size]
    data[places[12] : places[15]] = bytes(places[15] - places[12])
    path.write_bytes(data)
    with pytest.raises(inputs.BrokenVideoError, match="frame 1. cannot be decoded"):
        list(inputs.VideoFile(path))
    late = inputs.VideoFile(path, choice=inputs.FrameChoice(start=1))
    assert times(late)[0] == 1 and len(times(late)) == 35


def test_a_choice_that_leaves_nothing_says_how_long_the_video_is(tmp_path):
    path = write_video(tmp_path / "a.mp4", 50, fps=Fraction(25))
    message = r"a.mp4: no frame from 7 s on; it lasts 2.0 s. Choose another --start"
    with pytest.raises(ValueError, match=message):
        inputs.VideoFile(path, choice=inputs.FrameChoice(start=7))
    between = inputs.FrameChoice(start=0.41, end=0.43)
    with pytest.raises(ValueError, match=r"no frame from 0.41 s to 0.43 s; it lasts"):
        inputs.VideoFile(path, choice=between)


def test_the_file_has_the_sound_if_there_is_any(tmp_path):
    path = tmp_path / "a.mp4"
    assert inputs.VideoFile(write_video(path, 2)).sound is None
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg4", rate=25, width=48, height=32)
        sound = container.add_stream("aac", rate=8000, layout="mono")
        container.mux(pictures.encode(av.VideoFrame.from_ndarray(frame(0))))
        noise = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        noise.rate = 8000
        container.mux([*pictures.encode(), *sound.encode(noise), *sound.encode()])
    source = inputs.VideoFile(path)
    assert (source.sound, source.live) == (path, False)
    assert isinstance(source, inputs.InputVideo)


@pytest.mark.parametrize("size", [(8, 8), (40, 6000), (2160, 3840)])
def test_sizes_from_stamps_to_walls(tmp_path, size):
    height, width = size
    path = write_video(tmp_path / "a.mp4", 1, height=height, width=width)
    (frame,) = inputs.VideoFile(path)
    assert frame.image.shape == (height, width, 3)
