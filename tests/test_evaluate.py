"""Results of sets that are scored here or elsewhere; old ones stay until then."""

import dataclasses
import json
import shutil
import zipfile

import numpy as np
import PIL.Image
import pytest

from configs import davis, kitti_mots, ytvis
from configs import moving_shapes as recipe
from stemseg_jax import evaluate, models, tasks
from stemseg_jax.data.datasets import DATASETS, moving_shapes
from stemseg_jax.formats import rle
from stemseg_jax.geometry import Geometry
from stemseg_jax.tracking import continuity, rejoining, shots
from stemseg_jax.tracks import (
    Frame,
    LabelledFrames,
    Track,
    TrackStatistics,
    VideoTracks,
)
from tests import coloured
from tests.data import folders
from tests.formats.test_whole import tree


def config_of(module, root, **evaluation):
    """A config with its own evaluation, on a generated folder."""
    config = module.get_config().unlock()
    config.evaluation.update(evaluation)
    config.data.root = str(root)
    return config


def tracked(dataset):
    """One track in each video, in place of a network's."""
    for video in dataset.videos:
        mask = np.zeros((video.height, video.width), bool)
        mask[4:12, 4:12] = True
        masks = (rle.encode(mask),) * video.num_frames
        size = video.height, video.width, video.num_frames
        yield VideoTracks(video.name, *size, (Track(1, 1, 1.0, masks),))


def run(config, tmp_path):
    """The figures, and the folder of results."""
    benchmark = evaluate.prepare(config, tmp_path / "ground_truth")
    results = tmp_path / "predictions"
    figures = benchmark.score(
        tracked(benchmark.dataset), results, tmp_path / "scores.json"
    )
    assert (tmp_path / "scores.json").is_file() == bool(figures)
    return figures, results


@pytest.mark.parametrize("first_frames", [False, True])
@pytest.mark.parametrize("split", ["test-dev", "test-challenge"])
def test_davis_test_sets_give_masks(tmp_path, caplog, split, first_frames):
    root = folders.davis(tmp_path / "data")
    lists, masks = (
        root / "DAVIS" / x for x in ("ImageSets", "Annotations_unsupervised")
    )
    (lists / "2017/train.txt").rename(lists / f"2017/{split}.txt")
    for sequence in (masks / "480p").iterdir():
        for frame in list(sequence.iterdir()):
            if frame.stem != "00000" or not first_frames:
                frame.unlink()
    if not first_frames:
        shutil.rmtree(masks)
    config = config_of(davis, root, split=split)
    figures, results = run(config, tmp_path)
    assert figures == {} and "No annotations to score with" in caplog.text
    for sequence in ("bear", "cow"):
        names = sorted(path.name for path in (results / sequence).iterdir())
        assert names == [f"{t:05d}.png" for t in range(6)]
        with PIL.Image.open(results / sequence / "00003.png") as picture:
            assert picture.mode == "P" and picture.size == (40, 24)


@pytest.mark.parametrize(("split", "spelling"), [("valid", "valid"), ("test", "test")])
def test_youtube_vis_gives_the_file_for_the_server(tmp_path, caplog, split, spelling):
    root = folders.youtube_vis(
        tmp_path / "data/YouTubeVIS",
        json_name=f"instances_{spelling}.json",
        frames=f"{spelling}/JPEGImages",
        annotated=False,
    )
    config = config_of(ytvis, root.parent, split=split)
    figures, results = run(config, tmp_path)
    assert figures == {} and "No annotations to score with" in caplog.text
    with zipfile.ZipFile(results / "results.zip") as archive:
        content = json.loads(archive.read("results.json"))
    assert content == json.loads((results / "results.json").read_text())
    assert content and {entry["video_id"] for entry in content} == {7}
    assert all(len(entry["segmentations"]) == 6 for entry in content)


def test_videos_without_numbers_have_no_place_in_a_list_of_tracks(tmp_path):
    root = folders.davis(tmp_path)
    shutil.rmtree(root / "DAVIS/Annotations_unsupervised")
    lists = root / "DAVIS/ImageSets/2017"
    (lists / "train.txt").rename(lists / "test-dev.txt")
    config = config_of(ytvis, root, dataset="davis19", split="test-dev")
    with pytest.raises(ValueError, match="'davis19' is not annotated.*ytvis"):
        evaluate.prepare(config, tmp_path / "ground_truth")


