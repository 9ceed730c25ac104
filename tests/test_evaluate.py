"""Old results stay until new ones are whole; what is not ours stays for good."""

import pytest

from configs import moving_shapes as recipe
from stemseg_jax import evaluate
from stemseg_jax.data.datasets import moving_shapes
from stemseg_jax.formats import rle
from stemseg_jax.tracks import Track, VideoTracks
from tests.formats.test_whole import tree

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


@pytest.fixture(params=["davis19", "ytvis", "kitti_mots"])
def benchmark(request, dataset, tmp_path):
    form = evaluate.FORMS[request.param]
    folder = tmp_path / "ground_truth"
    truth = form.export(dataset, folder)
    return evaluate.Benchmark(request.param, form.load(folder), truth)


def results(benchmark, numbers=slice(None)):
    """Of KITTI empty ones: it has no classes but cars and pedestrians."""
    for video in truth_as_results(benchmark.dataset, numbers):
        kitti = benchmark.task == "kitti_mots"
        yield video._replace(tracks=()) if kitti else video


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
