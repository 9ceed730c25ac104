"""From a video file to masks, tracks and overlay, with a system worked by hand."""

import functools
import http.server
import json
import pathlib
import threading
from fractions import Fraction
from typing import NamedTuple

import av
import jax
import numpy as np
import PIL.Image
import pytest
from tqdm import tqdm

from configs import defaults, ytvis
from stemseg_jax import models, predict, results
from stemseg_jax.data import inputs
from stemseg_jax.data.datasets import categories
from stemseg_jax.formats import images as label_images
from stemseg_jax.outputs import davis_results, tracks_json
from stemseg_jax.predictor import Predictor
from stemseg_jax.tracks import Geometry, LabelledFrames, TrackStatistics
from tests import coloured
from tests.coloured import ByColour, images, model_of


@pytest.fixture
def clip(tmp_path):
    def write(count=7, name="clip"):
        return coloured.write(tmp_path / "videos" / f"{name}.mp4", count)

    return write


class Files(NamedTuple):
    """Of one video."""

    folder: pathlib.Path

    @property
    def masks(self):
        return self.folder / "masks"

    @property
    def tracks(self):
        return self.folder / "tracks.json"

    @property
    def overlay(self):
        return self.folder / "overlay.mp4"


def predicted(path, output, system=None, *, outputs=None, **selection):
    predictor = Predictor(model_of(system or ByColour(), **selection))
    return Files(predictor.predict(path, output, outputs=outputs))


def test_masks_tracks_and_overlay_say_the_same(clip, tmp_path):
    files = predicted(clip(), tmp_path / "out")
    assert files.masks.parent == tmp_path / "out" / "clip"
    held = tracks_json.read(files.tracks)
    assert (
        held.fps == pytest.approx(29.97, abs=0.01)
        and held.categories == categories.YTVIS
    )
    # The green track, 3, lives longer and is number 1; the red one, 7, number 2.
    assert [(t.id, t.category) for t in held.video.tracks] == [(1, 1), (2, 2)]
    red = held.video.tracks[1].segmentations
    assert [mask is not None for mask in red] == [True] * 4 + [False] * 3

    pngs = sorted(files.masks.iterdir())
    assert [png.name for png in pngs] == [f"{i:05d}.png" for i in range(7)]
    for index, (png, image) in enumerate(zip(pngs, images(7), strict=True)):
        labels = np.array(PIL.Image.open(png))
        np.testing.assert_array_equal(labels, davis_results.paint(held.video, index))
        expected = (image[..., 1] > 150) + 2 * (image[..., 0] > 150)
        assert (labels != expected).mean() < 0.05  # the codec blurs colours

    (drawn,) = inputs.find(files.overlay)
    assert (drawn.num_frames, drawn.fps) == (7, Fraction(30000, 1001))
    assert (drawn.height, drawn.width) == (4 * 64, 4 * 96)  # small frames are enlarged


def test_a_video_of_one_frame(clip, tmp_path):
    files = predicted(clip(1), tmp_path / "out")
    assert tracks_json.read(files.tracks).video.num_frames == 1
    assert len(list(files.masks.iterdir())) == 1
    assert sum(1 for _ in inputs.find(files.overlay)[0]) == 1


