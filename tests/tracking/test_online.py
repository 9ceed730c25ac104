"""The loop of online methods, run with one that can be followed by hand."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.geometry import SizeRule
from stemseg_jax.tracking import label_codes, online, statistics
from stemseg_jax.tracks import Frame


@dataclasses.dataclass(frozen=True)
class Brighter:
    """One object: whatever is brighter than everything before; a new id each time."""

    score = "glow"

    def geometry(self, original):
        return SizeRule(min_dim=32, max_dim=64).geometry(original, stride=4)

    def start(self, variables, geometry):
        return {"highest": variables["floor"], "next_id": jnp.int32(1)}

    @functools.partial(jax.jit, static_argnums=(0, 4))
    def step(self, variables, state, frame, geometry):
        highest = frame.image.max()
        is_new = highest > state["highest"]
        slots = jnp.where(is_new, 0, -1) * jnp.ones(geometry.labels, jnp.int32)
        sums = statistics.slot_sums(slots[None], jnp.ones(1, bool), num_slots=1)
        ids = state["next_id"][None]
        labels = online.Labels(
            codes=label_codes.encode(slots, slots > 0, num_slots=1),
            ids=ids,
            sums=sums._replace(confidences={"glow": jnp.full((1, 1), highest / 255)}),
            depth=jnp.full(geometry.labels, highest, jnp.float32),
        )
        state = {
            "highest": jnp.maximum(highest, state["highest"]),
            "next_id": state["next_id"] + is_new,
        }
        return state, labels


VARIABLES = {"floor": jnp.uint8(10)}


def frames(values, size=(32, 40)):
    for index, value in enumerate(values):
        yield Frame(index, np.full((*size, 3), value, np.uint8))


def test_labels_state_and_statistics_by_hand():
    loop = online.track(Brighter(), VARIABLES, frames([5, 51, 51, 102]))
    parts = []
    with pytest.raises(StopIteration) as end:
        while True:
            parts.append(next(loop))
    assert [part.first for part in parts] == [0, 1, 2, 3]
    assert [part.labels.shape for part in parts] == [(1, 8, 16)] * 4
    assert [part.labels.max() for part in parts] == [0, 1, 0, 2]
    assert [part.depth.max() for part in parts] == [5, 51, 51, 102]
    tracks = end.value.value
    assert {k: t[:3] for k, t in tracks.items()} == {1: (128, 1, 1), 2: (128, 3, 3)}
    assert [t.score for t in tracks.values()] == pytest.approx([0.2, 0.4])


def test_a_frames_labels_come_before_the_next_frame_goes_in():
    taken = []

    def watched():
        for frame in frames([50, 60, 70]):
            taken.append(frame.index)
            yield frame

    for part in online.track(Brighter(), VARIABLES, watched()):
        assert taken == list(range(part.first + 1))


def test_one_step_is_compiled_for_a_video():
    Brighter.step.clear_cache()
    list(online.track(Brighter(), VARIABLES, frames(range(9))))
    assert Brighter.step._cache_size() == 1


def test_no_frames_and_another_size_are_refused():
    with pytest.raises(ValueError, match="no frames"):
        list(online.track(Brighter(), VARIABLES, iter(())))
    mixed = [*frames([1]), Frame(1, np.zeros((32, 41, 3), np.uint8))]
    with pytest.raises(ValueError, match="Frame 1 is"):
        list(online.track(Brighter(), VARIABLES, iter(mixed)))
