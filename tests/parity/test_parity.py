"""The authors' figures are reached, and a figure that is missed is reported."""

import json
import pathlib
import shutil
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from stemseg_jax import models
from stemseg_jax.structures import LossReport
from tests import goldens
from tests.parity import figures, released, run

HERE = pathlib.Path(__file__).parent / "goldens"
QUICK = sorted(json.loads((HERE / "index.json").read_text())["files"])
SLOW = (  # up to a minute each, mostly compilation
    "chainer",
    "clusterer",
    "decoders",
    "inference",
    "losses",
    "model",
    "train_step",
)


def missed(compared):
    return [figure for figure in compared if not figure.met]


@pytest.mark.parametrize("case", QUICK)
def test_small_figures(case):
    compared = run.check(HERE, case)
    assert compared and not missed(compared)


@pytest.mark.parametrize("slow", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_all_figures(shared, slow):
    folder = shared / "reference/goldens"
    cases = json.loads((folder / "index.json").read_text())["files"]
    cases = [case for case in cases if case.startswith(SLOW) == slow]
    cases = [case for case in cases if slow or case not in QUICK]
    compared = run.run(folder, cases)
    text = run.table(compared)
    assert not missed(sum(compared.values(), [])), text


def test_every_case_is_of_a_known_kind(shared):
    index = json.loads((shared / "reference/goldens/index.json").read_text())
    for case in index["files"]:
        assert case.startswith(tuple(run.CHECKS))


def copy(folder, case, change):
    """A case of the small figures, changed."""
    meta, arrays = goldens.load(HERE, case)
    change(meta, arrays)
    (folder / f"{case}.json").write_text(json.dumps(meta))
    np.savez(folder / f"{case}.npz", **arrays)
    (folder / "index.json").write_text(json.dumps({"files": {case: ""}}))


def test_what_differs_is_missed(tmp_path, capsys):
    def change(meta, arrays):
        arrays["mask.resized"][0, 0, 0, 0] ^= 1
        arrays["loader1.tensor"][0, 0, 0] += 0.5

    copy(tmp_path, "preproc", change)
    file = tmp_path / "figures.json"
    assert run.main([f"--goldens={tmp_path}", f"--json={file}"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if " NO" in line]
    assert [line.split()[1] for line in lines] == ["loader1", "mask.resized"]
    content = json.loads(file.read_text())["preproc"]
    wrong = {f["quantity"]: f for f in content if not f["met"]}
    assert wrong["mask.resized"]["error"] == 1 and wrong["mask.resized"]["bar"] == 0
    assert wrong["loader1 (grey levels)"]["error"] == pytest.approx(0.5, rel=0.01)


def test_all_met_is_success(tmp_path, capsys):
    copy(tmp_path, "legacy_checkpoint", lambda meta, arrays: None)
    assert run.main([f"--goldens={tmp_path}"]) == 0
    assert ", 0 missed" in capsys.readouterr().out


def test_what_cannot_be_computed_is_missed_and_the_rest_goes_on(tmp_path, capsys):
    copy(tmp_path, "preproc", lambda meta, arrays: arrays.clear())
    for suffix in ("json", "npz"):
        shutil.copy(HERE / f"legacy_checkpoint.{suffix}", tmp_path)
    names = {"preproc": "", "legacy_checkpoint": "", "something_else": ""}
    (tmp_path / "index.json").write_text(json.dumps({"files": names}))
    assert run.main([f"--goldens={tmp_path}"]) == 1
    out = capsys.readouterr().out
    assert "KeyError" in out and "known kind of case" in out
    assert "3 cases, 2 missed" in out


def test_json_is_strict():
    entries = [
        figures.Figure("x", np.float32(1), np.inf),
        figures.Figure("y", np.nan, 1e-4, "why"),
    ]
    entries = [run._entry(entry) for entry in entries]
    assert json.loads(json.dumps(entries, allow_nan=False)) == [
        {"quantity": "x", "error": 1.0, "bar": None, "note": "", "met": True},
        {"quantity": "y", "error": None, "bar": 1e-4, "note": "why", "met": False},
    ]


# --------------------------------------------------------------- cases made on the spot


def write(folder, case, meta, **arrays):
    (folder / f"{case}.json").write_text(json.dumps(meta))
    np.savez(folder / f"{case}.npz", **arrays)


def test_a_case_changes_their_configuration(tmp_path):
    """A DAVIS network with classes, and seediness among the embedding's outputs."""
    outputs = {"conv_embedding": 3, "conv_variance": 3, "conv_seediness": 1}
    shapes = goldens.backbone_shapes((3, 4, 6, 3))
    shapes |= goldens.decoder_shapes("embedding_head", (256, 128, 128, 64), outputs)
    shapes |= goldens.decoder_shapes(
        "semseg_head", (256, 256, 128, 128), {"conv_out": 8}
    )
    frozen = [k for k in shapes if "stem.conv1" in k or "body.layer1" in k]
    meta = {
        "what": "R-50-FPN, config davis_2",
        "entries": [*shapes.items()],
        "frozen_parameters": [k for k in frozen if len(shapes[k]) == 4],
    }
    over = {
        "INPUT": {"NUM_CLASSES": 7, "NUM_FRAMES": 4},
        "MODEL": {
            "USE_SEEDINESS_HEAD": False,
            "USE_SEMSEG_HEAD": True,
            "EMBEDDING_DIM_MODE": "xyt",
            "EMBEDDINGS": {"EMBEDDING_SIZE": 3, "INTER_CHANNELS": [256, 128, 128, 64]},
        },
    }
    write(tmp_path, "state_dict_over", meta | {"over": over})
    compared = run.check(tmp_path, "state_dict_over")
    assert len(compared) == 4 and not missed(compared)
    write(tmp_path, "state_dict_plain", meta)
    names = [f.quantity for f in missed(run.check(tmp_path, "state_dict_plain"))]
    assert names == ["names only in the file", "names only in the model", "shapes"]


def test_their_options_are_ours():
    over = {
        "MODEL": {"BACKBONE": {"TYPE": "R-101-FPN"}, "EMBEDDING_DIM_MODE": "xyf"},
        "INPUT": {"BGR_INPUT": False},
        "TRAINING": {
            "MOMENTUM": 0.8,
            "LOSSES": {"EMBEDDING": {"WEIGHT_LOVASZ": 2.0, "FREE_DIM_STDS": [0.4]}},
        },
        "CLUSTERING": {"SECONDARY_PROB_THRESHOLD": 0.2},
        "DATA": {"YOUTUBE_VIS": {"INFERENCE_FRAME_OVERLAP": 3}},
    }
    plain = released.config("youtube_vis").to_dict()
    changed = released.config("youtube_vis", over=over, num_frames=16).to_dict()
    expected = ConfigDict(plain)
    expected.update_from_flattened_dict(
        {
            "num_frames": 16,
            "model.backbone": "resnet101",
            "model.mixing": "xyf",
            "model.pixels.order": "rgb",
            "model.free_dim_std": 0.4,
            "optim.momentum": 0.8,
            "loss.weights.lovasz": 2.0,
            "clustering.secondary_threshold": 0.2,
            "tracking.overlap": 3,
        }
    )
    assert changed == expected.to_dict()
    # Without a semantic decoder the foreground is the seediness.
    without = {"MODEL": {"USE_SEMSEG_HEAD": False}}
    ours = released.config("youtube_vis", over=without)
    assert (ours.model.num_classes, ours.tracking.foreground_threshold) == (0, 0.25)


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"MODEL": {"SCALE": 1}}, "over: MODEL.SCALE: no such option here; known: CLU"),
        ({"DATA": {"DAVIS": {"INFERENCE_FRAME_OVERLAP": 2}}}, "no such option"),
        ({"MODEL": {"EMBEDDINGS": {"EMBEDDING_SIZE": 3}}}, "it can only be 4"),
        (
            {"TRAINING": {"LOSSES": {"EMBEDDING": {"FREE_DIM_STDS": [0.3, 0.4]}}}},
            "for 2 free dimensions",
        ),
    ],
)
def test_an_option_without_counterpart_is_refused(over, message):
    with pytest.raises(ValueError, match=message):
        released.config("youtube_vis", over=over)


