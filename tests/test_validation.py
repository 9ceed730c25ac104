"""A run that scores itself on the way, and keeps the weights that did best."""

import json
import math

import jax
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import checkpoints, evaluate, models, score, train, validation
from tests.data.folders import youtube_vis

pytestmark = pytest.mark.usefixtures("compiled_once")


def config_of(**optim):
    config = moving_shapes.get_config("smoke").unlock()
    config.evaluation.every, config.evaluation.every_videos = 2, 1
    config.optim.update(steps=5, schedule="constant")
    # Whatever the weights are, something is found, which depends on them.
    config.clustering.min_seediness = config.tracking.foreground_threshold = 0.0
    config.optim.update(optim)
    return config


def lines(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def validated(workdir):
    name = "validation/J&F-Mean"
    return {line["step"]: line[name] for line in lines(workdir) if name in line}


def arrays(folder):
    return jax.tree.leaves(checkpoints.read(folder).variables)


@pytest.fixture(scope="module")
def run(tmp_path_factory, compiled_once):
    workdir = tmp_path_factory.mktemp("run")
    train.run(config_of(), str(workdir))
    return workdir


def test_every_n_updates_and_the_last_one_are_scored(run):
    assert [*validated(run)] == [2, 4, 5]
    assert [line["step"] for line in lines(run) if "loss" in line] == [1, 2, 3, 4, 5]
    assert all(math.isfinite(v) for line in lines(run) for v in line.values())


def test_figures_are_those_of_the_averaged_weights(run):
    config = config_of()
    folder = run / validation.FOLDER
    benchmark = evaluate.prepare(config, folder / "again", videos=1)
    assert len(benchmark.dataset.videos) == 1
    model = models.load(config, str(run))
    results = benchmark.write(evaluate.track(model, benchmark.dataset), folder / "out")
    own = score.read(benchmark.task, benchmark.truth, results).figures()
    assert own["J&F-Mean"] > 0.01  # what finds nothing would equal anything
    assert validated(run)[5] == pytest.approx(own["J&F-Mean"], abs=1e-12)


def test_the_best_is_kept(run):
    found = validated(run)
    best = max(found, key=found.get)  # the first of equals
    assert checkpoints.find(run / validation.BEST).name == str(best)
    record = json.loads((run / validation.FOLDER / validation.RECORD).read_text())
    assert (record["step"], record["value"]) == (best, found[best])
    assert models.load(config_of(), str(run / validation.BEST))


def test_a_resumed_run_finds_the_same_and_forgets_what_lies_ahead(run, tmp_path):
    train.run(config_of(steps=3), str(tmp_path))
    # As of a run that was killed: a best one that is not reached yet.
    saved = checkpoints.Checkpoints(tmp_path / validation.BEST, keep=1)
    with saved:
        saved.save(4, {"params": {"w": np.ones(2)}}, config_of())
    record = tmp_path / validation.FOLDER / validation.RECORD
    record.write_text(json.dumps({"step": 4, "value": 1.0}))
    train.run(config_of(), str(tmp_path))
    both = validated(run), validated(tmp_path)
    assert both[0][4] == both[1][4] and both[0][5] == both[1][5]
    for ours, theirs in zip(arrays(run), arrays(tmp_path), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    kept = int(checkpoints.find(tmp_path / validation.BEST).name)
    assert kept in both[1] and json.loads(record.read_text())["step"] == kept


def test_a_value_of_other_videos_is_no_bar(run):
    config = config_of()
    system, _ = models.abstract(config)
    record = json.loads((run / validation.FOLDER / validation.RECORD).read_text())
    with validation.Validation(config, system, run, 5) as validate:
        assert validate._best == record["value"]
    config.evaluation.every = 1
    with validation.Validation(config, system, run, 5) as validate:
        assert validate._best == record["value"]
    config.evaluation.every_videos = 2
    with validation.Validation(config, system, run, 5) as validate:
        assert validate._best == -math.inf


def test_a_record_that_cannot_be_read_is_named(run, tmp_path):
    config = config_of()
    system, _ = models.abstract(config)
    saved = checkpoints.Checkpoints(tmp_path / validation.BEST, keep=1)
    with saved:
        saved.save(1, {"w": np.ones(2)}, config)
    with pytest.raises(ValueError, match=r"best\.json cannot be read"):
        validation.Validation(config, system, tmp_path, 2)


def test_what_has_no_annotations_is_refused(tmp_path):
    youtube_vis(tmp_path / "data/YouTubeVIS", annotated=False)
    config = config_of()
    config.data.root = str(tmp_path / "data")
    config.evaluation.update(dataset="ytvis", task="ytvis", split="train")
    config.evaluation.options = {}
    system, _ = models.abstract(config)
    with pytest.raises(ValueError, match="every=2: the videos of ytvis .*'train'"):
        validation.Validation(config, system, tmp_path, 0)


def test_without_it_nothing_is_asked(tmp_path):
    config = config_of()
    config.evaluation.every = 0
    system, _ = models.abstract(config)
    with validation.Validation(config, system, tmp_path, 0) as validate:
        assert not validate.due(2) and not validate.due(5)
    assert not [*tmp_path.iterdir()]
