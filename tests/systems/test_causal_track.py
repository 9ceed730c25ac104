"""`CausalEmbedding.track` against plain Python, on maps known by construction."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import causal_embedding
from stemseg_jax import models
from stemseg_jax.systems.causal_embedding import CausalEmbedding
from stemseg_jax.tracking import online
from stemseg_jax.tracks import Frame
from tests.drained import drained
from tests.systems import causal_reference, painted_causal

SIZE = 32, 64
FAR = 3.2 * painted_causal.SCALE  # grey levels between objects: further than 2 * 1.5


def config_of(name="kitti", **changes):
    config = importlib.import_module(f"configs.causal_{name}").get_config("smoke")
    config = config.copy_and_resolve_references().unlock()
    config.data.height, config.data.width = SIZE  # to which frames are squeezed
    config.clustering.max_instances = 8
    config.clustering.min_points = 4
    config.model.pixels.order = "rgb"
    config.model.pixels.mean = (0.0, 0.0, 0.0)
    config.model.pixels.std = (1.0, 1.0, 1.0)
    config.update_from_flattened_dict(
        {path.replace("__", "."): value for path, value in changes.items()}
    )
    return config.lock()


class Thing:
    """A box of one colour, perhaps uneven, in some of the frames."""

    def __init__(self, number, frames, *, at, size=(8, 10), speed=(0, 0), drift=0.0):
        self.number, self.frames = number, set(frames)
        self.at, self.size, self.speed, self.drift = at, size, speed, drift

    def colour(self, t):
        red, green = divmod(self.number - 1, 3)
        return np.array([30 + FAR * red + self.drift * t, 30 + FAR * green, 230])


def paint(length, things, *, spread=4, seed=0):
    """Frames and the numbers of their objects; later things hide earlier ones."""
    rng = np.random.default_rng(seed)
    images = np.zeros((length, *SIZE, 3))
    images[..., :2] = rng.integers(0, 256, (length, *SIZE, 2))
    images[..., 2] = rng.integers(0, 60, (length, *SIZE))
    truth = np.zeros((length, *SIZE), np.int32)
    for t in range(length):
        for thing in things:
            if t not in thing.frames:
                continue
            top, left = np.round(np.add(thing.at, np.multiply(thing.speed, t))).astype(
                int
            )
            rows = slice(max(top, 0), max(top + thing.size[0], 0))
            columns = slice(max(left, 0), max(left + thing.size[1], 0))
            noise = rng.integers(-spread, spread + 1, images[t, rows, columns].shape)
            images[t, rows, columns] = thing.colour(t) + noise * (1, 1, 0)
            truth[t, rows, columns] = thing.number
    return images.round(), truth


def crowd(length):
    """Things that stay, cross, hide each other, enter, leave and come back."""
    return [
        Thing(1, range(length), at=(1, 1), speed=(0, 3)),
        Thing(2, range(length), at=(2, 44), size=(8, 13), speed=(0, -3)),
        Thing(3, range(2, length), at=(18, 20), size=(6, 12), drift=1.5),
        Thing(4, [0, 1, *range(4, length)], at=(20, 2), size=(9, 6)),
        Thing(5, range(length), at=(-6, 50), size=(9, 9), speed=(1, 0)),
        Thing(6, range(length // 2), at=(24, 50), size=(2, 3), speed=(0, 1)),
        Thing(7, [0, *range(8, length)], at=(20, 36), size=(9, 10)),
    ]


def labels_of(config, images, truth=None):
    system = painted_causal.system(config)
    frames = painted_causal.frames(images, truth)
    parts, statistics = drained(system.track({}, iter(frames)))
    assert [part.first for part in parts] == list(range(len(images)))
    assert all(part.geometry.stride == 1 for part in parts)
    return np.concatenate([part.labels for part in parts]), statistics, parts


def assert_same_tracks(one, other):
    """Whatever the tracks are called: seeds are drawn in another order."""
    np.testing.assert_array_equal(one < 0, other < 0)
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    assert len(pairs[0]) == len(set(pairs[0])) == len(set(pairs[1])), pairs


CASES = [
    {},
    dict(tracking__span=1),
    dict(tracking__span=3, tracking__time_to_live=1),
    dict(tracking__time_to_live=None),
    dict(clustering__min_points=8),
    dict(tracking__true_masks=True),
    dict(tracking__true_means=True),
    dict(tracking__true_masks=True, tracking__true_means=True),
]


@pytest.mark.parametrize("changes", CASES, ids=str)
def test_equals_the_plain_form(changes):
    config = config_of(**changes)
    images, truth = paint(12, crowd(12))
    found, statistics, _ = labels_of(config, images, truth)
    expected = causal_reference.track(images, config, truth)
    assert_same_tracks(found, expected)
    assert expected.max() >= 6
    for number, track in statistics.items():
        seen = np.flatnonzero((found == number).any(axis=(1, 2)))
        assert (track.first, track.last) == (seen[0], seen[-1])
        assert track.pixels == (found == number).sum()
        means = [
            painted_causal.logistic(painted_causal.foreground(images[t]))[
                found[t] == number
            ].mean()
            for t in seen
        ]
        np.testing.assert_allclose(track.score, np.mean(means), rtol=1e-5)
        assert track.scored_by == "foreground"


def test_an_object_that_is_hidden_keeps_its_id_as_long_as_it_is_remembered():
    for missing, kept in ((4, True), (6, False)):
        gone = [*range(3), *range(3 + missing, 14)]
        images, truth = paint(14, [Thing(1, gone, at=(4, 4)), crowd(14)[1]])
        found, _, _ = labels_of(
            config_of(tracking__time_to_live=5, tracking__span=3), images
        )
        ids = [set(found[t][truth[t] == 1]) for t in gone]
        assert (len(set.union(*ids)) == 1) == kept


def test_by_overlap_who_jumps_is_another():
    config = config_of(tracking__identity="overlap", tracking__span=1)
    still, jumping = Thing(1, range(4), at=(4, 4)), Thing(5, range(4), at=(20, 4))
    images, _ = paint(4, [still, jumping])
    moved = images.copy()
    moved[2:, 20:28, 40:50] = images[2:, 20:28, 4:14]
    moved[2:, 20:28, 4:14, 2] = 0
    found, _, _ = labels_of(config, moved)
    assert len({*found[:, 5, 5]}) == 1
    assert found[0, 22, 6] == found[1, 22, 6] != found[2, 22, 44] == found[3, 22, 44]
    ids = labels_of(config_of(), moved)[0]
    assert ids[0, 22, 6] == ids[2, 22, 44]  # by embedding it is the same


def test_nothing_is_found_where_nothing_is():
    images, _ = paint(3, [])
    found, statistics, parts = labels_of(config_of(), images)
    assert not found.any() and not statistics
    assert all(np.isfinite(part.depth).all() for part in parts)


def test_more_objects_than_slots_keep_the_largest():
    sizes = [(4, 6), (6, 8), (8, 10), (5, 7)]
    places = [(2, 2), (2, 30), (20, 2), (20, 30)]
    things = [
        Thing(n, range(3), at=at, size=size)
        for n, (at, size) in enumerate(zip(places, sizes, strict=True), start=1)
    ]
    images, truth = paint(3, things)
    for seed in range(4):
        config = config_of(clustering__max_instances=2, tracking__seed=seed)
        found, _, _ = labels_of(config, images)
        assert {*np.unique(truth[found > 0])} == {2, 3}


def test_what_is_padded_is_no_object():
    """Its colour, 0, is foreground here; frames keep their aspect."""
    images, _ = paint(3, crowd(3))
    config = config_of(
        data__transforms=("flip",),
        evaluation__min_dim=28,
        evaluation__max_dim=60,
        tracking__foreground_threshold=0.0,
    )
    found, _, parts = labels_of(config, images[:, :28, :60])
    assert parts[0].geometry.resized == (28, 60) and found.shape[1:] == SIZE
    assert (found[:, :28, :60] != 0).all()
    assert not found[:, 28:].any() and not found[:, :, 60:].any()


def test_frames_are_squeezed_as_in_training():
    (part, *_), _ = drained(
        painted_causal.system(config_of()).track(
            {}, iter([Frame(0, np.zeros((40, 100, 3), np.uint8))])
        )
    )
    assert part.geometry.resized == part.geometry.labels == SIZE


def test_depth_comes_along():
    images, _ = paint(2, crowd(2))
    _, _, parts = labels_of(config_of(), images)
    sigma = painted_causal.logistic(painted_causal.disparity(images[1]))
    near, far = config_of().model.depth_range
    expected = 1 / (1 / far + (1 / near - 1 / far) * sigma)
    np.testing.assert_allclose(parts[1].depth[0], expected, rtol=1e-4)


def test_truth_is_asked_for_in_vain():
    images, _ = paint(1, crowd(1))
    with pytest.raises(ValueError, match=r"true_masks.*no annotations.*evaluate"):
        labels_of(config_of(tracking__true_masks=True), images)


@pytest.fixture(scope="module")
def own():
    with (config := config_of()).unlocked():
        config.tracking.foreground_threshold = 0.0  # untrained: all is foreground
    return models.initial(config)


def noise(count):
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


def test_one_step_is_compiled_and_labels_come_out_at_once(own):
    _, system, variables = own
    assert isinstance(system, CausalEmbedding) and isinstance(system, online.Method)
    CausalEmbedding._step.clear_cache()
    fed = []

    def frames():
        for index, image in enumerate(noise(3)):
            fed.append(index)
            yield Frame(index, image)

    for part in system.track(variables, frames()):
        assert fed[-1] == part.first
    assert CausalEmbedding._step._cache_size() == 1


@pytest.mark.parametrize("variant", ["no_depth", "no_temporal", "single_frame"])
def test_the_rows_of_the_table_have_what_they_say(variant):
    config = config_of()
    with config.unlocked():
        getattr(causal_embedding, variant)(config)
    _, system, variables = models.initial(config)
    params = variables["params"]
    assert ("depth_decoder" in params) == ("pose" in params) == config.model.depth
    assert ("temporal" in params) == (variant == "no_depth")
    frames = (Frame(index, image) for index, image in enumerate(noise(2)))
    parts, _ = drained(system.track(variables, frames))
    assert all((part.depth is not None) == config.model.depth for part in parts)


def test_frame_by_frame_is_the_clip(own):
    """Embeddings and depth of 40 frames, from two maps that are remembered."""
    _, system, variables = own
    images = noise(40)
    frames = (Frame(index, image) for index, image in enumerate(images))
    parts = list(system.track(variables, frames, maps=True))
    fed = system.network.encoder.convention.normalise(jnp.asarray(images))
    clip, _ = jax.jit(functools.partial(system.network.apply, method="look"))(
        variables, fed[None]
    )
    scale = np.abs(clip.embeddings).max()
    for t, part in enumerate(parts):
        said = part.maps["embedding"][0] / scale
        np.testing.assert_allclose(said, clip.embeddings[0, t] / scale, atol=1e-5)
    sigma = jax.nn.sigmoid(clip.disparity_logits[0])
    near, far = system.depth_range
    depths = np.concatenate([part.depth for part in parts])
    found = (1 / depths - 1 / far) / (1 / near - 1 / far)
    scale = np.abs(clip.disparity_logits).max()
    np.testing.assert_allclose(found, sigma, atol=1e-5 * scale)


def test_what_follows_changes_nothing(own):
    """The labels and depths of a frame depend on it and the frames before it."""
    _, system, variables = own
    images = noise(5)
    others = np.concatenate([images[:3], 255 - images[3:]])

    def run(video):
        frames = (Frame(index, image) for index, image in enumerate(video))
        return drained(system.track(variables, frames))[0]

    one, other = run(images), run(others)
    for t in range(3):
        np.testing.assert_array_equal(one[t].labels, other[t].labels)
        np.testing.assert_array_equal(one[t].depth, other[t].depth)
    assert (one[3].depth != other[3].depth).any()