@pytest.mark.parametrize("theirs", released.CONFIGS)
@pytest.mark.parametrize("num_frames", [2, 4, 8, 32])
def test_a_window_may_be_shorter_than_the_overlap(theirs, num_frames):
    ours = released.config(theirs, num_frames=num_frames)
    stated = released.config(theirs).tracking.overlap
    assert ours.tracking.overlap == min(stated, num_frames - 1)
    if theirs == "davis_2" and num_frames == 2:
        models.abstract(ours)  # a network by itself has nothing to stitch


def test_an_overlap_that_a_case_states_stays_as_it_is():
    over = {"DATA": {"DAVIS": {"INFERENCE_FRAME_OVERLAP": 5}}}
    ours = released.config("davis_2", over=over, num_frames=4)
    assert ours.tracking.overlap == 5
    with pytest.raises(ValueError, match="overlap=5 must be"):
        models.abstract(ours)


def test_losses_after_an_update_carry_its_rounding(tmp_path, monkeypatch):
    """Two updates of one number: the loss is w^2, times three for the second clip."""

    class Clip(NamedTuple):
        valid: jnp.ndarray
        seed: jnp.ndarray

    class Square:
        loss_weights = (("lovasz", 1.0), ("smoothness", 10.0), ("seediness", 1.0))

        def frozen_modules(self):
            return ()

        def loss(self, variables, batch, keys):
            assert len(keys) == len(batch.valid)
            value = jnp.square(variables["params"]["w"]).sum() * (batch.seed - 6)
            terms = {"lovasz": value, "smoothness": 0 * value, "seediness": 0 * value}
            return value, LossReport(terms, dict(self.loss_weights)), {}

    w = np.ones(1, np.float32)
    variables = {"params": {"w": jnp.asarray(w)}}
    monkeypatch.setattr(released, "load", lambda config, salt: (Square(), variables))
    monkeypatch.setattr(
        released, "their_layout", lambda c: lambda x: {k: np.array(x[k]) for k in x}
    )
    monkeypatch.setattr(
        "tests.parity.network.clip",
        lambda meta, seed: Clip(jnp.ones((1, 2), bool), jnp.float32(seed)),
    )

    def part(seed, loss):
        return {"seed": seed, "others/lovasz_loss": loss} | {
            "others/variance_smoothness_loss": 0.0,
            "others/seediness_loss": 0.0,
            "optimization_losses/embedding_loss": loss,
        }

    def step(w, change, error):
        return {
            "sub_iterations": [part(7, w**2 + error), part(9, 3 * w**2 + error)],
            "grad_norm": {"w": 4 * w},
            "param_delta_norm_from_start": {"w": change},
        }

    # With d = 4 w + 1e-4 w an update takes 0.01 (d + 0.9 m), m being d, then 0.9 m + d.
    first = 0.01 * 1.9 * 4.0001
    later = 1 - first
    second = 0.01 * (1.9 * 4.0001 * later + 0.81 * 4.0001)
    meta = {"base": "youtube_vis", "frames": 2, "lr": 0.01, "salt": ""}
    meta |= {"full_grads": [], "params_without_grad": []}
    for error, wrong in ((0.0, []), (5e-5, [1]), (1e-3, [1, 2])):
        steps = [step(1.0, first, error), step(later, first + second, error)]
        write(tmp_path, "train_step", meta | {"steps": steps})
        compared = run.check(tmp_path, "train_step")
        names = {figure.quantity.split(":")[0] for figure in missed(compared)}
        assert names == {f"update {number}" for number in wrong}, compared


