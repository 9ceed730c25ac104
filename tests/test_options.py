"""Every option has a range, and what lies outside it is refused by name."""

import importlib
import inspect
import os
import pathlib
import subprocess
import sys

import pytest

from stemseg_jax import models, options
from stemseg_jax.data import pipeline
from stemseg_jax.data.datasets import DATASETS
from stemseg_jax.systems import OPTIONS, SYSTEMS

ROOT = pathlib.Path(__file__).parents[1]
BASES = {"__init__", "defaults", *SYSTEMS}  # of configs, none themselves
NAMES = sorted({f.stem for f in (ROOT / "configs").glob("*.py")} - BASES)


def config_of(name="moving_shapes", variant="smoke", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant).unlock()
    with config.ignore_type():
        for path, value in changes.items():
            *sections, option = path.split("__")
            section = config
            for part in sections:
                section = section[part]
            section[option] = value
    return config


def refused(**changes) -> str:
    config = config_of(**changes)
    with pytest.raises(ValueError) as caught:
        options.check(config)
        models.build(config)
        pipeline.check(config)
    return str(caught.value)


@pytest.mark.parametrize("variant", ["", "smoke"])
@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_in_range(name, variant):
    config = config_of(name, variant)
    options.check(config)
    models.build(config)
    pipeline.check(config)


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_option_of_a_system_has_a_range_and_every_range_an_option(system):
    config = importlib.import_module(f"configs.{system}").get_config()
    known = options.required(system)
    given = dict(options._flat(config.to_dict(), known))
    # Which options a schedule has is up to it.
    assert given.keys() - options.optional("").keys() == known.keys()
    assert OPTIONS.keys() == SYSTEMS.keys()


