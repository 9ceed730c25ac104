"""How many videos a page has room for."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from tqdm import tqdm

from stemseg_jax.outputs import page

MOST_BYTES = 24 * 10**6  # of all films: nobody mails a page much larger than that

Item = TypeVar("Item")


class Shown(NamedTuple):
    videos: list[page.Video]
    note: str  # which they are of how many


def fill(
    items: Sequence[Item],
    draw: Callable[[Item, str], page.Video],
    *,
    most: int,
    order: str,
) -> Shown:
    """The first videos, at most `most` and as long as their films are small enough.

    Args:
        draw: Gives the video of an item, with the anchor that it gets.
        order: What items they are and in which order, for the note.
    """
    videos, size, cause = [], 0, f"--videos={most}"
    for item in tqdm(items[:most], desc="draw", unit="video", leave=False):
        if size > MOST_BYTES:
            cause = f"{size / 1e6:.0f} MB of films"
            break
        videos.append(draw(item, f"video-{len(videos) + 1}"))
        size += len(videos[-1].film.mp4) if videos[-1].film else 0
    note = f"{len(videos)} of {len(items)} videos {order}"
    if len(videos) < len(items):
        note += f"; the others are left out ({cause})"
    return Shown(videos, f"{note}.")