def test_a_folder_of_frames(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, image in enumerate(images(3)):
        PIL.Image.fromarray(image).save(folder / f"{index}.png")
    files = predicted(folder, tmp_path / "out")
    assert files.tracks.parent.name == "frames"
    labels = np.array(PIL.Image.open(files.masks / "00001.png"))
    expected = (images(3)[1][..., 1] > 150) + 2 * (images(3)[1][..., 0] > 150)
    np.testing.assert_array_equal(labels, expected)


def test_nothing_found_gives_empty_results(clip, tmp_path):
    files = predicted(clip(), tmp_path / "out", min_frames=99)
    assert tracks_json.read(files.tracks).video.tracks == ()
    assert not np.array(PIL.Image.open(files.masks / "00000.png")).any()


def test_a_failure_leaves_nothing(clip, tmp_path):
    class Fails(ByColour):
        def track(self, variables, frames, **options):
            labelled = super().track(variables, frames, **options)
            yield next(labelled)
            raise FloatingPointError("half way")

    with pytest.raises(FloatingPointError, match="half way"):
        predicted(clip(), tmp_path / "out", system=Fails())
    assert not list((tmp_path / "out").iterdir())


def test_a_failure_in_the_second_pass_keeps_the_older_results(
    clip, tmp_path, monkeypatch
):
    files = predicted(clip(), tmp_path / "out")
    before = files.tracks.read_bytes()

    def fails(*_):
        raise OSError("disk full")

    monkeypatch.setattr(label_images, "write_labels", fails)
    with pytest.raises(OSError, match="disk full"):
        predicted(clip(3), tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["clip"]
    assert files.tracks.read_bytes() == before and files.overlay.exists()


def test_older_results_are_replaced_as_a_whole(clip, tmp_path):
    predicted(clip(7), tmp_path / "out")
    files = predicted(clip(3), tmp_path / "out")
    assert len(list(files.masks.iterdir())) == 3


def test_a_folder_of_somebody_else_is_not_touched(clip, tmp_path):
    theirs = tmp_path / "out" / "clip" / "notes.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    with pytest.raises(ValueError, match=r"clip is there already.*another --output"):
        predicted(clip(), tmp_path / "out")
    assert theirs.read_text() == "mine"


def tree(folder):
    """Every file below with its content, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def beside(folder):
    """Files of somebody else around and in the folder of results."""
    for name in ("a.txt", "out/b.txt", "out/masks/c.txt", "masks/d.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    return tree(folder)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("...mp4", "video"),
        ("....mp4", "video"),
        (".hidden.mp4", "hidden"),
        ("clip...mp4", "clip"),
        ("..clip.mp4", "clip"),
    ],
)
def test_whatever_a_file_is_called_all_else_stays(clip, tmp_path, file, name):
    path = clip(1).rename(tmp_path / "videos" / file)
    before = beside(tmp_path)
    for _ in range(2):  # again: our own results are replaced
        files = predicted(path, tmp_path / "out")
    assert files.tracks.parent == tmp_path / "out" / name
    assert tracks_json.read(files.tracks).video.name == name
    after = tree(tmp_path)
    assert before.items() <= after.items()
    assert all(new.startswith(f"out/{name}") for new in after.keys() - before.keys())


def test_the_folder_above_and_this_folder_go_by_their_names(tmp_path, monkeypatch):
    frames = tmp_path / "frames"
    (frames / "inner").mkdir(parents=True)
    PIL.Image.fromarray(images(1)[0]).save(frames / "0.png")
    monkeypatch.chdir(frames / "inner")
    before = beside(tmp_path)
    for source in ("..", "../", "../../frames/inner/..", "../*.png", "../0*"):
        files = predicted(source, tmp_path / "out")
        expected = "0" if source.endswith("0*") or source.endswith(".png") else "frames"
        assert files.tracks.parent == tmp_path / "out" / expected
    monkeypatch.chdir(frames)
    assert predicted(".", tmp_path / "out").tracks.parent.name == "frames"
    assert before.items() <= tree(tmp_path).items()


@pytest.mark.parametrize("name", ["..", ".", "", "../frames", ".hidden", "/", "a/.."])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    folder = tmp_path / "frames"
    folder.mkdir()
    PIL.Image.fromarray(images(1)[0]).save(folder / "0.png")
    (source,) = inputs.find(folder)
    source.name = name
    before = beside(tmp_path)
    with pytest.raises(ValueError, match="cannot be a name in"):
        predicted(source, tmp_path / "out")
    assert tree(tmp_path) == before


def test_frames_are_not_replaced_by_their_own_results(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    PIL.Image.fromarray(images(1)[0]).save(folder / "0.png")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match="frames is there already and holds 0.png"):
        predicted(folder, tmp_path)
    assert tree(tmp_path) == before


@pytest.fixture
def loaded(monkeypatch):
    monkeypatch.setattr(
        models, "load", lambda config, path: models.Model(config, ByColour(), {})
    )


def test_run_labels_every_video_of_a_glob(clip, tmp_path, loaded):
    for name in ("b", "a"):
        clip(3, name)
    config = defaults.get_config()
    config.model.categories, config.model.num_classes = "ytvis", 41
    outcomes = run(
        tmp_path / "videos" / "*.mp4", output=tmp_path / "out", config=config
    )
    assert [one.folder.name for one in outcomes] == ["a", "b"]
    content = json.loads((outcomes[0].folder / "tracks.json").read_text())
    assert content["categories"]["2"] == "giant_panda"


def run(*sources, output, config=None, **options):
    return predict.run(
        config or ytvis.get_config(),
        checkpoint="any",
        sources=list(map(str, sources)),
        output=str(output),
        **options,
    )


def test_one_bad_file_does_not_end_a_batch(clip, tmp_path, loaded, capsys, caplog):
    clip(3, "a")
    clip(3, "c")
    (tmp_path / "videos" / "b.mp4").write_bytes(b"no video")
    missing = tmp_path / "missing.mp4"
    outcomes = run(missing, tmp_path / "videos", output=tmp_path / "out")
    assert [(one.name, one.state) for one in outcomes] == [
        (str(missing), "failed"),
        ("a", "done"),
        ("b", "failed"),
        ("c", "done"),
    ]
    assert "matches nothing" in outcomes[0].fault and "b.mp4" in outcomes[2].fault
    assert "b.mp4" in caplog.text
    table = capsys.readouterr().out
    assert [line.split()[0] for line in table.splitlines()[2:]] == [
        str(missing),
        *"abc",
    ]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a", "c"}


def test_a_file_that_goes_while_others_are_labelled(clip, tmp_path, loaded):
    """As one on a disk that is taken away."""
    for name in ("a", "b", "c"):
        clip(2, name)
    (tmp_path / "videos" / "b.mp4").unlink()
    (tmp_path / "videos" / "b.mp4").symlink_to(tmp_path / "gone.mp4")
    outcomes = run(tmp_path / "videos", output=tmp_path / "out")
    assert [one.state for one in outcomes] == ["done", "failed", "done"]


def test_a_source_that_fails_when_it_is_read_again_is_not_taken_for_whole(
    clip, tmp_path
):
    (source,) = inputs.find(clip(6))
    read = iter([6, 2])

    class Fails:
        name, fps, num_frames = source.name, source.fps, 6
        height, width = source.height, source.width
        sound, live, start = None, False, 0.0

        def __iter__(self):
            count = next(read)
            for frame in source:
                if frame.index == count:
                    raise inputs.BrokenVideoError("gone", read=2, promised=6)
                yield frame

    folder = predicted(Fails(), tmp_path / "out").folder
    assert not (folder / "overlay.mp4").exists()
    record = json.loads((folder / "made_of.json").read_text())
    assert record["failed"] == ["overlay"]


def test_a_bad_frame_in_the_middle_of_a_folder_keeps_those_before(
    tmp_path, loaded, caplog
):
    folder = tmp_path / "frames"
    folder.mkdir()
    for index, image in enumerate(images(6)):
        PIL.Image.fromarray(image).save(folder / f"{index}.png")
    data = (folder / "4.png").read_bytes()
    (folder / "4.png").write_bytes(data[: len(data) // 2])
    (outcome,) = run(folder, output=tmp_path / "out")
    assert outcome.written.num_frames == 4 and "4.png" in outcome.fault


def test_other_weights_are_other_results():
    config = ytvis.get_config()
    digests = {
        models.Model(config, None, {"w": np.float32(values)}).digest()
        for values in ([1, 2], [1, 3], [2, 1])
    }
    assert len(digests) == 3


def test_a_batch_without_any_video_tells_all_faults(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "load", None)
    with pytest.raises(ValueError, match=r"(?s)a\.mp4: no such.*b\.mp4: no such"):
        run(tmp_path / "a.mp4", tmp_path / "b.mp4", output=tmp_path)


def test_what_is_whole_is_not_labelled_again(clip, tmp_path, loaded, monkeypatch):
    path, out = clip(3), tmp_path / "out"
    (first,) = run(path, output=out)
    tracks = first.folder / "tracks.json"
    before = tracks.stat().st_mtime_ns
    (again,) = run(path, output=out)
    assert (again.state, again.written) == ("was there already", first.written)
    assert tracks.stat().st_mtime_ns == before

    def labelled_anew(**changes):
        (outcome,) = run(path, output=out, **changes)
        return outcome.state == "done"

    assert labelled_anew(overwrite=True)
    other = ytvis.get_config()
    other.selection.limit = 1
    assert labelled_anew(config=other) and not labelled_anew(config=other)
    clip(4)
    assert labelled_anew(config=other)
    (out / "clip" / "made_of.json").write_text("[")
    assert labelled_anew(config=other)
    (out / "clip" / "overlay.mp4").unlink()
    assert labelled_anew(config=other)


def test_a_video_cut_short_keeps_what_was_decoded(clip, tmp_path, loaded, caplog):
    path = clip(60)
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    # The index comes first in our files: the frames before the cut can be found.
    (outcome,) = run(path, output=tmp_path / "out")
    assert outcome.state == "done, cut short" and "clip.mp4" in outcome.fault
    assert "What was read is labelled" in caplog.text
    count = outcome.written.num_frames
    assert 0 < count < 60
    assert tracks_json.read(outcome.folder / "tracks.json").video.num_frames == count
    assert len(list((outcome.folder / "masks").iterdir())) == count
    (drawn,) = inputs.find(outcome.folder / "overlay.mp4")
    assert drawn.num_frames == count
    (again,) = run(path, output=tmp_path / "out")
    assert again.state == "was there already, cut short" and again.fault


def test_classes_have_the_names_of_the_model_whatever_it_is_scored_on():
    config = defaults.get_config()
    config.evaluation.dataset = "moving_shapes"
    names = functools.partial(models.Model, system=None, variables={})
    assert names(config).categories == {}  # a model without classes
    config.model.num_classes, config.model.categories = 41, "ytvis"
    assert names(config).categories[2] == "giant_panda"
    config.model.categories = ""
    assert names(config).categories == {}


def test_input_is_looked_at_before_the_model_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "load", None)
    with pytest.raises(ValueError, match=r"none\.mp4: no such file"):
        run(tmp_path / "none.mp4", output=tmp_path)


def test_a_real_video(shared, tmp_path):
    class LeftAndRight(ByColour):
        def track(self, variables, frames, *, maps=False):
            labels = np.ones((1, 34, 60), np.int32)
            labels[:, :, 30:] = 2
            for frame in frames:
                geometry = Geometry((1080, 1920), (540, 960), (34, 60), 16)
                yield LabelledFrames(frame.index, labels, geometry)
            return {k: TrackStatistics(1, 0, 7) for k in (1, 2)}

    path = shared / "data" / "videos" / "street_pedestrians.mp4"
    files = predicted(path, tmp_path / "out", system=LeftAndRight())
    labels = np.array(PIL.Image.open(files.masks / "00007.png"))
    assert labels.shape == (1080, 1920)
    assert (labels[:, :959] == 1).all() and (labels[:, 961:] == 2).all()
    assert inputs.find(files.overlay)[0].num_frames == 8


def test_compilation_does_not_count_as_speed():
    with tqdm(total=1) as bar:
        start = bar.start_t
        with results._compilation_told(bar):
            jax.jit(lambda x: x * 3 + 1)(np.ones(7)).block_until_ready()
        later = bar.start_t
        jax.jit(lambda x: x * 5 + 2)(np.ones(7)).block_until_ready()
        assert start < later == bar.start_t


def test_another_choice_or_other_outputs_are_other_results(clip, tmp_path, loaded):
    path, out = clip(6), tmp_path / "out"

    def labelled_anew(**options):
        (outcome,) = run(path, output=out, **options)
        return outcome.state == "done"

    assert labelled_anew() and not labelled_anew()
    choice = inputs.FrameChoice(stride=2)
    assert labelled_anew(choice=choice) and not labelled_anew(choice=choice)
    assert len(list((out / "clip" / "masks").iterdir())) == 3
    outputs = results.Outputs(names=("tracks",))
    assert labelled_anew(outputs=outputs)
    assert {p.name for p in (out / "clip").iterdir()} == {
        *("tracks.json", "made_of.json", ".stemseg_jax"),
    }
    assert labelled_anew(rejoin=0) and labelled_anew(shots=False)


def test_after_ctrl_c_the_other_videos_are_not_begun(
    clip, tmp_path, loaded, monkeypatch, capsys
):
    for name in ("a", "b"):
        clip(3, name)
    write = results.write

    def stopped(labelling, *rest):
        labelling.stop()
        return write(labelling, *rest)

    monkeypatch.setattr(results, "write", stopped)
    outcomes = run(tmp_path / "videos", output=tmp_path / "out")
    assert [(one.state, bool(one.fault)) for one in outcomes] == [("stopped", True)] * 2
    assert outcomes[0].written.num_frames == 1 and outcomes[1].written is None
    assert "stopped" in capsys.readouterr().out


def test_a_stream_is_labelled_and_kept(clip, tmp_path, loaded):
    """Served by a thread, as a camera in the network would."""
    path = clip(9)
    stream = tmp_path / "stream.ts"
    with av.open(str(path)) as source, av.open(str(stream), "w") as target:
        (video_stream,) = source.streams.video
        copied = target.add_stream_from_template(video_stream)
        for packet in source.demux(video_stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/stream.ts"
        (outcome,) = run(address, output=tmp_path / "out")
        server.shutdown()
    assert outcome.state == "done" and outcome.written.num_frames == 9
    assert (outcome.folder / "recording.mp4").exists()
    assert len(list((outcome.folder / "masks").iterdir())) == 9
    (drawn,) = inputs.find(outcome.folder / "overlay.mp4")
    assert drawn.num_frames == 9
