"""How cameras and streams are called: for FFmpeg, in messages, and as folders."""

import glob
import os
import re
import sys
from typing import NamedTuple

CAMERA = "camera:"
SCHEMES = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "udp", "tcp", "srt")


class Opened(NamedTuple):
    """What FFmpeg opens."""

    url: str
    format: str | None = None  # None: it finds out
    options: dict[str, str] = {}


def is_live(address: str) -> bool:
    return address.startswith(CAMERA) or scheme(address) in SCHEMES


def scheme(address: str) -> str | None:
    """What is before "://", if anything is."""
    found = re.match(r"([a-zA-Z][\w+.-]*)://", address)
    return found and found[1].lower()


def shown(address: str) -> str:
    """Without users, passwords and queries, which may hold keys."""
    address = re.sub(r"://.*@", "://", address, flags=re.DOTALL)
    return re.sub(r"\?.*", "?...", address, flags=re.DOTALL)


def name(address: str) -> str:
    """Of the folder of results: "camera_0", "10.0.0.5_554_garden"."""
    if address.startswith(CAMERA):
        address = CAMERA + os.path.basename(address.removeprefix(CAMERA))
    rest = shown(address).rpartition("://")[2].removesuffix("?...")
    return re.sub(r"[^\w.-]+", "_", rest).strip("_")


def opened(address: str, *, platform: str = sys.platform) -> Opened:
    """How FFmpeg opens an address.

    Raises:
        ValueError: There is no such camera, or the system's cameras are not known.
    """
    if not address.startswith(CAMERA):
        # Frames that UDP loses are damage; most cameras speak TCP, too.
        rtsp = {"rtsp_flags": "prefer_tcp"} if scheme(address) == "rtsp" else {}
        return Opened(address, options=rtsp)
    which = address.removeprefix(CAMERA)
    if platform == "linux":
        return Opened(_device(address, which), "v4l2")
    if platform == "darwin":
        # The camera's own rate; FFmpeg's default is refused by most.
        return Opened(which, "avfoundation", {"framerate": "30"})
    if platform == "win32":
        return Opened(f"video={which}", "dshow")
    raise ValueError(f"{address}: no cameras are known on {platform}; give a stream.")


def _device(address: str, which: str) -> str:
    path = f"/dev/video{which}" if which.isdecimal() else which
    if os.path.exists(path):
        return path
    others = ", ".join(sorted(glob.glob("/dev/video*"))) or "none"
    raise ValueError(
        f"{address}: there is no camera {path}. Cameras here: {others}. Plug one "
        "in, or name another, e.g. camera:0 or camera:/dev/video0."
    )


def advice(address: str, *, platform: str = sys.platform) -> str:
    """What to do if it does not open."""
    if not address.startswith(CAMERA):
        return "Check the address, and that it sends; a player such as ffplay shows it."
    ways = {
        "linux": "Close what uses it; it may be read by members of the group 'video'.",
        "darwin": "Let the terminal use the camera in the system's privacy settings; "
        "ffmpeg -f avfoundation -list_devices true -i '' lists the cameras.",
        "win32": "Give its name, e.g. 'camera:Integrated Camera'; ffmpeg -f dshow "
        "-list_devices true -i dummy lists the cameras.",
    }
    return ways[platform]