def test_every_option_of_a_reader_has_a_range():
    assert options.READERS.keys() == DATASETS.keys()
    for name, load in DATASETS.items():
        given = getattr(load, "keywords", {})
        load = given.get("load", load)  # what is drawn has an own one
        fixed = {"report", *given}  # those are given already
        own = {
            option.name
            for option in inspect.signature(load).parameters.values()
            if option.kind is option.KEYWORD_ONLY
        }
        assert own - fixed == {*options.READERS[name]}, name


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("optim__warmup_steps", -1, "a whole number of at least 0"),
        ("optim__clip_norm", -1.0, "of at least 0"),
        ("optim__average_decay", float("nan"), "of at least 0 and below 1"),
        ("optim__average_decay", 1.0, "of at least 0 and below 1"),
        ("optim__learning_rate", 0.0, "above 0"),
        ("optim__learning_rate", float("inf"), "above 0"),
        ("optim__learning_rate", "1e-3", "above 0"),
        ("optim__steps", True, "a whole number of at least 1"),
        ("optim__name", "lamb", "'amsgrad'"),
        ("optim__schedule", "cosin", "'cosine'"),
        ("optim__rates", {"body": -1.0}, "of at least 0"),
        ("keep_checkpoints", 0, "a whole number of at least 1"),
        ("checkpoint_every", 0, "a whole number of at least 1"),
        ("log_every", 0, "a whole number of at least 1"),
        ("num_frames", 7, "one of 2, 4, 8"),
        ("seed", -1, "of at least 0"),
        ("model__backbone", "resnet", "'resnet101'"),
        ("model__decoder_channels", (16, 16), "4 values"),
        ("model__pixels__std", (1.0, 0.0, 1.0), "above 0"),
        ("model__seediness_bias", float("nan"), "or none"),
        ("model__bandwidth_std", 0.0, "above 0, or none"),
        ("model__temporal_pooling", 1, "True or False"),
        ("clustering__seeds", "best", "'random'"),
        ("clustering__min_seediness", 1.5, "at most 1"),
        ("data__root", 3, "text"),
        ("data__root", "gs://bucket/data", "has to be mounted"),
        ("data__packed", "s3://bucket", "has to be mounted"),
        ("data__aspects", ("16x9",), "width:height, such as '16:9'"),
        ("checkpoint_minutes", -1.0, "of at least 0"),
        ("milestone_every", -1, "of at least 0"),
        ("data__scale_and_crop__scale", (1.0, 1e9), "at most 16"),
        ("data__height", 100, "a multiple of 32"),
        ("data__mixture__moving_shapes", 0.0, "above 0"),
        ("data__span__moving_shapes", (9, 8), "in rising order"),
        ("data__options__moving_shapes__num_videos", 0, "of at least 1"),
        ("evaluation__options__height", -1, "from 1"),
        ("evaluation__split", "", "not empty"),
        ("init_from", 3, "a file"),
        ("demo__variants", (), "pairs"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(option, value, expected):
    message = refused(**{option: value})
    assert message.startswith(f"{option.replace('__', '.')}={value!r}: expected ")
    assert expected in message


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("optim__learning_rat", "optim.learning_rate"),
        ("data__mixture__moving_shape", "data.mixture.moving_shapes"),
        ("data__options__moving_shapes__num_video", "num_videos"),
        ("keep_checkpoint", "keep_checkpoints"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest(option, nearest):
    message = refused(**{option: 1})
    assert message.startswith(f"{option.replace('__', '.')} is no option")
    assert nearest in message


def test_all_that_is_wrong_is_said_at_once():
    config = config_of(optim__steps=0, model__norm="none", spam=1)
    del config.optim["momentum"]
    with pytest.raises(ValueError) as caught:
        options.check(config)
    lines = str(caught.value).splitlines()
    assert [line.split()[0].partition("=")[0] for line in lines] == [
        *("model.norm", "optim.steps", "spam", "optim.momentum:")
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (dict(tracking__overlap=8), ("tracking.overlap=8", "8 frames")),
        (dict(optim__warmup_steps=3), ("warmup_steps=3", "optim.steps=2")),
        (dict(optim__clips_per_device=3), ("batch_size=2", "clips_per_device=3")),
        (dict(model__freeze_stages=6), ("freeze_stages=6", "5 stages")),
        (dict(model__decoder_norm_groups=5), ("16 channels", "5 groups")),
        (dict(model__num_classes=4), ("num_classes=4", "moving_shapes")),
        (dict(data__min_dim=128), ("data.min_dim=128", "data.max_dim=107")),
        (dict(data__min_dim=0), ("data.min_dim=0", "data.height")),
        (dict(evaluation__max_dim=63), ("evaluation.min_dim", "max_dim=63")),
        (dict(evaluation__also_at=(9, 9)), ("also_at", "kitti_mots_cars", "task='")),
        (dict(data__span__moving_shapes=(2, 3)), ("span", "num_frames=8")),
        (dict(data__transforms=("keep_aspect",)), ("flip", "transforms")),
        (dict(data__transforms=("flop",)), ("flop", "transforms")),
        (dict(data__mixture={}), ("data.mixture", "at least one")),
        (dict(data__sampling__rule="gaps"), ("gaps", "weights")),
        (dict(optim__schedule="step"), ("schedule_options", "milestones")),
        (dict(init_from={"body": {"module": "x"}}), ("init_from.body", "file")),
        (dict(benchmark__changes={"optim": {"steps": 0}}), ("benchmark", "steps=0")),
        (dict(demo__variants=(("a", {"x": 1}),)), ("demo.variants: 'a'", "x is no")),
    ],
)
def test_what_contradicts_each_other_is_refused_by_name(changes, named):
    message = refused(**changes)
    assert all(name in message for name in named), message


def test_a_config_that_weights_carry_may_be_of_another_version():
    config = config_of()
    del config.optim["clip_norm"]
    config.data.forgotten = 1
    options.check(config, origin="weights.safetensors")
    config.model.fpn_channels = 0
    with pytest.raises(ValueError, match=r"(?s)fpn_channels=0.*weights.*--config"):
        options.check(config, origin="weights.safetensors")
    del config.model["fpn_channels"]
    with pytest.raises(ValueError, match="model.fpn_channels: missing"):
        options.check(config, origin="weights.safetensors")


def test_no_device_is_touched_before():
    """A platform that does not exist would be the first error."""
    command = [sys.executable, "-m", "stemseg_jax.main", "--workdir=unused"]
    command += ["--config=configs/moving_shapes.py:smoke"]
    command += ["--config.tracking.overlap=9"]
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "none_such"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("ValueError: tracking.overlap=9 must be")
    assert not (ROOT / "unused").exists()


def test_sources_of_composed_videos_have_the_options_of_their_readers():
    config = config_of("real_video", "")
    for sources, good in (
        ({"davis16": {"sequences": ("bear",), "split": "train"}, "coco": {}}, True),
        ({"davis16": {"sequence": ("bear",)}}, False),
        ({"davis18": {}}, False),
        ({"coco": {"year": "2017"}}, False),
    ):
        config.data.options.composed.sources = sources
        if good:
            options.check(config)
        else:
            with pytest.raises(ValueError, match="composed.sources=.*of its reader"):
                options.check(config)
