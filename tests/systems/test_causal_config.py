"""What a config of the causal embedding says arrives, or is refused."""

import importlib

import jax
import jax.numpy as jnp
import pytest

from configs import causal_kitti, causal_kitti_foreground, causal_moving_shapes
from stemseg_jax import models, options
from stemseg_jax.conversion import parts
from stemseg_jax.systems.causal_embedding import CausalEmbedding

NAMES = ("causal_kitti", "causal_kitti_foreground", "causal_moving_shapes")


def config_of(name="causal_kitti", variant="", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict(
            {path.replace("__", "."): value for path, value in changes.items()}
        )
    return config


@pytest.mark.parametrize("name", NAMES)
def test_what_a_config_says_arrives(name):
    config = config_of(name)
    system = CausalEmbedding.from_config(config)
    assert vars(system.tracking) == config.tracking.to_dict()
    assert vars(system.clustering).items() >= config.clustering.to_dict().items()
    assert dict(system.objective.weights) == config.loss.weights.to_dict()
    assert system.objective.parts == tuple(config.loss.parts)
    assert system.depth_range == tuple(config.model.depth_range)
    network = system.network
    assert network.encoder.channels == tuple(config.model.encoder_channels)
    assert network.temporal.blocks == config.model.temporal_blocks
    assert network.embedding_decoder.out_channels == config.model.embedding_dims
    assert network.pose.width == config.model.pose_channels
    assert system.sizes.max_dim == config.evaluation.max_dim


def test_numbers_of_the_paper():
    config = config_of()
    assert config.num_frames == 5 and config.model.embedding_dims == 8
    loss = config.loss
    assert (loss.attraction_radius, loss.repulsion_radius) == (0.5, 1.5)
    assert loss.weights.regularisation == 1e-3
    assert (config.data.height, config.data.width) == (192, 640)
    assert config.tracking.radius == loss.repulsion_radius
    pixels = config.model.pixels  # as torchvision's weights of ImageNet want them
    assert pixels.order == "rgb" and pixels.std == (58.395, 57.12, 57.375)
    assert config.init_from["pose/body"]["widen"] == "repeat"
    assert models.build(config).geometry((375, 1242)).resized == (192, 640)


def test_what_is_learnt_from_is_what_the_truth_given_at_inference_is_of():
    """Pedestrians are background in both."""
    config = config_of()
    options.check(config)
    assert config.evaluation.options.classes == ("car",)
    assert config.data.options.kitti_mots.classes == ("car",)


@pytest.mark.parametrize("frames", [1, 3, 15])
def test_the_memory_follows_the_length_of_clips(frames):
    config = config_of(num_frames=frames)
    assert config.tracking.span == config.tracking.time_to_live == frames
    foreground = config_of("causal_kitti_foreground").tracking
    assert foreground.span == foreground.time_to_live == 5


def test_rows_of_the_papers_second_table():
    rows = {
        "": (True, "causal", "clip", "embedding"),
        "no_depth": (False, "causal", "clip", "embedding"),
        "no_temporal": (True, "none", "clip", "embedding"),
        "single_frame": (False, "none", "frame", "overlap"),
    }
    for variant, expected in rows.items():
        config = causal_kitti.get_config(variant)
        options.check(config)
        found = (
            *(config.model.depth, config.model.temporal),
            *(config.loss.span, config.tracking.identity),
        )
        assert found == expected
        system = models.build(config)
        assert (system.network.pose is not None) == expected[0]
        whole = causal_kitti_foreground.get_config(variant)
        assert whole.tracking.to_dict() == config.tracking.to_dict()
        assert whole.model.to_dict() == config.model.to_dict()
        assert whole.init_from == f"runs/causal_kitti{'_' * bool(variant)}{variant}"
        assert whole.num_frames == 1 and whole.loss.parts == ("foreground",)
    with pytest.raises(ValueError, match="known.*no_depth.*single_frame"):
        causal_kitti.get_config("no_dept")


def test_on_built_in_data_the_main_network_begins_as_that_of_the_foreground():
    config = causal_moving_shapes.get_config()
    first = causal_moving_shapes.get_config("foreground")
    assert first.loss.parts == ("foreground",) and not first.init_from
    assert first.model.to_dict() == config.model.to_dict()
    _, variables = models.abstract(first)
    starts = parts.starts(config.to_dict()["init_from"])
    assert starts["encoder"].module == "mask_encoder"
    shapes = {n: jax.tree.map(jnp.shape, p) for n, p in variables["params"].items()}
    assert shapes["encoder"] == shapes["mask_encoder"]
    assert {*starts} == {"encoder", "mask_encoder", "mask_decoder"}
    assert {start.file for start in starts.values()} == {
        "runs/causal_shapes_foreground"
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(model__temporal="lstm"), "model.temporal='lstm'.*causal.*none"),
        (dict(model__upsample="nearest"), "upsample='nearest'.*transposed"),
        (dict(loss__parts=("depth",)), "loss.parts='depth'.*embedding.*foreground"),
        (dict(loss__span="video"), "loss.span='video'.*clip.*frame"),
        (dict(loss__automask="mean"), "automask='mean'.*masked_mean"),
        (dict(tracking__identity="name"), "tracking.identity='name'.*overlap"),
        (dict(parity="released"), "parity='released'.*paper"),
        (dict(model__num_classes=3), "model.num_classes=3.*use 0"),
        (dict(clustering__bandwidth=0.0), "bandwidth=0.0"),
        (dict(tracking__max_tracks=8), "max_tracks=8.*max_instances=32"),
        (dict(model__freeze_stages=2), "batch_norm.*freeze_stages=0"),
    ],
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CausalEmbedding.from_config(config_of(**changes))


def test_weights_do_not_depend_on_clips():
    with (config := config_of(variant="smoke")).unlocked():
        config.num_frames = 1
    _, one = models.abstract(config)
    _, other = models.abstract(config_of(variant="smoke"))
    assert jax.tree.map(jnp.shape, one) == jax.tree.map(jnp.shape, other)