def test_kitti_mots_is_scored_as_it_is_downloaded(tmp_path):
    """No seqmap, and the sequences of train beside those of val."""
    root = folders.kitti_mots(tmp_path / "data", names=("0000", "0002", "0006"))
    assert not [*root.rglob("*.seqmap*")]
    figures, results = run(config_of(kitti_mots, root), tmp_path)
    assert sorted(path.name for path in results.glob("*.txt")) == [
        "0002.txt",
        "0006.txt",
    ]
    assert {*figures["per_sequence"]} == {"0002", "0006"}
    car = figures["car"]
    assert car["TP"] + car["FN"] == 2 * 6  # one car in each frame
    assert car["mots_tools"]["total_num_frames"] == 12


def test_kitti_mots_test_gives_text_files(tmp_path, caplog):
    root = folders.kitti_mots(tmp_path / "data", names=("0001", "0003"))
    folder = root / "KITTI_MOTS"
    (folder / "training").rename(folder / "testing")
    for part in ("instances", "instances_txt"):
        shutil.rmtree(folder / part)
    figures, results = run(config_of(kitti_mots, root, split="test"), tmp_path)
    assert figures == {} and "No annotations to score with" in caplog.text
    assert sorted(path.name for path in results.glob("*.txt")) == [
        "0001.txt",
        "0003.txt",
    ]


def test_davis_val_is_scored(tmp_path):
    root = folders.davis(tmp_path / "data")
    lists = root / "DAVIS/ImageSets/2017"
    (lists / "train.txt").rename(lists / "val.txt")
    figures, _ = run(config_of(davis, root), tmp_path)
    assert {*figures["per_sequence"]} == {"bear", "cow"}
    assert 0 < figures["J&F-Mean"] < 1


def test_a_set_that_is_annotated_in_part_is_refused(tmp_path):
    root = folders.davis(tmp_path / "data")
    lists = root / "DAVIS/ImageSets/2017"
    (lists / "train.txt").rename(lists / "val.txt")
    shutil.rmtree(root / "DAVIS/Annotations_unsupervised/480p/cow")
    with pytest.raises(ValueError, match="1 of 2 videos have no ann.*first is 'cow'"):
        evaluate.prepare(config_of(davis, root), tmp_path / "ground_truth")


# ----------------------------------------------------- what stays, and what is replaced

SIZE = {"height": 48, "width": 64}


@pytest.fixture
def dataset():
    return moving_shapes.load(None, "val", num_videos=2, num_frames=3, **SIZE)


def truth_as_results(dataset, numbers=None):
    """The annotations as tracks, of which the first may be left out."""
    for video in dataset.videos:
        clip = video.clip(range(video.num_frames))
        tracks = [
            Track(n, int(category), 1.0, tuple(rle.encode(mask) for mask in masks))
            for n, (category, masks) in enumerate(
                zip(clip.categories, clip.masks, strict=True), start=1
            )
        ]
        size = (video.height, video.width, video.num_frames)
        yield VideoTracks(video.name, *size, tuple(tracks[numbers]))


@pytest.fixture(params=["davis19", "davis16", "ytvis", "kitti_mots"])
def benchmark(request, dataset, tmp_path):
    form = tasks.FORMS[request.param]
    folder = tmp_path / "ground_truth"
    truth = form.export(dataset, folder)
    return evaluate.Benchmark(request.param, form.load(folder), truth)


def results(benchmark, numbers=slice(None)):
    """Of KITTI empty ones: it has no classes but cars and pedestrians."""
    for video in truth_as_results(benchmark.dataset, numbers):
        kitti = benchmark.task == "kitti_mots"
        yield video._replace(tracks=()) if kitti else video


def test_the_true_foreground_is_perfect_by_the_measure_of_davis16(dataset, tmp_path):
    """Its files: a folder a video, a PNG a frame, 1 in the foreground."""
    form = tasks.FORMS["davis16"]
    truth = form.export(dataset, tmp_path / "ground_truth")
    benchmark = evaluate.Benchmark("davis16", form.load(truth), truth)
    scores = benchmark.score(results(benchmark), tmp_path / "predictions")
    assert scores["J-Mean"] == scores["F-Mean"] == scores["J&F-Mean"] == 1
    assert scores["per_sequence"].keys() == {video.name for video in dataset.videos}
    for video in dataset.videos:
        whole = video.clip(range(3)).masks.any(axis=0)
        files = sorted((tmp_path / "predictions" / video.name).iterdir())
        assert [file.name for file in files] == [f"0000{k}.png" for k in range(3)]
        for file, mask in zip(files, whole, strict=True):
            np.testing.assert_array_equal(np.asarray(PIL.Image.open(file)), mask)


