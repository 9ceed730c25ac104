"""Stitching against frames worked by hand, plain Python and the authors' program."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from stemseg_jax.clustering import sequential
from stemseg_jax.tracking import stitching, windows
from stemseg_jax.tracking.stitching import Settings

cluster = jax.jit(sequential.cluster, static_argnames="settings")
CANVAS = (4, 4, 6)
HERE = pathlib.Path(__file__).parent
stitch = jax.jit(
    stitching.stitch, static_argnames=("num_slots", "max_alive", "settings")
)


def read(frames):
    """Frames side by side: digits, "-" for -1 and a dot for -2."""
    values = {"-": -1, ".": -2}
    rows = [line.split() for line in frames.strip().splitlines()]
    cells = [[[values.get(c) or int(c) for c in part] for part in row] for row in rows]
    return np.array(cells, np.int32).transpose(1, 0, 2)


def ids(frames):
    """As `Stitched.labels`: a dot is background, "-" unassigned."""
    labels = read(frames)
    return np.where(labels == -2, 0, labels)


def run(previous, slots, foreground, known, next_id, num_slots=6, **settings):
    result = stitch(
        jnp.asarray(previous, jnp.int32),
        jnp.asarray(slots, jnp.int32),
        jnp.asarray(foreground),
        jnp.int32(known),
        jnp.int32(next_id),
        num_slots=num_slots,
        max_alive=2 * num_slots,
        settings=Settings(**settings),
    )
    return jax.tree.map(np.asarray, result)


def run_frames(previous, slots, known, next_id, **settings):
    """The same for frames written as text, on a larger canvas: one shape for all."""
    slots = read(slots)
    canvas = [(0, n - m) for n, m in zip(CANVAS, slots.shape, strict=True)]
    previous = np.pad(previous, canvas)
    padded = np.pad(slots, canvas, constant_values=-2)
    result = run(
        previous, np.maximum(padded, -1), padded > -2, known, next_id, **settings
    )
    T, H, W = slots.shape
    return result._replace(labels=result.labels[:T, :H, :W])


# ------------------------------------------------------------------- worked by hand

# Two frames are shared, two are new. Slot 2 is track 4, slot 0 is track 7 less a row;
# slot 1 comes into view in the last frame.
BEFORE = ids("""44.. 44.. .... ....
                447- 44-- .... ....
                .777 .777 .... ....
                .777 .777 .... ....""")
WINDOW = """22.. 22.. 22.. 22.1
            22-- 22-- 220- 22.1
            .000 .000 .000 .0..
            .000 .000 .000 ...."""
AFTER = """44.. 44.. 44.. 44.9
           447- 44-- 447- 44.9
           .777 .777 .777 .7..
           .777 .777 .777 ...."""


@pytest.mark.parametrize("rule", ["paper", "refined"])
def test_tracks_go_on_where_the_overlap_says_so(rule):
    result = run_frames(BEFORE, WINDOW, 2, 9, rule=rule)
    np.testing.assert_array_equal(result.labels, ids(AFTER))
    np.testing.assert_array_equal(result.ids, [7, 9, 4, 0, 0, 0])
    assert result.next_id == 10


def test_released_numbers_new_tracks_by_their_slot():
    result = run_frames(BEFORE, WINDOW, 2, 9, rule="released")
    expected = np.where(ids(AFTER) == 9, 10, ids(AFTER))
    np.testing.assert_array_equal(result.labels, expected)
    np.testing.assert_array_equal(result.ids, [7, 10, 4, 0, 0, 0])
    assert result.next_id == 11


@pytest.mark.parametrize("rule", stitching.RULES)
def test_shared_frames_keep_their_labels(rule):
    result = run_frames(BEFORE, WINDOW, 2, 9, rule=rule)
    np.testing.assert_array_equal(result.labels[:2], BEFORE[:2])


@pytest.mark.parametrize("rule", stitching.RULES)
def test_told_which_ids_there_are_it_gives_the_same(rule):
    """Also of one that no point has."""
    case = BEFORE, read(WINDOW).clip(-1), read(WINDOW) > -2, 2, 9
    told = stitching.stitch(
        *(jnp.asarray(x) for x in case[:3]),
        *(jnp.int32(x) for x in case[3:]),
        num_slots=6,
        max_alive=12,
        settings=Settings(rule=rule),
        known_ids=jnp.array([[0, 7, 4], [4, 5, 0]]),
    )
    for a, b in zip(told, run(*case, rule=rule), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("rule", stitching.RULES)
def test_the_first_window_numbers_from_1(rule):
    result = run_frames(np.full((1, 2, 3), 5), "01.\n-11", 0, 1, rule=rule)
    np.testing.assert_array_equal(result.labels, ids("12.\n-22"))
    assert result.next_id == 3


# A track ends and another begins within the shared frames, and do not touch.
APART = ids("""5... ....
               5... ....""")
BEGINS = """-.00 ..00
            -.00 ..00"""


def test_what_shares_nothing_is_not_the_same_object():
    for rule in ("paper", "refined"):
        result = run_frames(APART, BEGINS, 1, 6, rule=rule)
        np.testing.assert_array_equal(result.labels[1], ids("..66\n..66")[0])


def test_released_joins_even_what_shares_nothing():
    result = run_frames(APART, BEGINS, 1, 6, rule="released")
    np.testing.assert_array_equal(result.labels[1], ids("..55\n..55")[0])
    assert result.next_id == 6


def test_refined_wants_some_overlap():
    before = ids("555555 ......\n555555 ......")
    window = "0----- 00....\n------ 00...."  # IoU 1 / 12
    kept = run_frames(before, window, 1, 6, rule="paper")
    new = run_frames(before, window, 1, 6, rule="refined", min_iou=0.1)
    np.testing.assert_array_equal(kept.labels[1], ids("55....\n55....")[0])
    np.testing.assert_array_equal(new.labels[1], ids("66....\n66....")[0])


@pytest.mark.parametrize("rule", stitching.RULES)
def test_a_slot_seen_in_the_overlap_only_uses_up_no_number(rule):
    before = ids("11.. ....")
    window = "11.0 1..."  # slot 0 is new, and gone again
    result = run_frames(before, window, 1, 2, rule=rule)
    np.testing.assert_array_equal(result.labels, ids("11.. 1..."))
    assert result.next_id == 2


@pytest.mark.parametrize("rule", stitching.RULES)
def test_windows_without_points_without_clusters_and_without_tracks(rule):
    shape = CANVAS
    nothing, all_points = np.zeros(shape, bool), np.ones(shape, bool)
    none, one = np.full(shape, -1), np.zeros(shape, int)
    empty = run(one + 3, none, nothing, 0, 4, rule=rule)
    assert not empty.labels.any()
    assert empty.next_id == 4
    unassigned = run(one + 3, none, all_points, 1, 4, rule=rule)
    np.testing.assert_array_equal(unassigned.labels, [one[0] + 3, *none[1:]])
    fresh = run(none, one, all_points, 1, 4, rule=rule)
    np.testing.assert_array_equal(fresh.labels, [none[0], *one[1:] + 4])


def test_equal_sums_are_settled_in_the_order_of_a_set():
    # A CPython set of 1 and 8 begins with 8; SciPy gives the first row the first
    # column.
    result = run_frames(ids("18.. ...."), "..01 ..01", 1, 9, rule="released")
    np.testing.assert_array_equal(result.ids[:2], [8, 1])


# ------------------------------------------------------------ the rules in plain Python


def plain_stitch(previous, slots, foreground, known, next_id, rule):
    """Labels, next id and the sum of accepted IoUs; a literal reading of the rules."""
    own = np.where(foreground, np.where(slots < 0, -1, slots + next_id), 0)
    inside = foreground[:known]
    old, new = previous[:known][inside], own[:known][inside]
    rows = list(set(np.unique(old).tolist()) - {-1})
    columns = list(set(np.unique(new).tolist()) - {-1})
    cost = np.ones((len(rows), len(columns)), np.float32)
    for i, a in enumerate(rows):
        for j, b in enumerate(columns):
            shared = np.float32(((old == a) & (new == b)).sum())
            cost[i, j] = 1 - shared / np.float32(((old == a) | (new == b)).sum())
    renamed = {}
    for i, j in zip(*optimize.linear_sum_assignment(cost), strict=True):
        if rule == "released" or cost[i, j] < 1:
            renamed[columns[j]] = rows[i]
    labels = previous.copy()
    total = sum(1 - cost[rows.index(a), columns.index(b)] for b, a in renamed.items())
    for label in np.unique(own[known:]):
        name = label
        if label > 0:
            fresh = next_id if rule == "paper" else label
            name = renamed.get(label, fresh)
            next_id += rule == "paper" and label not in renamed
        labels[known:][own[known:] == label] = name
    return labels, max(next_id, labels.max() + 1), total


def random_window(seed):
    """Old ids are few and far between, new slots agree with them in part."""
    rng = np.random.default_rng(seed)
    next_id = int(rng.integers(9, 200))
    count = rng.integers(1, 7, size=2)
    names = rng.permutation(np.arange(1, next_id))[: count[0]]
    known, shape = int(rng.integers(0, 4)), CANVAS
    foreground = rng.uniform(size=shape) < rng.uniform(0.2, 1)
    place = rng.integers(-1, count[0], size=shape)
    previous = np.where(place < 0, -1, names[place])
    previous = np.where(foreground, previous, 0)
    slots = rng.permutation(6)[place % 6]
    other = rng.uniform(size=shape) < rng.choice([0.2, 0.6, 1])
    slots = np.where(other, rng.integers(-1, count[1], size=shape), slots)
    slots = np.where(foreground & (place >= 0), slots, -1)
    return previous, slots, foreground, known, next_id


@pytest.mark.parametrize("seed", range(40))
def test_released_is_the_rule_to_the_letter(seed):
    window = random_window(seed)
    result = run(*window, rule="released")
    labels, next_id, _ = plain_stitch(*window, "released")
    np.testing.assert_array_equal(result.labels, labels)
    assert result.next_id == next_id


@pytest.mark.parametrize("seed", range(20))
def test_paper_joins_for_the_largest_sum_of_ious(seed):
    previous, slots, foreground, known, next_id = window = random_window(seed)
    result = run(*window, rule="paper")
    _, expected_next, best = plain_stitch(*window, "paper")
    total = 0
    for slot, track in enumerate(result.ids):
        if 0 < track < next_id:
            old, new = previous[:known] == track, slots[:known] == slot
            assert (old & new).any()
            total += (old & new).sum() / (old | new).sum()
    np.testing.assert_allclose(total, best, rtol=1e-5)
    assert len(set(result.ids[result.ids > 0])) == (result.ids > 0).sum()
    # New tracks are numbered without gaps.
    new = sorted(result.ids[result.ids >= next_id])
    assert new == list(range(next_id, next_id + len(new)))
    assert result.next_id == next_id + len(new)
    if best == pytest.approx(0):
        assert expected_next == result.next_id


# ------------------------------------------------------------------------ properties


@pytest.mark.parametrize("rule", ["paper", "refined"])
def test_the_order_of_slots_does_not_matter(rule):
    order = np.array([2, 0, 1, 3, 4, 5])
    slots = read(WINDOW)
    plain = run_frames(BEFORE, WINDOW, 2, 9, rule=rule)
    renamed = np.where(slots < 0, -1, order[slots])
    wide = [(0, 0), (0, 0), (0, 2)]
    before, renamed = np.pad(BEFORE, wide), np.pad(renamed, wide, constant_values=-1)
    foreground = np.pad(slots > -2, wide)
    found = run(before, renamed, foreground, 2, 9, rule=rule)
    np.testing.assert_array_equal(found.labels[..., :4], plain.labels)
    np.testing.assert_array_equal(found.ids[order], plain.ids)


@pytest.mark.parametrize("rule", stitching.RULES)
def test_more_room_changes_nothing(rule):
    plain = run_frames(BEFORE, WINDOW, 2, 9, rule=rule)
    found = run_frames(BEFORE, WINDOW, 2, 9, rule=rule, num_slots=11)
    np.testing.assert_array_equal(found.labels, plain.labels)
    assert found.next_id == plain.next_id


def test_points_may_lie_along_one_axis():
    slots = read(WINDOW)
    flat = (x.reshape(4, -1) for x in (BEFORE, np.maximum(slots, -1), slots > -2))
    found = run(*flat, 2, 9)
    np.testing.assert_array_equal(found.labels, ids(AFTER).reshape(4, -1))


@pytest.mark.parametrize("rule", stitching.RULES)
def test_vmap_gives_what_each_window_gives_alone(rule):
    cases = [random_window(seed) for seed in range(3)]
    batch = [jnp.asarray(np.stack(x)) for x in zip(*cases, strict=True)]
    batch = [x if x.dtype == bool else x.astype(jnp.int32) for x in batch]
    one = functools.partial(
        stitching.stitch, num_slots=6, max_alive=12, settings=Settings(rule=rule)
    )
    together = jax.jit(jax.vmap(one))(*batch)
    for k, case in enumerate(cases):
        alone = run(*case, rule=rule)
        np.testing.assert_array_equal(together.labels[k], alone.labels)
        np.testing.assert_array_equal(together.next_id[k], alone.next_id)


# --------------------------------------------------------------------- whole videos


def stitch_video(slots, foreground, laid, num_slots, rule):
    """Labels of all frames, from the slots of each window [T h w]."""
    video = np.zeros(foreground.shape, np.int32)
    labels, start = np.zeros(slots[0].shape, np.int32), 0
    next_id = 1
    for own, window in zip(slots, laid, strict=True):
        places = np.arange(window.start, window.end)[:, None, None]
        result = run(
            jnp.roll(jnp.asarray(labels), start - window.start, axis=0),
            own,
            foreground[list(window.frames)] & (places >= 0),
            window.known,
            next_id,
            num_slots=num_slots,
            rule=rule,
        )
        labels, start, next_id = result.labels, window.start, result.next_id
        video[window.new : window.end] = labels[window.known :]
    return video


@pytest.mark.parametrize("rule", stitching.RULES)
@pytest.mark.parametrize("length", [3, 6, 13, 40])
def test_objects_keep_their_number_through_a_video(rule, length):
    # Three objects; in every window they have other slots.
    objects = np.repeat(np.arange(4), 3)[None, None] * np.ones((length, 2, 1), int)
    rng = np.random.default_rng(length)
    laid = windows.windows(length, 6, 4)
    slots = []
    for window in laid:
        order = np.r_[-1, rng.permutation(3)]
        own = order[objects[list(window.frames)]]
        own[: max(-window.start, 0)] = -1
        slots.append(own)
    video = stitch_video(slots, objects > 0, laid, 3, rule)
    assert (video == video[:1]).all()
    assert set(np.unique(video)) == {0, 1, 2, 3}


@pytest.mark.parametrize("scene", ["basic", "forced_zero_iou", "gap", "split", "tail"])
def test_released_equals_the_program_on_scenes(scene):
    """On slots of clusters that are the program's, as the test below shows."""
    arrays = np.load(HERE / "data/scenes.npz")
    video = arrays[f"{scene}.label_map"]
    slots = arrays[f"{scene}.slots"].astype(np.int32)
    size = slots.shape[1]
    laid = [
        windows.Window(int(start), size, int(new))
        for start, new in arrays[f"{scene}.windows"]
    ]
    found = stitch_video(slots, video != 0, laid, 20, "released")
    np.testing.assert_array_equal(found, video)


