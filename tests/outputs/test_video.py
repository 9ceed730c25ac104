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


def test_frames_that_h264_does_not_hold_are_refused(tmp_path):
    with (
        pytest.raises(ValueError, match="wide.mp4: frames of 2 x 16386; .* 16384"),
        video.Writer(tmp_path / "wide.mp4", fps=5) as writer,
    ):
        writer.write(np.zeros((2, 16386, 3), np.uint8))
    assert not list(tmp_path.iterdir())


def test_thin_frames_are_written(tmp_path):
    with video.Writer(tmp_path / "thin.mp4", fps=5) as writer:
        writer.write(np.zeros((4, 4000, 3), np.uint8))
    assert (tmp_path / "thin.mp4").stat().st_size
