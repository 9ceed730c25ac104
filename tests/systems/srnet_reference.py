"""SRNet's loss, post-processing and association as plain NumPy, from the paper's text.

One video or pair, one map, one object at a time; nothing is padded.
"""

from typing import NamedTuple

import numpy as np


class Maps(NamedTuple):
    """What the network says of a frame."""

    embeddings: np.ndarray  # [h w E]
    log_bandwidths: np.ndarray  # [h w 2]
    objectness: np.ndarray  # [h w]
    tracking: np.ndarray  # [h w 2]
    class_logits: np.ndarray | None  # [h w C]


class Detection(NamedTuple):
    mask: np.ndarray
    score: float
    mean: float  # objectness
    centre: np.ndarray  # cells of the label map
    size: np.ndarray
    was: np.ndarray  # where it says that it was
    logits: np.ndarray | None = None
    votes: np.ndarray | None = None


class Track(NamedTuple):
    pixels: int
    first: int
    last: int
    logits: np.ndarray | None
    votes: np.ndarray | None
    evidence: dict[str, float]


def spacing(size) -> np.ndarray:
    height, width = size
    extent = np.array([max(1, height / width), max(1, width / height)])
    return 2 * extent / (np.array(size) - 1)


def extent(size) -> np.ndarray:
    height, width = size
    return np.array([max(1, height / width), max(1, width / height)])


def render(centres, sizes, size) -> np.ndarray:
    """The heat map, peak by peak and cell by cell."""
    heat = np.zeros(size)
    for (cy, cx), (h, w) in zip(centres, sizes, strict=True):
        o, total, area = 0.7, h + w, h * w
        roots = (
            (total + np.sqrt(total**2 - 4 * area * (1 - o) / (1 + o))) / 2,
            (2 * total + np.sqrt(4 * total**2 - 16 * (1 - o) * area)) / 2,
            (-2 * o * total + np.sqrt(4 * o**2 * total**2 - 16 * o * (o - 1) * area))
            / 2,
        )
        radius = max(int(min(roots)), 0)
        sigma = (2 * radius + 1) / 6
        cy, cx = int(np.floor(cy)), int(np.floor(cx))
        for y in range(max(cy - radius, 0), min(cy + radius + 1, size[0])):
            for x in range(max(cx - radius, 0), min(cx + radius + 1, size[1])):
                value = np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * sigma**2))
                heat[y, x] = max(heat[y, x], value)
    return heat


def enlarge(values: np.ndarray) -> np.ndarray:
    """Four times, with aligned corners."""
    for axis in range(2):
        old = values.shape[axis]
        places = np.linspace(0, old - 1, 4 * old)
        low = np.minimum(places.astype(int), max(old - 2, 0))
        share = (places - low).reshape(
            [-1 if a == axis else 1 for a in range(values.ndim)]
        )
        high = np.minimum(low + 1, old - 1)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def nearest(values, place):
    row, column = (
        int(np.clip(np.round(p), 0, length - 1))
        for p, length in zip(place, values.shape, strict=False)
    )
    return values[row, column]


def detect(maps: Maps, config) -> list[Detection]:
    """Algorithm 1."""
    size = maps.objectness.shape
    min_cells = config.clustering.min_cells * (16 if config.tracking.upsample else 1)
    free = config.model.mixing.count("f")
    stds = 1 / np.sqrt(10 * np.exp(maps.log_bandwidths))
    stds = np.concatenate(
        [stds, np.full((*size, free), config.model.free_dim_std)], axis=-1
    )
    available, found = np.ones(size, bool), []
    while len(found) < config.clustering.max_instances:
        best = np.where(available, maps.objectness, 0)
        seed = np.unravel_index(best.argmax(), size)
        if best[seed] <= config.clustering.min_seediness:
            break
        centre = maps.embeddings[seed]
        squares = np.square((maps.embeddings - centre) / stds[seed]).sum(axis=-1)
        mask = (np.exp(-squares / 2) > 0.5) & available
        available &= ~mask
        available[seed] = False
        if mask.sum() < min_cells:
            continue
        places = np.argwhere(mask)
        low, high = places.min(axis=0), places.max(axis=0)
        place = {
            "mass": places.mean(axis=0),
            "embedding": (centre[:2] + extent(size)) / spacing(size),
            "box": (low + high) / 2,
        }[config.tracking.centre]
        logits = votes = None
        if maps.class_logits is not None:
            logits = maps.class_logits[mask].sum(axis=0)
            votes = np.bincount(
                maps.class_logits[mask].argmax(axis=-1), minlength=len(logits)
            )
        was = place + nearest(maps.tracking, place) / spacing(size)
        found.append(
            Detection(
                *(mask, best[seed], maps.objectness[mask].mean()),
                *(place, high - low + 1, was, logits, votes),
            )
        )
    return found


def associate(previous, found, size, next_id) -> tuple[list[int], int]:
    """Greedy; `previous` are (detection, id)."""
    unit, claimed, ids = spacing(size), set(), []
    for one in found:
        options = []
        for number, (other, _) in enumerate(previous):
            squared = np.square((one.was - other.centre) * unit).sum()
            areas = [np.prod(d.size * unit) for d in (one, other)]
            if number not in claimed and squared <= min(areas):
                options.append((squared, number))
        if options:
            number = min(options)[1]
            claimed.add(number)
            ids.append(previous[number][1])
        else:
            ids.append(next_id)
            next_id += 1
    return ids, next_id


