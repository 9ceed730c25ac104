"""What is written of a video, what may fail, and how one stops half way."""

import json
import os
import signal
import time

import cv2
import numpy as np
import PIL.Image
import pytest

from stemseg_jax import drawings, results
from stemseg_jax.data import inputs
from stemseg_jax.formats import images, rle
from stemseg_jax.interruption import Interruption
from stemseg_jax.outputs import exports, mask_log, overlay, tracks_json
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


@pytest.mark.parametrize("name", sorted({*results.FILES} - {"side_by_side"}))
def test_each_output_is_written_alone(clip, tmp_path, name):
    model = coloured.model_of(WithMaps())
    model.config.model.categories = ""  # no names, but for MOTS, which asks for cars
    if name == "mots":
        model.config.model.update(categories="kitti_mots", num_classes=3)
    (source,) = inputs.find(clip)
    outputs = results.Outputs(names=(name,))
    labelling = Predictor(model).label(source, **outputs.needs())
    assert not results.write(labelling, tmp_path / "out", outputs).failed
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
                statistics = end.value
                return {
                    k: track._replace(logits=np.eye(3, dtype=np.float32)[1])
                    for k, track in statistics.items()
                }
            depth = np.float32(2 + part.labels)
            seediness = np.float32(part.labels[..., None] > 0)
            shown = {"seediness": seediness, "bandwidth": seediness} if maps else None
            yield part._replace(maps=shown, depth=depth)


def test_depth_is_in_millimetres_and_a_warning_where_there_is_none(clip, tmp_path):
    written(clip, tmp_path / "out", names=("depth", "masks"), system=WithMaps())
    depth = np.array(PIL.Image.open(tmp_path / "out" / "depth" / "00000.png"))
    labels = np.array(PIL.Image.open(tmp_path / "out" / "masks" / "00000.png"))
    # Label 3 is the track of id 1, label 7 that of id 2.
    for id, metres in ((0, 2), (1, 5), (2, 9)):
        inside = cv2.erode(np.uint8(labels == id), np.ones((3, 3), np.uint8)) > 0
        assert (depth[inside] == 1000 * metres).all() and inside.any()
    done = written(clip, tmp_path / "none", names=("depth",))
    assert done.failed == ("depth",)


def test_truth_stands_beside_the_frames(clip, tmp_path, caplog):
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
    done = written(clip, tmp_path / "two", names=names, ground_truth=str(truth))
    assert done.failed == names
    assert "6 label maps, but 7 frames" in caplog.text


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
    assert "overlay is not written: no font" in caplog.text
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


def test_a_form_that_cannot_hold_the_tracks_is_a_warning(clip, tmp_path, monkeypatch):
    def full(*_):
        raise ValueError("too many")

    monkeypatch.setitem(exports.FORMS, "davis", full)
    done = written(clip, tmp_path / "out", names=("masks", "davis"))
    assert done.failed == ("davis",)


def test_a_form_that_can_hold_nothing_is_refused_before(clip, tmp_path):
    model = coloured.model_of(ByColour())
    model.config.model.update(categories="object", num_classes=2)
    with pytest.raises(ValueError, match=r"MOTS knows car.*object.*Leave it out"):
        outputs = results.Outputs(names=("masks", "mots"))
        Predictor(model).predict(clip, tmp_path / "out", outputs=outputs)
    assert not (tmp_path / "out").exists()


def test_a_video_that_cannot_be_read_again_has_masks_and_no_overlay(
    clip, tmp_path, caplog
):
    (source,) = inputs.find(clip)
    gone = source.path.rename(tmp_path / "other.mp4")
    source.path = gone

    def leaving():
        yield from inputs.VideoFile.__iter__(source)
        gone.unlink()

    class Leaves(inputs.VideoFile):
        def __iter__(self):
            return leaving() if gone.exists() else super().__iter__()

    source.__class__ = Leaves
    labelling = Predictor(coloured.model_of(ByColour())).label(source, images=False)
    done = results.write(labelling, tmp_path / "out", results.Outputs())
    assert done.failed == ("overlay",) and "cannot be read again" in caplog.text
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 7
    assert tracks_json.read(tmp_path / "out" / "tracks.json").video.num_frames == 7


