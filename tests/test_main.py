"""The command line: every config, every mode, and what mistakes bring."""

import functools
import importlib
import json
import pathlib
import sys
from unittest import mock

import cv2
import grain  # noqa: F401  defines a flag, which flagsaver would take away again
import jax
import numpy as np
import pytest
from absl import app, flags
from absl.testing import flagsaver
from flax import traverse_util

from stemseg_jax import export_weights, main, models, structures
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.outputs import tracks_json
from stemseg_jax.systems import SYSTEMS
from tests.conversion import published

pytestmark = pytest.mark.usefixtures("compiled_once")
CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
BASES = {"__init__", "defaults", *SYSTEMS}  # of configs, none themselves
NAMES = sorted({f.stem for f in CONFIGS.glob("*.py")} - BASES)
# Of each system what trains in most phases, and with classes. The others take minutes.
OFTEN = {
    *("moving_shapes", "davis_stage2", "davis16", "srnet_ytvis"),
    *("causal_kitti_foreground", "target_aware_ytvis"),
}


def run(*arguments) -> int | None:
    """What the shell would run, in this process; gives the exit code."""
    argv = ["stemseg", *map(str, arguments)]
    # Overrides of a config are looked for in sys.argv itself.
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
        flags.FLAGS(argv)
        return main.main(["stemseg"])


