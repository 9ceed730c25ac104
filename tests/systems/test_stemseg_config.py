"""What a config says arrives in its system; what it cannot mean is refused."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import davis, moving_shapes
from stemseg_jax import models, options
from stemseg_jax.data import pipeline
from stemseg_jax.modules.backbones import BACKBONES
from stemseg_jax.modules.backbones.resnet import ResNet
from stemseg_jax.ops import mixing
from stemseg_jax.systems import SYSTEMS
from stemseg_jax.systems.stemseg import STEmSeg
from stemseg_jax.tracks import Frame
from tests.systems import painted

FOLDER = pathlib.Path(__file__).parents[2] / "configs"
BASES = {"__init__", "defaults", *SYSTEMS}  # of configs, none themselves
NAMES = [
    name
    for name in sorted({file.stem for file in FOLDER.glob("*.py")} - BASES)
    if importlib.import_module(f"configs.{name}").get_config().system == "stemseg"
]

# From the papers and the published configurations: frames, overlap, mixing, classes,
# whether seediness has a decoder, backbone, rule, least seediness, threshold of the
# foreground, full size, sizes of frames, modules without gradient.
STAGE_1 = ("body/stem", "body/stage1")
EXPECTED = {
    "davis": (8, 6, "xyff", 0, True, "resnet101", 0.8, 0.25, False, 736, 1248, STAGE_1),
    "davis_stage2": (
        *(16, 6, "xyff", 0, True, "resnet101", 0.8, 0.25, False, 736, 1248),
        ("body", "fpn"),
    ),
    "ytvis": (8, 4, "xyff", 41, False, "resnet101", 0.8, 0.5, True, 640, 1196, STAGE_1),
    "ovis": (
        *(8, 4, "xyff", 26, False, "resnext101_32x8d", 0.8, 0.5, True, 640, 1196),
        STAGE_1,
    ),
    "kitti_mots": (
        *(8, 4, "xyt", 3, False, "resnet101", 0.95, 0.5, False, 800, 1948),
        STAGE_1,
    ),
    "kitti_mots_stage2": (
        *(8, 4, "xyt", 3, False, "resnet101", 0.95, 0.5, False, 800, 1948),
        STAGE_1,
    ),
    "moving_shapes": (8, 4, "xyff", 5, False, "tiny", 0.7, 0.5, False, 96, 160, ()),
    "real_video": (
        *(8, 2, "xyff", 2, False, "mobilenet_v2", 0.5, 0.5, False, 288, 512),
        ("body/stem", *(f"body/block{index:02d}" for index in range(17))),
    ),
}


def config_of(name, variant="", **changes):
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    with config.unlocked():
        config.update_from_flattened_dict(
            {path.replace("__", "."): value for path, value in changes.items()}
        )
    return config


def backbone_of(network):
    """Its name in the table."""

    def looks(body):
        if isinstance(body, ResNet):
            return body.depths, body.widths, body.block_options.get("groups")
        return body.plan

    body = network.encoder.backbone()
    return next(
        name for name, make in BACKBONES.items() if looks(make()) == looks(body)
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_a_config_says_arrives(name):
    config = config_of(name)
    system = STEmSeg.from_config(config)
    network, tracking = system.network, system.tracking
    arrived = (
        network.num_frames,
        tracking.overlap,
        network.mixing,
        network.num_classes,
        network.seediness_decoder,
        backbone_of(network),
        system.clustering.min_seediness,
        tracking.foreground_threshold,
        tracking.full_size,
        config.evaluation.min_dim,
        config.evaluation.max_dim,
        system.frozen_modules(),
    )
    assert arrived == EXPECTED[name]
    assert system.clustering.rule == system.stitching.rule == config.clustering.rule
    for settings, given in (
        (system.clustering, config.clustering),
        (system.tracking, config.tracking),
    ):
        assert vars(settings) == given.to_dict()
    assert network.decoder_channels == tuple(config.model.decoder_channels)
    assert network.semantic_channels == tuple(config.model.semantic_channels)
    assert network.seediness_bias == config.model.seediness_bias
    assert dict(system.loss_weights) == config.loss.weights.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_parity_released_takes_the_rules_of_the_program(name):
    config = config_of(
        name,
        parity="released",
        clustering__rule="refined",
        tracking__score="confidence",
    )
    system = STEmSeg.from_config(config)
    assert system.clustering.rule == system.stitching.rule == "released"
    assert system.tracking.score == "size"


@pytest.mark.parametrize("length", [4, 16, 24])
def test_ovis_has_variants_of_the_length_of_clips(length):
    config = config_of("ovis", f"clips{length}")
    system = STEmSeg.from_config(config)
    assert system.network.num_frames == config.data.span.ovis[0] == length
    assert system.tracking.overlap == length // 2
    options.check(config)
    pipeline.check(config)


def test_ovis_takes_birds_of_coco_in_a_variant():
    plain, birds = config_of("ovis"), config_of("ovis", "birds")
    options.check(birds)
    assert pipeline.reader_options(birds, "coco") == (
        "train",
        dict(categories="ovis", also={"bird": "Bird"}),
    )
    assert pipeline.reader_options(plain, "coco")[1] == dict(categories="ovis")


@pytest.mark.parametrize(
    "changes",
    [
        dict(model__backbone="resnet50", model__stride_in_1x1=True),
        dict(model__backbone="resnext101_64x4d"),
        dict(model__seediness_decoder=True),
        dict(model__mixing="xytf"),
        dict(data__motion="affine"),
        dict(tracking__score="product", tracking__full_size=False),
        dict(evaluation__min_dim=720, evaluation__max_dim=1280),
    ],
)
def test_what_the_header_of_ovis_varies_is_an_option(changes):
    config = config_of("ovis", **changes)
    STEmSeg.from_config(config)
    options.check(config)
    pipeline.check(config)


@pytest.mark.parametrize("rule", ["paper", "released", "refined"])
def test_one_rule_is_for_clusters_and_for_tracks(rule):
    system = STEmSeg.from_config(config_of("davis", clustering__rule=rule))
    assert system.clustering.rule == system.stitching.rule == rule


# ------------------------------------------------------------- what the network is fed


class Fed(Exception):
    """Carries what the network was fed."""


class Blind(painted.PaintedNetwork):
    def encode(self, images):
        raise Fed(images)


def fed(config, height, width):
    """What the network of this config gets for frames of this size."""
    system = painted.system(config, Blind)
    image = np.zeros((height, width, 3), np.uint8)
    frames = (Frame(k, image) for k in range(config.num_frames))
    with pytest.raises(Fed) as seen:
        next(system.track({}, frames))
    return seen.value.args[0]


@pytest.mark.parametrize(
    ("name", "size", "padded"),
    [
        ("davis", (480, 854), (704, 1248)),
        ("ytvis", (720, 1280), (640, 1152)),
        ("kitti_mots", (375, 1242), (608, 1952)),
        ("moving_shapes", (96, 160), (96, 160)),
    ],
)
def test_frames_come_at_the_size_of_the_config(name, size, padded):
    assert fed(config_of(name), *size).shape[-3:] == (*padded, 3)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (davis, np.subtract((30, 20, 10), (102.9801, 115.9465, 122.7717))),
        (moving_shapes, np.subtract((10, 20, 30), 127.5) / 64),
    ],
)
def test_pixels_enter_as_the_weights_expect(config, expected):
    config = config.get_config("smoke")
    batch = models.blank_batch(config)
    batch = batch._replace(frames=batch.frames + jnp.array((10, 20, 30), jnp.uint8))
    keys = jax.random.split(jax.random.key(0), len(batch.valid))
    with pytest.raises(Fed) as seen:
        painted.system(config, Blind).loss({}, batch, keys)
    pixels = np.asarray(seen.value.args[0]).reshape(-1, 3)
    np.testing.assert_allclose(pixels, np.tile(expected, (len(pixels), 1)), rtol=1e-5)


def test_free_dimensions_have_the_deviation_of_the_config():
    assert mixing.get("xyff").free == 2
    system = STEmSeg.from_config(config_of("davis", model__free_dim_std=0.5))
    assert system.free_std == (0.5, 0.5)


def test_bandwidths_and_pooling_are_those_of_the_config():
    as_printed = STEmSeg.from_config(config_of("davis")).network
    assert as_printed.bandwidth_std is None
    assert as_printed.decoder(channels=(8,) * 4).pooling
    config = config_of("davis", "smoke", model__temporal_pooling=False)
    config.model.bandwidth_std = 0.4
    network = STEmSeg.from_config(config).network
    assert not network.decoder(channels=(8,) * 4).pooling
    system, variables = models.abstract(config)
    frames = models.blank_batch(config).frames.astype(jnp.float32)
    maps = jax.eval_shape(system.network.apply, variables, frames)
    assert maps.log_bandwidths.shape[-1] == 2
    assert "conv_variance" not in variables["params"]["embedding_head"]


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(parity="both"), "parity='both' is unknown; known: .*paper.*released"),
        (dict(model__norm="none"), "model.norm='none' is unknown; known: "),
        (dict(model__initialiser="zero"), "model.initialiser='zero' is unknown"),
        (dict(model__conv3d="fast"), "model.conv3d='fast' is unknown"),
        (dict(model__backbone="vgg"), "model.backbone='vgg' is unknown; known: "),
        (dict(model__mixing="tt"), "model.mixing='tt' is unknown; known"),
        (dict(model__pixels__order="grb"), "pixels.order='grb' is neither"),
        (dict(loss__target="or"), "loss.target='or' is unknown"),
        (dict(tracking__overlap=8), "overlap=8 must be .* less than the window's 8"),
        (dict(clustering__rule="best"), "rule='best' is not one of paper"),
        (dict(clustering__seeds="best"), "seeds='best' is not one of seediness"),
        (dict(clustering__max_instances=0), "max_instances=0 must be at least 1"),
        (dict(clustering__min_seediness=2.0), "min_seediness=2.0 is not in"),
    ],
)
def test_what_a_config_cannot_mean_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        STEmSeg.from_config(config_of("davis", **change))


@pytest.mark.parametrize("part", ["clustering", "tracking"])
def test_an_option_that_nobody_reads_is_refused(part):
    config = config_of("davis")
    with config.unlocked():
        config[part].overlapp = 3
    with pytest.raises(TypeError, match="overlapp"):
        STEmSeg.from_config(config)
