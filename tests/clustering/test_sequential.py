"""Sequential clustering against hand-worked cases, NumPy and the authors' program."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.clustering import sequential
from stemseg_jax.clustering.sequential import Settings

cluster = jax.jit(sequential.cluster, static_argnames="settings")
HERE = pathlib.Path(__file__).parent


def run(embeddings, bandwidths, seediness, foreground=None, **settings):
    """Clusters as NumPy arrays; a number as `bandwidths` serves all points."""
    embeddings = np.asarray(embeddings, np.float32)
    bandwidths = np.broadcast_to(np.float32(bandwidths), embeddings.shape)
    if foreground is None:
        foreground = np.ones(len(embeddings), bool)
    found = cluster(
        jnp.array(embeddings),
        jnp.array(bandwidths),
        jnp.asarray(seediness, jnp.float32),
        jnp.asarray(foreground),
        settings=Settings(**settings),
    )
    return jax.tree.map(np.asarray, found)


def column(*values):
    return np.array(values, np.float32)[:, None]


def random_points(seed, num_points, num_objects, num_dims=3, stray=0.25):
    """Objects at random places, and a share of points that lie anywhere."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(num_objects, num_dims))
    embeddings = places[rng.integers(num_objects, size=num_points)]
    embeddings += rng.normal(size=embeddings.shape) * 0.12
    astray = rng.uniform(size=num_points) < stray
    embeddings[astray] = rng.normal(size=(astray.sum(), num_dims))
    return (
        embeddings.astype(np.float32),
        rng.uniform(5, 20, embeddings.shape).astype(np.float32),
        rng.permutation(np.linspace(0.3, 1, num_points, dtype=np.float32)),
        rng.uniform(size=num_points) < 0.8,
    )


# ------------------------------------------------------------------- worked by hand


def test_paper_takes_points_of_training_probability_over_a_half():
    # exp(-10 d^2 / 2) = 0.5 at d = sqrt(2 ln 2 / 10) = 0.372.
    found = run(
        column(0.0, 0.36, 0.38, 1.0, 1.37), 10, [0.9, 0.5, 0.5, 0.95, 0.5], rule="paper"
    )
    np.testing.assert_array_equal(found.labels, [1, 1, -1, 0, 0])
    np.testing.assert_array_equal(found.centres[:3], column(1.0, 0.0, 0.0))
    np.testing.assert_array_equal(found.seediness[:3], np.float32([0.95, 0.9, 0]))
    np.testing.assert_array_equal(found.valid, np.arange(20) < 2)
    np.testing.assert_array_equal(found.sizes[:3], [2, 2, 0])


def test_released_reaches_farther():
    # exp(-sqrt(10) d / 2) = 0.5 at d = 2 ln 2 / sqrt(10) = 0.438.
    found = run(
        column(0.0, 0.43, 0.45),
        10,
        [0.9, 0, 0],
        rule="released",
        secondary_threshold=1.0,
    )
    np.testing.assert_array_equal(found.labels, [0, 0, -1])


def test_released_gives_leftovers_to_the_farthest_centre():
    # 0.3 is reached at 0.761. The point 0.5 is nearer to 0.0 and is given to 1.2;
    # -0.5 is near enough to 0.0 alone, and stays.
    found = run(column(0.0, 1.2, 0.5, -0.5), 10, [0.9, 0.85, 0.1, 0.1], rule="released")
    np.testing.assert_array_equal(found.labels, [0, 1, 1, -1])


def test_released_with_its_last_slot_filled_works_on_a_stale_set():
    points = column(0.0, 0.6, 0.3)  # 0.3 belongs to both; the seed 0.0 comes first
    seediness = [0.9, 0.85, 0.1]
    capped = run(points, 10, seediness, rule="released", max_instances=2)
    free = run(points, 10, seediness, rule="released", max_instances=3)
    np.testing.assert_array_equal(free.labels, [0, 1, 0])
    # 0.6 was unassigned before the last step, and 0.0 is the farthest centre.
    np.testing.assert_array_equal(capped.labels, [0, 0, 0])
    assert capped.valid.sum() == 2
    assert capped.sizes[1] == 0