@pytest.mark.parametrize("size", [(63, 95), (64, 96)])
def test_all_of_an_odd_size_once(tmp_path, size):
    """Images that come once are recorded, and a recording has even sides."""
    frames = [image[: size[0], : size[1]] for image in coloured.images(3)]

    names = ("masks", "overlay", "cutouts")
    predictor = Predictor(coloured.model_of(ByColour()))
    outputs = results.Outputs(names=names)
    folder = predictor.predict(iter(frames), tmp_path, outputs=outputs)
    for name in names:
        assert (folder / results.FILES[name]).exists()
    labels = np.array(PIL.Image.open(folder / "masks" / "00002.png"))
    assert labels.shape == size


class Interrupts(ByColour):
    """Ctrl-C is pressed when frame 4 is asked for."""

    def track(self, variables, frames, *, maps=False):
        def until_pressed():
            for frame in frames:
                if frame.index == 4:
                    os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01 * (frame.index >= 4))
                yield frame

        return super().track(variables, until_pressed())


@pytest.mark.parametrize("size", [(8, 8), (40, 6000), (6000, 40), (2160, 3840)])
def test_frames_of_any_shape(tmp_path, size):
    rng = np.random.default_rng(0)
    frames = [cv2.resize(image, size[::-1]) for image in coloured.images(2)]
    frames[0][: size[0] // 2] = rng.integers(0, 256, frames[0][: size[0] // 2].shape)
    predictor = Predictor(coloured.model_of(ByColour()))
    outputs = results.Outputs(names=("masks", "tracks", "overlay", "cutouts"))
    folder = predictor.predict(frames, tmp_path, outputs=outputs)
    held = tracks_json.read(folder / "tracks.json").video
    assert (held.height, held.width, held.num_frames) == (*size, 2)
    labels = np.array(PIL.Image.open(folder / "masks" / "00001.png"))
    assert labels.shape == size and labels.any()
    (drawn,) = inputs.find(folder / "overlay.mp4")
    assert sum(1 for _ in drawn) == 2


def test_ctrl_c_keeps_what_is_done(tmp_path):
    clip = coloured.write(tmp_path / "clip.mp4", 200)
    before = signal.getsignal(signal.SIGINT)
    done = written(clip, tmp_path / "out", system=Interrupts())
    assert signal.getsignal(signal.SIGINT) is before
    assert done.stopped
    # Frames that were decoded ahead are labelled, too.
    assert 5 <= done.num_frames < 100
    held = tracks_json.read(tmp_path / "out" / "tracks.json")
    assert held.video.num_frames == done.num_frames
    assert len(list((tmp_path / "out" / "masks").iterdir())) == done.num_frames
    record = json.loads((tmp_path / "out" / results.RECORD).read_text())
    assert record["made_of"] is None  # the next run labels it whole


@pytest.mark.parametrize("during", ["tracks", "overlay"])
def test_ctrl_c_after_the_last_frame_gives_up_pictures(
    clip, tmp_path, monkeypatch, during
):
    def press(*_):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)

    class Presses(overlay.Artist):
        def draw(self, image, labels):
            press()
            monkeypatch.setattr(Presses, "draw", overlay.Artist.draw)
            return image

    if during == "overlay":
        monkeypatch.setattr(drawings.overlay, "Artist", Presses)
    else:
        write = tracks_json.write

        def pressed(*args, **options):
            press()
            return write(*args, **options)

        monkeypatch.setattr(tracks_json, "write", pressed)
    done = written(clip, tmp_path / "out")
    assert done.stopped and done.num_frames == 7
    again = results.earlier(tmp_path / "out", results.Outputs(), {"test": 1})
    if during == "tracks":  # in the other case it may be drawn by then
        assert done.failed == ("overlay",) and again is None
        assert not (tmp_path / "out" / "overlay.mp4").exists()
    elif not done.failed:
        assert again and not again.stopped
    assert len(list((tmp_path / "out" / "masks").iterdir())) == 7
    assert tracks_json.read(tmp_path / "out" / "tracks.json").video.num_frames == 7


def test_a_second_ctrl_c_drops_the_video(tmp_path, monkeypatch):
    clip = coloured.write(tmp_path / "clip.mp4", 60)
    request = Interruption._request

    def twice(interruption, *rest):
        """The second one comes before anybody could obey the first."""
        first = not interruption.requested
        request(interruption, *rest)
        if first:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Interruption, "_request", twice)

    class Presses(ByColour):
        def track(self, variables, frames, *, maps=False):
            def pressed():
                for frame in frames:
                    if frame.index == 4:
                        os.kill(os.getpid(), signal.SIGINT)
                    yield frame

            return super().track(variables, pressed())

    with pytest.raises(KeyboardInterrupt):
        written(clip, tmp_path / "out", system=Presses())
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


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
