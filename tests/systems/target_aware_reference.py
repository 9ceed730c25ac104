"""Discovery and association as plain NumPy, from the paper's text: one frame, one
target, one proposal at a time; nothing is padded. Least squares are solved exactly.
"""

import dataclasses
from typing import NamedTuple

import numpy as np


class Track(NamedTuple):
    pixels: int
    first: int
    last: int
    score: float


@dataclasses.dataclass
class Target:
    """A track: what it looks like, and what is known of it."""

    id: int
    look: np.ndarray  # at first
    project: np.ndarray | None = None
    filter: np.ndarray | None = None
    samples: tuple | list = ()  # (projected features, mask, weight)
    age: int = 0
    newest: int = -1
    factor: float = 1.0
    seen: int = 0


def place(x: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Bilinear values of a map [h w ...] at rows and columns, clipped to it."""
    for axis, places in enumerate((rows, columns)):
        places = np.clip(places, 0, x.shape[axis] - 1)
        low = np.minimum(np.floor(places).astype(int), max(x.shape[axis] - 2, 0))
        share = (places - low).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        high = np.minimum(low + 1, x.shape[axis] - 1)
        x = (1 - share) * x.take(low, axis) + share * x.take(high, axis)
    return x


def resized(x: np.ndarray, size) -> np.ndarray:
    places = [
        (np.arange(new) + 0.5) * old / new - 0.5
        for old, new in zip(x.shape, size, strict=False)
    ]
    return place(x, *places)


def crop(image: np.ndarray, mask: np.ndarray, side: int) -> np.ndarray:
    box = []
    for axis in range(2):
        seen = np.flatnonzero(mask.any(axis=1 - axis))
        if not len(seen):
            return np.zeros((side, side, 3))
        middle = (seen[0] + seen[-1]) / 2 + 0.5
        half = 1.2 * (seen[-1] - seen[0] + 1) / 2
        ends = np.clip(np.round([middle - half, middle + half]), 0, mask.shape[axis])
        box.append(ends.astype(int))
    (top, bottom), (left, right) = box
    if min(bottom - top, right - left) <= 10:
        return np.zeros((side, side, 3))
    return resized(image[top:bottom, left:right], (side, side))


def shifted(small: np.ndarray) -> np.ndarray:
    """[h w D] -> what each tap of a 3x3 kernel sees [h w 9 D]."""
    h, w, _ = small.shape
    padded = np.pad(small, ((1, 1), (1, 1), (0, 0)))
    taps = [padded[i : i + h, j : j + w] for i in range(3) for j in range(3)]
    return np.stack(taps, axis=2)


def pixel_weights(mask: np.ndarray) -> np.ndarray:
    target = mask > 0.5
    share = 0.1 if target.sum() < 10 else target.mean()
    wanted = max(share, 0.1)
    on, off = np.sqrt(wanted / share), np.sqrt((1 - wanted) / max(1 - share, 1e-6))
    return np.where(target, on, off)


def second_layer(target: Target, ridge: float) -> np.ndarray:
    """The kernel of least squares, ridge included [9 D]."""
    rows, right = [], []
    for small, mask, weight in target.samples:
        taps = shifted(small)
        h, w = taps.shape[:2]
        seen = resized(taps.reshape(h, w, -1), mask.shape)
        factors = (np.sqrt(weight) * pixel_weights(mask)).ravel()[:, None]
        rows.append(factors * seen.reshape(factors.size, -1))
        right.append(factors[:, 0] * mask.ravel())
    A, b = np.concatenate(rows), np.concatenate(right)
    kernel = np.linalg.solve(A.T @ A + ridge**2 * np.eye(A.shape[1]), A.T @ b)
    return kernel.reshape(9, -1)


def score(target: Target, features: np.ndarray) -> np.ndarray:
    return (shifted(features @ target.project) * target.filter).sum(axis=(2, 3))


def remember(target: Target, features, mask, factor: float, settings) -> None:
    if (mask > 0.5).sum() < 10:
        return
    weights = np.array([s[2] for s in target.samples])
    weights = np.pad(weights, (0, settings.capacity - len(weights)))
    index = int(weights.argmin())
    if target.newest < 0:
        weights, weight = weights / (1 - settings.rate), settings.rate
    else:
        weight = weights[target.newest] / target.factor / (1 - settings.rate)
    weights[index] = weight * factor
    weights /= weights.sum()
    stored = np.round(np.clip(mask, 0, 1) * 255) / 255
    sample = (features @ target.project, stored, 0.0)
    if index == len(target.samples):
        target.samples.append(sample)
    target.samples[index] = sample
    target.samples = [
        (f, m, w) for (f, m, _), w in zip(target.samples, weights, strict=False)
    ]
    target.newest, target.factor = index, factor


def propose(heat, offsets, probability, settings):
    h, w = heat.shape
    half = settings.window // 2
    found = []
    for y, x in np.argwhere(heat > settings.min_peak):
        around = heat[max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1]
        if heat[y, x] == around.max():
            found.append((-heat[y, x], y, x))
    places = sorted((y, x) for _, y, x in sorted(found)[: settings.max_instances])
    labels = np.full((h, w), -1)
    if places:
        for y, x in np.argwhere(probability > settings.min_foreground):
            steps = offsets[y, x] + (y, x) - np.array(places)
            labels[y, x] = np.square(steps).sum(axis=1).argmin()
    result = []
    for k, (y, x) in enumerate(places):
        mask = labels == k
        if mask.any() and mask.sum() >= settings.min_share * h * w:
            result.append((mask, min(heat[y, x], 1) * probability[mask].mean()))
    return result


def iou(a, b) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


def cosine(a, b) -> float:
    return a @ b / max(np.linalg.norm(a), 1e-8) / max(np.linalg.norm(b), 1e-8)


def follow(images, network, settings, fitted, *, clustering, target):
    """Labels [L H W] and the tracks of a video.

    Args:
        images: [L H W 3] as the network takes them.
        network: With `maps`, `features` and `embedding`.
        settings: Of tracking.
        fitted: (view, mask, frame) -> layers and first samples of a new target.
    """
    S = settings.size
    previous, foreground = images[0], np.zeros(images.shape[1:3])
    targets, tracks, labels, next_id = [], {}, [], 1
    for t, image in enumerate(images):
        before = np.concatenate([previous, foreground[..., None]], axis=-1)
        logits, heat, offsets = network.maps(image, before)
        probability = 1 / (1 + np.exp(-logits[..., 0]))
        previous, foreground = image, probability
        proposals = propose(heat, offsets, probability, clustering)
        view = resized(image, (S, S))
        features = network.features(view)
        size = probability.shape
        likely = [
            resized(np.clip(resized(score(x, features), (S, S)), 0, 1), size)
            for x in targets
        ]
        tracked = [np.zeros(size, bool) for _ in targets]
        if targets:
            best, most = np.argmax(likely, axis=0), np.max(likely, axis=0)
            tracked = [(best == k) & (most > 0.5) for k in range(len(targets))]
        # Verification.
        looks = [
            network.embedding(crop(image, mask, settings.crop)) for mask, _ in proposals
        ]
        pairs = []
        for k, x in enumerate(targets):
            now = network.embedding(crop(image, tracked[k], settings.crop))
            for p, (mask, _) in enumerate(proposals):
                s = cosine(looks[p], now) + cosine(looks[p], x.look)
                if iou(mask, tracked[k]) > settings.min_overlap:
                    pairs.append((-s, k, p))
        taken, used = {}, set()
        if settings.verification:
            for s, k, p in sorted(pairs):
                if -s > settings.min_similarity and k not in taken and p not in used:
                    taken[k] = p
                    used.add(p)
        new = [
            p
            for p, (mask, _) in enumerate(proposals)
            if all(iou(mask, x) < settings.max_overlap for x in tracked)
        ]
        # Masks: verified ones and new ones, then what is left of tracked ones.
        frame = np.zeros(size, int)
        own, ended = {}, set()
        for k, x in enumerate(targets):
            if k not in taken:
                frame[tracked[k]] = x.id
        for k, p in taken.items():
            own[targets[k].id] = proposals[p]
        for p in new:
            if len(targets) - len(ended) == settings.max_tracks:
                gone = [
                    (targets[k].seen, k)
                    for k in range(len(tracked))
                    if k not in ended and not tracked[k].any()
                ]
                if not gone:
                    continue
                ended.add(min(gone)[1])
            own[next_id] = proposals[p]
            targets.append(Target(next_id, looks[p], seen=t))
            next_id += 1
        for number, (mask, _) in own.items():
            frame[mask] = number
        # What is learnt.
        for k, x in enumerate(targets):
            mask = frame == x.id
            if x.id in own:
                soft, strength = mask.astype(float), own[x.id][1]
            else:
                around = (frame == 0) & (likely[k] <= 0.5)
                soft = np.where(around | mask, likely[k], 0.0)
                strength = likely[k][mask].mean() if mask.any() else 0.0
            if mask.any():
                x.seen = t
                old = tracks.get(x.id, Track(0, t, t, 0.0))
                shown = tracks.setdefault(("frames", x.id), [])
                shown.append(strength)
                tracks[x.id] = Track(
                    old.pixels + int(mask.sum()), old.first, t, float(np.mean(shown))
                )
            soft = resized(soft, (S, S))
            if not x.samples:
                x.project, x.filter, x.samples = fitted(view, soft, t)
                continue
            x.age += 1
            if settings.memory_update:
                sure = k in taken
                remember(x, features, soft, 2.0 if sure else 1.0, target)
                if sure or x.age % settings.update_every == 0:
                    x.filter = second_layer(x, target.ridge[1])
        targets = [x for k, x in enumerate(targets) if k not in ended]
        labels.append(frame)
    return np.array(labels), {k: v for k, v in tracks.items() if isinstance(k, int)}
