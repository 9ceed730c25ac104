"""The figures of a scores.json, video by video, whatever the task."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from stemseg_jax.evaluation import scored
from stemseg_jax.outputs.page import Table, Value

Figures = dict[str, Value]

# Of what MOTS counts for each class.
OF_CLASS = ("sMOTSA", "MOTSA", "MOTSP", "HOTA", "DetA", "AssA", "IDF1", "IDS")
MAIN = [[word] for word in scored.MAIN]
COUNTS = {"num_frames": "frames", "num_proposals": "tracks"}


class Partner(msgspec.Struct):
    """What DAVIS compared an object with."""

    id: int  # of the object
    proposal: int  # and of the track
    j: float = msgspec.field(name="J-Mean")
    f: float = msgspec.field(name="F-Mean")
    j_per_frame: list[float] = msgspec.field(name="J-per-frame")


class _Video(msgspec.Struct):
    objects: list[Partner] = []


class _Scores(msgspec.Struct):
    """What is looked for in a file; it may hold anything besides."""

    per_sequence: dict[str, _Video] = {}
    per_video: dict[str, dict[str, Any]] = {}
    per_category: dict[str, dict[str, Any]] = {}


def check(scores: Mapping[str, Any], where: str) -> None:
    """Refuses what no evaluation of ours wrote.

    Raises:
        ValueError: Begins with `where`.
    """
    try:
        msgspec.convert(scores, _Scores)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"{where}: {error}. Expected the figures that --mode=evaluate writes; move "
            "the file away, or evaluate anew."
        ) from error


def of_videos(scores: Mapping[str, Any]) -> dict[str, Figures]:
    """The figures of each video, by its name; the main one first.

    If the videos have several classes, each has their mean, even one of a single class.
    """
    videos = scores.get("per_sequence") or scores.get("per_video") or {}
    found = {name: of_set(own) for name, own in videos.items()}
    if mean := _mean({k: None for own in found.values() for k in own}):
        found = {name: {mean: main_figure(x), **x} for name, x in found.items()}
    return found


def names(scores: Mapping[str, Any]) -> dict[str, str]:
    """Of the videos whose results have numbers, by these."""
    videos = scores.get("per_video", {}).items()
    return {str(own["video_id"]): name for name, own in videos if "video_id" in own}


def of_set(scores: Mapping[str, Any]) -> Figures:
    """The figures of a whole set; None is one that nothing was there to be scored for.

    Those of classes are called "car sMOTSA", and their mean "mean sMOTSA".
    """
    found: Figures = {}
    for name, value in scores.items():
        if isinstance(value, dict) and OF_CLASS[0] in value:
            own = {f"{name} {k}": value[k] for k in OF_CLASS if k in value}
            found |= {k: _known(k, v) for k, v in own.items()}
        elif name != "video_id" and not isinstance(value, dict | list | bool):
            found[COUNTS.get(name, name)] = _known(name, value)
    if mean := _mean(found):
        found = {mean: main_figure(found), **found}
    return found


def main_name(figures: Mapping[str, Value]) -> str:
    """What the figure is called by which videos are compared; empty without one."""
    return next((name for name in figures if name.split()[-1:] in MAIN), "")


def main_figure(figures: Mapping[str, Value]) -> float | None:
    """The figure by which videos are compared; None if it is not known."""
    if not (word := main_name(figures).split()[-1:]):
        return None
    value = scored.main_figure(
        {k: v for k, v in figures.items() if v is not None and k.split()[-1:] == word}
    )
    return value if value > -math.inf else None


def worst_first(videos: Mapping[str, Figures]) -> list[str]:
    """The names of videos by their main figure, those without one at the end."""

    def key(name: str) -> tuple:
        value = main_figure(videos[name])
        return value is None, value or 0.0

    return sorted(videos, key=key)


def tables(scores: Mapping[str, Any], anchors: Mapping[str, str]) -> list[Table]:
    """Of videos, worst first, and of categories, as far as the scores have them."""
    videos = of_videos(scores)
    found = []
    if videos:
        total = of_set(scores)
        found.append(
            Table(
                title="Videos",
                rows=[{"video": name, **videos[name]} for name in worst_first(videos)],
                sorted_by=main_name({k: 0 for own in videos.values() for k in own}),
                total={"video": "all", **total},
                anchors=anchors,
            )
        )
    categories = [
        {"category": own["name"], **of_set({k: own[k] for k in own if k != "name"})}
        for own in scores.get("per_category", {}).values()
    ]
    seen = [row for row in categories if main_figure(row) is not None]
    if seen:
        found.append(Table("Categories", seen, note="that were there to be found"))
    return found


def partners(scores: Mapping[str, Any], video: str) -> dict[int, Partner]:
    """By the ids of objects; only DAVIS has any."""
    own = scores.get("per_sequence", {}).get(video, {})
    return {one.id: one for one in msgspec.convert(own, _Video).objects}


def _mean(figures: Mapping[str, Value]) -> str:
    """What the mean of the main figures is called; empty if there are not several."""
    word = main_name(figures).split()[-1:]
    several = sum(name.split()[-1:] == word for name in figures) > 1
    return f"mean {word[0]}" if word and several else ""


def _known(name: str, value: Any) -> Value:
    """Files write what is not finite as text, and -1 where nothing is annotated."""
    if not isinstance(value, int | float) or (name[:2] in ("AP", "AR") and value == -1):
        return None
    return value if math.isfinite(value) else None
