"""Mean shift against hand-worked cases, NumPy and scikit-learn's partitions."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.clustering import mean_shift
from stemseg_jax.clustering.mean_shift import Settings

cluster = jax.jit(mean_shift.cluster, static_argnames="settings")
GOLDEN = np.load(pathlib.Path(__file__).parents[1] / "figures/meanshift.npz")


def run(points, counted=None, current=None, seed=0, bandwidth=1.5, **settings):
    """Clusters as NumPy arrays; all points are counted and of the present frame."""
    points = jnp.asarray(points, jnp.float32)
    everywhere = jnp.ones(len(points), bool)
    found = cluster(
        points,
        everywhere if counted is None else jnp.asarray(counted, bool),
        everywhere if current is None else jnp.asarray(current, bool),
        jax.random.key(seed),
        settings=Settings(
            bandwidth=bandwidth, **{"max_instances": 8, "min_points": 1} | settings
        ),
    )
    return jax.tree.map(np.asarray, found)


def column(*values):
    return np.array(values, np.float32)[:, None]


def partition(labels):
    return {frozenset(np.flatnonzero(labels == k)) for k in set(labels) - {-1}}


# ------------------------------------------------------------------- worked by hand


def test_a_seed_climbs_to_the_mode_and_takes_what_is_near_it():
    # From 0: the mean of 0 and 1 is 0.5, that of 0, 1, 2 and 2 is 1.25, and there it
    # stays. From 1 and 2 in one step.
    found = run(column(0, 1, 2, 2, 9))
    near, far = found.labels[0], found.labels[4]
    np.testing.assert_array_equal(found.labels, [near, near, near, near, far])
    np.testing.assert_allclose(found.modes[[near, far]], column(1.25, 9))
    assert found.sizes[[near, far]].tolist() == [4, 1]


def test_a_seed_that_leaves_itself_behind_is_noise():
    # From 0: the mean of 0 and 1 is 0.5, that of all is 1.04, that of all but 0 is 1.3,
    # and there it stays. From all others to 1.3 as well.
    points = column(0, 1, 1.4, 1.4, 1.4)
    for seed in range(8):
        found = run(points, bandwidth=1.0, seed=seed)
        np.testing.assert_array_equal(found.labels, [-1, 0, 0, 0, 0])
        np.testing.assert_allclose(found.modes[0], [1.3], rtol=1e-6)
        assert found.valid.sum() == 1


def test_a_point_at_the_bandwidth_is_near():
    assert run(column(0, 1.5)).valid.sum() == 1
    assert run(column(0, 1.51)).valid.sum() == 2


def test_sizes_are_of_the_present_frame():
    points = column(0, 0, 0, 9, 9, 20)
    current = [True, False, True, False, True, False]
    found = run(points, current=current)
    assert sorted(found.sizes[found.valid]) == [1, 2]
    assert found.labels[5] == -1  # of the past alone
    assert partition(found.labels) == {frozenset({0, 1, 2}), frozenset({3, 4})}
    found = run(points, current=current, min_points=2)
    np.testing.assert_array_equal(found.labels, [0, 0, 0, -1, -1, -1])
    np.testing.assert_array_equal(found.valid, np.arange(8) < 1)
    assert not found.modes[1:].any() and not found.sizes[1:].any()


def test_of_points_at_a_stride_the_others_take_the_nearest_mode():
    # 0 and 3.2 are clustered. 2 is out of reach of 0; 1.4 is nearer to 0; 5 to neither.
    points = column(0, 2, 3.2, 1.4, 0, 5, 3.2, 3.3)
    found = run(points, stride=2)
    near, far = found.labels[0], found.labels[2]
    np.testing.assert_array_equal(
        found.labels, [near, far, far, near, near, -1, far, far]
    )
    np.testing.assert_array_equal(found.modes[[near, far]], np.float32([[0], [3.2]]))
    assert found.sizes[[near, far]].tolist() == [3, 4]
    # What is too small is known when all points are in: both have two of stride 2.
    assert run(points, stride=2, min_points=4).labels.tolist().count(-1) == 4


# ---------------------------------------------------------------------------- NumPy


def numpy_clusters(points, key, bandwidth, iterations=300):
    """Members and modes of all clusters, as the pseudo-code has it."""
    priorities = np.asarray(jax.random.uniform(key, (len(points),)))
    points = points.astype(np.float64)
    state = np.zeros(len(points), int)  # 0 is unassigned, 1 is not
    clusters = []

    def near(mode):
        return np.linalg.norm(points - mode, axis=1) <= bandwidth

    while (state == 0).any():
        free = np.flatnonzero(state == 0)
        seed = free[priorities[free].argmax()]
        mode = points[seed]
        for _ in range(iterations):
            mean = points[near(mode)].mean(axis=0)
            if np.linalg.norm(mean - mode) <= 1e-3 * bandwidth:
                break
            mode = mean
        members = near(mode) & (state == 0)
        state[members] = 1
        state[seed] = 1
        if members.any():
            clusters.append((np.flatnonzero(members), mode))
    return clusters


def scattered(seed, num_points=150, dims=3):
    """Blobs that touch, and points that lie anywhere."""
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(6, dims)) * 2
    points = places[rng.integers(6, size=num_points)]
    points = points + rng.normal(size=points.shape) * 0.5
    return points.astype(np.float32), rng.uniform(size=num_points) < 0.4


@pytest.mark.parametrize(
    "settings",
    [
        dict(bandwidth=1.0, max_instances=60),
        dict(bandwidth=0.8, max_instances=60, min_points=5),
        dict(bandwidth=1.2, max_instances=60, max_iterations=2),
        dict(bandwidth=1.5, max_instances=4, min_points=3),
    ],
)
def test_the_largest_clusters_of_the_pseudo_code(settings):
    noise, dropped = 0, 0
    for seed in range(6):
        points, current = scattered(seed)
        iterations = settings.get("max_iterations", 300)
        key = jax.random.key(seed)
        wanted = numpy_clusters(points, key, settings["bandwidth"], iterations)
        noise += len(points) - sum(len(members) for members, _ in wanted)
        wanted = {
            frozenset(members): (current[members].sum(), mode)
            for members, mode in wanted
        }
        sizes = sorted((size for size, _ in wanted.values()), reverse=True)
        large = [size for size in sizes if size >= settings.get("min_points", 1)]
        large = large[: settings["max_instances"]]
        dropped += len(wanted) - len(large)
        found = run(points, current=current, seed=seed, **settings)
        # Of equals any may stay; all others are given by their sizes.
        assert sorted(found.sizes[found.valid], reverse=True) == large
        for slot in np.flatnonzero(found.valid):
            size, mode = wanted[frozenset(np.flatnonzero(found.labels == slot))]
            assert found.sizes[slot] == size
            np.testing.assert_allclose(found.modes[slot], mode, atol=1e-4)
        assert set(found.labels) - {-1} == set(np.flatnonzero(found.valid))
    assert noise and dropped


# --------------------------------------------------------------- scikit-learn's figures


@pytest.mark.parametrize("name", ["zero_loss", "zero_loss_2d", "single"])
def test_scikit_learns_partition(name):
    points, labels = GOLDEN[f"{name}__points"], GOLDEN[f"{name}__labels"]
    found = run(points, bandwidth=float(GOLDEN["bandwidth"]))
    assert partition(found.labels) == partition(labels)
    assert partition(found.labels) == partition(GOLDEN[f"{name}__true"])
    centres = GOLDEN[f"{name}__centers"][labels]
    np.testing.assert_allclose(found.modes[found.labels], centres, atol=1e-5)


def test_scikit_learns_clusters_amid_outliers():
    points, labels = GOLDEN["noisy__points"], GOLDEN["noisy__labels"]
    inlier = GOLDEN["noisy__true"] >= 0
    for seed in range(5):
        found = run(points, max_instances=20, seed=seed)
        assert adjusted_rand(found.labels[inlier], labels[inlier]) >= 0.95
        assert run(points, max_instances=20, min_points=5).valid.sum() == 5


def adjusted_rand(first, second):
    """Agreement of two partitions over pairs; 1 if they are equal."""

    def pairs(counts):
        return (counts * (counts - 1) / 2).sum()

    _, first = np.unique(first, return_inverse=True)
    _, second = np.unique(second, return_inverse=True)
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    rows, columns = pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / pairs(np.array([len(first)]))
    return (pairs(table) - expected) / ((rows + columns) / 2 - expected)


# ----------------------------------------------------------------------- properties


def apart(sizes, seed=0):
    """Clusters of these sizes far from each other, in any order; who is in which."""
    rng = np.random.default_rng(seed)
    which = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = 5.0 * np.eye(len(sizes))[which] + rng.uniform(
        -0.1, 0.1, (len(which), len(sizes))
    )
    return points, which


def test_beyond_the_slots_the_largest_stay_in_whatever_order_they_are_found():
    points, which = apart([3, 9, 4, 8, 5, 7, 6, 1])
    current = jnp.ones(len(points), bool).at[np.flatnonzero(which == 1)[2:]].set(False)
    settings = Settings(bandwidth=1.5, max_instances=4, min_points=1)
    together = jax.jit(
        jax.vmap(
            functools.partial(mean_shift.cluster, settings=settings),
            in_axes=(None, None, None, 0),
        )
    )(
        jnp.asarray(points, jnp.float32),
        jnp.ones(len(points), bool),
        current,
        jax.random.split(jax.random.key(0), 16),
    )
    kept = np.where(np.isin(which, [3, 5, 6, 4]), which, -1)  # 8, 7, 6 and 5 points
    assert len({tuple(labels) for labels in together.labels.tolist()}) > 1
    for labels, sizes in zip(
        np.asarray(together.labels), together.sizes.tolist(), strict=True
    ):
        assert partition(labels) == partition(kept)
        assert sorted(sizes) == [5, 6, 7, 8]
    alone = run(points, current=current, max_instances=4)
    assert partition(alone.labels) == partition(kept)


def test_the_same_key_gives_the_same_bits():
    points, current = scattered(0)
    first, again, other = (
        run(points, current=current, seed=seed, max_instances=60) for seed in (3, 3, 4)
    )
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.labels != other.labels).any()


def test_points_that_are_not_counted_change_nothing():
    points, which = apart([20, 10, 5])
    rng = np.random.default_rng(1)
    extra = rng.normal(size=(40, 3)).astype(np.float32) * 3
    extra[:3] = np.nan, np.inf, 1e30
    both = np.concatenate([points, extra])
    counted = np.arange(len(both)) < len(points)
    found, alone = run(both, counted), run(points)
    np.testing.assert_array_equal(found.labels[~counted], -1)
    assert partition(found.labels) == partition(alone.labels) == partition(which)
    assert np.isfinite(found.modes).all()


def test_counted_points_that_are_not_finite_are_in_no_cluster():
    points, which = apart([6, 5])
    points[3], points[7] = np.nan, np.inf
    which[[3, 7]] = -1
    found = run(points)
    assert partition(found.labels) == partition(which)
    assert np.isfinite(found.modes).all()


def test_on_zero_loss_geometry_a_stride_changes_nothing():
    points = GOLDEN["zero_loss__points"]
    found = run(points, stride=3)
    assert partition(found.labels) == partition(GOLDEN["zero_loss__labels"])


def test_scattered_points_come_to_an_end():
    points = 10 * np.arange(200.0)[:, None]
    found = run(points, max_instances=2)
    assert found.sizes.tolist() == [1, 1] and (found.labels >= 0).sum() == 2


@pytest.mark.parametrize("counted", [np.zeros(5, bool), np.zeros(0, bool)])
@pytest.mark.parametrize("stride", [1, 3])
def test_without_points(counted, stride):
    found = run(np.ones((len(counted), 2)), counted, stride=stride)
    assert (found.labels == -1).all() and len(found.labels) == len(counted)
    assert not found.valid.any() and not found.sizes.any() and not found.modes.any()


def test_without_a_point_of_the_present_frame():
    found = run(np.ones((5, 2)), current=np.zeros(5, bool))
    assert (found.labels == -1).all() and not found.valid.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(bandwidth=0.0), "bandwidth=0.0 must be a distance"),
        (dict(bandwidth=float("nan")), "bandwidth=nan"),
        (dict(max_instances=0), "max_instances=0 must be at least 1"),
        (dict(min_points=0), "min_points=0"),
        (dict(stride=0), "stride=0"),
        (dict(max_iterations=0), "max_iterations=0"),
        (dict(tolerance=1.0), r"tolerance=1.0 is not in \[0, 1\)"),
    ],
)
def test_settings_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        Settings(**dict(bandwidth=1.5, max_instances=4, min_points=1) | wrong)