def test_refined_moves_a_centre_once_to_the_mean_of_what_it_caught():
    points = column(0.0, 0.1, 0.2, 0.3, 0.5)
    found = run(points, 10, [0.9, 0, 0, 0, 0], rule="refined", min_cells=1)
    np.testing.assert_allclose(found.centres[0], [0.15], rtol=1e-6)
    np.testing.assert_array_equal(found.labels, 0)  # 0.5 is 0.35 from 0.15
    literal = run(points, 10, [0.9, 0, 0, 0, 0], rule="paper")
    np.testing.assert_array_equal(literal.labels, [0, 0, 0, 0, -1])


def test_refined_averages_bandwidths():
    found = run(
        column(0.0, 0.1), column(10.0, 20.0), [0.9, 0], rule="refined", min_cells=1
    )
    np.testing.assert_allclose(found.bandwidths[0], [15])


def test_refined_leaves_the_points_of_a_small_cluster_to_others():
    # The best seed, 0.36, catches itself and 0.0; three more points are at -0.3.
    points = column(0.36, 0.0, -0.3, -0.3, -0.3)
    seediness = [0.95, 0.1, 0.9, 0.1, 0.1]
    found = run(points, 10, seediness, rule="refined", min_cells=3)
    np.testing.assert_array_equal(found.labels, [-1, 0, 0, 0, 0])
    assert found.valid.sum() == 1


def test_discard_drops_the_points_of_a_small_cluster_too():
    points = column(0.36, 0.0, -0.3, -0.3, -0.3)
    seediness = [0.95, 0.1, 0.9, 0.1, 0.1]
    found = run(points, 10, seediness, rule="discard", min_cells=3)
    np.testing.assert_array_equal(found.labels, [-1, -1, 0, 0, 0])
    np.testing.assert_array_equal(found.centres[0], np.float32([-0.3]))
    assert found.valid.sum() == 1


@pytest.mark.parametrize("rule", ["refined", "discard"])
def test_small_clusters_use_up_no_slot(rule):
    objects = np.repeat([5.0, 6.0], 30)
    points = column(*np.arange(4.0), *objects)
    seediness = np.r_[np.full(4, 0.99), np.full(60, 0.9)]
    found = run(points, 10, seediness, rule=rule, max_instances=2, min_cells=20)
    np.testing.assert_array_equal(found.labels, [-1] * 4 + [0] * 30 + [1] * 30)


def test_the_first_of_equal_seeds_is_taken():
    for rule in sequential.RULES:
        found = run(column(0.0, 3.0, 6.0), 10, [0.9] * 3, rule=rule, min_cells=1)
        np.testing.assert_array_equal(found.labels, [0, 1, 2])


def test_a_seed_as_good_as_the_minimum_counts():
    for rule in sequential.RULES:
        found = run(
            column(0.0, 3.0), 10, [0.5, 0.49], rule=rule, min_seediness=0.5, min_cells=1
        )
        assert found.valid.sum() == 1


# -------------------------------------------------------------- NumPy, rule by rule


def weighted_squares(points, centre, bandwidth):
    return (np.square(points - centre) * bandwidth).sum(axis=1)


def numpy_paper(points, bandwidths, seediness, settings):
    labels = np.full(len(points), -1)
    for slot in range(settings.max_instances):
        free = np.flatnonzero(labels == -1)
        if len(free) == 0:
            break
        seed = free[seediness[free].argmax()]
        if seediness[seed] < settings.min_seediness:
            break
        distance = weighted_squares(points[free], points[seed], bandwidths[seed])
        labels[free[np.exp(-0.5 * distance) > settings.primary_threshold]] = slot
    return labels


def numpy_released(points, bandwidths, seediness, settings):
    labels = np.full(len(points), -1)
    stored = []
    for slot in range(settings.max_instances):
        free = np.flatnonzero(labels == -1)
        if len(free) == 0:
            break
        seed = free[seediness[free].argmax()]
        if seediness[seed] < settings.min_seediness:
            break
        distance = np.full(len(points), 1e8, np.float32)
        distance[free] = np.sqrt(
            weighted_squares(points[free], points[seed], bandwidths[seed])
        )
        stored.append(distance)
        labels[free[np.exp(-0.5 * distance[free]) > settings.primary_threshold]] = slot
    if len(free) and stored:  # `free` as the last executed round found it
        stored = np.stack(stored)
        probable = np.exp(-0.5 * stored.max(axis=0)) > settings.secondary_threshold
        taken = free[probable[free]]
        labels[taken] = stored.argmax(axis=0)[taken]
    return labels


