"""The foreground as one object: options, loss and track, against plain NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import davis16
from stemseg_jax import models, options
from stemseg_jax.data import pipeline
from stemseg_jax.structures import ClipBatch
from stemseg_jax.systems import saliency
from stemseg_jax.systems.saliency import Saliency
from tests.drained import drained
from tests.systems import painted, stemseg_reference
from tests.systems.painted import Thing
from tests.systems.programs import compiled_by

SIZES = [((32, 64), 1), ((27, 60), 1), ((30, 62), 2)]  # whole, padded, shrunk


def config_of(**changes):
    config = davis16.get_config("smoke")
    with config.unlocked():
        config.update_from_flattened_dict(
            {path.replace("__", "."): value for path, value in changes.items()}
        )
    return config


class PaintedNetwork(saliency.Network):
    """Reads its logits off the frames; it has no parameters but "zero"."""

    def setup(self):
        pass

    def encode(self, images):
        return painted.PaintedNetwork.encode(self, images)

    def decode(self, pyramid):
        logits = painted.maps(pyramid[0], mixture="xy", num_classes=1)[-1]
        if self.has_variable("params", "zero"):
            logits = logits + self.get_variable("params", "zero")
        return logits

    def frame_terms(self, pyramid):
        return pyramid

    def decode_terms(self, terms):
        return self.decode(jax.tree.map(lambda *x: jnp.stack(x, axis=1), *terms))


def built(network, **changes):
    """The system of the config, with such a network in place of its own."""
    made = Saliency.from_config(config_of(**changes))
    fields = {
        field.name: getattr(made.network, field.name)
        for field in dataclasses.fields(made.network)
        if field.name not in ("parent", "name")
    }
    return dataclasses.replace(made, network=network(**fields))


def painted_system(num_frames=4, overlap=2, size=(32, 64)):
    sizes = dict(evaluation__min_dim=size[0], evaluation__max_dim=size[1])
    windows = dict(num_frames=num_frames, tracking__overlap=overlap)
    return built(PaintedNetwork, **sizes, **windows)


# ----------------------------------------------------------------------------- options


def test_what_the_config_says_arrives():
    config = davis16.get_config()
    system = Saliency.from_config(config)
    assert system.network.num_frames == 8
    assert system.network.decoder_channels == (256, 256, 128, 128)
    assert vars(system.tracking) == config.tracking.to_dict()
    assert (system.hardest, system.target) == (0.25, "fraction")
    assert dict(system.loss_weights) == {"foreground": 1.0}
    assert (system.sizes.min_dim, system.sizes.max_dim) == (736, 1248)
    assert system.frozen_modules() == ("body/stem", "body/stage1")
    options.check(config)
    pipeline.check(config)
    # Else all but the foreground of DAVIS would be neither object nor background.
    assert pipeline.reader_options(config, "davis16")[1] == {"exhaustive": True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(parity="released"), "parity='released': expected one of 'paper'"),
        (dict(model__num_classes=2), "model.num_classes=2: expected one of 0"),
        (dict(loss__hardest=0.0), "loss.hardest=0.0: expected"),
        (dict(tracking__foreground_threshold=2.0), "foreground_threshold=2.0"),
        (dict(loss__target="or"), "loss.target='or'"),
    ],
)
def test_what_it_cannot_mean_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        options.check(config_of(**change))


def test_windows_that_share_all_frames_are_refused():
    with pytest.raises(ValueError, match="overlap=8 must be .* less than"):
        Saliency.from_config(config_of(tracking__overlap=8))


# -------------------------------------------------------------------------------- loss


class Given(saliency.Network):
    """A network whose logits are its variables."""

    def apply(self, variables, images):
        return variables["logits"]


@pytest.mark.parametrize("target", ["fraction", "and"])
def test_the_loss_is_that_of_the_hardest_cells(target):
    """Two clips, of two instances and of none; ignored ground is left out."""
    changes = dict(loss__target=target, num_frames=2, tracking__overlap=1)
    system = built(Given, **changes)
    T, H, W = 2, 64, 96
    masks = np.zeros((2, 2, T, H, W), bool)
    masks[0, 0, :, 4:22, 6:30], masks[0, 1, 1, 30:50, 40:60] = True, True
    ignore = np.zeros((2, T, H, W), bool)
    ignore[..., 64:] = True
    batch = ClipBatch(
        frames=jnp.zeros((2, T, H, W, 3), jnp.uint8),
        masks=jnp.asarray(masks),
        valid=jnp.asarray(masks.any(axis=(2, 3, 4))),
        categories=jnp.ones((2, 2), jnp.int32),
        ignore=jnp.asarray(ignore),
        intrinsics=jnp.full((2, T, 3, 3), jnp.nan),
    )
    logits = np.random.default_rng(0).normal(size=(2, T, H // 4, W // 4))
    logits = logits.astype(np.float32)
    expected = []
    for own, z in zip(masks.any(axis=1), logits, strict=True):
        cells = own.reshape(T, H // 4, 4, W // 4, 4).swapaxes(2, 3)
        part = cells.mean(axis=(-2, -1))
        if target == "and":
            part = cells[..., 1:3, 1:3].all(axis=(-2, -1)).astype(float)
        losses = (np.logaddexp(0, z) - part * z)[:, :, : 64 // 4]
        hardest = np.sort(losses.ravel())[::-1]
        expected.append(hardest[: round(0.25 * hardest.size)].mean())
    keys = jax.random.split(jax.random.key(0), 2)
    variables = {"params": {}, "logits": jnp.asarray(logits)}
    total, report, rest = system.loss(variables, batch, keys)
    np.testing.assert_allclose(total, np.mean(expected), rtol=1e-5)
    assert report.terms.keys() == {"foreground"} and rest.keys() == {"logits"}


def test_two_steps_lower_the_loss():
    config = config_of(num_frames=2, tracking__overlap=1)
    system = models.build(config)
    batch = models.blank_batch(config)
    batch = batch._replace(masks=batch.masks.at[:, 0, :, 8:40, 8:40].set(True))
    variables = system.init(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(0), len(batch.valid))

    @jax.jit
    @jax.value_and_grad
    def loss(params):
        return system.loss({**variables, "params": params}, batch, keys)[0]

    params, values = variables["params"], []
    for _ in range(3):
        value, gradient = loss(params)
        values.append(float(value))
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)
    assert values[0] > values[1] > values[2]


# ------------------------------------------------------------------------------- track


def expected_track(video, length, num_frames, overlap):
    """Labels, and of the track pixels, first and last frame and score."""
    clips = stemseg_reference.cut(length, num_frames, overlap)
    logits = [[] for _ in range(length)]
    for clip in clips:
        said = painted.maps(video.seen()[clip], mixture="xy", num_classes=1)[-1]
        for place, frame in enumerate(clip):
            logits[frame].append(said[place])
    mean = np.stack([np.mean(each, axis=0) for each in logits])
    probabilities = 1 / (1 + np.exp(-stemseg_reference.enlarge(mean)))
    labels = (probabilities > 0.5).astype(int)
    shown = np.flatnonzero(labels.any(axis=(1, 2)))
    if not len(shown):
        return labels, None
    score = np.mean([probabilities[t][labels[t] > 0].mean() for t in shown])
    return labels, (labels.sum(), shown[0], shown[-1], score)


def crowd(length):
    return [
        Thing(1, range(length), at=(1, 1), speed=(0, 0.3)),
        Thing(2, range(length // 2, length), at=(4, 9), size=(3, 5)),
    ]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("num_frames", "overlap"), [(4, 2), (4, 3), (8, 0)])
def test_equals_the_plain_form(num_frames, overlap, size):
    T = num_frames
    system = painted_system(num_frames, overlap, size[0])
    for length in (1, T - 1, T, T + 1, 3 * T - 1):
        video = painted.Video(painted.paint(length, crowd(length)), *size)
        parts, tracks = drained(system.track({}, iter(video.frames())))
        labels, track = expected_track(video, length, num_frames, overlap)
        found = np.concatenate([part.labels for part in parts])
        np.testing.assert_array_equal(found, labels)
        assert {part.geometry.stride for part in parts} == {1}
        ends = np.cumsum([len(part.labels) for part in parts]).tolist()
        assert [part.first for part in parts] == [0, *ends[:-1]]
        (one,) = tracks.values()
        assert list(tracks) == [1] and one.scored_by == "foreground"
        assert (one.pixels, one.first, one.last) == track[:3]
        np.testing.assert_allclose(one.score, track[3], rtol=1e-4)


def test_a_video_without_foreground_has_no_track():
    cells = painted.paint(6, [])
    cells[..., painted.FOREGROUND] = 20
    video = painted.Video(cells, *SIZES[0])
    parts, tracks = drained(painted_system().track({}, iter(video.frames())))
    assert tracks == {} and not any(part.labels.any() for part in parts)


def test_what_the_network_says_comes_along_if_asked_for():
    video = painted.Video(painted.paint(6, crowd(6)), *SIZES[0])
    parts, _ = drained(painted_system().track({}, iter(video.frames()), maps=True))
    maps = np.concatenate([part.maps["foreground"] for part in parts])
    assert maps.shape == (6, *painted.SIZE, 1)
    assert maps.min() > 0 and maps.max() < 1


def test_programs_are_compiled_for_a_padded_size_alone():
    programs = compiled_by(painted_system(), committed=True)
    once = ["_add_up", "_blank", "_decode", "_encode", "_label", "prepare"]
    assert programs(19) == once
    assert programs(14) == programs(1) == []
    assert programs(9, 60, 128) == ["prepare"]


def test_a_video_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no frames"):
        next(painted_system().track({}, iter([])))