def track(said, length: int, config) -> tuple[np.ndarray, dict[int, Track]]:
    """Labels of all frames and what is known of each track.

    Args:
        said: (frame, frame of the past, heat map) -> Maps.
    """
    labels, history, previous, next_id = [], {}, [], 1
    small = None
    for t in range(length):
        repeat = t == 0 or config.tracking.temporal_features == "current"
        heat = np.zeros(())
        if previous and config.tracking.instance_heatmap:
            ratio = (np.array(small) - 1) / (np.array(labels[-1].shape) - 1)
            heat = render(
                [d.centre * ratio for d, _ in previous],
                [d.size * ratio for d, _ in previous],
                small,
            )
        maps = said(t, t if repeat else t - 1, heat)
        small = maps.objectness.shape
        if config.tracking.upsample:
            maps = Maps(*(None if x is None else enlarge(x) for x in maps))
        found = detect(maps, config)
        size = maps.objectness.shape
        ids, next_id = associate(previous, found, size, next_id)
        previous = list(zip(found, ids, strict=True))
        frame = np.zeros(size, int)
        for one, number in previous:
            frame[one.mask] = number
        labels.append(frame)
        for one, number in sorted(previous, key=lambda pair: pair[1]):
            history.setdefault(number, []).append((t, one))
    return np.stack(labels), {k: _track(seen) for k, seen in history.items()}


def _track(seen) -> Track:
    pixels = sum(one.mask.sum() for _, one in seen)
    logits = votes = None
    if seen[0][1].logits is not None:
        logits = sum(one.logits for _, one in seen) / pixels
        votes = sum(one.votes for _, one in seen)
    evidence = {
        "seed": np.mean([one.score for _, one in seen]),
        "seediness": np.mean([one.mean for _, one in seen]),
    }
    if logits is not None:
        evidence["class"] = (np.exp(logits) / np.exp(logits).sum())[1:].max()
    return Track(pixels, seen[0][0], seen[-1][0], logits, votes, evidence)


# ------------------------------------------------------------------------------- loss


def hinge(logits, labels) -> float:
    """Lovász: errors in descending order times the steps of the Jaccard loss."""
    errors = 1 - logits * np.where(labels, 1, -1)
    order = np.argsort(-errors, kind="stable")
    labels = labels[order]
    missed = labels.sum() - np.cumsum(labels)
    union = labels.sum() + np.cumsum(~labels)
    steps = np.diff(1 - missed / union, prepend=0)
    return (np.maximum(errors[order], 0) * steps).sum()


def loss(maps: Maps, before, now, categories, ignore, config) -> dict[str, float]:
    """Every term for one pair.

    Args:
        before, now: Masks [N h w] at stride 4.
        ignore: [h w], in no mask of now.
    """
    size = maps.objectness.shape
    free = config.model.mixing.count("f")
    present = [n for n in range(len(now)) if now[n].any()]
    bandwidths = np.concatenate(
        [
            10 * np.exp(maps.log_bandwidths),
            np.full((*size, free), config.model.free_dim_std**-2.0),
        ],
        axis=-1,
    )
    overlap = smoothness = errors = 0.0
    for n in present:
        mask = now[n]
        e = maps.embeddings
        squares = (e - e[mask].mean(axis=0)) ** 2 * bandwidths[mask].mean(axis=0)
        p = np.exp(-squares.sum(axis=-1) / 2)
        if config.loss.overlap == "dice":
            overlap += 1 - 2 * p[mask].sum() / (p.sum() + mask.sum())
        else:
            overlap += hinge((2 * p - 1).ravel(), mask.ravel())
        b = maps.log_bandwidths[mask]
        smoothness += np.square(b - b.mean(axis=0)).mean()
        errors += np.square(maps.objectness - p)[mask].sum()
    owned = now.any(axis=0) if len(now) else np.zeros(size, bool)
    background = ~owned & ~ignore
    errors += np.square(maps.objectness[background]).sum()
    distances = []
    for n in present:
        if before[n].any():
            place, was = (np.argwhere(m[n]).mean(axis=0) for m in (now, before))
            cell = np.round(place).astype(int)
            step = (cell - was) * spacing(size) + maps.tracking[tuple(cell)]
            distances.append(np.sqrt(np.square(step).sum() + 1e-12))
    count = max(len(present), 1)
    terms = {
        "overlap": overlap / count,
        "smoothness": smoothness / count,
        "score": errors / max(owned.sum() + background.sum(), 1),
        "tracking": np.mean(distances) if distances else 0.0,
    }
    if maps.class_logits is not None:
        classes = np.zeros(size, int)
        for n in present:
            classes[now[n]] = categories[n]
        logits = maps.class_logits - maps.class_logits.max(axis=-1, keepdims=True)
        chosen = np.take_along_axis(logits, classes[..., None], -1)[..., 0]
        entropy = np.log(np.exp(logits).sum(axis=-1)) - chosen
        terms["category"] = entropy[~ignore].sum() / max((~ignore).sum(), 1)
    return terms
