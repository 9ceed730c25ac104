"""STEm-Seg's way through a video, in plain NumPy: `track` is held against it.

It sees the whole video at once and goes through it as Athar et al. (ECCV 2020) do:
clips that overlap (Sec. 3.3), clusters around the best seeds of a clip (Sec. 3.3),
tracks by what two clips say of the frames they share (Sec. 3.4). Nothing is padded,
nothing is streamed, nothing is fast. What the paper leaves open is as in the authors'
program, and what our own rule "refined" does otherwise stands beside it.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict
from scipy import optimize

STRIDE = 4  # of the maps
MIN_IOU = 0.1  # of two clips' objects that are one, in "refined"


class Maps(NamedTuple):
    """What the network says of a clip, in plain arrays; h w at stride 4."""

    embeddings: np.ndarray  # [T h w E]
    log_bandwidths: np.ndarray  # [T h w V]
    seediness: np.ndarray  # [T h w]
    class_logits: np.ndarray | None  # [T h w C]
    foreground_logits: np.ndarray | None  # [T h w]


class Track(NamedTuple):
    """Of one track what `TrackStatistics` says of it."""

    pixels: int
    first: int
    last: int
    logits: np.ndarray | None  # [C]
    votes: np.ndarray | None  # [C]
    evidence: dict[str, float]  # means over frames of the means over its cells; class


class Tracked(NamedTuple):
    """A video's labels and its tracks."""

    labels: np.ndarray  # [L H W], at the size of the result
    tracks: dict[int, Track]  # in the order in which they appear


def track(
    network: Callable[[list[int]], Maps], length: int, config: ConfigDict
) -> Tracked:
    """Follows the objects of a video.

    Args:
        network: Gives the maps of a clip, from the numbers of its frames.
        length: Frames of the video.
        config: Its `num_frames`, `clustering` and `tracking` are followed.
    """
    refined = config.clustering.rule == "refined"
    enlarged = config.tracking.full_size and not refined
    free = config.model.mixing.count("f") * [config.model.free_dim_std**-2]
    clips = cut(length, config.num_frames, config.tracking.overlap)
    said = [network(clip) for clip in clips]
    scores, classes = average(clips, said, length)
    if enlarged:
        scores = enlarge(scores)
        classes = None if classes is None else enlarge(classes)
    if classes is not None:  # the foreground channel gives logits
        scores = 1 / (1 + np.exp(-scores))
    foreground = scores > config.tracking.foreground_threshold

    labels: dict[int, np.ndarray] = {}  # of each frame, as clustered
    seediness: dict[int, np.ndarray] = {}  # as clustered
    seeds: dict[int, np.ndarray] = {}  # of each point, of its object's seed
    results: dict[int, np.ndarray] = {}  # the same, or at full size
    for clip, maps in zip(clips, said, strict=True):
        # Of a frame that stands several times in its clip, the last place counts.
        places = {frame: place for place, frame in enumerate(clip)}
        frames, where = list(places), list(places.values())
        bandwidths = 10 * np.exp(maps.log_bandwidths[where])
        constant = np.broadcast_to(free, (*bandwidths.shape[:-1], len(free)))
        parts = [
            maps.embeddings[where],
            np.concatenate([bandwidths, constant], axis=-1),
            maps.seediness[where],
        ]
        if enlarged:
            parts = [enlarge(part) for part in parts]
        found = instances(*parts, foreground[frames], config.clustering)
        names = named(found, frames, labels, foreground, config.clustering.rule)
        best = highest(found, parts[2])
        for place, (frame, slots) in enumerate(zip(frames, found, strict=True)):
            if frame in labels:
                continue  # what an earlier clip said stays
            seediness[frame], seeds[frame] = parts[2][place], best[place]
            labels[frame] = rename(slots, names, foreground[frame])
            results[frame] = labels[frame]
            if refined:
                inside = enlarge(scores[frame][None])[0]
                inside = inside > config.tracking.foreground_threshold
                results[frame] = np.where(inside, vote(slots, names), 0)
    labelled = np.stack([labels[frame] for frame in range(length)])
    confidences = {"foreground": scores, "seediness": seediness}
    if config.tracking.score == "product":
        confidences = {"seed": seeds}
    return Tracked(
        np.stack([results[frame] for frame in range(length)]),
        statistics(labelled, classes, confidences),
    )


# --------------------------------------------------------------------------- the clips


def cut(length: int, size: int, overlap: int) -> list[list[int]]:
    """The frames of each clip.

    A clip begins size - overlap frames after the one before. The last one ends with the
    video, wherever that makes it begin. Before a video that is too short for one clip
    frame 0 is repeated.
    """
    if length < size:
        return [[0] * (size - length) + list(range(length))]
    clips = [list(range(size))]
    while clips[-1][-1] < length - 1:
        start = min(clips[-1][0] + size - overlap, length - size)
        clips.append(list(range(start, start + size)))
    return clips


