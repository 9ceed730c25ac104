"""A network starts from files, whole or part by part, and takes their conventions."""

import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import checkpoints, models, options
from stemseg_jax.conversion import release
from tests.conversion import published

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def config():
    config = moving_shapes.get_config("smoke").unlock()
    config.model.norm = "frozen_batch_norm"  # as in published files
    return config


@pytest.fixture(scope="module")
def ours(config, tmp_path_factory):
    """A release whose weights are all 2, trained on other pixels."""
    path = tmp_path_factory.mktemp("ours") / "two.safetensors"
    _, shapes = models.abstract(config)
    saved = config.copy_and_resolve_references()
    saved.model.pixels.mean, saved.model.free_dim_std = (1.0, 2.0, 3.0), 0.7
    twos = jax.tree.map(lambda leaf: np.full(leaf.shape, 2, np.float32), shapes)
    release.write(path, twos, saved.to_dict())
    return path


@pytest.fixture(scope="module")
def theirs(config, tmp_path_factory):
    """A detectron2 Mask R-CNN of this size, and its values under our names."""
    path = tmp_path_factory.mktemp("theirs") / "model_final.pkl"
    return path, published.write(path, models.abstract(config)[1])


def start(config, init_from, **changes):
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(changes)
    with config.ignore_type():
        config.init_from = init_from
    return models.initial(config)


def test_each_part_comes_from_its_file_and_brings_its_conventions(config, ours, theirs):
    path, values = theirs
    files = dict(embedding_head=str(ours), body=str(path))
    model = start(config, files)
    params = model.variables["params"]
    for part, expected in (("embedding_head", True), ("embedding_decoder", False)):
        leaves = [np.asarray(x) for x in jax.tree.leaves(params[part])]
        assert all((leaf == 2).all() for leaf in leaves) == expected
    np.testing.assert_array_equal(
        params["body"]["stage2_block0"]["conv1"]["kernel"],
        values["params/body/stage2_block0/conv1/kernel"],
    )
    np.testing.assert_array_equal(
        model.variables["constants"]["body"]["stem"]["norm"]["var"],
        values["constants/body/stem/norm/var"],
    )
    lateral = params["fpn"]["lateral1"]["kernel"]
    assert (lateral != values["params/fpn/lateral1/kernel"]).all()
    # Pixels are detectron2's, the free dimensions those of our file.
    options = model.config.model
    assert options.pixels.order == "bgr" and options.norm_epsilon == 1e-5
    assert options.pixels.mean == (103.53, 116.28, 123.675)
    assert options.free_dim_std == 0.7


def test_a_published_backbone_goes_on_training_its_batch_norms(config, theirs):
    path, values = theirs
    model = start(config, dict(body=str(path)), **{"model.norm": "batch_norm"})
    for kind, leaf in (("params", "scale"), ("batch_stats", "var")):
        norm = model.variables[kind]["body"]["stage3_block0"]["norm1"]
        expected = values[f"constants/body/stage3_block0/norm1/{leaf}"]
        np.testing.assert_array_equal(norm[leaf], expected)


def test_a_part_that_the_network_or_the_file_lacks_is_refused(config, ours, theirs):
    with pytest.raises(ValueError, match="no part 'bdy'; it has body, embedding_dec"):
        start(config, dict(bdy=dict(file=str(ours), module="fpn")))
    with pytest.raises(
        ValueError, match="no module 'embedding_head'; it has body, fpn"
    ):
        start(config, dict(embedding_head=str(theirs[0])))


def test_a_second_backbone_must_see_the_same_pixels(config, ours, theirs):
    two, published_file = models.read(str(ours)), models.read(str(theirs[0]))
    chosen = models.with_conventions(config, published_file, "body", "body")
    guide = ("guide/body", "body")
    again = models.with_conventions(chosen, published_file, *guide, further=True)
    assert again.model == chosen.model
    with pytest.raises(ValueError, match="init_from.guide/body: .*files of one kind"):
        models.with_conventions(chosen, two, *guide, further=True)


