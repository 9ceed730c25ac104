"""Files, folders and globs to frames; what goes wrong is said."""

import itertools
import os
import re
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from stemseg_jax.data import input_video


def frame(value: int, height: int = 32, width: int = 48) -> np.ndarray:
    """A flat colour with a red upper left quarter, so that turning shows."""
    image = np.full((height, width, 3), value, np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    return image


def write_images(folder, names, **size):
    folder.mkdir(parents=True, exist_ok=True)
    for value, name in enumerate(names):
        cv2.imwrite(str(folder / name), frame(10 * value, **size)[..., ::-1])
    return folder


def write_video(
    path,
    count,
    *,
    codec="libx264",
    options=None,
    fps=Fraction(30000, 1001),
    height=32,
    width=48,
):
    with av.open(str(path), "w", options=options or {}) as container:
        rate = Fraction(25) if codec == "flv" else fps
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": "1"} if codec == "libx264" else {}
        stream.options = {**stream.options, "g": "10"}
        for i in range(count):
            image = av.VideoFrame.from_ndarray(frame(10 * i % 250, height, width))
            container.mux(stream.encode(image))
        container.mux(stream.encode())
    return path


def values(source):
    """The flat colour of each frame, which tells them apart."""
    return [int(image[-4, -4].mean().round()) for _, image in source]


def test_a_video_file_is_read_lazily_and_again(tmp_path):
    (source,) = input_video.find(write_video(tmp_path / "clip.mp4", 12))
    assert (source.name, source.height, source.width) == ("clip", 32, 48)
    assert (source.fps, source.num_frames) == (Fraction(30000, 1001), 12)
    assert isinstance(source.fps, Fraction)
    first = list(itertools.islice(source, 3))
    assert [index for index, _ in first] == [0, 1, 2]
    assert first[0][1].dtype == np.uint8 and first[0][1].flags.c_contiguous
    np.testing.assert_allclose(first[0][1][4, 4], (255, 0, 0), atol=6)
    np.testing.assert_allclose(values(source), 10 * np.arange(12), atol=3)


def test_a_video_of_one_frame(tmp_path):
    (source,) = input_video.find(write_video(tmp_path / "one.mp4", 1))
    assert [index for index, _ in source] == [0]


def test_a_folder_is_read_in_natural_order_without_hidden_files(tmp_path):
    names = [f"f{i}.png" for i in range(12)]
    folder = write_images(tmp_path / "frames", names)
    (folder / "._f0.png").write_bytes(b"left by a file manager")
    (folder / "notes.txt").write_text("not an image")
    (source,) = input_video.find(folder)
    assert values(source) == list(range(0, 120, 10))
    assert (source.name, source.num_frames, source.fps) == ("frames", 12, 24)
    assert np.array_equal(next(iter(source))[1], frame(0))


def test_globs_of_images_videos_and_folders(tmp_path):
    write_images(tmp_path / "a", ["0.png", "1.png", "0.jpg"])
    write_images(tmp_path / "b", ["0.jpg"])
    (images,) = input_video.find(str(tmp_path / "a" / "*.png"), fps=Fraction(5))
    assert (images.name, images.num_frames, images.fps) == ("a", 2, 5)
    (image,) = input_video.find(tmp_path / "a" / "0.jpg")
    assert (image.name, image.num_frames) == ("0", 1)
    (tmp_path / "a" / "0.jpg").unlink()
    assert [s.name for s in input_video.find(str(tmp_path / "*"))] == ["a", "b"]
    for name in ("v10.mp4", "v2.mp4"):
        write_video(tmp_path / name, 2)
    assert [s.name for s in input_video.find(str(tmp_path / "*.mp4"))] == ["v2", "v10"]


def test_frames_of_several_folders_are_several_videos(tmp_path):
    for name in ("b", "a"):
        write_images(tmp_path / name, ["0.jpg", "1.jpg"])
    found = input_video.find(str(tmp_path / "*" / "*.jpg"))
    assert [(s.name, s.num_frames) for s in found] == [("a", 2), ("b", 2)]


def test_a_folder_of_videos_and_several_patterns(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("v10.mp4", "v2.mp4"):
        write_video(tmp_path / "videos" / name, 2)
    frames = write_images(tmp_path / "frames", ["0.jpg"])
    everything = (tmp_path / "videos", frames, str(tmp_path / "videos" / "v2*"))
    names = [s.name for s in input_video.find(*everything)]
    assert names == ["v2", "v10", "frames"]  # each once
    by_another_way = tmp_path / "videos" / ".." / "frames"
    assert len(input_video.places(frames, by_another_way)) == 1
    assert input_video.places() == []


def test_what_is_no_video_takes_no_name_away(tmp_path):
    for folder in ("p", "q"):
        (tmp_path / folder / "empty").mkdir(parents=True)
    write_images(tmp_path / "p" / "frames", ["0.jpg"])
    found = input_video.places(str(tmp_path / "[pq]" / "*"))
    assert [place.name for place in found] == ["empty", "frames", "empty"]


def test_a_folder_of_frames_and_videos_is_refused(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.jpg"])
    write_video(folder / "clip.mp4", 2)
    with pytest.raises(ValueError, match=r"images \(0.jpg\) and videos \(clip.mp4\)"):
        input_video.find(folder)


def test_what_cannot_be_opened_is_told_when_it_is(tmp_path):
    (tmp_path / "broken.mp4").write_bytes(b"none")
    write_video(tmp_path / "sound.mp4", 2)
    broken, missing, sound = input_video.places(
        tmp_path / "broken.mp4", tmp_path / "missing", tmp_path / "sound.mp4"
    )
    assert broken.paths == (tmp_path / "broken.mp4",) and missing.paths == ()
    with pytest.raises(ValueError, match="broken.mp4: cannot be opened"):
        broken.open()
    with pytest.raises(ValueError, match="missing: no such file"):
        missing.open()
    assert sound.open().num_frames == 2


def test_a_name_with_brackets_is_no_glob(tmp_path):
    (source,) = input_video.find(write_video(tmp_path / "clip [1].mp4", 2))
    assert source.name == "clip [1]"


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

    (source,) = input_video.find(path)
    upright = np.rot90(frame(0), -turns)
    assert (source.height, source.width) == upright.shape[:2]
    error = np.abs(next(iter(source))[1].astype(int) - upright)
    assert np.median(error) <= 3 and error.mean() < 6


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no such file.*matches nothing"):
        input_video.find(tmp_path / "missing.mp4")
    with pytest.raises(ValueError, match="no such file.*matches nothing"):
        input_video.find(str(tmp_path / "*.jpg"))


def test_a_folder_without_images_lists_what_it_has(tmp_path):
    with pytest.raises(ValueError, match=r"no images.*but nothing"):
        input_video.find(tmp_path)
    (tmp_path / "one.txt").touch()
    with pytest.raises(ValueError, match=r"no images.*but one.txt.*\.jpg.*glob"):
        input_video.find(tmp_path)


def test_ambiguous_input_is_refused(tmp_path):
    folder = write_images(tmp_path / "x" / "a", ["0.jpg", "0.png"])
    with pytest.raises(ValueError, match=r"2 images are called '0'.*\*\.jpg"):
        input_video.find(folder)
    (folder / "clip.mp4").touch()
    with pytest.raises(ValueError, match=r"matches images \(0.jpg\) and .*clip.mp4"):
        input_video.find(str(folder / "*"))
    for place in ("p", "q"):
        write_images(tmp_path / place / "same", ["0.png"])
    with pytest.raises(ValueError, match="2 videos are called 'same'"):
        input_video.find(str(tmp_path / "[pq]" / "*"))


def test_no_video_in_the_file(tmp_path):
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.mp4: cannot be opened as a video"):
        input_video.find(tmp_path / "text.mp4")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
        sound.rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(ValueError, match=r"holds no video, only \['audio'\]"):
        input_video.find(tmp_path / "sound.wav")


def test_a_video_without_frames(tmp_path):
    path = tmp_path / "none.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(ValueError, match="no frame in this video"):
        input_video.find(path)


FORMS = {  # name -> codec and options of the container
    "front.mp4": ("libx264", {"movflags": "faststart"}),
    "parts.mp4": ("libx264", {"movflags": "frag_keyframe+empty_moov"}),
    "a.mkv": ("libx264", {}),
    "a.webm": ("libvpx", {}),
    "a.avi": ("mpeg4", {}),
    "a.flv": ("flv", {}),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_file_cut_short_is_not_taken_for_a_short_video(tmp_path, name):
    codec, options = FORMS[name]
    path = write_video(tmp_path / name, 90, codec=codec, options=options)
    (source,) = input_video.find(path)
    assert len(values(source)) == 90
    data = path.read_bytes()
    for share in (0.5, 0.6, 0.7):
        path.write_bytes(data[: int(share * len(data))])
        (source,) = input_video.find(path)
        count = 0
        message = r"\d( of 90 promised)? frames can be read. Copy the file again"
        with pytest.raises(input_video.BrokenVideoError, match=message) as error:
            for index, image in source:
                count += 1
                assert abs(int(image[-4, -4].mean().round()) - 10 * index % 250) <= 12
        assert error.value.frames_read == count > 0
        promised = 90 if name in ("front.mp4", "a.avi") else None
        assert error.value.frames_promised == promised


def test_only_what_is_missing_counts(tmp_path):
    """The index at the end of an AVI is not needed, nor what cameras append."""
    path = write_video(tmp_path / "a.avi", 30, codec="mpeg4")
    path.write_bytes(path.read_bytes()[:-100])
    assert len(values(input_video.VideoFile(path))) == 30
    for name in ("a.mp4", "a.mkv"):
        path = write_video(tmp_path / name, 30)
        for tail in (bytes(100), b"made by a camera"):
            path.write_bytes(path.read_bytes() + tail)
            assert len(values(input_video.VideoFile(path))) == 30


def test_frames_that_are_missing_in_the_middle_are_told(tmp_path, caplog):
    """Nothing tells damage from what a camera left out, so this is no error."""
    parts = {"cluster_time_limit": "200"}
    path = write_video(tmp_path / "a.webm", 90, codec="libvpx", options=parts)
    data = bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    count = len(values(input_video.VideoFile(path)))
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
    assert len(values(input_video.VideoFile(path))) == 35
    assert not caplog.text


def test_an_unknown_codec_is_named(tmp_path):
    path = write_video(tmp_path / "a.mp4", 2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzzz"))
    with pytest.raises(ValueError, match="a.mp4: FFmpeg does not know how its frames"):
        input_video.VideoFile(path)


def test_frames_beyond_memory_are_refused_by_the_header(tmp_path):
    path = tmp_path / "huge.y4m"
    path.write_bytes(b"YUV4MPEG2 W16384 H8192 F25:1 C420jpeg\nFRAME\n" + bytes(99))
    with pytest.raises(ValueError, match=r"huge.y4m: is 8192 x 16384, more"):
        input_video.VideoFile(path)


def test_playlists_are_no_videos(tmp_path):
    """They would lead to other files, and live ones never end."""
    write_video(tmp_path / "a.mp4", 3)
    write_video(tmp_path / "a.ts", 3)
    concat = "ffconcat version 1.0\nfile a.mp4\n"
    live = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:0.1,\na.ts\n"
    for name, text in (("list.mp4", concat), ("list.txt", concat), ("a.m3u8", live)):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=f"{name}: cannot be opened as a video"):
            input_video.find(tmp_path / name)


def test_a_pipe_is_no_video(tmp_path):
    os.mkfifo(tmp_path / "clip.mp4")
    with pytest.raises(ValueError, match=r"clip.mp4: cannot be opened .*not a regular"):
        input_video.find(tmp_path / "clip.mp4")


@pytest.mark.parametrize("size", [(4, 4000), (4000, 4), (2, 2)])
def test_absurd_shapes_are_read(tmp_path, size):
    height, width = size
    path = write_video(tmp_path / "a.mkv", 3, codec="ffv1", height=height, width=width)
    (source,) = input_video.find(path)
    assert (source.height, source.width) == size and len(list(source)) == 3


def test_what_systems_leave_behind_is_no_frame(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.png", "1.png"])
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"junk")
    (folder / "__MACOSX").mkdir()
    assert [v.num_frames for v in input_video.find(folder)] == [2]
    assert [v.num_frames for v in input_video.find(f"{folder}/*")] == [2]


def test_a_damaged_frame_is_named(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.jpg", "1.jpg", "2.jpg"])
    data = (folder / "1.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(data[:-40])
    (source,) = input_video.find(folder)
    with pytest.raises(ValueError, match=r"1\.jpg: frame 1 of 'frames' cannot be read"):
        list(source)
    (folder / "1.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"1\.jpg: frame 1 of 'frames' cannot be read"):
        input_video.find(folder)


def test_an_image_under_another_ending_is_told(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.png", "1.png"])
    (folder / "1.png").rename(folder / "1.jpg")
    message = "frame 1 of 'frames' cannot be read.*holds a PNG.*Rename"
    with pytest.raises(ValueError, match=message):
        input_video.find(folder)


def test_a_damaged_video_frame_is_named(shared, tmp_path):
    data = bytearray((shared / "data/videos/person_and_dog.mp4").read_bytes())
    middle = len(data) // 2
    for i in range(middle, middle + 4000):
        data[i] = (data[i] * 7 + 13) % 256
    (tmp_path / "bad.mp4").write_bytes(data)
    (source,) = input_video.find(tmp_path / "bad.mp4")
    with pytest.raises(ValueError, match=r"bad\.mp4: frame 1\d\d cannot be decoded"):
        list(source)


def test_frames_of_different_sizes_are_refused_at_once(tmp_path):
    folder = write_images(tmp_path / "frames", ["0.png", "1.png"])
    write_images(folder, ["2.png"], height=30, width=40)
    with pytest.raises(ValueError, match=r"2\.png is 30 x 40.*before it are 32 x 48"):
        input_video.find(folder)


def test_a_video_that_changes_its_size_is_refused(tmp_path):
    path = tmp_path / "changes.mjpeg"
    with path.open("wb") as file:
        for size in ((32, 48), (32, 48), (48, 32)):
            file.write(cv2.imencode(".jpg", frame(0, *size))[1].tobytes())
    (source,) = input_video.find(path)
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
    (source,) = input_video.find(shared / f"data/videos/{name}.mp4")
    assert (source.name, source.height, source.width) == (name, *size)
    assert (source.num_frames, source.fps) == (count, fps)
    assert sum(1 for _ in source) == count
