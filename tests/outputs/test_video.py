"""What is written can be read again, and is there only when it is complete."""

from fractions import Fraction

import av
import numpy as np
import pytest

from stemseg_jax.outputs import video

COLOURS = [(200, 30, 40), (30, 200, 60), (20, 40, 220), (255, 255, 255), (90, 90, 90)]


def written(path, images, fps=Fraction(30000, 1001)):
    with video.Writer(path, fps=fps) as writer:
        for image in images:
            writer.write(image)
    return path


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(stream)]
        return frames, stream.average_rate


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (1, 1)])
@pytest.mark.parametrize(
    "fps", [Fraction(30000, 1001), 25, 12.5, 29.97, Fraction(1, 3)]
)
def test_frames_size_rate_and_colours_are_kept(tmp_path, size, fps):
    images = [np.full((*size, 3), colour, np.uint8) for colour in COLOURS]
    frames, rate = read(written(tmp_path / "clip.mp4", images, fps))
    assert len(frames) == len(images)
    assert rate == Fraction(fps).limit_denominator(1_000_000)
    for frame, image in zip(frames, images, strict=True):
        assert frame.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
        np.testing.assert_allclose(frame[: size[0], : size[1]], image, atol=7)


def test_it_is_h264_as_browsers_show_it(tmp_path):
    written(tmp_path / "clip.mp4", [np.zeros((16, 16, 3), np.uint8)])
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is all there
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.frames == 1


def test_an_exception_leaves_nothing_or_what_was_there(tmp_path):
    image = np.zeros((16, 16, 3), np.uint8)

    def fail():
        with video.Writer(tmp_path / "new" / "clip.mp4", fps=25) as writer:
            writer.write(image)
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert not list((tmp_path / "new").iterdir())
    before = written(tmp_path / "new" / "clip.mp4", [image] * 3).read_bytes()
    with pytest.raises(RuntimeError, match="in between"):
        fail()
    assert [p.read_bytes() for p in (tmp_path / "new").iterdir()] == [before]


def test_frames_of_different_sizes_are_refused(tmp_path):
    images = [np.zeros((16, 32, 3), np.uint8), np.zeros((32, 16, 3), np.uint8)]
    with pytest.raises(
        ValueError, match=r"clip\.mp4: a frame is 32 x 16 .*before it are 16 x 32"
    ):
        written(tmp_path / "clip.mp4", images)
    assert not list(tmp_path.iterdir())


def test_no_frame_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"clip\.mp4: no frame was written"):
        written(tmp_path / "clip.mp4", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [(2, 16386), (16386, 30)])
def test_frames_that_h264_does_not_hold_are_shrunk(tmp_path, size):
    image = np.full((*size, 3), 90, np.uint8)
    (frame,), _ = read(written(tmp_path / "long.mp4", [image], 5))
    assert max(frame.shape) == 16384 and min(frame.shape[:2]) <= min(size)
    np.testing.assert_allclose(frame, 90, atol=3)


def test_what_is_shrunk_keeps_its_shape():
    assert video.shrunk_to(2160, 3840) == (2160, 3840)
    assert video.shrunk_to(40, 6000) == (40, 6000)
    assert video.shrunk_to(16384, 1) == (16384, 1)
    height, width = video.shrunk_to(8000, 16000)
    assert height * width <= video.MOST_PIXELS < 1.001 * height * width
    assert width / height == pytest.approx(2, abs=0.001)


@pytest.mark.parametrize("size", [(4, 4000), (40, 6000), (6000, 40)])
def test_thin_frames_are_written(tmp_path, size):
    (frame,), _ = read(
        written(tmp_path / "thin.mp4", [np.zeros((*size, 3), np.uint8)], 5)
    )
    assert frame.shape == (*size, 3)


def timed(path, times, fps=10, **options):
    with video.Writer(path, fps=fps, **options) as writer:
        for number, time in enumerate(times):
            image = np.full((32, 48, 3), 20 * number % 256, np.uint8)
            writer.write(image, time)
    return path


TIMES = [7.5, 7.54, 7.59, 8.0, 8.03, 8.1, 8.2, 9.5]


def test_frames_are_shown_at_their_times(tmp_path):
    path = timed(tmp_path / "clip.mp4", TIMES)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [*container.decode(stream)]
        shown = [float(frame.pts * frame.time_base) for frame in frames]
        lasts = float(stream.duration * stream.time_base)
        colours = [frame.to_ndarray(format="rgb24").mean() for frame in frames]
    np.testing.assert_allclose(shown, np.array(TIMES) - 7.5, atol=1e-4)
    assert lasts == pytest.approx(2.0 + 1 / 10, abs=1e-3)  # the last as long as one
    np.testing.assert_allclose(colours, 20 * np.arange(8), atol=4)


def test_times_closer_than_the_clock_follow_each_other(tmp_path):
    path = timed(tmp_path / "clip.mp4", [0.0, 1e-6, 2e-6, 0.1])
    with av.open(str(path)) as container:
        ticks = [frame.pts for frame in container.decode(video=0)]
    assert ticks == [0, 1, 2, 9000]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0.0, 0.5, 0.5], r"frame 2 is at 0.5 s, .* increase"),
        ([0.0, float("nan")], "frame 1 is at nan s"),
        ([0.0, None], "frame 1 has time None, the first one has 0.0"),
        ([None, 1.0], "frame 1 has time 1.0, the first one has None"),
    ],
)
def test_times_that_do_not_follow_are_refused(tmp_path, times, message):
    with pytest.raises(ValueError, match=message):
        timed(tmp_path / "clip.mp4", times)
    assert not list(tmp_path.iterdir())