def numpy_refined(points, bandwidths, seediness, settings):
    labels = np.full(len(points), -1)
    tried, slot = set(), 0
    for _ in range(sequential.ROUNDS_PER_SLOT * settings.max_instances):
        free = np.flatnonzero(labels == -1)
        seeds = [p for p in free if p not in tried]
        seeds = [p for p in seeds if seediness[p] >= settings.min_seediness]
        if not seeds or slot == settings.max_instances:
            break
        seed = max(seeds, key=lambda p: seediness[p])

        def within(centre, bandwidth, free=free):
            distance = weighted_squares(points[free], centre, bandwidth)
            return free[np.exp(-0.5 * distance) > settings.primary_threshold]

        first = within(points[seed], bandwidths[seed])
        tried |= set(first)
        second = within(points[first].mean(axis=0), bandwidths[first].mean(axis=0))
        if len(second) >= settings.min_cells:
            labels[second] = slot
            slot += 1
    return labels


def numpy_discard(points, bandwidths, seediness, settings):
    labels = np.full(len(points), -1)
    available, slot = np.ones(len(points), bool), 0
    while slot < settings.max_instances and available.any():
        seed = np.where(available, seediness, -1).argmax()
        if seediness[seed] < settings.min_seediness:
            break
        distance = weighted_squares(points, points[seed], bandwidths[seed])
        mask = available & (np.exp(-0.5 * distance) > settings.primary_threshold)
        available &= ~mask
        if mask.sum() >= settings.min_cells:
            labels[mask] = slot
            slot += 1
    return labels


NUMPY = {
    "discard": numpy_discard,
    "paper": numpy_paper,
    "released": numpy_released,
    "refined": numpy_refined,
}


@pytest.mark.parametrize("rule", sequential.RULES)
@pytest.mark.parametrize(
    ("num_points", "num_objects", "num_dims", "max_instances"),
    [(1, 1, 1, 2), (300, 12, 5, 5), (700, 8, 4, 20)],
)
def test_labels_equal_numpy(rule, num_points, num_objects, num_dims, max_instances):
    for seed in range(4):
        *points, foreground = random_points(seed, num_points, num_objects, num_dims)
        settings = Settings(
            rule=rule, max_instances=max_instances, min_seediness=0.5, min_cells=6
        )
        found = run(*points, foreground, **vars(settings))
        expected = np.full(num_points, -1)
        expected[foreground] = NUMPY[rule](*(x[foreground] for x in points), settings)
        np.testing.assert_array_equal(found.labels, expected)
        for slot, size in enumerate(found.sizes):
            assert size == (expected == slot).sum()


@pytest.mark.parametrize("rule", sequential.RULES)
def test_random_seeds_are_a_seediness_drawn_by_chance(rule):
    *points, foreground = random_points(6, 300, 6)
    drawn = np.asarray(jax.random.uniform(jax.random.key(0), (300,)))
    expected = run(
        *(*points[:2], drawn, foreground), rule=rule, min_seediness=0.0, min_cells=6
    )
    for seediness in (points[2], np.zeros(300)):  # whatever it is, and however bad
        found = run(
            *(*points[:2], seediness, foreground),
            **dict(rule=rule, seeds="random", min_cells=6),
        )
        np.testing.assert_array_equal(found.labels, expected.labels)
    best = run(*points, foreground, rule=rule, min_seediness=0.0, min_cells=6)
    assert (found.labels != best.labels).any()


# ------------------------------------------------------------------------ properties