def average(
    clips: list[list[int]], said: list[Maps], length: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Foreground scores and class logits of each frame: the mean over all clips.

    With a semantic decoder, of its foreground logits over all places where the frame
    stands; without one, of the seediness, once for each clip.
    """
    scores: list[list] = [[] for _ in range(length)]
    classes: list[list] = [[] for _ in range(length)]
    for clip, maps in zip(clips, said, strict=True):
        for place, frame in enumerate(clip):
            if maps.foreground_logits is not None:
                scores[frame].append(maps.foreground_logits[place])
                classes[frame].append(maps.class_logits[place])
            elif frame not in clip[place + 1 :]:
                scores[frame].append(maps.seediness[place])
    mean = np.stack([np.mean(each, axis=0) for each in scores])
    if said[0].foreground_logits is None:
        return mean, None
    return mean, np.stack([np.mean(each, axis=0) for each in classes])


# ---------------------------------------------------------------- the objects of a clip


def instances(
    embeddings: np.ndarray,
    bandwidths: np.ndarray,
    seediness: np.ndarray,
    foreground: np.ndarray,
    settings: ConfigDict,
) -> np.ndarray:
    """The number of each point's object, from 0 in the order of finding; -1: none."""
    points = embeddings[foreground]  # frame by frame, row by row
    cluster = {
        "paper": paper_clusters,
        "released": released_clusters,
        "refined": refined_clusters,
    }[settings.rule]
    labels = np.full(foreground.shape, -1)
    labels[foreground] = cluster(
        points, bandwidths[foreground], seediness[foreground], settings
    )
    return labels


def paper_clusters(points, bandwidths, seediness, settings):
    """Around the best seed, what exp(-d^2 / 2) puts in its Gaussian; and again."""
    labels = np.full(len(points), -1)
    for number in range(settings.max_instances):
        seed = best_seed(labels == -1, seediness, settings)
        if seed is None:
            break
        inside = np.exp(-squares(points, points[seed], bandwidths[seed]) / 2)
        labels[(labels == -1) & (inside > settings.primary_threshold)] = number
    return labels


def released_clusters(points, bandwidths, seediness, settings):
    """The same with exp(-d / 2). What is left may go to the farthest object.

    "Left" is what had no object when the last search began. For an object that was
    found when a point was no longer free the point is at no finite distance of it.
    """
    labels = np.full(len(points), -1)
    free, distances = np.zeros(len(points), bool), []
    for number in range(settings.max_instances):
        free = labels == -1
        seed = best_seed(free, seediness, settings)
        if seed is None:
            break
        distance = np.sqrt(squares(points, points[seed], bandwidths[seed]))
        distances.append(np.where(free, distance, 1e8))
        inside = np.exp(-distance / 2) > settings.primary_threshold
        labels[free & inside] = number
    if distances:
        farthest = np.argmax(distances, axis=0)
        inside = np.exp(-np.max(distances, axis=0) / 2) > settings.secondary_threshold
        labels = np.where(free & inside, farthest, labels)
    return labels


def refined_clusters(points, bandwidths, seediness, settings):
    """The paper's, with each centre moved once to the mean of what it caught.

    Small ones are dropped; in the end every point goes to the nearest centre.
    """
    free, unseen = np.ones((2, len(points)), bool)
    centres = []
    for _ in range(4 * settings.max_instances):
        seed = best_seed(free & unseen, seediness, settings)
        if seed is None or len(centres) == settings.max_instances:
            break
        caught = free & near(points, points[seed], bandwidths[seed], settings)
        unseen &= ~caught
        moved = points[caught].mean(axis=0), bandwidths[caught].mean(axis=0)
        caught = free & near(points, *moved, settings)
        if caught.sum() >= settings.min_cells:
            free &= ~caught
            centres.append(moved)
    if not centres:
        return np.full(len(points), -1)
    distances = np.stack([squares(points, *centre) for centre in centres])
    probable = np.exp(-distances.min(axis=0) / 2) >= settings.min_probability
    return np.where(probable, distances.argmin(axis=0), -1)


def highest(slots, seediness):
    """Of each point the highest seediness of its object: with the paper's rule that of
    the seed, which was the best of all points that were still free."""
    best = np.zeros(slots.shape)
    for number in range(slots.max() + 1):
        best[slots == number] = seediness[slots == number].max()
    return best


def best_seed(free, seediness, settings):
    """The free point of highest seediness, or None if that is too low."""
    if not free.any():
        return None
    seed = np.flatnonzero(free)[seediness[free].argmax()]
    return None if seediness[seed] < settings.min_seediness else seed


def near(points, centre, bandwidth, settings):
    probability = np.exp(-squares(points, centre, bandwidth) / 2)
    return probability > settings.primary_threshold


def squares(points, centre, bandwidth):
    return (bandwidth * (points - centre) ** 2).sum(axis=-1)


# -------------------------------------------------------------------------- the tracks


def named(
    slots: np.ndarray,
    frames: list[int],
    labels: dict[int, np.ndarray],
    foreground: np.ndarray,
    rule: str,
) -> dict[int, int]:
    """The track of each of a clip's objects that its new frames show.

    An object goes on as the track with which it is paired in the shared frames, by the
    assignment of the largest sum of IoUs. Others begin a track, numbered above all that
    have a point by now: in the program by their own number in the clip, otherwise
    without gaps.
    """
    known = [place for place, frame in enumerate(frames) if frame in labels]
    new = [place for place, frame in enumerate(frames) if frame not in labels]
    first = 1 + max([0, *(each.max() for each in labels.values())])
    names = {}
    if known:
        shared = foreground[[frames[place] for place in known]]
        old = np.stack([labels[frames[place]] for place in known])[shared]
        names = paired(old, slots[known][shared], first, rule)
    for number in np.unique(slots[new]):
        if number >= 0 and number not in names:
            names[number] = first if rule != "released" else first + number
            first += rule != "released"
    return names


def paired(old: np.ndarray, slots: np.ndarray, first: int, rule: str) -> dict[int, int]:
    """Tracks of objects, from the labels of the points that two clips share."""
    own = np.where(slots < 0, -1, slots + first)
    tracks = list(set(np.unique(old).tolist()) - {-1})
    objects = list(set(np.unique(own).tolist()) - {-1})
    iou = np.zeros((len(tracks), len(objects)))
    for row, track in enumerate(tracks):
        for column, number in enumerate(objects):
            a, b = old == track, own == number
            iou[row, column] = (a & b).sum() / (a | b).sum()
    if rule == "refined":
        iou[iou < MIN_IOU] = 0
    pairs = zip(*optimize.linear_sum_assignment(1 - iou), strict=True)
    return {
        objects[column] - first: tracks[row]
        for row, column in pairs
        if iou[row, column] > 0 or rule == "released"  # which joins any pair
    }


def rename(slots, names, foreground):
    """A frame's labels: the tracks of its objects, -1 for other foreground, else 0."""
    labels = np.where(foreground, -1, 0)
    for number, name in names.items():
        labels[slots == number] = name
    return labels


def vote(slots, names):
    """Labels at full size: of each pixel, what most of the cells around it say.

    Cells without an object do not vote; of equal objects the first one wins.
    """
    labels = most = np.zeros([STRIDE * n for n in slots.shape])
    for number, name in sorted(names.items()):
        share = enlarge((slots == number)[None].astype(float))[0]
        labels = np.where(share > most, name, labels)
        most = np.maximum(share, most)
    return labels


def statistics(
    labels: np.ndarray,
    classes: np.ndarray | None,
    confidences: dict[str, Mapping[int, np.ndarray] | np.ndarray],
) -> dict[int, Track]:
    """What is known of each track once all labels are; labels as clustered."""
    tracks = {}
    for number in [n for frame in labels for n in np.unique(frame[frame > 0])]:
        where = labels == number
        shown = np.flatnonzero(where.any(axis=(1, 2)))
        logits = votes = None
        if classes is not None:
            logits = classes[where].mean(axis=0)
            best = classes[where].argmax(axis=-1)
            votes = np.bincount(best, minlength=classes.shape[-1])
        evidence = {
            name: np.mean([maps[t][where[t]].mean() for t in shown])
            for name, maps in confidences.items()
        }
        if logits is not None:
            evidence["class"] = (np.exp(logits) / np.exp(logits).sum())[1:].max()
        tracks[number] = Track(
            where.sum(), shown[0], shown[-1], logits, votes, evidence
        )
    return tracks


# ----------------------------------------------------------------------------- resizing


def enlarge(maps: np.ndarray) -> np.ndarray:
    """[T h w ...] to four times the height and width, bilinearly; centres are halves.

    Beyond the outermost centres the border's value holds.
    """
    for axis in (1, 2):
        length = maps.shape[axis]
        place = (np.arange(STRIDE * length) + 0.5) / STRIDE - 0.5
        place = place.clip(0, length - 1)
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = (place - low).reshape(-1, *[1] * (maps.ndim - axis - 1))
        maps = (1 - share) * maps.take(low, axis) + share * maps.take(high, axis)
    return maps
