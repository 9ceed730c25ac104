"""What is written of a video, what may fail, and how one stops half way."""

import json
import os
import signal
import threading
import time

import numpy as np
import PIL.Image
import pytest

from stemseg_jax import drawings, results
from stemseg_jax.data import inputs
from stemseg_jax.formats import images, rle
from stemseg_jax.outputs import mask_log, overlay, tracks_json
from stemseg_jax.predictor import Predictor
from tests import coloured
from tests.coloured import ByColour


@pytest.fixture
def clip(tmp_path):
    return coloured.write(tmp_path / "clip.mp4", 7)


def written(video, folder, *, system=None, selection=(), **outputs):
    predictor = Predictor(coloured.model_of(system or ByColour(), **dict(selection)))
    (source,) = inputs.find(video)
    outputs = results.Outputs(**outputs)
    labelling = predictor.label(source, **outputs.needs())
    return results.write(labelling, folder, outputs, {"test": 1})


@pytest.mark.parametrize("name", sorted({*results.FILES} - {"side_by_side", "mots"}))
def test_each_output_is_written_alone(clip, tmp_path, name):
    done = written(clip, tmp_path / "out", names=(name,), system=WithMaps())
    assert not done.failed
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {results.FILES[name], ".stemseg_jax", results.RECORD}


class WithMaps(ByColour):
    """Which also gives maps when it is asked for them."""

    def track(self, variables, frames, *, maps=False):
        labelled = super().track(variables, frames)
        while True:
            try:
                part = next(labelled)
            except StopIteration as end:
                return end.value
            seediness = np.float32(part.labels[..., None] > 0)
            yield part._replace(maps={"seediness": seediness}) if maps else part


def test_truth_stands_beside_the_frames(clip, tmp_path):
    truth = tmp_path / "truth" / "clip"
    truth.mkdir(parents=True)
    for index in range(7):
        labels = np.full(coloured.SIZE, index % 2, np.uint8)
        images.write_labels(truth / f"{index:05d}.png", labels)
    names = ("side_by_side",)
    done = written(clip, tmp_path / "out", names=names, ground_truth=str(truth.parent))
    assert not done.failed
    (drawn,) = inputs.find(tmp_path / "out" / "side_by_side.mp4")
    assert sum(1 for _ in drawn) == 7
    (truth / "00006.png").unlink()
    with pytest.raises(ValueError, match=r"6 PNGs, but clip has 7 frames"):
        written(clip, tmp_path / "two", names=names, ground_truth=str(truth))


def test_an_overlay_that_fails_is_a_warning(clip, tmp_path, monkeypatch, caplog):
    class Fails(overlay.Artist):
        count = 0

        def draw(self, image, labels):
            Fails.count += 1
            if Fails.count == 3:
                raise RuntimeError("no font")
            return super().draw(image, labels)

    monkeypatch.setattr(drawings.overlay, "Artist", Fails)
    done = written(clip, tmp_path / "out")
    assert done.failed == ("overlay",)
    assert "overlay could not be drawn: no font" in caplog.text
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {
        *("masks", "tracks.json", results.RECORD, ".stemseg_jax"),
    }
    assert len(list((folder / "masks").iterdir())) == 7
    (record,) = folder.glob(results.RECORD)
    made_of = json.loads(record.read_text())["made_of"]
    # What is not whole is not taken for it.
    assert results.earlier(folder, results.Outputs(), made_of) is None
    outputs = results.Outputs(names=("masks",))
    assert results.earlier(folder, outputs, made_of) is None


def test_a_form_that_cannot_hold_the_tracks_is_a_warning(clip, tmp_path, caplog):
    done = written(clip, tmp_path / "out", names=("masks", "mots"))
    assert done.failed == ("mots",) and "MOTS knows car" in caplog.text


class Interrupts(ByColour):
    """Ctrl-C is pressed when frame 4 is asked for."""

    def track(self, variables, frames, *, maps=False):
        def until_pressed():
            for frame in frames:
                if frame.index == 4:
                    os.kill(os.getpid(), signal.SIGINT)
                    signalled.wait(5)
                yield frame

        signalled = threading.Event()
        self.signalled = signalled
        return super().track(variables, until_pressed())