@pytest.mark.parametrize("rule", sequential.RULES)
def test_background_points_change_nothing(rule):
    *points, _ = random_points(0, 200, 5)
    plain = run(*points, rule=rule, min_cells=5)
    rng = np.random.default_rng(1)
    place = np.sort(rng.permutation(260)[:200])  # the order of points is kept
    padded = []
    for x in points:
        values = rng.uniform(0, 30, (260, *x.shape[1:])).astype(np.float32)
        values[place] = x
        padded.append(values)
    foreground = np.zeros(260, bool)
    foreground[place] = True
    found = run(*padded, foreground, rule=rule, min_cells=5)
    np.testing.assert_array_equal(found.labels[place], plain.labels)
    assert (found.labels[~foreground] == -1).all()
    for ours, theirs in zip(found[1:], plain[1:], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("rule", sequential.RULES)
def test_the_order_of_points_does_not_matter(rule):
    *points, _ = random_points(2, 200, 5)
    order = np.random.default_rng(3).permutation(200)
    plain = run(*points, rule=rule, min_cells=5)
    found = run(*(x[order] for x in points), rule=rule, min_cells=5)
    np.testing.assert_array_equal(found.labels, plain.labels[order])


@pytest.mark.parametrize("rule", sequential.RULES)
def test_more_slots_change_nothing_unless_they_ran_out(rule):
    *points, _ = random_points(4, 200, 5, stray=0.02)
    few = run(*points, rule=rule, min_cells=5)
    many = run(*points, rule=rule, max_instances=40, min_cells=5)
    assert few.valid.sum() < 20
    np.testing.assert_array_equal(few.labels, many.labels)


@pytest.mark.parametrize("rule", sequential.RULES)
def test_no_foreground_no_good_seed_and_no_point_give_no_cluster(rule):
    *points, foreground = random_points(5, 200, 2)
    for found in (
        run(*points, np.zeros(200, bool), rule=rule, min_cells=5),
        run(*points[:2], np.full(200, 0.7), foreground, rule=rule, min_cells=5),
        run(*(x[:0] for x in points), rule=rule, min_cells=5),
    ):
        assert (found.labels == -1).all()
        assert not found.valid.any()
        assert not found.sizes.any()


@pytest.mark.parametrize("rule", sequential.RULES)
def test_vmap_gives_what_each_window_gives_alone(rule):
    windows = [random_points(seed, 100, seed + 1) for seed in range(4)]
    settings = Settings(rule=rule, min_cells=4)
    batch = [jnp.stack(x) for x in zip(*windows, strict=True)]
    together = jax.vmap(functools.partial(sequential.cluster, settings=settings))(
        *batch
    )
    for k, window in enumerate(windows):
        alone = run(*window, **vars(settings))
        np.testing.assert_array_equal(together.labels[k], alone.labels)
        np.testing.assert_allclose(together.centres[k], alone.centres, rtol=1e-5)


@pytest.mark.parametrize("rule", ["refined", "discard"])
def test_a_swarm_of_tiny_clusters_does_not_go_on_for_ever(rule):
    points = np.arange(1000.0)[:, None]
    found = run(points, 10, np.ones(1000), rule=rule, max_instances=2)
    assert not found.valid.any()


# -------------------------------------------------------------------- assign_nearest


def two_clusters():
    """Centres -1 and 1, the second with four times the bandwidth; slot 2 is free."""
    return sequential.Clusters(
        labels=jnp.zeros(0, jnp.int32),
        centres=jnp.array([[-1.0], [1.0], [0.0]]),
        bandwidths=jnp.array([[1.0], [4.0], [0.0]]),
        seediness=jnp.array([0.9, 0.8, 0.0]),
        valid=jnp.array([True, True, False]),
        sizes=jnp.array([5, 5, 0]),
    )


def test_nearest_is_measured_in_the_centres_own_bandwidths():
    # Equally far where 1 (x + 1)^2 = 4 (x - 1)^2: at x = 1/3 and x = 3.
    points = jnp.array([[[0.3], [0.4]], [[2.9], [3.1]]])
    labels = sequential.assign_nearest(points, jnp.ones((2, 2), bool), two_clusters())
    np.testing.assert_array_equal(labels, [[0, 1], [1, 0]])


def test_nearest_respects_foreground_and_probability():
    points = jnp.array([[-1.0], [-1.0], [-4.0], [-40.0]])
    foreground = jnp.array([True, False, True, True])
    assign = functools.partial(sequential.assign_nearest, points, foreground)
    np.testing.assert_array_equal(assign(two_clusters()), [0, -1, 0, 0])
    # exp(-3^2 / 2) = 0.011
    labels = assign(two_clusters(), min_probability=0.02)
    np.testing.assert_array_equal(labels, [0, -1, -1, -1])


def test_without_clusters_nothing_is_assigned():
    nothing = two_clusters()._replace(valid=jnp.zeros(3, bool))
    labels = sequential.assign_nearest(jnp.ones((4, 1)), jnp.ones(4, bool), nothing)
    np.testing.assert_array_equal(labels, -1)


def test_nearest_equals_numpy_under_jit():
    rng = np.random.default_rng(6)
    points = rng.normal(size=(3, 5, 7, 4)).astype(np.float32)
    clusters = sequential.Clusters(
        jnp.zeros(0, jnp.int32),
        jnp.asarray(rng.normal(size=(6, 4)), jnp.float32),
        jnp.asarray(rng.uniform(1, 9, (6, 4)), jnp.float32),
        jnp.ones(6),
        jnp.arange(6) < 5,
        jnp.ones(6, jnp.int32),
    )
    foreground = rng.uniform(size=(3, 5, 7)) < 0.7
    labels = jax.jit(sequential.assign_nearest)(
        jnp.asarray(points), jnp.asarray(foreground), clusters
    )
    squares = np.square(points[..., None, :] - np.asarray(clusters.centres)[:5])
    nearest = (squares * np.asarray(clusters.bandwidths)[:5]).sum(-1).argmin(-1)
    np.testing.assert_array_equal(labels, np.where(foreground, nearest, -1))


# -------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(rule="best"), "'best' is not one of paper, released, refined, discard"),
        (dict(max_instances=0), "max_instances=0 must be at least 1"),
        (dict(min_seediness=1.5), r"min_seediness=1.5 is not in \[0, 1\]"),
    ],
)
def test_settings_refuse_what_makes_no_sense(wrong, message):
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


