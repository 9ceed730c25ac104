"""Weights go out as one file and come back as they were."""

import jax
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import checkpoints, export_weights, models
from stemseg_jax.conversion import loading, packaged, release
from tests.conversion import torch_writer


@pytest.fixture(scope="module")
def config():
    return moving_shapes.get_config("smoke")


@pytest.fixture(scope="module")
def exported(config, tmp_path_factory):
    """A release of fresh weights."""
    path = tmp_path_factory.mktemp("weights") / "fresh.safetensors"
    release.write(path, models.initial(config).variables, config.to_dict())
    return path


def test_an_exported_checkpoint_is_the_checkpoint(config, exported, tmp_path):
    path = tmp_path / "out" / "again.safetensors"
    export_weights.run(config, checkpoint=str(exported), output=str(path))
    one, other = loading.load(exported), loading.load(path)
    assert one.config == other.config == loading.load(exported).config
    assert one.config["model"]["backbone"] == "tiny"
    jax.tree.map(np.testing.assert_array_equal, one.variables, other.variables)


def test_conventions_of_the_weights_replace_those_of_the_config(config, tmp_path):
    """The config of this test wants RGB and has no epsilon."""
    kernel = np.zeros((2, 3, 1, 1), np.float32)
    name = "backbone.bottom_up.res2.0.conv1.weight"
    file = torch_writer.write_zip(
        tmp_path / "detectron2.pth", {name: torch_writer.tensor("0", kernel)}
    )
    model = models.with_conventions(config, loading.load(file)).model
    assert model.pixels.order == "bgr"
    assert model.pixels.mean == (103.53, 116.28, 123.675)
    assert model.norm_epsilon == 1e-5 and model.stride_in_1x1
    assert model.free_dim_std == config.model.free_dim_std  # the file has none


@pytest.fixture
def run_from(config, tmp_path):
    """Saves a run that says it began from something; gives its folder."""

    def save(name, init_from, state=None):
        own = config.copy_and_resolve_references()
        with own.unlocked(), own.ignore_type():
            own.init_from = init_from
        with checkpoints.Checkpoints(tmp_path / name / "checkpoints") as manager:
            manager.save(1, state or {"params": {"x": np.zeros(1)}}, own)
        return str(tmp_path / name)

    return save


def test_a_release_carries_the_terms_of_what_its_run_began_from(
    config, run_from, tmp_path
):
    rest = dict(models.initial(config).variables)
    run = run_from("run", "real", {"params": rest.pop("params"), "collections": rest})
    export_weights.run(config, checkpoint=run, output=str(tmp_path / "out.safetensors"))
    assert packaged.terms(str(tmp_path / "out.safetensors")) == packaged.terms("real")


def test_terms_come_from_parts_and_from_runs_before(run_from):
    real = packaged.terms("real")
    part = dict(file="real", module="encoder/body")
    first = run_from("first", {"encoder/fpn": "real", "encoder/body": part})
    second = run_from("second", first)
    assert models.terms(first) == models.terms(second) == real != ""
    assert models.terms(run_from("fresh", "")) == ""


def test_terms_that_cannot_be_known_are_told(run_from, tmp_path, caplog):
    """A run that names itself comes to an end."""
    own = str(tmp_path / "run")
    given = {"body": "gone.pth", "fpn": "package:nowhere/x.pth", "head": own}
    assert models.terms(run_from("run", given | {"other": "real"})) != ""
    assert "The terms of gone.pth, if any, are not known" in caplog.text
    assert "The terms of package:nowhere/x.pth" in caplog.text
