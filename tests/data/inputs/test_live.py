"""Streams from a server on this machine, and what can go wrong with them."""

import contextlib
import http.server
import socket
import threading
import time
from fractions import Fraction

import cv2
import numpy as np
import pytest

from stemseg_jax.data import inputs
from tests.data.inputs.written import frame, moving, times, values, write_video


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    path = tmp_path_factory.mktemp("stream") / "a.ts"
    return write_video(path, 50, fps=Fraction(25), picture=moving)


@contextlib.contextmanager
def over_tcp(data: bytes, *, then=0.0):
    """An address that sends this to who comes first, and waits before it closes."""
    done = threading.Event()

    def send():
        with contextlib.suppress(OSError), server.accept()[0] as connection:
            connection.sendall(data)
            done.wait(then)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join()


@contextlib.contextmanager
def over_http(pages: dict[str, bytes], headers=None):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            data = pages[self.path.partition("?")[0]]
            self.send_response(302 if headers else 200)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(data)

        def log_message(self, *_): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_stream_is_read_to_its_end_and_once(recorded):
    with over_tcp(recorded.read_bytes()) as address:
        (source,) = inputs.find(address)
        assert isinstance(source, inputs.InputVideo)
        assert (source.height, source.width, source.fps) == (32, 48, 25)
        assert source.live and source.num_frames is None and source.sound is None
        frames = list(source)
    np.testing.assert_allclose(times(frames), np.arange(50) / 25)
    assert [frame.index for frame in frames] == list(range(50))
    assert values(frames) == values(inputs.VideoFile(recorded))
    with pytest.raises(ValueError, match="can be read once only"):
        next(iter(source))


def test_a_choice_ends_a_stream_that_does_not_end(recorded):
    choice = inputs.FrameChoice(start=0.4, end=1.2, fps=5)
    with over_tcp(recorded.read_bytes(), then=60) as address:
        source = inputs.LiveVideo(address, choice=choice)
        assert source.fps == 5
        np.testing.assert_allclose(times(source), [0.4, 0.6, 0.8, 1.0])


def test_a_stream_that_stops_keeps_what_came(recorded):
    data = recorded.read_bytes()
    with over_tcp(data[: len(data) // 2], then=60) as address:
        source = inputs.LiveVideo(address, timeout=0.5)
        found = []
        with pytest.raises(inputs.BrokenVideoError, match="no data for 0.5 s") as error:
            found.extend(iter(source))
    assert error.value.frames_read > 0


def test_a_stream_that_sends_nothing_is_given_up(recorded):
    with over_tcp(b"", then=60) as address:
        begin = time.monotonic()
        with pytest.raises(ValueError, match=r"127.0.0.1:\d+: .*no data for 0.3"):
            inputs.LiveVideo(address, timeout=0.3)
        assert time.monotonic() - begin < 5


def test_damaged_pictures_are_left_out_and_counted(recorded, caplog):
    data = bytearray(recorded.read_bytes())
    middle = 188 * (len(data) // 376)
    del data[middle : middle + 188 * 5]
    with over_tcp(bytes(data)) as address:
        found = list(inputs.LiveVideo(address))
    assert len(found) == 48  # and one that FFmpeg gives up
    assert "data were missing or wrong in 1 place(s)" in caplog.text


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http", "https", "tcp", "srt"])
def test_where_nothing_listens_the_address_is_named_without_its_secrets(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    address = f"{scheme}://me:secret@127.0.0.1:{port}/a?key=secret"
    if scheme == "tcp":
        address = f"tcp://127.0.0.1:{port}"
    with pytest.raises(ValueError) as error:
        inputs.find(address)
    message = str(error.value)
    assert f"{scheme}://127.0.0.1:{port}" in message and "cannot be opened" in message
    assert "Check the address" in message and "secret" not in message
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_files_over_http_are_streams_too(recorded):
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n/a.ts\n#EXT-X-ENDLIST\n"
    pages = {"/a.ts": recorded.read_bytes(), "/a.m3u8": playlist}
    with over_http(pages) as address:
        for page in ("/a.ts", "/a.m3u8", "/a.ts?key=secret"):
            assert len(list(inputs.LiveVideo(address + page))) == 50


def test_nothing_on_this_machine_is_opened(recorded):
    hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nfile://{recorded}\n"
    concat = f"ffconcat version 1.0\nfile file:{recorded}\n"
    pages = {"/a.m3u8": (hls + "#EXT-X-ENDLIST\n").encode(), "/a": concat.encode()}
    with over_http(pages) as address:
        for page in pages:
            with pytest.raises(ValueError, match="cannot be opened as a live video"):
                inputs.LiveVideo(address + page)
    with (
        over_http({"/": b""}, {"Location": f"file://{recorded}"}) as address,
        pytest.raises(ValueError, match="cannot be opened as a live video"),
    ):
        inputs.LiveVideo(f"{address}/")


def test_what_is_no_video_is_refused(recorded):
    image = cv2.imencode(".jpg", frame(0))[1].tobytes()
    with over_http({"/a.jpg": image, "/a.html": b"<html>hello</html>"}) as address:
        for page in ("/a.jpg", "/a.html"):
            with pytest.raises(ValueError, match=f"{page}: cannot be opened as a live"):
                inputs.LiveVideo(address + page)


def test_a_camera_without_a_clock_goes_by_the_one_on_the_wall():
    """FFmpeg counts the pictures of such streams as 25 a second."""
    image = cv2.imencode(".jpg", frame(0))[1].tobytes()
    part = b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + image + b"\r\n"

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            kind = "multipart/x-mixed-replace; boundary=frame"
            self.send_header("Content-Type", kind)
            self.end_headers()
            with contextlib.suppress(OSError):
                while self.wfile.write(part):
                    time.sleep(0.2)

        def log_message(self, *_): ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        found = times(inputs.LiveVideo(address, choice=inputs.FrameChoice(end=0.5)))
        server.shutdown()
    assert 2 <= len(found) <= 4 and found[-1] > 0.15