def test_ctrl_c_keeps_what_is_done(tmp_path, caplog, monkeypatch):
    clip = coloured.write(tmp_path / "clip.mp4", 60)
    system = Interrupts()
    stop = results.Labelling.stop

    def stopped(labelling):
        stop(labelling)
        system.signalled.set()

    monkeypatch.setattr(results.Labelling, "stop", stopped)
    before = signal.getsignal(signal.SIGINT)
    done = written(clip, tmp_path / "out", system=system)
    assert signal.getsignal(signal.SIGINT) is before
    assert done.stopped and "Ctrl-C" in caplog.text
    # Frames that were decoded ahead are labelled, too.
    assert 5 <= done.num_frames < 30
    held = tracks_json.read(tmp_path / "out" / "tracks.json")
    assert held.video.num_frames == done.num_frames
    assert len(list((tmp_path / "out" / "masks").iterdir())) == done.num_frames
    record = json.loads((tmp_path / "out" / results.RECORD).read_text())
    assert record["made_of"] is None  # the next run labels it whole


def test_times_are_those_of_the_video(clip, tmp_path):
    written(clip, tmp_path / "out", names=("tracks",))
    held = tracks_json.read(tmp_path / "out" / "tracks.json")
    expected = [index * 1001 / 30000 for index in range(7)]
    assert held.details.times == pytest.approx(expected, abs=1e-3)


def test_tracks_that_are_not_written_are_counted(clip, tmp_path):
    done = written(clip, tmp_path / "out", max_tracks=1)
    assert done.num_tracks == 1 and done.left_out == {"beyond the first 1": 1}
    held = tracks_json.read(tmp_path / "out" / "tracks.json")
    assert held.details.left_out == done.left_out
    done = written(clip, tmp_path / "out", min_score=0.9)
    assert done.left_out == {"score below 0.9": 1}


def test_the_limit_of_a_benchmark_is_not_meant(clip, tmp_path):
    done = written(clip, tmp_path / "out", selection={"limit": 1})
    assert done.num_tracks == 2


def test_masks_are_on_disk_before_the_video_has_ended(tmp_path):
    clip = coloured.write(tmp_path / "clip.mp4", 60)
    lines = []

    class Looks(ByColour):
        def track(self, variables, frames, *, maps=False):
            def until_some_are_there():
                for frame in frames:
                    if frame.index == 59:
                        time.sleep(1)
                        log = tmp_path / ".out.partial" / results.LOG
                        lines.extend(log.read_text().splitlines())
                    yield frame

            return super().track(variables, until_some_are_there())

    written(clip, tmp_path / "out", system=Looks())
    assert len(lines) > 10
    assert json.loads(lines[3])["objects"].keys() == {"3", "7"}


def test_a_track_is_the_same_in_log_and_masks(clip, tmp_path, monkeypatch):
    logged = []
    append = mask_log.MaskLog.append

    def spied(log, time, masks):
        logged.append(masks)
        append(log, time, masks)

    monkeypatch.setattr(mask_log.MaskLog, "append", spied)
    written(clip, tmp_path / "out")
    for index, masks in enumerate(logged):
        labels = np.array(PIL.Image.open(tmp_path / f"out/masks/{index:05d}.png"))
        for label, id in ((3, 1), (7, 2)):
            mask = masks.get(label)
            expected = (
                np.zeros(labels.shape, bool) if mask is None else rle.decode(mask)
            )
            np.testing.assert_array_equal(labels == id, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(names=("mask",)), r"--outputs='mask' .*masks"),
        (dict(max_tracks=0), "--max_tracks=0 is not from 1 to 254"),
        (dict(max_tracks=255), "--max_tracks=255"),
        (dict(min_score=1.5), "--min_score=1.5 is not from 0 to 1"),
        (dict(names=("side_by_side",)), "--ground_truth=FOLDER go together"),
        (dict(ground_truth="x"), "--ground_truth=FOLDER go together"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        results.Outputs(**options)
