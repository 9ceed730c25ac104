"""The page of what --mode=predict found: no truth, and no scores but its own."""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from stemseg_jax.outputs import film, lanes, page, tracks_json
from stemseg_jax.report import films, room
from stemseg_jax.report.predicted_folder import FILMS, Predicted

Read = TypeVar("Read")


def page_of(
    folder: pathlib.Path, found: Sequence[Predicted], *, most: int
) -> page.Page:
    """The page, but for how it was made. Videos with a fault come first, then those
    whose tracks are the least sure.

    Args:
        most: Videos that are shown.
    """
    rows = {one.name: _row(one) for one in found}
    found = sorted(found, key=lambda one: _doubt(one, rows[one.name]))

    def draw(one: Predicted, anchor: str) -> page.Video:
        return _video(one, anchor, rows[one.name])

    order = "(those with a fault first, then those with the lowest scores)"
    shown = room.fill(found, draw, most=most, order=order)
    table = page.Table(
        title="Videos",
        rows=[{"video": one.name, **rows[one.name]} for one in found],
        anchors={video.name: video.anchor for video in shown.videos},
        note="Scores are what the model thinks of its tracks: there is no truth here.",
    )
    return page.Page(
        title=folder.resolve().name,
        kind="Report of predictions",
        facts={
            "videos": len(found),
            "frames": sum(one.made.num_frames for one in found),
            "tracks": sum(one.made.num_tracks for one in found),
        },
        tables=[table],
        videos=shown.videos,
        videos_note=shown.note,
        plots={},
        plots_note="",
        settings=_settings(found),
        settings_title="Made of",
        made={},
    )


def _row(one: Predicted) -> dict[str, page.Value]:
    """What the table says of a video."""
    made, faults = one.made, _faults(one)
    scores = _read(one.scores, faults) or []
    known = [score for score in scores if np.isfinite(score)]
    return {
        "frames": made.num_frames,
        "tracks": made.num_tracks,
        "mean score": float(np.mean(known)) if known else None,
        "lowest": min(known, default=None),
        "left out": sum(made.left_out.values()),
        "fault": "; ".join(faults) or None,
    }


def _read(what: Callable[[], Read], faults: list[str]) -> Read | None:
    try:
        return what()
    except (ValueError, OSError) as error:
        faults.append(f"What was found cannot be read: {error}")
        return None


def _faults(one: Predicted) -> list[str]:
    lost = [f"no {name}" for name in one.made.failed]
    return [one.made.fault] * bool(one.made.fault) + lost


def _doubt(one: Predicted, row: dict[str, page.Value]) -> tuple[bool, float]:
    """Sorts what should be looked at to the front; no track at all is doubtful, too."""
    return not row["fault"], row["mean score"] or 0.0


def _video(one: Predicted, anchor: str, row: dict[str, page.Value]) -> page.Video:
    faults = _faults(one)
    read = _read(one.tracks, faults)
    notes = [f"{n} track(s) left out: {why}" for why, n in one.made.left_out.items()]
    drawn = _film(one, read, faults, notes)
    groups = []
    if read:
        own = lanes.lanes(read.video.tracks, read.categories, _times(read))
        groups = [page.Group("found tracks", own)]
    figures = {name: row[name] for name in ("frames", "tracks", "mean score")}
    return page.Video(one.name, anchor, drawn, groups, figures, faults, notes)


def _film(
    one: Predicted,
    read: tracks_json.TracksFile | None,
    faults: list[str],
    notes: list[str],
) -> film.Film | None:
    """What was drawn; without it the masks alone."""
    if path := one.film():
        try:
            return films.of_file(path, longest=FILMS[path.name])
        except (ValueError, OSError) as error:
            faults.append(f"{path.name} cannot be shown: {error}")
    else:
        notes.append("No overlay was written (--outputs=overlay), only masks.")
    if read is None:
        return None
    options = dict(categories=read.categories, times=_times(read))
    return films.compared(None, read.video, **options)


def _times(read: tracks_json.TracksFile) -> list[float]:
    """When each frame begins, and the last one ends."""
    times = read.details.times
    if times is None:
        times = [frame / read.fps for frame in range(read.video.num_frames)]
    return [*times, times[-1] + 1 / read.fps]


def _settings(found: Sequence[Predicted]) -> dict[str, str]:
    """Of what the videos were made: once, where it is the same of all."""
    made = {one.name: one.made.made_of or {} for one in found}
    settings = {}
    for key in dict.fromkeys(key for own in made.values() for key in own):
        values = {name: _text(own[key]) for name, own in made.items() if key in own}
        if len(set(values.values())) == 1:
            settings[key] = next(iter(values.values()))
        else:
            settings |= {f"{name}: {key}": value for name, value in values.items()}
    return settings


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
