"""`SRNet.track` against plain NumPy, on maps known by construction."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax import models
from stemseg_jax.outputs import collector
from stemseg_jax.systems.srnet import SRNet
from stemseg_jax.tracking import label_codes, online
from stemseg_jax.tracks import Frame
from tests.drained import drained
from tests.systems import painted, painted_srnet, srnet_reference
from tests.systems.painted import Thing
from tests.systems.programs import compiled_by

WHOLE, PADDED, SHRUNK = ((32, 64), 1), ((27, 60), 1), ((30, 62), 2)


def config_of(name="davis", size=WHOLE, min_cells=4, **changes):
    config = importlib.import_module(f"configs.srnet_{name}").get_config("smoke")
    with config.unlocked():
        (height, width), _ = size
        config.evaluation.min_dim, config.evaluation.max_dim = height, width
        config.clustering.min_seediness = 0.6
        config.clustering.min_cells = min_cells
        config.clustering.max_instances = 8
        if config.model.num_classes:
            config.model.num_classes = 6
            config.model.categories = ""
        config.update_from_flattened_dict(
            {path.replace("__", "."): value for path, value in changes.items()}
        )
    return config


def crowd(length):
    """Things that stay, cross, hide each other, enter, leave and come back."""
    return [
        Thing(1, range(length), at=(1, 1), speed=(0, 0.3)),
        Thing(2, range(length), at=(2, 11), speed=(0, -0.3)),
        Thing(3, range(2, length), at=(5, 6), size=(3, 5)),
        Thing(4, [*range(length // 3), *range(2 * length // 3, length)], at=(4, 0)),
        Thing(5, range(length), at=(-2, 12), size=(3, 3), speed=(0.25, 0)),
        Thing(6, range(length // 2), at=(6, 12), size=(1, 2), speed=(0, 0.2)),
    ]


CASES = [
    ("davis", WHOLE, {}),
    ("davis", PADDED, dict(tracking__upsample=False)),
    ("davis", SHRUNK, dict(model__mixing="xy", tracking__instance_heatmap=False)),
    ("davis", WHOLE, dict(tracking__temporal_features="current")),
    ("davis", PADDED, dict(tracking__centre="embedding")),
    ("ytvis", SHRUNK, dict(tracking__upsample=False, tracking__centre="box")),
    ("ytvis", PADDED, dict(clustering__max_instances=3)),
]


def check(system, video, config):
    """All that `track` gives of a video is what plain NumPy gives."""
    frames = video.frames()
    parts, statistics = drained(system.track({}, iter(frames)))
    labels, tracks = srnet_reference.track(
        painted_srnet.said(video, config), len(frames), config
    )
    assert [part.first for part in parts] == list(range(len(frames)))
    found = np.concatenate([part.labels for part in parts])
    np.testing.assert_array_equal(found, labels)
    (geometry,) = {part.geometry for part in parts}
    assert geometry.stride == (1 if config.tracking.upsample else 4)
    assert geometry.labels == labels.shape[1:]
    assert list(statistics) == list(tracks)
    for number, track in statistics.items():
        other = tracks[number]
        assert (track.pixels, track.first, track.last) == other[:3]
        assert track.evidence.keys() == other.evidence.keys()
        for kind, value in other.evidence.items():
            np.testing.assert_allclose(track.evidence[kind], value, rtol=1e-4)
        assert track.score == track.evidence["seed"]
        if other.logits is None:
            assert track.logits is None and track.votes is None
        else:
            np.testing.assert_allclose(track.logits, other.logits, rtol=1e-4, atol=1e-4)
            np.testing.assert_array_equal(track.votes, other.votes)
    return labels


@pytest.mark.parametrize(("name", "size", "changes"), CASES)
def test_equals_the_plain_form(name, size, changes):
    config = config_of(name, size, **changes)
    system = painted_srnet.system(config)
    for length in (1, 2, 12):
        video = painted.Video(painted.paint(length, crowd(length)), *size)
        labels = check(system, video, config)
        assert labels[0].max() > 1
    nothing = painted.Video(painted.paint(3, []), *size)
    assert not check(system, nothing, config).any()


# ----------------------------------------------------------------------- seen by hand


def still_things(cells):
    """The same cells, whose objects say that they did not move."""
    cells = cells.copy()
    cells[..., painted_srnet.TRACKING :] = 128
    return cells


def video_of(length, things):
    cells = painted.paint(length, things, spread=0, stray=60)
    return painted.Video(still_things(cells), *WHOLE)


@functools.cache
def calm(**changes):
    changes = dict(clustering__min_seediness=0.4, tracking__upsample=False) | changes
    return painted_srnet.system(config_of(min_cells=3, **changes))


def labels_of(system, video):
    parts, statistics = drained(system.track({}, iter(video.frames())))
    return np.concatenate([part.labels for part in parts]), statistics


def test_objects_that_stay_move_leave_and_return():
    things = [
        Thing(1, range(8), at=(0, 0), size=(3, 3), speed=(0, 1)),
        Thing(2, [0, 1, 2, 5, 6, 7], at=(4, 1), size=(3, 3)),
        Thing(3, range(8), at=(4, 10), size=(3, 4)),
    ]
    labels, statistics = labels_of(calm(), video_of(8, things))
    shown = painted.outlines(8, things)
    np.testing.assert_array_equal(labels > 0, shown > 0)
    stay = [set(labels[shown == number]) for number in (1, 3)]
    left, back = set(labels[:3][shown[:3] == 2]), set(labels[5:][shown[5:] == 2])
    assert set().union(*stay, left) == {1, 2, 3}
    assert back == {4}  # nothing is remembered beyond one frame
    spans = {number: (t.first, t.last) for number, t in statistics.items()}
    assert spans[min(left)] == (0, 2) and spans[4] == (5, 7)
    assert all(0.4 < t.score < 1 for t in statistics.values())


def test_an_object_that_moves_farther_than_its_box_has_a_new_id():
    things = [Thing(1, range(2), at=(2, 0), size=(2, 2), speed=(0, 9))]
    labels, _ = labels_of(calm(), video_of(2, things))
    assert [set(np.unique(frame)) for frame in labels] == [{0, 1}, {0, 2}]


def test_a_frame_without_objects_ends_all_tracks():
    things = [Thing(1, [0, 1, 3], at=(1, 1)), Thing(2, [0, 1, 3], at=(4, 9))]
    labels, _ = labels_of(calm(), video_of(4, things))
    assert [frame.max() for frame in labels] == [2, 2, 0, 4]


def test_the_heat_map_changes_ids_and_never_a_mask():
    cells = painted.paint(9, crowd(9))
    cells[..., painted_srnet.TRACKING :] = 40
    video = painted.Video(cells, *WHOLE)
    seen, unseen = (
        labels_of(calm(tracking__instance_heatmap=on), video)[0] for on in (True, False)
    )
    for one, other in zip(seen, unseen, strict=True):  # the same parts, otherwise named
        pairs = set(zip(one.flat, other.flat, strict=True))
        assert len(pairs) == len(np.unique(one)) == len(np.unique(other))
        assert all((a > 0) == (b > 0) for a, b in pairs)
    assert (seen != unseen).any()


def test_more_slots_than_objects_change_nothing():
    video = video_of(6, crowd(6))
    few, many = (
        labels_of(calm(clustering__max_instances=count), video)[0] for count in (8, 13)
    )
    np.testing.assert_array_equal(few, many)


def test_two_videos_at_once_do_not_touch():
    videos = [video_of(6, crowd(6)), video_of(6, crowd(6)[:2])]
    alone = [labels_of(calm(), video)[0] for video in videos]
    tracks = [calm().track({}, iter(video.frames())) for video in videos]
    for expected in zip(*alone, strict=True):
        for part, other in zip(map(next, tracks), expected, strict=True):
            np.testing.assert_array_equal(part.labels[0], other)


def test_a_frame_of_another_size_and_no_frame_are_refused():
    frames = video_of(2, []).frames()
    frames.append(Frame(2, frames[0].image[:16]))
    with pytest.raises(ValueError, match=r"Frame 2 is \(16, 64\)"):
        drained(calm().track({}, iter(frames)))
    with pytest.raises(ValueError, match="no frames"):
        drained(calm().track({}, iter([])))


class Weighted(painted_srnet.PaintedNetwork):
    """Its maps lie where its only weight does."""

    def decode(self, pyramid, past, heatmaps):
        maps = super().decode(pyramid, past, heatmaps)
        objectness = maps.objectness + self.get_variable("params", "zero")
        return maps._replace(objectness=objectness)


@pytest.mark.parametrize("committed", [False, True])
def test_programs_are_compiled_for_a_padded_size_alone(committed):
    config = config_of("ytvis", clustering__max_instances=5)
    system = painted_srnet.system(config, Weighted)
    programs = compiled_by(system, committed=committed)
    assert programs(5) == ["_start", "_step", "prepare"]
    assert programs(7) == programs(1) == []
    assert programs(3, 60, 128) == ["prepare"]  # another size, padded to the same
    assert programs(3, 64, 64) == ["_start", "_step", "prepare"]


def test_maps_come_along_if_they_are_asked_for():
    video = video_of(3, crowd(3))
    parts, _ = drained(calm().track({}, iter(video.frames()), maps=True))
    without, _ = drained(calm().track({}, iter(video.frames())))
    assert all(part.maps is None for part in without)
    cells = video.seen()
    for part in parts:
        np.testing.assert_array_equal(part.labels, without[part.first].labels)
        embeddings = cells[[part.first], ..., : painted.BANDWIDTH] / 64 - 2
        np.testing.assert_allclose(part.maps["embedding"], embeddings, rtol=1e-5)
        shapes = {name: values.shape for name, values in part.maps.items()}
        assert shapes == {
            "embedding": (1, *painted.SIZE, 4),
            "bandwidth": (1, *painted.SIZE, 2),
            "seediness": (1, *painted.SIZE, 1),
            "offset": (1, *painted.SIZE, 2),
        }


# ---------------------------------------------------------------- with its own network


@pytest.fixture(scope="module")
def own():
    """A fresh network to which everything is an object."""
    config = importlib.import_module("configs.srnet_moving_shapes").get_config("smoke")
    with config.unlocked():
        config.clustering.min_seediness = 0.05
        config.clustering.min_cells = 1
        config.init_from = ""
    return models.initial(config)


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), np.uint8)


def test_a_whole_video_can_stay_on_the_device(own):
    """A scan over frames gives what the loop on the host gives: nothing in a step needs
    the host, and the state has one form from the first frame to the last."""
    _, system, variables = own
    assert isinstance(system, SRNet) and isinstance(system, online.Method)
    frames = noise(4)
    geometry = system.geometry(frames.shape[1:3])

    def step(state, image):
        return system.step(variables, state, Frame(0, image), geometry)

    _, together = jax.lax.scan(
        step, system.start(variables, geometry), jnp.asarray(frames)
    )
    labels, statistics = own.track(frames)
    for index in range(len(frames)):
        found = label_codes.decode(
            np.asarray(together.codes[index]), np.asarray(together.ids[index])
        )
        np.testing.assert_array_equal(labels.labels(index), found)
    assert statistics and labels.geometry == geometry


def test_one_step_is_compiled_and_the_state_is_one_map(own):
    _, system, variables = own
    SRNet._step.clear_cache()
    own.track(noise(4))
    assert SRNet._step._cache_size() == 1
    state = system.start(variables, system.geometry((64, 96)))
    assert state.features.shape == (1, 2, 3, 16)
    rest = jax.tree.leaves(state._replace(features=None))
    assert sum(leaf.size for leaf in rest) < 10 * system.clustering.max_instances


def test_the_past_and_the_heat_map_reach_the_network(own):
    """The past changes every map, the heat map that of the tracking head alone."""
    _, system, variables = own
    images = jnp.asarray(np.random.default_rng(1).normal(size=(1, 2, 64, 96, 3)))
    images = images.astype(jnp.float32)
    heat = jnp.zeros((1, 16, 24))
    apply = functools.partial(system.network.apply, variables)
    maps = apply(images, heat)
    assert maps.embeddings.shape == (1, 16, 24, 4)
    other = apply(images.at[:, 0].add(1), heat)
    peaked = apply(images, heat.at[0, 8, 12].set(1))
    for name in maps._fields:
        assert jnp.abs(getattr(other, name) - getattr(maps, name)).max() > 1e-5
        same = (getattr(peaked, name) == getattr(maps, name)).all()
        assert same == (name != "tracking"), name


def test_tracks_are_chosen_and_restored_like_any_systems(own):
    labels, statistics = own.track(noise(2))
    chosen = collector.select(statistics, **own.config.selection)
    tracks = labels.tracks("noise", chosen)
    assert (tracks.height, tracks.width, tracks.num_frames) == (64, 96, 2)
    assert all(0 < track.score <= 1 for track in tracks.tracks)