def test_old_results_stay_until_all_videos_are_written(benchmark, tmp_path):
    folder, scores = tmp_path / "predictions", tmp_path / "scores.json"
    benchmark.score(results(benchmark), folder, scores)
    before = tree(tmp_path)

    def interrupted():
        yield next(results(benchmark, slice(1)))
        assert tree(folder) == {
            name.removeprefix("predictions/"): content
            for name, content in before.items()
            if name.startswith("predictions/")
        }
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        benchmark.score(interrupted(), folder, scores)
    assert tree(tmp_path) == before

    benchmark.score(results(benchmark, slice(0)), folder, scores)
    after = tree(tmp_path)
    assert after.keys() == before.keys()
    if benchmark.task != "kitti_mots":
        assert after["scores.json"] != before["scores.json"]


def test_a_folder_of_somebody_else_is_not_touched(benchmark, tmp_path):
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "notes.txt").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(
        ValueError, match=r"predictions is there already and holds notes.txt.*--workdir"
    ):
        benchmark.score(
            results(benchmark), tmp_path / "predictions", tmp_path / "scores.json"
        )
    assert tree(tmp_path) == before


def test_annotations_that_are_not_ours_are_not_replaced(tmp_path):
    config = recipe.get_config("smoke")
    folder = tmp_path / "ground_truth"
    benchmark = evaluate.prepare(config, folder)
    before = tree(tmp_path)
    evaluate.prepare(config, folder)  # our own are, by the same
    assert tree(tmp_path) == before and len(benchmark.dataset.videos)
    (folder / ".stemseg_jax").unlink()
    with pytest.raises(ValueError, match="ground_truth is there already and holds"):
        evaluate.prepare(config, folder)
    assert tree(tmp_path) == {
        name: content
        for name, content in before.items()
        if name != "ground_truth/.stemseg_jax"
    }


def evaluated(monkeypatch, config, folder, **options):
    """By a model that copies the truth; the names in the folder."""
    monkeypatch.setattr(models, "load", lambda *_: coloured.model_of(Copies()))
    evaluate.run(config, checkpoint="", workdir=str(folder), **options)
    return {path.name for path in folder.glob("[!.]*")}


def test_old_scores_do_not_stay_beside_new_predictions(tmp_path, monkeypatch):
    config, folder = recipe.get_config("smoke"), tmp_path / "run"
    new = {"predictions", "evaluated.json"}
    scored = {"ground_truth", "scores.json", *new}
    assert evaluated(monkeypatch, config, folder) == scored
    elsewhere = str(tmp_path / "elsewhere.json")
    left = evaluated(monkeypatch, config, folder, json_file=elsewhere)
    assert left == scored - {"scores.json"}
    assert evaluated(monkeypatch, config, folder) == scored
    root = folders.davis(tmp_path / "data")
    lists = root / "DAVIS/ImageSets/2017"
    (lists / "train.txt").rename(lists / "test-dev.txt")
    shutil.rmtree(root / "DAVIS/Annotations_unsupervised")
    config = config_of(davis, root, split="test-dev", ground_truth="")
    assert evaluated(monkeypatch, config, folder) == new


def test_scores_of_somebody_else_stay(tmp_path, monkeypatch):
    (tmp_path / "scores.json").write_text("mine")
    elsewhere = str(tmp_path / "elsewhere.json")
    config = recipe.get_config("smoke")
    evaluated(monkeypatch, config, tmp_path, json_file=elsewhere)
    assert (tmp_path / "scores.json").read_text() == "mine"


# --------------------------------------------------------- the truth, given to a system


class Copies(coloured.ByColour):
    """Labels each frame with its truth; where there is none, with nothing."""

    score = 0.75

    def track(self, variables, frames, *, maps=False):
        seen = {}
        for frame in frames:
            size = frame.image.shape[:2]
            labels = frame.truth() if frame.truth else np.zeros(size, np.int32)
            for number in np.unique(labels[labels > 0]).tolist():
                seen.setdefault(number, []).append(frame.index)
            yield LabelledFrames(frame.index, labels[None], Geometry(*[size] * 3, 1))
        return {
            number: TrackStatistics(9, times[0], times[-1], score=self.score)
            for number, times in seen.items()
        }