def test_released_equals_the_program_from_embeddings_on_a_scene_kept_here():
    check_scene(HERE / "data", "gap")


@pytest.mark.parametrize(
    "scene", ["basic", "forced_zero_iou", "gap", "split", "tail", "resized"]
)
def test_released_equals_the_program_from_embeddings_on(scene, shared):
    check_scene(shared / "reference/goldens", scene)


def check_scene(folder, scene):
    arrays = np.load(folder / "chainer.npz")
    case = json.loads((folder / "chainer.json").read_text())["scenes"][scene]
    source = "basic" if scene == "resized" else scene
    scale = int(case["resize"])
    foreground = arrays[f"{source}.masks"].repeat(scale, 1).repeat(scale, 2) > 0
    laid, slots, new = [], [], 0
    for k, numbers in enumerate(case["frames"]):
        laid.append(windows.Window(numbers[0], len(numbers), new))
        new = numbers[-1] + 1
        chosen = foreground[numbers]
        maps = (
            np.moveaxis(arrays[f"{source}.clip{k}.{name}"], 0, -1)
            for name in ("embeddings", "bandwidths", "seediness")
        )
        embeddings, bandwidths, seediness = (
            jax.image.resize(x, (*chosen.shape, x.shape[-1]), "linear", antialias=False)
            for x in maps
        )
        clusters = cluster(
            embeddings.reshape(-1, embeddings.shape[-1]),
            bandwidths.reshape(-1, bandwidths.shape[-1]),
            seediness.ravel(),
            jnp.asarray(chosen.ravel()),
            settings=sequential.Settings(rule="released"),
        )
        slots.append(np.asarray(clusters.labels).reshape(chosen.shape))
    found = stitch_video(slots, foreground, laid, 20, "released")
    np.testing.assert_array_equal(found, arrays[f"{scene}.label_map"])


# -------------------------------------------------------------------------- settings


def test_settings_refuse_what_makes_no_sense():
    with pytest.raises(ValueError, match="'best' is not one of paper, released"):
        Settings(rule="best")
    with pytest.raises(ValueError, match=r"min_iou=-1.0 is not in \[0, 1\]"):
        Settings(min_iou=-1.0)
