"""Points to clusters, clusters of windows to tracks."""

import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemseg_jax.clustering import sequential
from stemseg_jax.ops import resize
from stemseg_jax.tracking import matching, stitching
from tests import goldens
from tests.parity import figures
from tests.parity.figures import Figure

cluster = jax.jit(sequential.cluster, static_argnames="settings")
stitch = jax.jit(
    stitching.stitch, static_argnames=("num_slots", "max_alive", "settings")
)


def clusterer(folder: pathlib.Path, name: str) -> list[Figure]:
    """Point sets: labels, centres and standard deviations."""
    meta, arrays = goldens.load(folder, name)
    results = []
    for case, given in meta["cases"].items():
        settings = sequential.Settings(
            rule="released",
            max_instances=given.get("cap", 20),
            min_seediness=given["min_seed"],
            primary_threshold=given["primary"],
            secondary_threshold=given["secondary"],
        )
        embeddings = arrays[f"{case}.embeddings"]
        bandwidths = arrays[f"{case}.bandwidths"]
        free = np.array(given["stds"], np.float32) ** -2
        free = np.broadcast_to(free, (len(embeddings), len(free)))
        clusters = cluster(
            embeddings,
            np.concatenate([bandwidths, free], axis=1).astype(np.float32),
            arrays[f"{case}.seediness"][:, 0],
            np.ones(len(embeddings), bool),
            settings=settings,
        )
        labels = np.where(clusters.labels < 0, -1, clusters.labels + given["start"])
        count = int(clusters.valid.sum())
        stds = np.sqrt(np.maximum(1 / clusters.bandwidths[:count], 1e-8))
        near = near_a_threshold(embeddings, clusters, settings)
        results += [
            figures.different(
                f"{case}: labels", labels, arrays[f"{case}.labels"], near=near
            ),
            figures.equal(f"{case}: instances", count, len(given["instance_labels"])),
        ]
        for key, actual in (("centers", clusters.centres[:count]), ("stds", stds)):
            if f"{case}.{key}" in arrays:
                expected = arrays[f"{case}.{key}"]
                results.append(
                    figures.relative(
                        f"{case}: {key}", actual, expected, figures.ROUNDING
                    )
                )
    return results


def near_a_threshold(
    embeddings: np.ndarray, clusters: sequential.Clusters, settings: sequential.Settings
) -> np.ndarray:
    """Points [*p] whose probability at any centre is about one of the thresholds.

    Whatever happens to them may be rounding.
    """
    near = np.zeros(embeddings.shape[:-1], bool)
    for slot in np.flatnonzero(clusters.valid):
        difference = embeddings - np.asarray(clusters.centres[slot])
        distance = (np.asarray(clusters.bandwidths[slot]) * difference**2).sum(axis=-1)
        probability = np.exp(-0.5 * np.sqrt(distance))
        for threshold in (settings.primary_threshold, settings.secondary_threshold):
            near |= np.abs(probability - threshold) < figures.THRESHOLD
    return near


def chainer(folder: pathlib.Path, name: str) -> list[Figure]:
    """Scenes of several clips, and the pairing of labels by itself."""
    meta, arrays = goldens.load(folder, name)
    results = []
    for scene, given in meta["scenes"].items():
        results += _scene(scene, given, arrays)
    for case, expected in meta["associate"].items():
        results += _association(case, expected, arrays)
    return results


def _scene(scene: str, given: dict[str, Any], arrays: dict) -> list[Figure]:
    source = given.get("inputs", scene).partition(".")[0]
    scale = int(given["resize"])
    masks = arrays[f"{source}.masks"] > 0
    masks = masks.repeat(scale, axis=1).repeat(scale, axis=2)
    expected = arrays[f"{scene}.label_map"]
    settings = sequential.Settings(rule="released")
    K = settings.max_instances
    labels = np.zeros(masks.shape, np.int32)
    near = np.zeros(masks.shape, bool)
    seen, next_id, names = set(), jnp.int32(1), []
    for number, frames in enumerate(given["frames"]):
        maps = [
            _enlarged(arrays[f"{source}.clip{number}.{key}"], scale)
            for key in ("embeddings", "bandwidths", "seediness")
        ]
        foreground = masks[frames]
        points = [np.asarray(x).reshape(-1, x.shape[-1]) for x in maps]
        clusters = cluster(
            points[0],
            points[1],
            points[2][:, 0],
            foreground.ravel(),
            settings=settings,
        )
        known = len(seen.intersection(frames))
        stitched = stitch(
            jnp.asarray(labels[frames]),
            clusters.labels.reshape(foreground.shape),
            jnp.asarray(foreground),
            jnp.int32(known),
            next_id,
            num_slots=K,
            max_alive=K * len(given["frames"]),
            settings=stitching.Settings(rule="released"),
        )
        labels[frames], next_id = stitched.labels, stitched.next_id
        near[frames] |= near_a_threshold(np.asarray(maps[0]), clusters, settings)
        names.append(np.asarray(stitched.ids)[np.asarray(clusters.valid)].tolist())
        seen.update(frames)
    return [
        figures.different(f"{scene}: label map", labels, expected, near=near & masks),
        figures.equal(
            f"{scene}: labels per clip", names, given["instance_labels_per_clip"]
        ),
    ]


def _enlarged(maps: np.ndarray, scale: int) -> jax.Array:
    """[C T h w] -> [T h w C], larger in space."""
    maps = jnp.asarray(goldens.channels_last(maps, axis=0))
    return resize.linear(maps, (maps.shape[1] * scale, maps.shape[2] * scale))


def _association(case: str, expected: dict[str, Any], arrays: dict) -> list[Figure]:
    """Which label of one vector is which of another."""
    one, other = (arrays[f"assoc.{case}.labels{k}"] for k in (1, 2))
    rows, columns = (np.unique(x[x >= 0]) for x in (one, other))
    counts = matching.joint_counts(
        *(
            jnp.asarray(np.where(x < 0, -1, np.searchsorted(names, x)), jnp.int32)
            for x, names in ((one, rows), (other, columns))
        ),
        num_rows=len(rows),
        num_columns=len(columns),
    )
    if not len(rows) or not len(columns):
        return [figures.equal(f"associate {case}: pairs", [], expected["pairs"])]
    iou = matching.iou(counts)
    row = np.asarray(matching.best_rows(iou))
    pairs = sorted(
        [int(rows[r]), int(c)] for r, c in zip(row, columns, strict=True) if r >= 0
    )
    cost = [1 - float(iou[r, c]) for c, r in enumerate(row) if r >= 0]
    return [
        figures.equal(f"associate {case}: pairs", pairs, sorted(expected["pairs"])),
        figures.relative(
            f"associate {case}: costs",
            sorted(cost),
            sorted(expected["cost"]),
            figures.ROUNDING,
        ),
    ]
