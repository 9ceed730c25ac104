"""`STEmSeg.track` against a plain NumPy tracker, on maps known by construction."""

import importlib
import weakref
from typing import NamedTuple

import jax
import numpy as np
import pytest

from stemseg_jax import models
from stemseg_jax.systems import stemseg, volumes
from stemseg_jax.tracks import Frame, Geometry
from tests.drained import drained
from tests.systems import painted, stemseg_reference
from tests.systems.painted import Thing
from tests.systems.programs import compiled_by

# Sizes of what the network sees, less padding, and how many times larger frames are.
WHOLE, PADDED, SHRUNK = ((32, 64), 1), ((27, 60), 1), ((30, 62), 2)


class Case(NamedTuple):
    config: str
    rule: str
    num_frames: int
    overlap: int
    size: tuple[tuple[int, int], int]
    full_size: bool = False
    max_instances: int = 6
    score: str = "size"


CASES = [
    Case("davis", "paper", 4, 0, WHOLE, score="confidence"),
    Case("davis", "paper", 4, 2, SHRUNK, full_size=True),
    Case("davis", "released", 8, 6, PADDED),
    Case("davis", "released", 4, 1, SHRUNK, max_instances=3),
    Case("davis", "refined", 4, 3, PADDED, score="foreground"),
    Case("ytvis", "paper", 4, 3, PADDED, full_size=True, score="foreground"),
    Case("ovis", "paper", 4, 1, SHRUNK, score="product"),
    Case("ytvis", "released", 8, 4, WHOLE, full_size=True),
    Case("ytvis", "refined", 4, 2, SHRUNK, max_instances=3, score="confidence"),
    Case("kitti_mots", "paper", 4, 1, SHRUNK, max_instances=3, score="foreground"),
    Case("kitti_mots", "released", 4, 3, WHOLE),
]


def config_of(case):
    config = importlib.import_module(f"configs.{case.config}").get_config("smoke")
    (height, width), _ = case.size
    with config.unlocked():
        config.num_frames = case.num_frames
        config.model.num_classes = min(config.model.num_classes, painted.MAX_CLASSES)
        config.clustering.rule = case.rule
        config.clustering.max_instances = case.max_instances
        config.clustering.min_seediness = 0.8
        config.clustering.min_cells = 6
        config.tracking.overlap = case.overlap
        config.tracking.full_size = case.full_size
        config.tracking.score = case.score
        config.selection.category_from = "votes"
        config.evaluation.min_dim, config.evaluation.max_dim = height, width
    return config


def watched(frames, pulled):
    for frame in frames:
        pulled.append(frame.index)
        yield frame


def prompt(parts, pulled, size):
    """The same parts; a frame's labels come at most three window lengths, and the rest
    of its group, after it."""
    most = 3 * size + volumes._group_size() - 1
    while True:
        try:
            part = next(parts)
        except StopIteration as end:
            return end.value
        assert len(pulled) - part.first <= most
        yield part


