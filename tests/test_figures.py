"""Figures of a clip whose objects are points, and of a clip without any."""

import importlib
import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import moving_shapes as configs_of_shapes
from configs import srnet
from stemseg_jax import models
from stemseg_jax.clustering import sequential
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.ops import gaussian, masks, mixing
from stemseg_jax.systems import stemseg

pytest.importorskip("matplotlib")
from stemseg_jax.figures import clips, grouping, maps  # noqa: E402

FIGURES = (
    *(clips.volume, clips.embedding, grouping.clustering, grouping.stitched),
    *(maps.components, maps.seediness, maps.bandwidths),
)
T, OVERLAP = 5, 3


def seen_by_hand(mixed="xyff", *, foreground=True, **settings) -> clips.Seen:
    """Object n is at n + 1 in all dimensions, the background at 0; σ is 10^-1/2."""
    mixed = mixing.get(mixed)
    (video,) = moving_shapes.load(
        None, "test", num_videos=1, height=64, width=96, objects=(3, 3)
    ).videos

    def window(start):
        clip = video.clip(range(start, start + T))
        numbers = np.arange(1, 1 + len(clip.ids))[:, None, None, None]
        cells = clip.masks[..., 2::4, 2::4]
        labels = jnp.asarray((cells * numbers).max(axis=0))
        embeddings = jnp.repeat(labels[..., None], mixed.dimensions, axis=-1)
        said = stemseg.Maps(
            embeddings.astype(jnp.float32),
            jnp.zeros((*labels.shape, mixed.bandwidths)),
            0.9 * (labels > 0),
            None,
            None,
        )
        bandwidths = gaussian.bandwidths(said.log_bandwidths, (0.3,) * mixed.free)
        chosen = (labels > 0) & foreground
        certain = chosen.astype(jnp.float32)
        return clips.Window(start, clip, cells, said, bandwidths, certain, chosen)

    first, second = window(0), window(T - OVERLAP)
    return clips.Seen(first, (first, second), mixed, sequential.Settings(**settings))


def trained(config, _) -> models.Model:
    """Other weights than the initial ones."""
    model = models.initial(config)
    changed = jax.tree.map(lambda weights: 1.5 * weights, model.variables)
    return model._replace(variables=changed)


def image(axis) -> np.ndarray:
    return axis.images[0].get_array()


def texts(fig) -> list[str]:
    return [text.get_text() for axis in fig.axes for text in axis.texts]


@pytest.mark.parametrize("name", ["ff", "xytf", "xyfff"])
def test_figures_follow_the_mixing_function(name):
    seen = seen_by_hand(name)
    for draw in FIGURES:
        draw(seen).savefig(io.BytesIO(), dpi=20)
    rows = maps.bandwidths(seen).axes[:: maps.COLUMNS]
    assert len(rows) == 1 + seen.mixing.bandwidths + 1  # frames first, the bar last


@pytest.mark.parametrize(
    ("name", "pairs"),
    [
        ("ff", ["plain 1, plain 2"]),
        ("xy", ["x, y"]),
        ("xyf", ["x, y", "x, free 1"]),
        ("xytff", ["x, y", "x, t", "free 1, free 2"]),
    ],
)
def test_dimensions_are_drawn_in_pairs(name, pairs):
    fig = clips.embedding(seen_by_hand(name))
    drawn = [f"{axis.get_xlabel()}, {axis.get_ylabel()}" for axis in fig.axes]
    assert drawn == 2 * pairs


@pytest.mark.parametrize(
    ("given", "seeds", "said"),
    [
        ({}, 3, "No foreground is left"),
        (dict(foreground=False), 0, "No foreground is left"),
        (dict(min_seediness=0.95), 0, "The best seed left has 0.90,\nbelow 0.95"),
        (dict(max_instances=2), 2, "All 2 slots are taken"),
    ],
)
def test_the_last_row_says_why_there_are_no_more_seeds(given, seeds, said):
    seen = seen_by_hand(**given)
    fig = grouping.clustering(seen)
    assert len(fig.axes) == 3 * (seeds + 1)
    (words,) = texts(fig)
    assert words.startswith(said)
    for draw in (clips.volume, grouping.stitched):
        draw(seen).savefig(io.BytesIO(), dpi=20)


