"""Weights fit, or one message says all that does not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.conversion import merging, sources


def loaded(variables, *, parts=(), unknown=()):
    paths = jax.tree_util.tree_leaves_with_path(variables)
    names = ["/".join(entry.key for entry in path) for path, _ in paths]
    return sources.Loaded(
        origin="a.pth (a STEm-Seg checkpoint)",
        variables=variables,
        names={name: name.partition("/")[2].replace("/", ".") for name in names},
        unknown=unknown,
        parts=parts,
        conventions=None,
    )


def blocks(depth, width=2):
    return {f"block{k}": {"kernel": np.full((width, 3), k, "f4")} for k in range(depth)}


def model():
    return {
        "params": {
            "body": jax.tree.map(jnp.zeros_like, blocks(3)),
            "head": {"kernel": jnp.zeros(4), "bias": jnp.full(4, 7.0)},
        },
        "constants": {"body": {"mean": jnp.zeros(2)}},
    }


def full():
    return {
        "params": {
            "body": blocks(3),
            "head": {"kernel": np.arange(4.0), "bias": np.ones(4, np.float16)},
        },
        "constants": {"body": {"mean": np.full(2, 5.0)}},
    }


def test_everything_fits():
    merged = merging.merge(loaded(full()), model(), whole=True)
    assert merged.report == ""
    assert jax.tree.structure(merged.variables) == jax.tree.structure(model())
    for actual, expected in zip(
        jax.tree.leaves(merged.variables), jax.tree.leaves(full()), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
        assert actual.dtype == np.float32 and actual.flags.c_contiguous


def test_shapes_are_enough_where_all_is_loaded():
    abstract = jax.eval_shape(model)
    merged = merging.merge(loaded(full()), abstract, whole=True)
    assert merged.variables["params"]["body"]["block2"]["kernel"][0, 0] == 2


def test_a_backbone_leaves_the_head_alone():
    weights = full()
    del weights["params"]["head"]
    merged = merging.merge(loaded(weights, parts=("body",)), model())
    assert merged.report == ""
    np.testing.assert_array_equal(merged.variables["params"]["head"]["bias"], [7] * 4)
    np.testing.assert_array_equal(
        merged.variables["constants"]["body"]["mean"], [5] * 2
    )


def test_a_backbone_is_no_checkpoint():
    weights = full()
    del weights["params"]["head"]
    with pytest.raises(
        ValueError, match=r"only in the model:\n    params/head/\* \(2\)"
    ):
        merging.merge(loaded(weights, parts=("body",)), model(), whole=True)


def misfit():
    weights = full()
    weights["params"]["body"] = {**blocks(24), "block1": {"kernel": np.zeros((9, 3))}}
    del weights["constants"]
    return loaded(weights, unknown=("rnn.cell.weight",))


MESSAGE = """\
a.pth (a STEm-Seg checkpoint) does not fit the model.
  only in the file:
    body.block3..23.* (21)
    rnn.*
  only in the model:
    constants/*
  of another shape:
    params/body/block1/kernel: (9, 3) in the file, (2, 3) here"""


def test_one_message_lists_both_sides():
    with pytest.raises(ValueError) as caught:
        merging.merge(misfit(), model())
    advice = (
        "\nTake the config that goes with the file, or what fits with "
        "--config.init_partial=True."
    )
    assert str(caught.value) == MESSAGE + advice


@pytest.mark.parametrize(
    ("config", "advice"),
    [({"system": "x"}, "Leave --config out"), (None, "Name the config that goes with")],
)
def test_to_run_a_file_its_own_config_is_advised(config, advice):
    with pytest.raises(ValueError, match=advice) as caught:
        merging.merge(misfit()._replace(config=config), model(), whole=True)
    assert "init_partial" not in str(caught.value)


def test_partial_takes_what_fits_and_reports_the_rest():
    merged = merging.merge(misfit(), model(), partial=True)
    assert merged.report == MESSAGE
    body = merged.variables["params"]["body"]
    assert body["block2"]["kernel"][0, 0] == 2
    np.testing.assert_array_equal(body["block1"]["kernel"], 0)
    assert merged.variables["constants"]["body"]["mean"].shape == (2,)
    assert body.keys() == {"block0", "block1", "block2"}


def test_nothing_fits():
    other = loaded({"params": {"body": {"x": np.zeros(1)}}})
    for partial in (False, True):
        with pytest.raises(ValueError, match="holds nothing that the model has"):
            merging.merge(other, model(), partial=partial)


def test_long_lists_are_cut():
    weights = full()
    names = [f"{first}{second}" for first in "abcd" for second in "pqrstu"]
    weights["params"]["body"].update({name: {"w": np.zeros(1)} for name in names})
    with pytest.raises(ValueError, match=r"    body.bu.*\n    and 12 more"):
        merging.merge(loaded(weights), model())


# ------------------------------------------------------------------------ batch norms

KERNEL = {"conv": {"kernel": np.ones((1, 3), "f4")}}
AFFINE = {name: np.full(3, k, "f4") for k, name in enumerate(["scale", "bias"])}
STATISTICS = {name: np.full(3, k, "f4") for k, name in enumerate(["mean", "var"], 5)}
FROZEN = {"params": {"body": KERNEL}, "constants": {"body": {"n": AFFINE | STATISTICS}}}
TRAINS = {
    "params": {"body": KERNEL | {"n": AFFINE}},
    "batch_stats": {"body": {"n": STATISTICS}},
}


@pytest.mark.parametrize(("file", "network"), [(FROZEN, TRAINS), (TRAINS, FROZEN)])
def test_a_batch_norm_starts_another_whether_it_trains_or_not(file, network):
    zeros = jax.tree.map(jnp.zeros_like, network)
    merged = merging.merge(loaded(file), zeros, whole=True)
    assert merged.report == ""
    jax.tree.map(np.testing.assert_array_equal, merged.variables, network)


def test_a_batch_norm_does_not_start_another_kind_of_norm():
    group_norm = {"params": jax.tree.map(jnp.zeros_like, TRAINS["params"])}
    merged = merging.merge(loaded(FROZEN), group_norm, partial=True)
    assert "only in the file:\n    body.n.* (4)" in merged.report
    assert not merged.variables["params"]["body"]["n"]["scale"].any()