# ------------------------------------------------------------------------- comparisons


def test_relative_is_to_the_largest_magnitude():
    figure = figures.relative("x", [1.0, -4.0], [1.0, -5.0], 0.1)
    assert figure.error == pytest.approx(0.2) and not figure.met
    assert figures.relative("x", [0.0], [0.0], 0.0).met
    assert figures.relative("x", [], [], 0.0).met


def test_nan_equals_nan_and_nothing_else():
    assert figures.relative("x", [np.nan, 1], [np.nan, 1], 0.0).met
    assert not figures.relative("x", [np.nan, 1], [2, 1], 9.0).met
    assert not figures.relative("x", [2, 1], [np.nan, 1], 9.0).met


def test_another_shape_is_missed():
    assert not figures.relative("x", [1.0], [1.0, 1.0], 9.0).met
    assert not figures.different("x", [1], [1, 1]).met
    assert "(1,) for (2,)" in figures.absolute("x", [1.0], [1.0, 1.0], 9.0).note


def test_elements_near_a_threshold_are_counted_apart():
    near = np.array([True, True, False, False])
    figure = figures.different("x", [1, 2, 3, 4], [9, 2, 3, 4], near=near)
    assert figure.met and figure.note == "1 of 4 near a threshold differ."
    figure = figures.different("x", [1, 2, 3, 4], [1, 2, 3, 9], near=near)
    assert figure.error == 1 and not figure.met


def test_the_worst_of_several():
    several = {"a": figures.Figure("a", 1, 2), "b": figures.Figure("b", np.nan, 2)}
    figure = figures.of_each("all", several)
    assert np.isnan(figure.error) and figure.note == "worst of 2: b"
