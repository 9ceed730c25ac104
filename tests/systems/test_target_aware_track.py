"""`TargetAware.track` against plain NumPy, on networks whose maps are known."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax import geometry
from stemseg_jax.clustering import centres_offsets
from stemseg_jax.ops import pixels
from stemseg_jax.systems import target_aware
from stemseg_jax.tracking import first_frame, label_codes, online, target_model
from tests.drained import drained
from tests.systems import painted_target_aware as painted
from tests.systems import target_aware_reference as reference


def config_of(name="davis", **changes):
    config = importlib.import_module(f"configs.target_aware_{name}").get_config("smoke")
    with config.unlocked():
        config.model.pixels.mean, config.model.pixels.std = (0.0,) * 3, (1.0,) * 3
        config.evaluation.min_dim, config.evaluation.max_dim = 32, 64
        config.clustering.min_share = 0.004
        config.tracking.refiner = False
        config.tracking.size = 32
        config.tracking.copies = 0
        config.tracking.update_every = 2
        target = config.tracking.target
        target.channels, target.capacity = 4, 5
        # Well conditioned, and solved whole: to be compared with least squares.
        target.ridge = target.preconditioner = (0.3, 0.3)
        target.then = target.update = (40,)
        config.update_from_flattened_dict(
            {path.replace("__", "."): value for path, value in changes.items()}
        )
    return config


@functools.cache
def _fit(settings):
    return jax.jit(functools.partial(target_model.fit, settings=settings))


def fitted_by(system):
    """The first fit of a target by the package, which has a test of its own."""

    def fitted(view, mask, frame):
        key = jax.random.fold_in(jax.random.key(system.tracking.seed), frame)
        keys = jax.random.split(key)
        images, masks = first_frame.views(
            *(keys[0], jnp.float32(view), jnp.float32(mask)),
            copies=system.tracking.copies,
        )
        target = _fit(system.target)(keys[1], painted.features(images), masks)
        memory, count = target.memory, len(masks)
        samples = zip(
            *(np.float64(memory.features)[:count], memory.masks[:count] / 255.0),
            np.float64(memory.weights)[:count],
            strict=True,
        )
        return (
            np.float64(target.layers.project),
            np.float64(target.layers.filter),
            [(f, np.float64(m), w) for f, m, w in samples],
        )

    return fitted


def check(boxes, **changes):
    """All that `track` gives of a video is what plain NumPy gives."""
    config = config_of(**changes)
    system = painted.system(config)
    images = painted.paint(boxes)
    parts, statistics = drained(system.track({}, iter(painted.frames(images))))
    labels = np.concatenate([part.labels for part in parts])
    expected, tracks = reference.follow(
        images.astype(float),
        painted,
        system.tracking,
        fitted_by(system),
        clustering=system.clustering,
        target=system.target,
    )
    different = (np.maximum(labels, 0) != expected).mean(axis=(1, 2))
    assert different.max() < 0.01, different
    assert statistics.keys() == tracks.keys()
    for number, track in statistics.items():
        other = tracks[number]
        assert (track.first, track.last) == (other.first, other.last)
        np.testing.assert_allclose(track.pixels, other.pixels, rtol=0.05)
        np.testing.assert_allclose(track.score, other.score, atol=0.02)
    return labels, statistics


def moving(length, gap=()):
    """Two things that move, one of which is not there in some frames."""
    return [
        {
            1: (2, 2 + t, 13, 14),
            **({} if t in gap else {3: (16, 44 - 2 * t, 14, 13)}),
        }
        for t in range(length)
    ]


# Each is compiled anew: what can be seen together is.
CASES = {
    "all": {},
    "no verification": dict(tracking__verification=False),
    "no memory": dict(tracking__memory_update=False, tracking__copies=2),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_form(case):
    labels, statistics = check(moving(6, gap=(3, 4)), **CASES[case])
    assert set(statistics) == {1, 2}
    # What vanished and came back has its model and its id still.
    assert (labels[5] == 2).any()
    assert (labels[3:5] == 2).mean() < 0.02


def test_no_object_at_first_then_some():
    boxes = [{}, {}, *moving(3)]
    labels, statistics = check(boxes)
    assert (labels[:2] <= 0).all() and labels[2:].max() == 2
    assert {track.first for track in statistics.values()} == {2}
    labels, statistics = check([{}, {}])
    assert not statistics and (labels <= 0).all()


def test_more_objects_than_slots():
    first, second = {1: (2, 2, 13, 14)}, {3: (2, 40, 13, 14)}
    third = {5: (17, 20, 14, 14)}
    boxes = [first | second] * 2 + [second] + [second | third] * 2
    check(boxes, tracking__max_tracks=2)
    # With all in view there is no room.
    labels, statistics = check([first | second | third] * 3, tracking__max_tracks=2)
    assert set(statistics) == {1, 2} and labels.max() == 2


@pytest.mark.parametrize(
    ("ids", "last_seen", "visible", "slot"),
    [
        ((0, 4), (0, 5), (), 0),  # a free one first
        ((3, 0), (5, 0), (), 1),
        ((3, 4), (3, 5), (), 0),  # then that of the one that has been gone longest
        ((3, 4), (3, 5), (0,), 1),
        ((3, 4), (3, 5), (0, 1), -1),
    ],
)
def test_whose_slot_a_new_object_takes(ids, last_seen, visible, slot):
    system = painted.system(config_of(tracking__verification=False))
    tracked = np.full((32, 64), -1, np.int32)
    for k in visible:
        tracked[k, :9] = k
    proposals = centres_offsets.Proposals(
        labels=jnp.full((32, 64), -1, jnp.int32).at[20:30, 20:40].set(0),
        scores=jnp.array([0.9, 0.0]),
        valid=jnp.array([True, False]),
    )
    numbers = jnp.zeros(2, jnp.int32)
    tracks = target_aware.Tracks(
        models=target_model.blank(2, (8, 8), (32, 32), 5, settings=system.target),
        firsts=jnp.zeros((2, 4)),
        ids=jnp.array(ids, jnp.int32),
        ages=numbers,
        last_seen=jnp.array(last_seen, jnp.int32),
    )
    fates, _ = system._fates(
        *(pytest.fail, tracks, jnp.int32(7), proposals, jnp.asarray(tracked)),
        *(jnp.zeros((32, 64, 3)), jnp.array([32.0, 64.0])),
    )
    assert fates.track[0] == slot and fates.is_new[0] == (slot >= 0)
    assert fates.track[1] == -1 and not fates.is_new[1]


def test_new_ids_follow_the_order_of_objects_and_not_of_slots():
    config = config_of(tracking__max_tracks=2, tracking__verification=False)
    system = painted.system(config)
    (image,) = painted.paint([{1: (2, 2, 13, 14), 3: (16, 40, 14, 13)}])
    geometry = system.geometry(image.shape[:2])
    state = system.start({}, geometry)
    # Two of whom nothing is seen, the second longer than the first: both are replaced.
    state = state._replace(
        frame=jnp.int32(9),
        next_id=jnp.int32(10),
        tracks=state.tracks._replace(
            ids=jnp.array([7, 8], jnp.int32), last_seen=jnp.array([5, 3], jnp.int32)
        ),
    )
    state, found = system.step({}, state, painted.frames([image])[0], geometry)
    assert state.tracks.ids.tolist() == [11, 10] and state.next_id == 12
    labels = label_codes.decode(np.asarray(found.codes), np.asarray(found.ids))
    assert labels[8, 8] == 10 and labels[22, 46] == 11


class Classes(painted.PaintedNetwork):
    """Background and two classes: one is far likelier in a few columns, the other
    somewhat likelier elsewhere."""

    def discover(self, images, before, keys=None):
        maps = super().discover(images, before, keys)
        first = jnp.where(jnp.arange(images.shape[2]) % 4 == 0, 20.0, -4.0)[:, None]
        logits = maps.logits + jnp.concatenate([first, 0 * first + 2], axis=-1)
        ground = jnp.zeros_like(maps.logits)
        return maps._replace(logits=jnp.concatenate([ground, logits], axis=-1))


def test_the_class_of_a_track_is_that_of_the_summed_probabilities():
    system = painted.system(config_of(), Classes)
    images = painted.paint(moving(2))
    parts, statistics = drained(
        system.track({}, iter(painted.frames(images)), maps=True)
    )
    assert set(statistics) == {1, 2}
    before = jnp.zeros((1, *images.shape[1:3], 4))
    maps = [
        np.asarray(system.network.discover(jnp.float32(x)[None], before).logits)
        for x in images
    ]
    for number, track in statistics.items():
        cells = np.concatenate(
            [
                x[0][part.labels[0] == number]
                for x, part in zip(maps, parts, strict=True)
            ]
        )
        shares = np.exp(cells) / np.exp(cells).sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(
            np.exp(track.logits), shares.mean(axis=0), rtol=0.02, atol=1e-3
        )
        assert cells.sum(axis=0).argmax() == 1 and track.logits[1:].argmax() == 1
        evidence = track.evidence["class"], track.evidence["object"]
        np.testing.assert_allclose(evidence[0], shares[:, 2].mean(), rtol=0.02)
        np.testing.assert_allclose(track.score, np.prod(evidence), rtol=1e-6)


def test_a_mask_of_a_few_pixels_is_found_and_learns_nothing():
    boxes = [{1: (2 + t, 3, 3, 3), 3: (14, 30, 14, 16)} for t in range(3)]
    labels, statistics = check(boxes)
    assert len(statistics) >= 2 and (labels == 1).any()
    # The other has learnt from what was seen of it after its first frame.
    _, state, _ = played(painted.system(config_of()), painted.paint(boxes))
    small, large = (state.tracks.ids.tolist().index(number) for number in (1, 2))
    newest = state.tracks.models.memory.newest
    assert newest[small] == -1 and newest[large] > 0


def played(system, images, state=None):
    """Geometry, the state after some frames, and labels of each; from the first frame,
    or a state on."""
    geometry = system.geometry(images.shape[1:3])
    state = system.start({}, geometry) if state is None else state
    labels = []
    for frame in painted.frames(images):
        state, found = system.step({}, state, frame, geometry)
        labels.append(label_codes.decode(*map(np.asarray, (found.codes, found.ids))))
    return geometry, state, np.array(labels)


def of_slots(state, change):
    return state._replace(tracks=jax.tree.map(change, state.tracks))


def by_id(state):
    """All that is known of tracks, in the order of their ids, without free slots."""
    ids = np.asarray(state.tracks.ids)
    order = [slot for slot in np.argsort(ids) if ids[slot]]
    return jax.tree.leaves(of_slots(state, lambda x: x[jnp.array(order)]))


@pytest.mark.parametrize("order", [(1, 0, 3, 2), (3, 2, 0, 1)])
def test_in_which_slot_a_target_is_changes_nothing(order):
    system = painted.system(config_of())
    images = painted.paint(moving(4))
    order = jnp.array(order)
    _, state, _ = played(system, images[:2])
    turned = of_slots(state, lambda x: x[order])
    for image in images[2:, None]:
        _, state, labels = played(system, image, state)
        _, turned, others = played(system, image, turned)
        np.testing.assert_array_equal(labels, others)
        assert turned.next_id == state.next_id
        for a, b in zip(*map(by_id, (state, turned)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    assert state.tracks.ids.tolist() != turned.tracks.ids.tolist()
    assert (state.tracks.ids > 0).sum() == labels.max() == 2


def test_a_model_that_is_not_finite_finds_nothing_and_spoils_no_other():
    config = config_of(tracking__verification=False)
    system = painted.system(config)
    images = painted.paint(moving(4))
    _, state, _ = played(system, images[:2])
    lost = state.tracks.ids.tolist().index(1)

    def broken(layer):
        return layer.at[lost].set(jnp.nan)

    models = state.tracks.models
    layers = jax.tree.map(broken, models.layers)
    bad = state._replace(
        tracks=state.tracks._replace(models=models._replace(layers=layers))
    )
    _, state, labels = played(system, images[2:], state)
    _, bad, others = played(system, images[2:], bad)
    assert (labels == 1).any()
    assert not (others == 1).any()
    # What was 1 is a new object; the other target is where it was, but for a pixel.
    assert ((others == 2) != (labels == 2)).mean() < 1e-3
    assert (others[0, 2:15, 4:18] == 3).mean() > 0.95
    kept = bad.tracks.ids.tolist().index(2)
    sound = of_slots(bad, lambda x: x[kept]).tracks.models
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(sound))


def similar_to(first, now):
    """A network of which a proposal is like what was tracked, and like a first mask, by
    these cosines."""

    class Looks(painted.PaintedNetwork):
        def embed(self, crops):
            # The proposal comes first; what is tracked then, at an angle to it.
            P = len(crops) - 2
            proposal = jnp.array([[1.0, 0.0]])
            tracked = jnp.array([[now, np.sqrt(1 - now**2)]])
            return jnp.concatenate(
                [jnp.tile(proposal, (P, 1)), jnp.tile(tracked, (2, 1))]
            )

    return Looks, jnp.array([[first, np.sqrt(1 - first**2)]] * 2, jnp.float32)


@pytest.mark.parametrize(
    ("first", "now", "verified"),
    [
        (0.9, 0.9, True),
        (0.2, 0.2, False),  # there, but it looks otherwise
        (0.5, 0.5, True),  # neither alone would do
        (0.9, -0.4, False),  # either of them would, on its own
        (-0.4, 0.9, False),
        (0.7, 0.0, True),
        (0.31, 0.3, True),
        (0.3, 0.29, False),
    ],
)
def test_a_proposal_is_the_target_by_the_sum_of_two_cosines(first, now, verified):
    network, firsts = similar_to(first, now)
    system = painted.system(config_of(), network)
    assert system.tracking.min_similarity == 0.6
    there = jnp.full((32, 64), -1, jnp.int32).at[4:20, 20:40].set(0)
    proposals = centres_offsets.Proposals(
        labels=there, scores=jnp.array([0.9, 0.0]), valid=jnp.array([True, False])
    )
    numbers = jnp.zeros(2, jnp.int32)
    tracks = target_aware.Tracks(
        models=target_model.blank(2, (8, 8), (32, 32), 5, settings=system.target),
        firsts=firsts,
        ids=jnp.array([4, 0], jnp.int32),
        ages=numbers,
        last_seen=numbers,
    )

    def fates(tracked):
        see = functools.partial(system.network.apply, {})
        found, _ = system._fates(
            *(see, tracks, jnp.int32(7), proposals, tracked),
            *(jnp.zeros((32, 64, 3)), jnp.array([32.0, 64.0])),
        )
        return found

    found = fates(there.at[4:6].set(-1))  # IoU 14 / 16
    assert found.track[0] == (0 if verified else -1) and not found.is_new.any()
    # However like it is: one that lies elsewhere is not it.
    assert fates(there.at[4:12].set(-1)).track[0] == -1  # IoU 1 / 2, not above


def test_twenty_five_objects_in_twenty_slots():
    boxes = [
        {
            row * 5 + column: (1 + 6 * row, 1 + 12 * column, 5, 9)
            for row in range(5)
            for column in range(5)
        }
    ] * 2
    # Colours of 25 names do not fit: all look alike, and lie apart.
    boxes = [dict(enumerate(frame.values())) for frame in boxes]
    images = painted.paint([{}] * 2)
    for image, frame in zip(images, boxes, strict=True):
        for box in frame.values():
            alone = painted.paint([{1: box}])[0]
            top, left, height, width = box
            part = np.s_[top : top + height, left : left + width]
            image[part] = alone[part]
    system = painted.system(
        config_of(tracking__max_tracks=20, clustering__max_instances=30)
    )
    parts, statistics = drained(system.track({}, iter(painted.frames(images))))
    assert [track.first for track in statistics.values()].count(0) == 20
    for part in parts:
        assert 15 < len(np.unique(part.labels[part.labels > 0])) <= 20


def test_proposals_alone_are_tracks_of_one_frame():
    system = painted.system(config_of(tracking__targets=False))
    images = painted.paint(moving(3))
    parts, statistics = drained(system.track({}, iter(painted.frames(images))))
    assert [(t.first, t.last) for t in statistics.values()] == [
        (k, k) for k in range(3) for _ in range(2)
    ]
    state = system.start({}, system.geometry(images.shape[1:3]))
    assert not sum(x.size for x in jax.tree.leaves(state.tracks))  # no models
    for k, part in enumerate(parts):
        logits, heat, offsets = painted.maps(images[k].astype(float), np.zeros((1, 4)))
        proposals = reference.propose(
            heat, offsets, 1 / (1 + np.exp(-logits[..., 0])), system.clustering
        )
        for (mask, score), number in zip(
            proposals, (2 * k + 1, 2 * k + 2), strict=True
        ):
            assert ((part.labels[0] == number) != mask).mean() < 0.005
            np.testing.assert_allclose(statistics[number].score, score, rtol=0.02)


def test_padding_changes_nothing():
    images = painted.paint(moving(3))[:, :30, :60]
    system = painted.system(config_of())
    small = geometry.Geometry((30, 60), (30, 60), (32, 64), 1)
    padded, plain = system.start({}, small), system._start({}, (30, 60))
    extent = jnp.array([30.0, 60.0])
    for frame in painted.frames(images):
        padded, found = system.step({}, padded, frame, small)
        image = frame.image[None]
        view = pixels.warped(image, (32, 32), system.convention)
        plain, alone = system._step({}, plain, jnp.float32(image), view, extent)
        labels, others = (
            label_codes.decode(np.asarray(x.codes), np.asarray(x.ids))
            for x in (found, alone)
        )
        assert set(np.unique(labels)) >= {1, 2}
        assert not (labels[30:] > 0).any() and not (labels[:, 60:] > 0).any()
        np.testing.assert_array_equal(labels[:30, :60], others)
        assert found.ids.tolist() == alone.ids.tolist()
    for a, b in zip(*map(jax.tree.leaves, (padded.tracks, plain.tracks)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_it_is_an_online_method_and_frames_are_needed():
    system = painted.system(config_of())
    assert isinstance(system, online.Method)
    with pytest.raises(ValueError, match="The video has no frames"):
        drained(system.track({}, iter(())))