@pytest.mark.parametrize("flag", ["workdir", "output", "checkpoint"])
def test_buckets_are_no_folders(flag, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(app.UsageError, match=f"--{flag}=gs://b/run: .*to be mounted"):
        run("--mode=predict", "--input=video.mp4", f"--{flag}=gs://b/run")
    assert not list(tmp_path.iterdir())


def test_a_config_is_the_one_that_is_here_or_the_one_that_is_installed(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for before in ("--config=", "-config=", ""):
        named = f"{before}configs/davis.py:paper,smoke"
        assert main._installed(named) == f"{before}{CONFIGS}/davis.py:paper,smoke"
        for other in ("configs/mine.py", "davis.py", "configs/../configs/davis.py"):
            assert main._installed(f"{before}{other}") == f"{before}{other}"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/davis.py").touch()
    assert main._installed(named) == named


def smoke(name: str = "moving_shapes") -> str:
    return f"--config={CONFIGS / name}.py:smoke"


def config_of(name: str, variant: str = "smoke"):
    return importlib.import_module(f"configs.{name}").get_config(variant)


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    """Trains a config's smoke variant once, from what the config itself starts from:
    a run of the stage before it, or weights of that form. Gives folder and start."""

    @functools.cache
    def train(name):
        workdir = tmp_path_factory.mktemp(name)
        start = config_of(name, "").init_from
        if not isinstance(start, str):
            start = ""  # parts of a backbone that is not the tiny one
        elif start.startswith("runs/"):
            start, _ = train(start.removeprefix("runs/"))
        elif start:
            start = workdir.parent / f"{name}{pathlib.Path(start).suffix}"
            published.write(start, models.abstract(config_of(name))[1])
        assert not run(
            *(smoke(name), f"--config.init_from={start}", f"--workdir={workdir}")
        )
        return workdir, start

    return train


@pytest.mark.parametrize("name", NAMES)
def test_every_config_has_a_loss_of_its_clips(name):
    """Without a number: that the parts of a training step fit together."""
    config = config_of(name)
    system, variables = models.abstract(config)
    batch = models.blank_batch(config)
    keys = jax.random.split(jax.random.key(0), len(batch.frames))
    total, report, rest = jax.eval_shape(system.loss, variables, batch, keys)
    assert total.shape == () and report.terms.keys() <= {*config.loss.weights}
    assert jax.tree.structure(rest) == jax.tree.structure(
        structures.collections(variables)
    )


@pytest.mark.parametrize(
    "name",
    [n if n in OFTEN else pytest.param(n, marks=pytest.mark.slow) for n in NAMES],
)
def test_every_config_trains_and_evaluates(name, smoke_run):
    workdir, start = smoke_run(name)
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert not run(smoke(name), f"--workdir={workdir}", "--mode=evaluate")
    scores = json.loads((workdir / "scores.json").read_text())
    evaluated = json.loads((workdir / "evaluated.json").read_text())
    assert evaluated == json.loads(config_of(name).to_json_best_effort())
    videos, categories = scores.get("per_sequence"), scores.get("per_category")
    assert len(videos) == 2 if videos else len(categories) == 4
    if start:  # what is frozen is still what the run began with
        begin, end = (
            traverse_util.flatten_dict(models.read(str(p)).variables, sep="/")
            for p in (start, workdir)
        )
        system = models.build(config_of(name))
        frozen = tuple(f"params/{module}" for module in system.frozen_modules())
        changed = {p for p in begin if not np.array_equal(begin[p], end[p])}
        assert begin.keys() <= end.keys() and changed
        assert frozen and not any(path.startswith(frozen) for path in changed)
        assert not any(path.startswith("constants/") for path in changed)
        saved = json.loads((workdir / "config.json").read_text())["model"]
        plain = name in ("ovis", "causal_kitti_foreground")
        plain |= name.startswith("target_aware")
        assert saved["norm_epsilon"] == (1e-5 if plain else 0.0)


@pytest.mark.slow
def test_objects_of_single_frames_are_scored_as_such(tmp_path):
    """`FILE:proposals` is no smaller than its config: all else is given here."""
    small = {
        "optim.steps": 1,
        "optim.warmup_steps": 0,
        "evaluation.options.num_videos": 1,
        "evaluation.options.num_frames": 3,
    }
    changes = [f"--config.{name}={value}" for name, value in small.items()]
    config = f"--config={CONFIGS / 'target_aware_moving_shapes'}.py:proposals"
    assert not run(config, *changes, f"--workdir={tmp_path}")
    assert not run(config, *changes, f"--workdir={tmp_path}", "--mode=evaluate")
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert {"AP", "AP50", "AP75"} <= {*scores}


@pytest.mark.parametrize("name", NAMES)
def test_the_smoke_variant_keeps_what_a_config_is_about(name):
    whole, small = config_of(name, ""), config_of(name)
    narrower = {"backbone", "fpn_channels", "decoder_channels", "semantic_channels"}
    narrower |= {"decoder_norm_groups", "head_channels"}
    narrower |= {"encoder_channels", "temporal_blocks", "pose_channels"}
    narrower |= {"target_backbone", "embedding_backbone", "aspp_channels"}
    narrower |= {"gate_channels", "foreground_skips", "instance_skips"}
    narrower |= {"refiner_channels"}
    for option in set(whole.model) - narrower - {"freeze_stages"}:
        assert small.model[option] == whole.model[option], option
    assert small.model.freeze_stages == min(whole.model.freeze_stages, 5)
    for option in {"clustering", "selection", "num_frames"} & {*whole}:
        assert small[option] == whole[option], option
    for option in {*whole.loss} - {"min_box"}:
        assert small.loss[option] == whole.loss[option], option
    smaller = {"size", "crop", "max_tracks", "copies", "target"}  # of target_aware
    for option in set(whole.tracking) - smaller:
        assert small.tracking[option] == whole.tracking[option], option
    for option in ("flip", "reverse", "motion", "sampling", "synthesised"):
        assert small.data[option] == whole.data[option], option
    assert bool(small.data.duplicate) == bool(whole.data.duplicate)
    for option in ("schedule", "schedule_options", "rates", "learning_rate"):
        assert small.optim[option] == whole.optim[option], option
    spans = [tuple(span) for span in whole.data.span.values()]
    expected = dict(moving_shapes=max(spans)) if spans else {}
    assert small.data.span.to_dict() == expected
    scale = small.data.min_dim / whole.data.min_dim
    assert abs(small.data.max_dim - scale * whole.data.max_dim) <= 0.5
    for side in ("height", "width"):  # in multiples of 32
        assert 0 <= small.data[side] - scale * whole.data[side] < 32


@pytest.mark.parametrize("name", ["davis", "ytvis", "kitti_mots"])
def test_the_papers_schedules_are_variants(name):
    module = importlib.import_module(f"configs.{name}")
    released, paper = module.get_config(), module.get_config("paper")
    assert paper.optim.steps != released.optim.steps
    assert paper.optim.schedule_options.factor == 0.01  # from 1e-3 to 1e-5
    with pytest.raises(ValueError, match="known.*paper.*smoke"):
        module.get_config("papre")


def test_tracks_of_a_video_are_as_many_as_its_set_needs():
    limits = {
        name: importlib.import_module(f"configs.{name}").get_config().selection.limit
        for name in NAMES
        if name.removeprefix("srnet_") in ("davis", "ytvis", "ovis", "kitti_mots")
    }
    own = {"davis": 20, "ytvis": 10, "ovis": 20, "kitti_mots": 999}
    assert limits == {**own, "srnet_davis": 20, "srnet_ytvis": 10}


@pytest.fixture(scope="module")
def trained(smoke_run):
    return smoke_run("moving_shapes")[0]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames") / "clip"
    folder.mkdir()
    (video,) = DATASETS["moving_shapes"](
        None, "test", num_videos=1, num_frames=11, height=48, width=64
    ).videos
    for t in range(video.num_frames):
        cv2.imwrite(str(folder / f"{t}.png"), video.frame(t)[..., ::-1])
    return folder


def predict(trained, source, output, name="moving_shapes"):
    return run(
        smoke(name),
        "--mode=predict",
        f"--checkpoint={trained}",
        f"--input={source}",
        f"--output={output}",
    )


@pytest.mark.parametrize("count", [11, 1])
def test_a_folder_of_frames_is_labelled(trained, frames, tmp_path, count):
    source = frames if count == 11 else frames / "0.png"
    name = "clip" if count == 11 else "0"
    assert not predict(trained, source, tmp_path)
    written = tmp_path / name
    assert len(list((written / "masks").glob("*.png"))) == count
    video = tracks_json.read(written / "tracks.json").video
    assert (video.num_frames, video.height, video.width) == (count, 48, 64)
    assert (written / "overlay.mp4").stat().st_size > 0


def test_weights_travel_in_a_file(trained, frames, tmp_path):
    release = tmp_path / "weights.safetensors"
    assert not run(
        smoke(),
        "--mode=export_weights",
        f"--checkpoint={trained}",
        f"--output={release}",
    )
    assert not predict(trained, frames, tmp_path / "folder")
    assert not run(  # the file carries its config
        "--mode=predict",
        f"--checkpoint={release}",
        f"--input={frames}",
        f"--output={tmp_path / 'file'}",
    )
    masks = [
        [cv2.imread(str(f)) for f in sorted((tmp_path / kind / "clip/masks").iterdir())]
        for kind in ("folder", "file")
    ]
    np.testing.assert_array_equal(*masks)


def without_config(monkeypatch, *arguments) -> int | None:
    """`run` by way of the console script's own reading of the command line."""
    monkeypatch.setattr(main, "_overrides", [])
    argv = ["stemseg", *map(str, arguments)]
    with flagsaver.flagsaver(), mock.patch.object(sys, "argv", argv):
        main._parse(argv)
        return main.main(["stemseg"])


def test_options_of_the_config_that_a_checkpoint_carries(
    trained, frames, tmp_path, monkeypatch, capsys
):
    predict = functools.partial(
        *(without_config, monkeypatch, "--mode=predict", f"--checkpoint={trained}"),
        *(f"--input={frames}", f"--output={tmp_path}"),
        # Whatever the two steps of training made of it, it is a seed.
        *("--config.clustering.min_seediness=0", "--config.clustering.min_cells=1"),
        "--config.tracking.foreground_threshold=0",
    )
    for fewest in (1, 999):
        assert not predict(
            *("--config.selection.min_frames", fewest, "--config.data.root=/anywhere"),
            "--config.model.decoder_channels=(16, 16, 16, 16)",
        )
        tracks = tracks_json.read(tmp_path / "clip" / "tracks.json").video.tracks
        assert (len(tracks) > 0) == (fewest == 1)
    capsys.readouterr()
    for wrong, message in (
        ("selection.min_frame=3", 'Did you mean "min_frames"'),
        ("selection.min_frames=many", "--config.selection.min_frames=many"),
        ("selection.min_frames=-1", "selection.min_frames=-1"),
        ("selection.min_frames.most=3", "selection.min_frames"),
        ("init_from.body=x.pth", "init_from"),
    ):
        assert predict(f"--config.{wrong}") == 1
        error = capsys.readouterr().err
        assert error.startswith("ValueError") and message in error
        assert "damaged" not in error


def test_the_limit_of_a_benchmark_is_refused(trained, frames, tmp_path, monkeypatch):
    given = ("--mode=predict", f"--checkpoint={trained}", f"--input={frames}")
    with pytest.raises(app.UsageError, match="predict has --max_tracks"):
        without_config(monkeypatch, *given, "--config.selection.limit=3")


def test_half_the_bytes_and_no_folders_of_the_trainer(trained, frames, tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    config = importlib.import_module("configs.moving_shapes").get_config("smoke")
    with config.ignore_type(), config.unlocked():
        config.data.root = "/home/somebody/data"
        config.init_from = dict(body="/home/somebody/weights.pth")
        config.data.packed = "/home/somebody/packed"
        config.evaluation.ground_truth = "/home/somebody/truth.json"
    export_weights.run(config, checkpoint=str(trained), output=str(whole))
    assert not run(
        smoke(),
        "--mode=export_weights",
        f"--checkpoint={trained}",
        f"--output={half}",
        "--half",
    )
    loaded, rounded = (models.read(str(file)) for file in (whole, half))
    assert "somebody" not in json.dumps(loaded.config)
    for one, other in zip(
        *(jax.tree.leaves(file.variables) for file in (loaded, rounded)), strict=True
    ):
        assert other.dtype == np.float16
        np.testing.assert_allclose(other, one, rtol=2**-11, atol=2**-24)
    bytes_of_values = [
        sum(leaf.nbytes for leaf in jax.tree.leaves(file.variables))
        for file in (loaded, rounded)
    ]
    assert bytes_of_values[0] == 2 * bytes_of_values[1]
    assert not predict(half, frames, tmp_path / "out")


def test_results_of_any_method_are_scored(trained, tmp_path, capsys):
    workdir = f"--workdir={tmp_path}"
    assert not run(smoke(), workdir, "--mode=evaluate", f"--checkpoint={trained}")
    written = tmp_path / "again.json"
    assert not run(
        "--mode=score",
        "--task=davis19",
        f"--ground_truth={tmp_path / 'ground_truth'}",
        f"--results={tmp_path / 'predictions'}",
        f"--json={written}",
    )
    assert json.loads(written.read_text()) == json.loads(
        (tmp_path / "scores.json").read_text()
    )
    assert "all objects" in capsys.readouterr().out

    # As masks of single frames, whose identities are found anew.
    linked = (
        "--mode=track_masks",
        f"--input={tmp_path / 'predictions'}",
        "--link=flow",
        "--task=davis19",
        f"--output={tmp_path / 'linked'}",
        f"--ground_truth={tmp_path / 'ground_truth'}",
    )
    assert run(*linked) == 1
    assert "--frames" in capsys.readouterr().err
    frames = tmp_path / "ground_truth/JPEGImages/480p"
    assert not run(*linked, f"--frames={frames}")
    assert "all objects" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "linked").iterdir() if path.is_dir()}
    assert names == {path.name for path in frames.iterdir()}


def test_an_input_that_is_no_video_is_an_error_of_one_line(trained, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    for source in ("missing.mp4", "empty"):
        assert predict(trained, tmp_path / source, tmp_path / "out") == 1
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("ValueError") and source in error
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_a_checkpoint_of_another_model_is_refused(trained, frames, tmp_path, capsys):
    code = run(
        smoke(),
        "--config.model.decoder_channels=(8, 8, 8, 8)",
        "--mode=predict",
        f"--checkpoint={trained}",
        f"--input={frames}",
        f"--output={tmp_path}",
    )
    error = capsys.readouterr().err
    assert code == 1 and "of another shape" in error and "embedding_decoder" in error


def test_a_checkpoint_of_another_system_is_refused(trained, frames, tmp_path, capsys):
    code = run(
        smoke("srnet_moving_shapes"),
        "--mode=predict",
        f"--checkpoint={trained}",
        f"--input={frames}",
        f"--output={tmp_path}",
    )
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 1
    assert "of the system 'stemseg', but the config's is 'srnet'" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [11, 1])
def test_an_online_system_labels_a_folder_of_frames(smoke_run, frames, tmp_path, count):
    trained, _ = smoke_run("srnet_moving_shapes")
    source = frames if count == 11 else frames / "0.png"
    assert not predict(trained, source, tmp_path, name="srnet_moving_shapes")
    written = tmp_path / ("clip" if count == 11 else "0")
    assert len(list((written / "masks").glob("*.png"))) == count
    assert tracks_json.read(written / "tracks.json").video.num_frames == count


def test_a_report_of_a_run(trained, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    report = ("--mode=report", f"--input={trained}", f"--output={page}")
    assert not run(*report, "--videos=1")
    text = page.read_text()
    assert f"stemseg {' '.join(report)} --videos=1" in text and "lovasz" in text
    # Of the config that lies there, by way of the console script.
    root = f"--config.data.root={tmp_path}"
    assert not without_config(monkeypatch, *report, root)
    assert root in page.read_text()


def test_what_a_report_cannot_be_of(tmp_path, monkeypatch, capsys):
    with pytest.raises(app.UsageError, match="report .*needs --input"):
        run("--mode=report")
    with pytest.raises(app.UsageError, match="--mode=report takes one --input"):
        run("--mode=report", "--input=a", "--input=b")
    given = ("--mode=report", f"--input={tmp_path}")
    assert run(*given) == 1
    assert "holds nothing. Expected a run's folder" in capsys.readouterr().err
    with pytest.raises(app.UsageError, match="has no config: --config.data.root=x"):
        without_config(monkeypatch, *given, "--config.data.root=x")
    missing = ("--mode=report", f"--input={tmp_path / 'none'}", "--config.data.root=x")
    assert without_config(monkeypatch, *missing) == 1
    assert "none: no such folder. Expected a run's" in capsys.readouterr().err


def test_options_of_a_report_are_of_the_run_whose_predictions_are_named(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "config.json").write_text(config_of("davis").to_json_best_effort())
    (tmp_path / "predictions").mkdir()
    given = ("--mode=report", f"--input={tmp_path / 'predictions'}", "--videos=0")
    assert not without_config(monkeypatch, *given, "--config.data.root=elsewhere")
    assert (tmp_path / "report.html").exists()


def test_a_misspelt_option_is_refused():
    with pytest.raises((AttributeError, flags.Error), match="learning_rat"):
        run(smoke(), "--config.optim.learning_rat=1.0", "--workdir=unused")


def test_a_missing_flag_is_named():
    with pytest.raises(app.UsageError, match="--workdir"):
        run(smoke())
    with pytest.raises(app.UsageError, match="--ground_truth"):
        run("--mode=score", "--task=davis19")


def test_a_missing_dataset_says_where_it_was_looked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("STEMSEG_DATA", raising=False)
    arguments = (f"--config={CONFIGS / 'davis.py'}", "--mode=evaluate")
    arguments += (f"--workdir={tmp_path / 'run'}",)
    assert run(*arguments) == 1
    assert "STEMSEG_DATA" in capsys.readouterr().err
    assert run(*arguments, f"--config.data.root={tmp_path}") == 1
    assert str(tmp_path) in capsys.readouterr().err
