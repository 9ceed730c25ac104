"""The tracks of one video in the forms in which benchmarks take results."""

import collections
import pathlib
from collections.abc import Mapping

from absl import logging

from stemseg_jax import choices
from stemseg_jax.formats import davis_png, mots_txt
from stemseg_jax.outputs import davis_results, mots_results, ytvis_results
from stemseg_jax.tracks import VideoTracks

MOST_LABELS = davis_png.VOID - 1
MOTS_CLASSES = {
    "car": mots_txt.CAR,
    "person": mots_txt.PEDESTRIAN,
    "pedestrian": mots_txt.PEDESTRIAN,
}


def write(
    form: str,
    folder: pathlib.Path,
    video: VideoTracks,
    category_names: Mapping[int, str],
) -> pathlib.Path:
    """Writes the results and gives the path of what was written.

    Args:
        form: "davis": `<video>/00000.png` and on, one palette PNG a frame.
            "youtube_vis": `results.json` and `.zip`; the video has id 1, categories
            keep their numbers. "mots": `<video>.txt`; car is 1, person or pedestrian 2.
        category_names: By number; only MOTS looks at them.

    Raises:
        ValueError: An unknown form, or tracks that the form cannot hold: more than 254
            in DAVIS, other classes than cars and persons in MOTS.
    """
    return FORMS[choices.known("export", form, FORMS)](folder, video, category_names)


def check(form: str, category_names: Mapping[int, str]) -> None:
    """Refuses a form that can hold nothing of what a model finds.

    Raises:
        ValueError: None of its categories is known to MOTS.
    """
    if form == "mots" and MOTS_CLASSES.keys().isdisjoint(category_names.values()):
        raise ValueError(
            f"--outputs=mots: MOTS knows {', '.join(MOTS_CLASSES)}; the model finds "
            f"{', '.join(category_names.values()) or 'objects without categories'}. "
            "Leave it out, or take a model that tells these apart."
        )


def _davis(folder: pathlib.Path, video: VideoTracks, _) -> pathlib.Path:
    highest = max((track.id for track in video.tracks), default=0)
    if highest > davis_png.MAX_OBJECTS:
        logging.warning(
            "%s: ids up to %d; the DAVIS server takes no more than %d objects.",
            *(video.name, highest, davis_png.MAX_OBJECTS),
        )
    return davis_results.write(folder, video, max_objects=MOST_LABELS)


def _youtube_vis(folder: pathlib.Path, video: VideoTracks, _) -> pathlib.Path:
    return ytvis_results.write(folder, [video], {video.name: 1})


def _mots(
    folder: pathlib.Path, video: VideoTracks, names: Mapping[int, str]
) -> pathlib.Path:
    called = {track.id: names.get(track.category, "") for track in video.tracks}
    others = collections.Counter(
        name for name in called.values() if name not in MOTS_CLASSES
    )
    if others:
        listed = ", ".join(
            f"{name or 'no category'} ({count})" for name, count in others.most_common()
        )
        raise ValueError(
            f"video {video.name}: MOTS knows {', '.join(MOTS_CLASSES)}; tracks of "
            f"other categories cannot be written: {listed}. Leave them out, or use "
            "another form."
        )
    tracks = (t._replace(category=MOTS_CLASSES[called[t.id]]) for t in video.tracks)
    return mots_results.write(folder, video._replace(tracks=tuple(tracks)))


FORMS = {"davis": _davis, "youtube_vis": _youtube_vis, "mots": _mots}