@pytest.mark.parametrize(
    ("part", "module"),
    [("body", "guide/body"), ("encoder/body", "body"), ("encoder/body", "guide/body")],
)
def test_a_backbone_brings_its_conventions_wherever_it_stands(
    config, theirs, part, module
):
    file = models.read(str(theirs[0]))
    assert config.model.pixels.order == "rgb"
    chosen = models.with_conventions(config, file, part, module)
    assert chosen.model.pixels.order == "bgr"
    assert chosen.model.free_dim_std == config.model.free_dim_std


@pytest.mark.parametrize(
    ("dataset", "num_classes", "expected"),
    [
        ("moving_shapes", 5, "moving_shapes"),
        ("moving_shapes", 3, ""),
        ("davis19", 0, ""),
    ],
)
def test_a_release_from_before_model_categories_keeps_its_names(
    config, tmp_path, dataset, num_classes, expected
):
    saved = config.to_dict()
    del saved["model"]["categories"]
    saved["evaluation"]["dataset"] = dataset
    saved["model"]["num_classes"] = num_classes
    path = tmp_path / "old.safetensors"
    release.write(path, {"params": {"w": np.zeros(1)}}, saved)
    old = models.saved_config(str(path))
    assert old.model.categories == expected
    if expected or not num_classes:
        models.build(old)


def test_a_release_from_before_confidence_keeps_every_track(config, tmp_path):
    saved = config.to_dict()
    del saved["selection"]["min_score"], saved["selection"]["min_frames"]
    del saved["tracking"]["score"], saved["evaluation"]["also_at"]
    del saved["loss"]["classes_of"], saved["optim"]["max_skipped"]
    path = tmp_path / "old.safetensors"
    release.write(path, {"params": {"w": np.zeros(1)}}, saved)
    old = models.saved_config(str(path))
    options.check(old, origin=str(path))
    assert (old.selection.min_score, old.selection.min_frames) == (0, 1)
    assert old.tracking.score == "size" and old.evaluation.also_at == ()
    assert old.loss.classes_of == "cells" and old.optim.max_skipped == 0


def test_a_release_from_before_the_ablations_is_what_it_was(config, tmp_path):
    saved = config.to_dict()
    del saved["model"]["bandwidth_std"], saved["model"]["temporal_pooling"]
    del saved["clustering"]["seeds"]
    path = tmp_path / "old.safetensors"
    release.write(path, {"params": {"w": np.zeros(1)}}, saved)
    old = models.saved_config(str(path))
    options.check(old, origin=str(path))
    assert models.build(old) == models.build(config)


def test_the_config_of_a_run_is_read_without_its_arrays(config, tmp_path):
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as manager:
        manager.save(1, {"params": {"w": np.zeros(1)}}, config)
    shutil.rmtree(tmp_path / "checkpoints" / "1" / "state")
    assert models.saved_config(str(tmp_path)).model.norm == config.model.norm
    (tmp_path / "checkpoints" / "1" / "config" / "metadata").write_text("{}")
    with pytest.raises(ValueError, match="checkpoints/1 is damaged: .*config/metadata"):
        models.saved_config(str(tmp_path))


NO_DEVICE = """
from absl import flags
from jax._src import xla_bridge
from stemseg_jax import main
flags.FLAGS(["main"])
main._check(main._config_of("{}"), "demo", origin="")
assert not xla_bridge.backends_are_initialized()
"""


def test_a_config_is_checked_before_a_device_is_touched(config, tmp_path):
    with checkpoints.Checkpoints(tmp_path / "checkpoints") as manager:
        manager.save(1, {"params": {"w": np.zeros(1)}}, config)
    code = NO_DEVICE.format(tmp_path)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_saved_config_without_its_options_leads_to_what_is_missing(tmp_path):
    path = tmp_path / "bare.safetensors"
    bare = {"system": "stemseg", "model": {}}
    release.write(path, {"params": {"w": np.zeros(1)}}, bare)
    with pytest.raises(ValueError, match=r"model.backbone.*: missing"):
        options.check(models.saved_config(str(path)), origin=str(path))


def test_another_number_of_classes_than_the_names_is_refused(config):
    with pytest.raises(ValueError, match="num_classes=3.*'moving_shapes' needs 5"):
        start(config, "", **{"model.num_classes": 3})
