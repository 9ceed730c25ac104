"""Tracks in embedding space against cases worked by hand and dictionaries."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.tracking import nearest_means

associate = jax.jit(nearest_means.associate, static_argnames=("radius", "time_to_live"))


class Video:
    """The tracks of a video, with one-dimensional means."""

    def __init__(self, slots=3, clusters=3, radius=1.5, time_to_live=None):
        self.tracks = nearest_means.none(slots, 1)
        self.next_id = jnp.int32(1)
        self.clusters = clusters
        self.rule = dict(radius=radius, time_to_live=time_to_live)

    def ids(self, frame, *places):
        """Of clusters at these places; None stands for a slot that is not valid."""
        places = [*places, *[None] * (self.clusters - len(places))]
        means = jnp.array([[np.nan if x is None else x] for x in places], jnp.float32)
        valid = jnp.array([x is not None for x in places])
        ids, self.tracks, self.next_id = associate(
            self.tracks, means, valid, jnp.int32(frame), self.next_id, **self.rule
        )
        assert np.isfinite(np.asarray(self.tracks.means)).all()
        return ids.tolist()


def test_new_ids_in_order_of_slot():
    video = Video()
    assert video.ids(0, 5, None, 1) == [1, 0, 2] and video.next_id == 3
    assert video.ids(1, None, 1, 5) == [0, 2, 1] and video.next_id == 3


def test_the_nearest_pair_is_taken_first():
    video = Video()
    video.ids(0, 0, 2)
    # The first cluster is nearest to the second track, but another is nearer to it.
    assert video.ids(1, 1.2, 1.9) == [1, 2, 0]
    # Now the other way round, with nothing left within the radius.
    video = Video()
    video.ids(0, 0)
    assert video.ids(1, 1, 0.5) == [2, 1, 0]


def test_the_radius_itself_is_no_match():
    video = Video(radius=1.5)
    video.ids(0, 0)
    assert video.ids(1, 1.5) == [2, 0, 0]
    assert video.ids(2, 2.99) == [2, 0, 0]


def test_a_track_moves_to_its_last_mean():
    video = Video()
    assert [video.ids(t, t * 1.0) for t in range(5)] == [[1, 0, 0]] * 5


@pytest.mark.parametrize(
    ("time_to_live", "missing", "known"),
    [(0, 0, True), (0, 1, False), (2, 2, True), (2, 3, False), (None, 99, True)],
)
def test_a_track_may_be_missing_for_its_time_to_live(time_to_live, missing, known):
    video = Video(time_to_live=time_to_live)
    video.ids(0, 0)
    for frame in range(1, missing + 1):
        assert video.ids(frame, 9) == [2, 0, 0]
    assert video.ids(missing + 1, 0)[0] == (1 if known else video.next_id - 1)


def test_the_track_longest_unseen_gives_way():
    video = Video(slots=3, clusters=2)
    video.ids(0, 0, 10)  # 1 and 2
    video.ids(1, 0, 20)  # 1 and 3
    video.ids(2, 10)  # 2: the order is now 1 and 3, 2
    video.ids(3, 0)  # 1: the order is now 3, 2, 1
    assert video.ids(4, 30, 10) == [4, 2]
    assert sorted(video.tracks.ids.tolist()) == [1, 2, 4]  # 3 is forgotten
    assert video.ids(5, 40, 50) == [5, 6]
    assert sorted(video.tracks.ids.tolist())[1:] == [5, 6]
    assert video.ids(6, 20, 0)[0] == 7


def test_tracks_of_this_frame_keep_their_slots():
    video = Video(slots=3, clusters=3)
    video.ids(0, 0, 10, 20)
    assert video.ids(1, 30, 10, 40) == [4, 2, 5]
    assert sorted(video.tracks.ids.tolist()) == [2, 4, 5]
    assert video.ids(2, 40, 30, 10) == [5, 4, 2]


def test_fewer_tracks_than_clusters_are_refused():
    with pytest.raises(AssertionError, match="3 clusters .* room for 2"):
        Video(slots=2, clusters=3).ids(0, 1)


def dictionaries(frames, radius, time_to_live):
    """Ids of the clusters of each frame, with room for any number of tracks."""
    tracks, next_id, all_ids = {}, 1, []
    for frame, means in enumerate(frames):
        pairs = sorted(
            (np.linalg.norm(mean - track), k, number)
            for k, mean in enumerate(means)
            for number, (track, _) in tracks.items()
            if np.linalg.norm(mean - track) < radius
        )
        ids = {}
        for _, k, number in pairs:
            if k not in ids and number not in ids.values():
                ids[k] = number
        for k, mean in enumerate(means):
            if k not in ids:
                ids[k], next_id = next_id, next_id + 1
            tracks[ids[k]] = mean, frame
        tracks = {
            number: track
            for number, track in tracks.items()
            if time_to_live is None or frame - track[1] <= time_to_live
        }
        all_ids.append([ids[k] for k in range(len(means))])
    return all_ids


def crowd(seed, num_frames=25, objects=6, dims=3):
    """Means of objects that move and come and go."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(objects, dims)) * 1.5
    frames = []
    for _ in range(num_frames):
        places = places + rng.normal(size=places.shape) * 0.2
        frames.append(places[rng.uniform(size=objects) < 0.6].astype(np.float32))
    return frames


def padded(means, slots):
    whole = np.full((slots, means.shape[1]), np.nan, np.float32)
    whole[: len(means)] = means
    return jnp.asarray(whole), jnp.arange(slots) < len(means)


@pytest.mark.parametrize("time_to_live", [0, 2, None])
@pytest.mark.parametrize("slots", [6, 9])
def test_ids_of_a_crowd(time_to_live, slots):
    for seed in range(4):
        frames = crowd(seed)
        wanted = dictionaries(frames, 1.0, time_to_live)
        tracks, next_id = nearest_means.none(150, 3), jnp.int32(1)
        for frame, means in enumerate(frames):
            ids, tracks, next_id = associate(
                tracks,
                *padded(means, slots),
                jnp.int32(frame),
                next_id,
                radius=1.0,
                time_to_live=time_to_live,
            )
            assert ids.tolist()[: len(means)] == wanted[frame]
            assert not ids[len(means) :].any()
        assert next_id == max(map(max, filter(None, wanted))) + 1


def test_frames_without_clusters():
    video = Video(time_to_live=1)
    assert video.ids(0) == [0, 0, 0] and video.next_id == 1
    video.ids(1, 5)
    assert video.ids(2) == [0, 0, 0]
    assert video.ids(3, 5) == [1, 0, 0]


def test_vmap_gives_what_each_video_gives_alone():
    starts = [crowd(seed)[:2] for seed in range(3)]
    rule = dict(radius=1.0, time_to_live=2)

    def two_frames(run, first, second):
        state = nearest_means.none(8, 3), jnp.int32(1)
        for frame, (means, valid) in enumerate((first, second)):
            ids, *state = run(
                state[0], means, valid, jnp.int32(frame), state[1], **rule
            )
        return ids, state

    sides = [[padded(frames[k], 6) for frames in starts] for k in (0, 1)]
    stacked = [[jnp.stack(x) for x in zip(*side, strict=True)] for side in sides]
    run = functools.partial(two_frames, nearest_means.associate)
    together = jax.jit(jax.vmap(run))(*stacked)
    for k in range(3):
        alone = two_frames(associate, sides[0][k], sides[1][k])
        for a, b in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
            np.testing.assert_array_equal(a[k], b)
