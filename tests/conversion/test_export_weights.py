"""Weights go out as one file and come back as they were."""

import jax
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import export_weights, models
from stemseg_jax.conversion import loading, release
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
