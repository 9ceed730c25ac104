import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.clustering import centres_offsets
from stemseg_jax.clustering.centres_offsets import Settings
from tests import other_figures

ALL = Settings(min_share=0.0)


@pytest.fixture(scope="module")
def figures(request):
    return other_figures.load("kept", "panoptic_deeplab", request)


@pytest.mark.parametrize(
    ("tag", "peak", "window"), [("t0.1_k7", 0.1, 7), ("t0.1_k3", 0.1, 3)]
)
def test_centres_and_groups_are_those_of_the_program(figures, tag, peak, window):
    settings = Settings(min_peak=peak, window=window, min_share=0.0)
    heatmap = jnp.asarray(figures["pred_heatmap"][0])
    offsets = jnp.asarray(figures["pred_offset"].transpose(1, 2, 0))
    found = centres_offsets.centres(heatmap, settings=settings)
    places = np.asarray(found.places)[np.asarray(found.valid)]
    np.testing.assert_array_equal(places, figures[f"centers__{tag}"])
    groups = centres_offsets.group(found, offsets)
    np.testing.assert_array_equal(groups + 1, figures[f"grouping_unmasked__{tag}"])
    foreground = jnp.asarray(figures["pred_foreground"], jnp.float32)
    proposals = centres_offsets.propose(
        *(heatmap, offsets, foreground, foreground >= 0), settings=settings
    )
    np.testing.assert_array_equal(proposals.labels + 1, figures[f"grouping__{tag}"])


def test_of_the_strongest_all_are_kept(figures):
    # The program keeps one of two: `centers__t0.5_k7_top2`.
    settings = Settings(min_peak=0.5, max_instances=2, min_share=0.0)
    heatmap = jnp.asarray(figures["pred_heatmap"][0])
    found = centres_offsets.centres(heatmap, settings=settings)
    assert found.valid.all() and len(found.valid) == 2
    (theirs,) = figures["centers__t0.5_k7_top2"]
    assert theirs.tolist() in found.places.tolist()


def test_without_a_centre_there_is_nothing(figures):
    zeros = jnp.zeros((64, 96))
    foreground = jnp.asarray(figures["pred_foreground"], jnp.float32)
    found = centres_offsets.propose(
        *(zeros, jnp.zeros((64, 96, 2)), foreground, zeros == 0), settings=ALL
    )
    np.testing.assert_array_equal(found.labels + 1, figures["grouping__no_center"])
    assert not found.valid.any() and not found.scores.any()
    flat = centres_offsets.group(
        centres_offsets.centres(zeros, settings=ALL), jnp.zeros((64, 96, 2))
    )
    assert (flat == -1).all()


def plain(heatmap, offsets, foreground, settings):
    """The same, cell by cell."""
    h, w = heatmap.shape
    half = settings.window // 2
    found = []
    for y, x in np.ndindex(h, w):
        window = heatmap[
            max(y - half, 0) : y + half + 1, max(x - half, 0) : x + half + 1
        ]
        if heatmap[y, x] > settings.min_peak and heatmap[y, x] == window.max():
            found.append((heatmap[y, x], y, x))
    found = sorted(found, reverse=True)[: settings.max_instances]
    places = np.array(sorted((y, x) for _, y, x in found))
    labels = np.full((h, w), -1)
    for y, x in np.ndindex(h, w):
        if foreground[y, x] > settings.min_foreground and len(places):
            steps = offsets[y, x] + (y, x) - places
            labels[y, x] = np.square(steps).sum(axis=1).argmin()
    scores = np.zeros(settings.max_instances)
    for k, (y, x) in enumerate(places):
        if not 0 < (labels == k).sum() >= settings.min_share * h * w:
            labels[labels == k] = -1
        else:
            scores[k] = min(heatmap[y, x], 1) * foreground[labels == k].mean()
    return labels, scores


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_plain_form(seed):
    rng = np.random.default_rng(seed)
    settings = Settings(
        window=(3, 5)[seed % 2], max_instances=6, min_share=0.03, min_peak=0.4
    )
    heatmap = rng.uniform(0, 1.1, (12, 17)).astype(np.float32)
    offsets = rng.normal(0, 4, (12, 17, 2)).astype(np.float32)
    foreground = rng.uniform(0, 1, (12, 17)).astype(np.float32)
    arrays = tuple(map(jnp.asarray, (heatmap, offsets, foreground)))
    propose = jax.jit(functools.partial(centres_offsets.propose, settings=settings))
    inside = jnp.ones((12, 17), bool)
    found = propose(*arrays, inside)
    labels, scores = plain(heatmap, offsets, foreground, settings)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
    np.testing.assert_array_equal(found.valid, scores > 0)
    # Padding changes nothing, whatever is said of it.
    padded = (
        np.pad(x, [(0, 4), (0, 3)] + [(0, 0)] * (x.ndim - 2), constant_values=0.9)
        for x in (heatmap, offsets, foreground)
    )
    other = propose(*padded, jnp.pad(inside, ((0, 4), (0, 3))))
    np.testing.assert_array_equal(other.labels[:12, :17], labels)
    assert (other.labels[12:] == -1).all() and (other.labels[:, 17:] == -1).all()
    np.testing.assert_allclose(other.scores, scores, rtol=1e-5)


def test_frames_side_by_side():
    heatmaps = jnp.zeros((2, 5, 6)).at[1, 2, 3].set(0.8)
    others = jnp.zeros((2, 5, 6, 2)), jnp.ones((2, 5, 6)), jnp.ones((2, 5, 6), bool)
    propose = functools.partial(centres_offsets.propose, settings=ALL)
    found = jax.vmap(propose)(heatmaps, *others)
    assert (found.labels[0] == -1).all() and (found.labels[1] == 0).all()
    np.testing.assert_allclose(found.scores[:, 0], [0, 0.8], rtol=1e-6)


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(ValueError, match="window=4: a square around a cell has an odd"):
        Settings(window=4)
    with pytest.raises(ValueError, match="min_peak=2.0 is no probability"):
        Settings(min_peak=2.0)
