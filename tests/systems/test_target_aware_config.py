"""What a config of target-aware discovery says arrives in its system."""

import importlib

import numpy as np
import pytest

from stemseg_jax import models, optimization
from stemseg_jax.systems.target_aware import TargetAware

NAMES = ("davis", "ytvis", "refiner", "embedding", "moving_shapes")


def config_of(name="davis", variant="", **changes):
    config = importlib.import_module(f"configs.target_aware_{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict(
            {path.replace("__", "."): value for path, value in changes.items()}
        )
    return config


@pytest.mark.parametrize("name", NAMES)
def test_what_a_config_says_arrives(name):
    config = config_of(name)
    system = TargetAware.from_config(config)
    tracking = config.tracking.to_dict()
    assert vars(system.target).items() >= tracking.pop("target").items()
    assert vars(system.tracking) == tracking
    assert vars(system.clustering) == config.clustering.to_dict()
    assert vars(system.noise) == config.loss.guidance_noise.to_dict()
    assert dict(system.loss_weights) == config.loss.weights.to_dict()
    assert system.parts == config.loss.parts
    assert system.min_box == config.loss.min_box
    discovery = system.network.discovery
    assert discovery.outputs == (config.model.num_classes or 1)
    assert discovery.guided and discovery.descriptor == "pair"
    assert discovery.widths == tuple(config.model.decoder_channels)


def test_numbers_of_the_papers():
    config = config_of()
    optim = config.optim
    assert (optim.momentum, optim.weight_decay) == (0.9, 5e-4)
    assert config.data.scale_and_crop.scale == (0.8, 1.5)
    assert (config.data.height, config.data.width) == (640, 640)
    rate = optimization.schedule(optim)
    np.testing.assert_allclose(
        [rate(0), rate(20_000), rate(40_000)], [5e-3, 5e-3 * 0.5**0.9, 0], rtol=1e-5
    )
    assert set(optim.rates.values()) == {0.1}
    assert config_of("ytvis").model.num_classes == 41
    target = config.tracking.target
    assert (target.channels, target.capacity, target.rate) == (96, 80, 0.1)
    assert config.tracking.size == 473 and config.tracking.min_similarity == 0.6


def test_each_phase_trains_its_part_alone():
    for name, idle in {
        "davis": {"targets", "refiner", "embedding"},
        "refiner": {"targets", "discovery", "embedding"},
        "embedding": {"targets", "discovery", "refiner"},
    }.items():
        frozen = TargetAware.from_config(config_of(name)).frozen_modules()
        assert set(frozen) == idle
    frozen = TargetAware.from_config(config_of(model__freeze_stages=1)).frozen_modules()
    assert "discovery/body/stem" in frozen and "discovery/guide/body/stem" in frozen


def test_batch_norms_see_all_clips_of_an_update_and_the_refiner_has_amsgrad():
    for name in ("davis", "ytvis", "refiner"):
        optim = config_of(name).optim
        assert optim.clips_per_device == optim.batch_size > 1
    optim = config_of("refiner").optim
    assert (optim.name, optim.weight_decay) == ("amsgrad", 1e-5)


def test_each_row_of_the_tables_is_a_switch():
    whole = TargetAware.from_config(config_of())
    rows = {
        "no guidance": (
            dict(model__guidance=False),
            lambda s: s.network.discovery.guided,
        ),
        "printed gate": (
            dict(model__descriptor="printed"),
            lambda s: s.network.discovery.descriptor,
        ),
        "no verification": (
            dict(tracking__verification=False),
            lambda s: s.tracking.verification,
        ),
        "no memory": (
            dict(tracking__memory_update=False),
            lambda s: s.tracking.memory_update,
        ),
    }
    for row, (change, of) in rows.items():
        assert of(TargetAware.from_config(config_of(**change))) != of(whole), row
    alone = config_of(variant="proposals")
    assert not alone.tracking.targets and alone.evaluation.task == "proposals"


def test_without_guidance_there_is_no_guide():
    config = config_of(variant="unguided")
    system, variables = models.abstract(config)
    assert "guide" not in variables["params"]["discovery"]
    # Nothing else speaks of it: it can begin and learn.
    frozen = system.frozen_modules()
    optimization.optimizer(config.optim, variables["params"], frozen=frozen)
    assert {part.split("/")[0] for part in config.init_from} <= {*variables["params"]}
    assert not any(part.startswith("discovery/guide") for part in config.init_from)
    assert config.evaluation.task == "proposals" and not config.tracking.targets
    _, whole = models.abstract(config_of(variant="smoke"))
    kernel = whole["params"]["discovery"]["guide"]["body"]["stem"]["conv"]["kernel"]
    assert kernel.shape[2] == 4
    assert {"batch_stats", "constants", "params"} <= {*whole}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            dict(num_frames=1),
            "num_frames=1: to train 'discovery' clips have at least 2",
        ),
        (dict(parity="released"), "parity='released' is unknown; known: .*paper"),
        (dict(loss__parts=("refined",)), "loss.parts='refined' is unknown"),
        (dict(model__descriptor="own"), "model.descriptor='own' is unknown"),
        (dict(model__backbone="mobilenet_v2"), "have no dilated form"),
        (dict(model__target_backbone="vgg"), "model.backbone='vgg' is unknown"),
        (dict(clustering__window=4), "window=4: a square around a cell"),
        (dict(tracking__target__rate=1.0), "rate=1.0: expected a share"),
        (dict(loss__guidance_noise__dropped=2.0), "dropped=2.0 is no probability"),
    ],
)
def test_what_a_config_cannot_mean_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        TargetAware.from_config(config_of(**change))