def test_who_copies_the_truth_is_perfect(tmp_path):
    config = recipe.get_config("smoke")
    benchmark = evaluate.prepare(config, tmp_path / "ground_truth")
    tracks = evaluate.track(coloured.model_of(Copies()), benchmark.dataset)
    assert benchmark.score(tracks, tmp_path / "predictions")["J&F-Mean"] == 1


def test_cars_are_scored_at_two_sizes_with_ap(tmp_path):
    """Of a system that knows no classes; small cars are scored, too."""
    config = recipe.get_config("smoke")
    config.evaluation.task = "kitti_mots_cars"
    config.evaluation.also_at = (32, 48)
    config.evaluation.options.categories = 2
    benchmark = evaluate.prepare(config, tmp_path / "ground_truth")
    assert [*benchmark.dataset.videos[0].categories.values()] == [1, 1]
    tracks = evaluate.track(coloured.model_of(Copies()), benchmark.dataset)
    figures = benchmark.score(tracks, tmp_path / "predictions")
    assert {*figures} == {"car", "per_sequence", "at 32x48"}
    for size in (figures, figures["at 32x48"]):
        assert all(size["car"][x] == 1 for x in ("sMOTSA", "AP50", "recall"))
        assert size["car"]["TP"] > 40 and size["car"]["IDS rate"] == 0
    scores = json.loads((tmp_path / "predictions/0000.scores.json").read_text())
    assert scores == {"1001": 0.75, "1002": 0.75}


def test_pedestrians_are_no_cars(tmp_path):
    root = folders.kitti_mots(tmp_path / "data", names=("0002",))
    config = config_of(kitti_mots, root, task="kitti_mots_cars", ground_truth="")
    config.evaluation.options = dict(sequences=("0002",))
    figures, _ = run(config, tmp_path)
    assert figures["car"]["TP"] + figures["car"]["FN"] == 6


def kitti_video(root, **options):
    return DATASETS["kitti_mots"](root, "val", sequences=("0002",), **options).videos[0]


def test_the_truth_has_numbers_from_one_in_the_order_of_ids(tmp_path):
    root = folders.kitti_mots(tmp_path, names=("0002",))
    video = kitti_video(root)
    clip, labels = video.clip([3]), evaluate.truth(video)(3)
    assert clip.ignore.any() and clip.ids.tolist() == sorted(video.categories)
    assert {*np.unique(labels)} == {0, 1, 2} and min(video.categories) > 1000
    for number, mask in enumerate(clip.masks[:, 0], start=1):
        np.testing.assert_array_equal(labels == number, mask)
    cars = kitti_video(root, classes=("car",))
    np.testing.assert_array_equal(evaluate.truth(cars)(3), clip.masks[0, 0])


def test_the_truth_is_read_when_it_is_asked_for(tmp_path):
    root = folders.kitti_mots(tmp_path, names=("0002",))
    video = kitti_video(root, labels="png")
    shutil.rmtree(root / "KITTI_MOTS/instances")
    truth = evaluate.truth(video)
    with pytest.raises(ValueError, match="instances"):
        truth(3)
    assert evaluate.truth(dataclasses.replace(video, labels=None)) is None


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({}, 8),
        ({"cuts": shots.Detector()}, 4 + 8),  # labels go on above the first shot's
        ({"absences": rejoining.Rejoining(max_absence=3)}, None),
    ],
)
def test_the_truth_goes_with_its_frame(settings, last):
    """Across a cut, too, after which frames are counted from 0."""
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (2, 8, 12, 3)).repeat(8, axis=1).repeat(8, axis=2)
    given = []

    def frames():
        for index in range(8):

            def truth(index=index):
                given.append(index)
                return np.full((64, 96), index + 1, np.int32)

            yield Frame(index, scenes[index // 4].astype(np.uint8), truth)

    settings = continuity.Continuity(**settings)
    parts = list(coloured.model_of(Copies()).labelled(frames(), settings=settings))
    assert given == list(range(8)) and len(parts) == 8
    for part in parts:
        assert len(np.unique(part.labels)) == 1 and part.labels.min() > 0
    assert last in (None, parts[-1].labels.max())


def test_there_is_no_truth_elsewhere():
    labels, _ = coloured.model_of(Copies()).track(coloured.images(3))
    assert len(labels) == 3 and not labels.labels(1).any()