def test_only_so_many_seeds_are_shown():
    fig = grouping.clustering(seen_by_hand(), most=1)
    assert len(fig.axes) == 6 and texts(fig) == ["2 more follow."]
    first, last = map(image, fig.axes[2::3])
    np.testing.assert_array_equal(first, last)


def test_maps_are_what_the_window_holds():
    seen = seen_by_hand("xytf")
    said = seen.windows[0].maps
    axes = maps.components(seen).axes
    assert [axis.get_ylabel() for axis in axes[4:20:4]] == ["t", "y", "x", "free 1"]
    np.testing.assert_array_equal(image(axes[7]), said.embeddings[-1, ..., 0])
    target = image(maps.seediness(seen).axes[12])
    np.testing.assert_allclose(target, said.embeddings[0, ..., 0] > 0, atol=1e-5)
    *_, last, bar = maps.bandwidths(seen).axes
    np.testing.assert_allclose(image(last), 10**-0.5, rtol=1e-5)
    assert "free dimensions: 0.3" in bar.get_ylabel()


def test_windows_of_one_video_agree_where_they_overlap():
    assert texts(grouping.stitched(seen_by_hand())) == [
        *("1.00", "0.00", "0.00"),
        *("0.00", "1.00", "0.00"),
        *("0.00", "0.00", "1.00"),
    ]


def test_two_windows_of_a_video_are_seen(monkeypatch):
    config = configs_of_shapes.get_config("smoke")
    monkeypatch.setattr(models, "saved_config", lambda _: config)
    monkeypatch.setattr(models, "load", trained)
    seen = clips.look("run")
    first, second = seen.windows
    shared = config.tracking.overlap
    np.testing.assert_array_equal(
        first.clip.frames[-shared:], second.clip.frames[:shared]
    )
    assert second.start == config.num_frames - shared
    assert first.bandwidths.shape == first.maps.embeddings.shape == (8, 16, 24, 4)
    logits = first.maps.foreground_logits
    np.testing.assert_array_equal(first.foreground, logits > 0)
    majority = masks.majority(jnp.asarray(first.clip.masks))  # as `loss.target` says
    np.testing.assert_array_equal(first.masks, majority)
    assert not np.allclose(seen.before.maps.seediness, first.maps.seediness)
    monkeypatch.setattr(models, "load", lambda config, _: models.initial(config))
    same, _ = clips.look("run").windows
    np.testing.assert_array_equal(seen.before.maps.seediness, same.maps.seediness)


def test_true_masks_are_those_of_training(monkeypatch):
    """The released rule, whatever `loss.target` says."""
    given = {"loss.target": "fraction", "parity": "released"}
    config = models.changed(configs_of_shapes.get_config("smoke"), given)
    monkeypatch.setattr(models, "saved_config", lambda _: config)
    monkeypatch.setattr(models, "load", lambda config, _: models.initial(config))
    for window in clips.look("run").windows:
        expected = np.asarray(masks.central_and(jnp.asarray(window.clip.masks)))
        np.testing.assert_array_equal(window.masks, expected)
        numbers = [own.number for own in clips.instances(window)]
        assert numbers == [*np.flatnonzero(expected.any(axis=(1, 2, 3)))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tracking.overlap": 0}, "run has tracking.overlap=0: .* at least 1"),
        ({"init_from": "gone.pth"}, "gone.pth: no such checkpoint"),
    ],
)
def test_a_run_that_cannot_be_seen_is_refused(monkeypatch, options, message):
    config = models.changed(configs_of_shapes.get_config("smoke"), options)
    monkeypatch.setattr(models, "saved_config", lambda _: config)
    monkeypatch.setattr(models, "load", lambda *_: None)
    with pytest.raises(ValueError, match=message):
        clips.look("run")


def test_a_run_of_another_system_is_refused(monkeypatch):
    monkeypatch.setattr(models, "saved_config", lambda _: srnet.get_config())
    with pytest.raises(ValueError, match="run is of the system 'srnet'"):
        clips.look("run")


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "stemseg_jax.figures")
    with pytest.raises(ImportError, match=r"pip install 'stemseg_jax\[notebooks\]'"):
        importlib.import_module("stemseg_jax.figures")
