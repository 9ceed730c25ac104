"""What --mode=predict left of each video."""

import pathlib
from typing import Any, NamedTuple

import msgspec

from stemseg_jax.formats import declared, files
from stemseg_jax.outputs import davis_results, tracks_json

RECORD = "made_of.json"
# Pixels of the longer side that is kept; the first that is there says most.
FILMS = {"side_by_side.mp4": 960, "overlay.mp4": 720}


class Made(msgspec.Struct):
    """How a video was labelled, and how it went."""

    num_frames: int
    num_tracks: int
    fault: str = ""
    failed: list[str] = []
    left_out: dict[str, int] = {}
    made_of: dict[str, Any] | None = None


class Predicted(NamedTuple):
    """One video."""

    folder: pathlib.Path
    made: Made

    @property
    def name(self) -> str:
        return self.folder.name

    def film(self) -> pathlib.Path | None:
        """Its frames with what was found, if that was drawn."""
        there = [self.folder / name for name in FILMS if (self.folder / name).exists()]
        return there[0] if there else None

    def scores(self) -> list[float]:
        """Of all tracks; masks alone have none."""
        path = self.folder / "tracks.json"
        found = tracks_json.read(path).video.tracks if path.exists() else ()
        return [track.score for track in found]

    def tracks(self) -> tracks_json.TracksFile | None:
        """What was found: of tracks.json, or else of the masks, which say less."""
        if (path := self.folder / "tracks.json").exists():
            return tracks_json.read(path)
        if (path := self.folder / "masks").is_dir():
            tracks = davis_results.read(path)
            return tracks_json.TracksFile(
                tracks._replace(name=self.name), 24.0, {}, tracks_json.Details()
            )
        return None


def find(folder: pathlib.Path) -> list[Predicted]:
    """The videos in an output folder, or that of one of them; empty in any other."""
    folders = [folder, *(path for path in files.listed(folder) if path.is_dir())]
    return [
        Predicted(path, declared.read(path / RECORD, Made))
        for path in folders
        if (path / RECORD).is_file()
    ]
