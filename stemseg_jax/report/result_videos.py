"""The videos of a page about a run: each beside its truth, and when what is seen."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import logging

from stemseg_jax import tasks
from stemseg_jax.data import readers
from stemseg_jax.outputs import film, lanes, page
from stemseg_jax.report import films, room, run_folder, score_tables
from stemseg_jax.tracks import VideoTracks


class Sources(NamedTuple):
    """What videos are drawn from."""

    found: tasks.Found
    videos: Mapping[str, readers.Video]
    categories: Mapping[int, str]
    scores: Mapping[str, Any]
    lost: str  # why there are no videos, if that is so


def shown(results: run_folder.Results, *, most: int) -> room.Shown:
    """The videos with the lowest main figure; where none is known, the first ones.

    What is wrong with a video is told beside it. Without the dataset there are the
    found masks alone.
    """
    sources = _sources(results)
    figures = score_tables.of_videos(results.scores)
    names = score_tables.worst_first(figures)
    names += [name for name in sources.found if name not in figures]

    def draw(name: str, anchor: str) -> page.Video:
        return _video(sources, name, anchor, figures.get(name, {}))

    order = f"of the {results.title}, " + (
        "the lowest score first" if figures else "without scores of single videos"
    )
    filled = room.fill(names, draw, most=most, order=order)
    return filled._replace(note=f"{filled.note} {sources.lost}".strip())


def _sources(results: run_folder.Results) -> Sources:
    found, lost, videos, categories = results.found(), "", {}, {}
    try:
        dataset = results.dataset()
        videos = {video.name: video for video in dataset.videos}
        if len(dataset.categories) > 1:
            categories = dataset.categories
    except (ValueError, OSError) as error:
        lost = (
            "The dataset is not here, so that masks are shown without frames and "
            f"without truth: {error}"
        )
        logging.warning("%s", lost)
    return Sources(found, videos, categories, results.scores, lost)


def _video(
    sources: Sources, name: str, anchor: str, figures: Mapping[str, page.Value]
) -> page.Video:
    faults: list[str] = []
    main = score_tables.main_name(figures)
    told = page.Video(name, anchor, figures={main: figures[main]} if main else {})
    video = sources.videos.get(name)
    if video is None and not sources.lost:
        faults.append("The dataset has no video of this name.")
    found = _found(sources, name, video, faults)
    if found is None or not found.num_frames:
        return told._replace(faults=faults)
    truth = _truth(video, faults)
    times = films.clock(found.num_frames)
    own = lanes.lanes(found.tracks, sources.categories, times)
    groups = [page.Group("found tracks", own)]
    if truth:
        own = lanes.lanes(truth.tracks, sources.categories, times)
        groups.insert(0, _true_objects(own, sources, name, found))
    drawn = _film(sources, video, found, truth, times, faults)
    return told._replace(film=drawn, groups=groups, faults=faults)


def _found(
    sources: Sources, name: str, video: readers.Video | None, faults: list[str]
) -> VideoTracks | None:
    """The tracks; of a video without any that can be read no track, and no more than
    that if nothing says how large it is."""
    found = None
    try:
        if name in sources.found:
            found = sources.found[name]()
        else:
            faults.append("There are no results of this video.")
    except (ValueError, OSError) as error:
        faults.append(f"What was found cannot be read: {error}")
    if video is None:
        return found if found and found.tracks else None
    size = video.height, video.width, video.num_frames
    if found is None or not found.tracks:
        return VideoTracks(name, *size, ())
    if found.num_frames > video.num_frames:
        faults.append(
            f"There are results of {found.num_frames} frames, of which the video has "
            f"{video.num_frames}."
        )
    return _as_long(found, video.num_frames)


def _as_long(found: VideoTracks, num_frames: int) -> VideoTracks:
    """With as many frames as the video: text files do not say how many there are."""
    missing = (None,) * (num_frames - found.num_frames)
    tracks = (
        one._replace(segmentations=(*one.segmentations[:num_frames], *missing))
        for one in found.tracks
    )
    return found._replace(num_frames=num_frames, tracks=tuple(tracks))


def _truth(video: readers.Video | None, faults: list[str]) -> VideoTracks | None:
    try:
        return films.true_tracks(video) if video else None
    except (ValueError, OSError) as error:
        faults.append(f"Its annotations cannot be read: {error}")
        return None


def _film(
    sources: Sources,
    video: readers.Video | None,
    found: VideoTracks,
    truth: VideoTracks | None,
    times: list[float],
    faults: list[str],
) -> film.Film:
    """Over the frames if they are sound; else of the masks."""
    options = dict(categories=sources.categories, times=times)
    try:
        return films.compared(video, found, truth, **options)
    except (ValueError, OSError) as error:
        faults.append(f"Its frames cannot be shown: {error}")
        return films.compared(None, found, **options)


def _true_objects(
    own: list[lanes.Lane], sources: Sources, name: str, found: VideoTracks
) -> page.Group:
    """With what was found for each, and how well it fits, as far as scores say it."""
    partners = score_tables.partners(sources.scores, name)
    ids = {track.id for track in found.tracks}

    def whole(partner: score_tables.Partner) -> bool:
        return len(partner.j_per_frame) == found.num_frames

    def with_partner(lane: lanes.Lane) -> lanes.Lane:
        if (partner := partners.get(lane.id)) is None:
            return lane
        return lane._replace(
            name=f"found as {partner.proposal}"
            if partner.proposal in ids
            else "not found",
            score=(partner.j + partner.f) / 2,
            heights=tuple(partner.j_per_frame) if whole(partner) else (),
        )

    note = "J&F of each, and J as height" if partners else ""
    return page.Group("true objects", list(map(with_partner, own)), note)