def crowd(length):
    """Things that stay, cross, hide each other, enter, leave and come back."""
    return [
        Thing(1, range(length), at=(1, 1), speed=(0, 0.3)),
        Thing(2, range(length), at=(2, 11), speed=(0, -0.3)),
        Thing(3, range(2, length), at=(5, 6), size=(3, 5)),
        Thing(4, [*range(length // 3), *range(2 * length // 3, length)], at=(4, 0)),
        Thing(5, range(length), at=(-2, 12), size=(3, 3), speed=(0.25, 0)),
        Thing(6, range(length // 2), at=(6, 12), size=(2, 2), speed=(0, 0.2)),
    ]


def check(system, video, config):
    """All that `track` gives of a video is what the plain tracker gives."""
    frames, pulled = video.frames(), []
    parts, statistics = drained(
        prompt(system.track({}, watched(frames, pulled)), pulled, config.num_frames)
    )
    expected = stemseg_reference.track(
        lambda clip: video.said(clip, config), len(frames), config
    )
    labels = np.concatenate([part.labels for part in parts])
    np.testing.assert_array_equal(labels, expected.labels)
    ends = np.cumsum([len(part.labels) for part in parts]).tolist()
    assert [part.first for part in parts] == [0, *ends[:-1]]
    stride = {(32, 64): 1, painted.SIZE: 4}[labels.shape[1:]]
    geometry = Geometry(
        frames[0].image.shape[:2], video.resized, labels.shape[1:], stride
    )
    assert {part.geometry for part in parts} == {geometry}

    assert list(statistics) == list(expected.tracks)  # in this order
    for number, track in statistics.items():
        other = expected.tracks[number]
        assert (track.pixels, track.first, track.last) == other[:3]
        assert track.evidence.keys() == other.evidence.keys()
        for name, value in other.evidence.items():
            np.testing.assert_allclose(track.evidence[name], value, rtol=1e-4)
        scores = {
            "size": None,
            "foreground": other.evidence.get("foreground"),
            "confidence": np.mean(list(other.evidence.values())),
            "product": np.prod(list(other.evidence.values())),
        }
        if (score := scores[config.tracking.score]) is None:
            assert track.score is None
        else:
            np.testing.assert_allclose(track.score, score, rtol=1e-4)
        if config.model.num_classes == 0:
            assert track.logits is None and track.votes is None
        else:
            np.testing.assert_allclose(track.logits, other.logits, rtol=1e-4)
            np.testing.assert_array_equal(track.votes, other.votes)
    return labels


def test_votes_are_counted_if_asked_for():
    config = config_of(next(case for case in CASES if case.config == "ytvis"))
    cells = painted.paint(config.num_frames, crowd(config.num_frames))
    video = painted.Video(cells, (32, 64), 1)
    for source in ("votes", "logits"):
        with config.unlocked():
            config.selection.category_from = source
        _, found = drained(painted.system(config).track({}, iter(video.frames())))
        assert found
        for track in found.values():
            assert (track.votes is not None) == (source == "votes")
            assert track.logits is not None


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_equals_the_plain_tracker(case):
    config, T = config_of(case), case.num_frames
    system = painted.system(config)  # compiles once for all lengths
    for length in (1, T - 1, T, T + 1, 3 * T - 1, 3 * T):
        cells = painted.paint(length, crowd(length))
        labels = check(system, painted.Video(cells, *case.size), config)
        assert labels.max() > 1
    nothing = painted.Video(painted.paint(T + 1, []), *case.size)
    assert (check(system, nothing, config) <= 0).all()


@pytest.mark.parametrize("group", [1, 3, 8])
@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_groups_of_any_size_give_the_same(backend, group, monkeypatch):
    case, sizes, encode = CASES[1], [], volumes._encode

    def watched_encode(network, variables, images, *, shared):
        sizes.append(len(images))
        assert shared == (backend == "cpu")
        return encode(network, variables, images, shared=shared)

    monkeypatch.setattr(volumes, "_group_size", lambda: group)
    monkeypatch.setattr(volumes, "_encode", watched_encode)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    config = config_of(case)
    system = painted.system(config)
    for length in (1, 3, 4, 11):
        cells = painted.paint(length, crowd(length))
        sizes.clear()
        check(system, painted.Video(cells, *case.size), config)
        groups = -(-length // group)
        assert sizes == ([1] * length if backend == "cpu" else [group] * groups)


@pytest.mark.parametrize(("cores", "group"), [(1, 1), (4, 4), (64, 8), (None, 1)])
def test_a_group_is_a_frame_for_each_core_or_what_fills_a_card(
    cores, group, monkeypatch
):
    monkeypatch.setattr(volumes.os, "cpu_count", lambda: cores)
    assert volumes._group_size() == group
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert volumes._group_size() == volumes.GROUP


# ----------------------------------------------------------------------- seen by hand


@pytest.fixture(scope="module")
def calm():
    """A system to which every painted thing is one object."""
    config = config_of(Case("davis", "paper", 4, 2, WHOLE))
    with config.unlocked():
        config.clustering.min_seediness = 0.4
    return painted.system(config)


def video_of(length, things):
    return painted.Video(painted.paint(length, things, spread=0, stray=60), *WHOLE)


def test_objects_that_cross_enter_leave_and_return(calm):
    things = [
        Thing(1, range(12), at=(0, 0), size=(2, 3), speed=(0, 1)),
        Thing(2, range(12), at=(0, 13), size=(2, 3), speed=(0, -1)),  # in front of it
        Thing(3, [0, 1, 2, 9, 10, 11], at=(4, 1), size=(3, 3)),
        Thing(4, range(5, 12), at=(4, 8), size=(2, 2)),
        Thing(5, [3, *range(5, 12)], at=(4, 12), size=(3, 3)),
    ]
    parts, statistics = drained(calm.track({}, iter(video_of(12, things).frames())))
    labels = np.concatenate([part.labels for part in parts])
    shown = painted.outlines(12, things)
    np.testing.assert_array_equal(labels > 0, shown > 0)
    # Four are in the first window; one frame's absence within a window is none.
    stay = [set(labels[shown == number]) for number in (1, 2, 5)]
    left, back = set(labels[:3][shown[:3] == 3]), set(labels[9:][shown[9:] == 3])
    assert set().union(left, *stay) == {1, 2, 3, 4}
    assert set(labels[shown == 4]) == {5}
    assert back == {6}  # nothing knows what was there seven frames ago
    pixels = [(shown == number).sum() for number in (1, 2, 5, 4)]
    of = {min(ids): track for ids, track in zip([*stay, {5}], pixels, strict=True)}
    of |= {min(left): 27, 6: 27}
    assert {number: track.pixels for number, track in statistics.items()} == of
    spans = {number: (t.first, t.last) for number, t in statistics.items()}
    assert spans[min(left)] == (0, 2)
    assert spans[min(stay[2])] == (3, 11)
    assert spans[5] == (5, 11) and spans[6] == (9, 11)


def test_only_a_few_frames_are_held_however_long_the_video(calm, monkeypatch):
    monkeypatch.setattr(volumes, "_group_size", lambda: 3)
    images = []

    def frames(count):
        for frame in video_of(count, crowd(count)).frames():
            image = frame.image.copy()
            images.append(weakref.ref(image))
            yield Frame(frame.index, image)

    alive, held = [], []
    for _ in calm.track({}, frames(40)):
        alive.append(len(jax.live_arrays()))
        held.append(sum(image() is not None for image in images))
    assert max(held) <= 4
    third = len(alive) // 3
    assert max(alive[-third:]) <= max(alive[third:-third])


def test_two_videos_at_once_do_not_touch(calm):
    videos = [video_of(9, crowd(9)), video_of(9, crowd(9)[:2])]
    alone = [drained(calm.track({}, iter(v.frames())))[0] for v in videos]
    tracks = [calm.track({}, iter(v.frames())) for v in videos]
    for expected in zip(*alone, strict=True):
        for part, other in zip(map(next, tracks), expected, strict=True):
            np.testing.assert_array_equal(part.labels, other.labels)


def test_a_frame_of_another_size_is_refused(calm):
    frames = video_of(2, []).frames()
    frames.append(Frame(2, frames[0].image[:16]))
    message = r"Frame 2 is \(16, 64\), but the video began with \(32, 64\)"
    with pytest.raises(ValueError, match=message):
        drained(calm.track({}, iter(frames)))


def test_a_video_without_frames_is_refused(calm):
    with pytest.raises(ValueError, match="no frames"):
        drained(calm.track({}, iter([])))


# ------------------------------------------------------------ what the device has to do


class Weighted(painted.PaintedNetwork):
    """Its maps lie where its only weight does."""

    def decode(self, pyramid):
        maps = super().decode(pyramid)
        seediness = maps.seediness + self.get_variable("params", "zero")
        return maps._replace(seediness=seediness)


NETWORK = ["_add_up", "_blank", "_decode", "_encode", "_label", "prepare"]


@pytest.mark.parametrize(
    ("name", "rule", "full_size", "committed"),
    [
        ("davis", "paper", False, False),
        ("davis", "refined", False, True),
        ("ytvis", "released", True, False),
        ("ytvis", "paper", True, True),
    ],
)
def test_programs_are_compiled_for_a_padded_size_alone(
    name, rule, full_size, committed
):
    case = Case(name, rule, 4, 2, WHOLE, full_size=full_size, max_instances=5)
    system = painted.system(config_of(case), Weighted)
    programs = compiled_by(system, committed=committed)
    assert programs(19) == NETWORK
    assert programs(14) == []
    assert programs(9, 60, 128) == ["prepare"]  # another size, padded to the same
    assert programs(2) == programs(1) == []  # shorter than a window
    assert programs(5, 64, 64) == NETWORK  # 32 x 32 are another size to the network


def test_systems_of_equal_configs_share_what_is_compiled():
    config = models.saved_config("real")
    with config.unlocked():
        config.evaluation.min_dim = config.evaluation.max_dim = 32
    one, other = (stemseg.STEmSeg.from_config(config) for _ in range(2))
    assert one is not other and one == other and hash(one) == hash(other)
    with config.unlocked():
        config.clustering.rule = "paper"
    assert (third := stemseg.STEmSeg.from_config(config)) != one
    assert third.network == one.network  # whose programs it takes


def test_a_window_is_fetched_once_the_next_ones_work_is_under_way(calm, monkeypatch):
    events = []
    label, fetch = stemseg.STEmSeg._label, volumes.Pending.fetch

    def watched_label(system, *arrays):
        events.append("label")
        return label(system, *arrays)

    def watched_fetch(pending, seen):
        events.append("fetch")
        return fetch(pending, seen)

    monkeypatch.setattr(stemseg.STEmSeg, "_label", watched_label)
    monkeypatch.setattr(volumes.Pending, "fetch", watched_fetch)
    drained(calm.track({}, iter(video_of(10, crowd(10)).frames())))  # four windows
    assert events == ["label"] + 3 * ["label", "fetch"] + ["fetch"]


def test_labels_cross_as_bytes(calm, monkeypatch):
    crossed = []
    device_get = jax.device_get
    monkeypatch.setattr(jax, "device_get", lambda x: crossed.append(x) or device_get(x))
    parts, _ = drained(calm.track({}, iter(video_of(6, crowd(6)).frames())))
    assert {part.labels.dtype for part in parts} == {np.dtype(np.int32)}
    codes = [x for x in jax.tree.leaves(crossed) if x.dtype == np.uint8]
    assert [x.shape for x in codes] == 6 * [painted.SIZE]  # each frame once
    others = [x.size for x in jax.tree.leaves(crossed) if x.dtype != np.uint8]
    assert max(others) <= 4 * calm.clustering.max_instances


def test_maps_come_along_if_they_are_asked_for(calm):
    video = video_of(6, crowd(6))
    parts, _ = drained(calm.track({}, iter(video.frames()), maps=True))
    without, _ = drained(calm.track({}, iter(video.frames())))
    assert all(part.maps is None for part in without)
    for part, other in zip(parts, without, strict=True):
        np.testing.assert_array_equal(part.labels, other.labels)
    config = config_of(Case("davis", "paper", 4, 2, WHOLE))
    clips, first = ([0, 1, 2, 3], [2, 3, 4, 5]), (0, 4)  # each with its new frames
    for part, clip, new in zip(parts, clips, first, strict=True):
        assert part.first == new
        known = new - clip[0]
        said = video.said(clip, config)
        bandwidths = 10 * np.exp(said.log_bandwidths)
        expected = {
            "embedding": said.embeddings[known:],
            "bandwidth": bandwidths[known:],
            "seediness": said.seediness[known:, ..., None],
        }
        assert part.maps.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_allclose(part.maps[name], values, rtol=1e-5)


def test_device_memory_does_not_grow_with_the_video(calm):
    def alive(length):
        image = np.zeros((32, 64, 3), np.uint8)
        frames = (Frame(index, image) for index in range(length))
        return [
            sum(array.nbytes for array in jax.live_arrays())
            for _ in calm.track({}, frames)
        ]

    alive(20)  # what is made once is made
    assert max(alive(300)) <= max(alive(60))