# ------------------------------------------------------------ the authors' program

POINT_SETS = (
    *("secondary_two", "secondary_three_far", "stale_cap4", "stale_cap5", "empty"),
    *("all_assigned", "blobs_xyff", "blobs_xyt", "cap_twenty", "crowded_xyf"),
    *("no_seed", "single_secondary"),
)


@pytest.mark.parametrize("name", POINT_SETS)
def test_released_equals_the_program_on_point_sets(name):
    """The recorded run of the authors' clusterer on one set of points."""
    case = json.loads((HERE / "data/clusterer.json").read_text())["cases"][name]
    arrays = np.load(HERE / "data/clusterer.npz")
    points = arrays[f"{name}.embeddings"]
    constants = 1 / np.square(np.array(case["stds"], np.float32))
    constants = np.broadcast_to(constants, (len(points), len(constants)))
    found = run(
        points,
        np.concatenate([arrays[f"{name}.bandwidths"], constants], axis=1),
        arrays[f"{name}.seediness"][:, 0],
        rule="released",
        max_instances=case.get("cap", 20),
        min_seediness=case["min_seed"],
        primary_threshold=case["primary"],
        secondary_threshold=case["secondary"],
    )
    expected = arrays[f"{name}.labels"]
    expected = np.where(expected < 0, -1, expected - case["start"])
    np.testing.assert_array_equal(found.labels, expected)
    count = len(case["instance_labels"])
    assert found.valid.sum() == count
    if count:
        np.testing.assert_array_equal(found.centres[:count], arrays[f"{name}.centers"])
        np.testing.assert_allclose(
            1 / np.sqrt(found.bandwidths[:count]), arrays[f"{name}.stds"], rtol=1e-6
        )


def test_released_equals_the_program_on_a_window_of_a_network():
    """A window of 5 x 24 x 40 cells, with all 20 slots filled."""
    folder = HERE / "data"
    case = json.loads((folder / "inference_kitti_short.json").read_text())
    arrays = np.load(folder / "inference_kitti_short.npz")
    embeddings, bandwidths, seediness = (
        np.moveaxis(arrays[f"clip0.{name}"], 0, -1)
        for name in ("embeddings", "bandwidths", "seediness")
    )
    shape = case["fg_mask_shape"]
    foreground = np.unpackbits(arrays["fg_mask"])[: np.prod(shape)].astype(bool)
    found = run(
        embeddings.reshape(-1, 3),
        bandwidths.reshape(-1, 3),
        seediness.ravel(),
        foreground,
        rule="released",
        min_seediness=case["min_seediness"],
    )
    labels = np.where(found.labels < 0, -1, found.labels + 1)
    labels = np.where(foreground, labels, 0)
    np.testing.assert_array_equal(labels.reshape(shape), arrays["label_map"])
