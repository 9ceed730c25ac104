"""What an SRNet config says arrives in its system; what it cannot mean is refused."""

import importlib

import jax
import numpy as np
import pytest

from configs import srnet
from stemseg_jax import models, optimization
from stemseg_jax.systems.srnet import SRNet

NAMES = ("srnet_davis", "srnet_ytvis", "srnet_moving_shapes")


def config_of(name="srnet_davis", variant="", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict(
            {path.replace("__", "."): value for path, value in changes.items()}
        )
    return config


@pytest.mark.parametrize("name", NAMES)
def test_what_a_config_says_arrives(name):
    config = config_of(name)
    system = SRNet.from_config(config)
    assert vars(system.tracking) == config.tracking.to_dict()
    points = 16 if config.tracking.upsample else 1  # of a cell
    expected = config.clustering.to_dict() | {
        "min_cells": points * config.clustering.min_cells
    }
    assert vars(system.clustering).items() >= expected.items()
    assert dict(system.loss_weights) == config.loss.weights.to_dict()
    assert vars(system.noise) == config.loss.heatmap_noise.to_dict()
    network = system.network
    assert network.decoder.channels == tuple(config.model.decoder_channels)
    assert network.head_channels == config.model.head_channels
    assert network.num_classes == config.model.num_classes
    assert network.objectness_bias == config.model.objectness_bias
    evaluation = config.evaluation
    assert system.sizes.min_dim == evaluation.min_dim
    assert system.sizes.max_dim == evaluation.max_dim
    assert config.data.sampling.gaps == (0.5, 0.25, 0.25)


def test_numbers_of_the_paper_and_those_that_it_leaves_open():
    for name in ("srnet_davis", "srnet_ytvis"):
        config = config_of(name)
        system = SRNet.from_config(config)
        assert system.frozen_modules() == ("body/stem", "body/stage1")
        assert system.clustering.min_seediness == 0.8
        assert system.clustering.min_cells == 512
        assert system.free_std == (0.3, 0.3)
        optim = config.optim
        assert (optim.steps, optim.batch_size, optim.momentum) == (160_000, 4, 0.9)
        rate = optimization.schedule(optim)
        rates = [float(rate(step)) for step in (0, 59_999, 159_999)]
        np.testing.assert_allclose(rates, (1e-3, 1e-3, 1e-5), rtol=1e-5)
    assert system.network.num_classes == 41


def parameters(config):
    _, variables = models.abstract(config)
    return models.size(variables["params"])


def test_each_row_of_the_tables_is_a_switch():
    whole = SRNet.from_config(config_of())
    rows = {
        "overlap": (dict(loss__overlap="dice"), lambda s: s.overlap),
        "heat map": (
            dict(tracking__instance_heatmap=False),
            lambda s: s.tracking.instance_heatmap,
        ),
        "features": (
            dict(tracking__temporal_features="current"),
            lambda s: s.tracking.temporal_features,
        ),
        "dimensions": (dict(model__mixing="xy"), lambda s: s.network.mixing),
    }
    for row, (change, of) in rows.items():
        assert of(SRNet.from_config(config_of(**change))) != of(whole), row
    small = config_of(variant="r50")
    assert small.init_from == "weights/mask_rcnn_R_50_FPN_backbone.pth"
    assert parameters(small) < 0.7 * parameters(config_of())
    # Two of the rows need no training: the parameters are the same.
    for row in ("heat map", "features"):
        assert parameters(config_of(**rows[row][0])) == parameters(config_of())


def test_extra_dimensions_are_as_many_as_the_mixing_has():
    for name, count in (("xy", 2), ("xyf", 3), ("xyff", 4), ("xyfff", 5)):
        config = config_of(variant="smoke", model__mixing=name)
        system, variables = models.abstract(config)
        kernel = variables["params"]["embedding_head"]["conv_out"]["kernel"]
        assert kernel.shape[-1] == count
        assert len(system.free_std) == count - 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(num_frames=8), "num_frames=8: srnet trains on pairs"),
        (dict(parity="released"), "parity='released' is unknown; known: .*paper"),
        (dict(model__mixing="xyt"), "model.mixing='xyt' is unknown; known: .*xyff"),
        (dict(model__embedding_activation="relu"), "embedding_activation='relu' is"),
        (dict(model__initialiser="zero"), "model.initialiser='zero' is unknown"),
        (dict(loss__overlap="iou"), "loss.overlap='iou' is unknown; known: .*dice"),
        (dict(loss__target="or"), "loss.target='or' is unknown"),
        (dict(loss__heatmap_noise__dropped=2.0), "dropped=2.0 is no probability"),
        (dict(tracking__centre="head"), "tracking.centre='head' is unknown"),
        (dict(tracking__temporal_features="next"), "temporal_features='next' is"),
        (dict(clustering__rule="best"), "rule='best' is not one of paper"),
    ],
)
def test_what_a_config_cannot_mean_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SRNet.from_config(config_of(**change))


def test_an_option_that_nobody_reads_is_refused():
    config = srnet.get_config()
    config.tracking.center = "mass"
    with pytest.raises(TypeError, match="center"):
        SRNet.from_config(config)


def test_offsets_may_be_unbounded():
    large = {}
    for activation in ("tanh", "none"):
        config = config_of(
            "srnet_moving_shapes", "smoke", model__embedding_activation=activation
        )
        _, system, variables = models.initial(config)
        head = variables["params"]["embedding_head"]["conv_out"]
        head["bias"] = head["bias"] + 1000
        shape = jax.jit(system.network.apply)(
            variables,
            jax.numpy.zeros((1, 2, 32, 32, 3)),
            jax.numpy.zeros((1, 8, 8)),
        )
        large[activation] = shape.embeddings.max()
    assert 1 < large["tanh"] <= 2.001 and large["none"] > 900
