"""The Python interface: what goes in, and that frames come out while others go in."""

import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

import stemseg_jax
from stemseg_jax import models
from stemseg_jax.data import inputs
from stemseg_jax.predictor import Predictor
from tests import coloured
from tests.coloured import ByColour, images


@pytest.fixture
def predictor():
    return Predictor(coloured.model_of(ByColour()))


def test_frames_have_their_masks_and_tracks_are_known_at_the_end(predictor):
    video = predictor.track(images(7))
    frames = list(video)
    assert [frame.index for frame in frames] == list(range(7))
    for frame, image in zip(frames, images(7), strict=True):
        assert frame.image is not None and (frame.image == image).all()
        masks = frame.masks()
        np.testing.assert_array_equal(masks[3], image[..., 1] > 150)
        assert (7 in masks) == (frame.index < 4)
    assert [(one.label, one.id, one.category) for one in video.found] == [
        (3, 1, "person"),
        (7, 2, "giant_panda"),
    ]
    assert [(one.first, one.last) for one in video.found] == [(0, 6), (0, 3)]


@pytest.mark.parametrize("form", ["path", "list", "generator", "opened"])
def test_a_video_comes_in_any_form(predictor, tmp_path, form):
    path = coloured.write(tmp_path / "clip.mp4", 5)
    video = {
        "path": path,
        "list": images(5),
        "generator": iter(images(5)),
        "opened": inputs.find(path)[0],
    }[form]
    assert [len(frame.masks()) for frame in predictor.track(video)] == [2, 2, 2, 1, 1]
    if form != "generator":
        folder = predictor.predict(video, tmp_path / "out")
        assert len(list((folder / "masks").iterdir())) == 5


def test_a_generator_is_recorded_to_be_drawn(predictor, tmp_path):
    folder = predictor.predict(iter(images(5)), tmp_path)
    assert (folder / "recording.mp4").exists() and (folder / "overlay.mp4").exists()
    assert len(list((folder / "masks").iterdir())) == 5


def test_frames_come_out_before_all_are_in(predictor):
    given, before = [], threading.active_count()

    def endless():
        while True:
            given.append(1)
            yield images(1)[0]

    video = iter(predictor.track(endless()))
    assert [next(video).index for _ in range(5)] == list(range(5))
    assert len(given) < 60
    video.close()
    count, threads = len(given), threading.active_count()
    time.sleep(0.2)
    assert len(given) == count and threads == before  # nobody asks for more


def test_it_goes_once_and_says_when_tracks_are_known(predictor):
    video = predictor.track(images(3))
    with pytest.raises(ValueError, match="known at its end"):
        _ = video.found
    frames = iter(video)
    next(frames)
    frames.close()
    with pytest.raises(ValueError, match="goes once"):
        iter(video)


def test_stop_ends_the_video_there(predictor):
    video = predictor.track(images(1)[0] for _ in range(10_000))
    for frame in video:
        if frame.index == 10:
            video.stop()
    assert 10 < frame.index < 100 and len(video.found) == 2


def test_a_system_that_fails_leaves_no_thread(predictor):
    class Fails(ByColour):
        def track(self, variables, frames, *, maps=False):
            yield from ()
            next(frames)
            raise FloatingPointError("half way")

    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(FloatingPointError, match="half way"):
            list(Predictor(coloured.model_of(Fails())).track(images(60)))
    assert threading.active_count() == before


def test_memory_that_ends_says_what_to_lower(predictor):
    class Large(ByColour):
        def track(self, variables, frames, *, maps=False):
            yield from ()
            next(frames)
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    with pytest.raises(MemoryError, match="--config.evaluation.max_dim="):
        list(Predictor(coloured.model_of(Large())).track(images(3)))


def test_ctrl_c_goes_on_after_what_is_labelled_is_written(predictor, tmp_path):
    path = coloured.write(tmp_path / "clip.mp4", 3)
    label = predictor.label

    def stopped(*args, **options):
        labelling = label(*args, **options)
        labelling.stop()
        return labelling

    predictor.label = stopped
    with pytest.raises(KeyboardInterrupt):
        predictor.predict(path, tmp_path / "out")
    assert len(list((tmp_path / "out" / "clip" / "masks").iterdir())) == 1


def test_images_are_given_only_if_asked_for(predictor):
    assert all(
        frame.image is None for frame in predictor.track(images(3), images=False)
    )


def test_a_choice_of_frames(predictor):
    choice = inputs.FrameChoice(fps=10, stride=2)
    frames = list(predictor.track(images(5), choice=choice))
    assert [frame.time for frame in frames] == pytest.approx([0, 0.2, 0.4])


def test_several_videos_are_too_many(predictor, tmp_path):
    for name in ("a", "b"):
        coloured.write(tmp_path / f"{name}.mp4", 1)
    with pytest.raises(ValueError, match=r"2 videos \(a, b\). Expected one"):
        predictor.track(tmp_path)


def test_the_authors_program_cuts_and_joins_nothing():
    model = coloured.model_of(ByColour())
    assert Predictor(model).shots and Predictor(model).rejoin > 0
    model.config.parity = "released"
    released = Predictor(model)
    assert not released.shots and released.rejoin == 0
    assert Predictor(model, shots=True, rejoin=1).rejoin == 1
    with pytest.raises(ValueError, match="--rejoin=-1"):
        Predictor(model, rejoin=-1)


def test_options_of_a_checkpoint_are_changed_by_name(monkeypatch):
    monkeypatch.setattr(
        models, "load", lambda config, _: models.Model(config, None, {})
    )
    changed = Predictor.from_checkpoint(changes={"selection.min_score": 0.25})
    assert changed.model.config.selection.min_score == 0.25
    with pytest.raises(ValueError, match="min_scor"):
        Predictor.from_checkpoint(changes={"selection.min_scor": 0.25})
    with pytest.raises(ValueError, match="selection.min_score"):
        Predictor.from_checkpoint(changes={"selection.min_score": 7.0})


def test_it_is_at_the_top_and_costs_nothing_until_it_is_used():
    assert stemseg_jax.Predictor is Predictor
    with pytest.raises(AttributeError, match="Predicter"):
        _ = stemseg_jax.Predicter
    code = "import sys, stemseg_jax; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
