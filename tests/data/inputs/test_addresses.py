"""How cameras and streams are opened and shown."""

import pytest

from stemseg_jax.data.inputs import addresses


@pytest.mark.parametrize(
    ("address", "shown", "name"),
    [
        ("camera:0", "camera:0", "camera_0"),
        ("camera:/dev/video2", "camera:/dev/video2", "camera_video2"),
        ("rtsp://u:p@h:554/a/b", "rtsp://h:554/a/b", "h_554_a_b"),
        ("http://u:p@w@h/a?token=t", "http://h/a?...", "h_a"),
        ("https://h/v.m3u8", "https://h/v.m3u8", "h_v.m3u8"),
        ("srt://h:9?passphrase=s", "srt://h:9?...", "h_9"),
        ("udp://@:1234", "udp://:1234", "1234"),
    ],
)
def test_no_secret_is_shown(address, shown, name):
    assert addresses.is_live(address)
    assert addresses.shown(address) == shown
    assert addresses.name(address) == name


@pytest.mark.parametrize("path", ["clip.mp4", "a:b", "file:///x", "/a//b", "c:\\x", ""])
def test_paths_are_not_live(path):
    assert not addresses.is_live(path)


def test_each_system_has_its_own_cameras():
    mac = addresses.opened("camera:0", platform="darwin")
    assert (mac.url, mac.format) == ("0", "avfoundation")
    windows = addresses.opened("camera:HD Webcam", platform="win32")
    assert (windows.url, windows.format) == ("video=HD Webcam", "dshow")
    linux = addresses.opened("camera:/dev/null", platform="linux")
    assert (linux.url, linux.format) == ("/dev/null", "v4l2")
    with pytest.raises(ValueError, match="no cameras are known on plan9"):
        addresses.opened("camera:0", platform="plan9")


def test_of_a_missing_camera_the_others_are_listed(monkeypatch):
    there = ["/dev/video2", "/dev/video0"]
    monkeypatch.setattr(addresses.glob, "glob", lambda pattern: there)
    message = r"camera:97: .* no camera /dev/video97. .*here: /dev/video0, /dev/video2"
    with pytest.raises(ValueError, match=message):
        addresses.opened("camera:97", platform="linux")
