"""Each part of a network starts from a file of its own."""

import numpy as np
import pytest

from stemseg_jax.conversion import merging, parts, sources
from tests.conversion.test_merging import full, loaded, model


def test_a_file_for_all_or_one_for_each_part():
    assert parts.starts("") == {}
    assert parts.starts("a.pth") == {"": parts.Start(file="a.pth")}
    wide = {"file": "b.pth", "module": "body", "widen": "zeros"}
    starts = parts.starts({"guide/body": wide, "body": "runs/davis"})
    # Whoever sets the conventions comes first, whatever the order in the config.
    assert list(starts) == ["body", "guide/body"]
    assert starts["body"] == parts.Start(file="runs/davis")
    assert starts["guide/body"] == parts.Start(**wide)
    for wrong in ({"module": "body"}, {"file": "a.pth", "widden": "zeros"}):
        with pytest.raises(ValueError, match="init_from.body=.*'file', 'module', 'w"):
            parts.starts({"body": wrong})


def test_only_the_part_is_taken():
    body = parts.take(loaded(full()), "body", "body")
    merged = merging.merge(body, model())
    assert merged.report == ""
    params, constants = merged.variables["params"], merged.variables["constants"]
    np.testing.assert_array_equal(params["body"]["block2"]["kernel"], 2)
    np.testing.assert_array_equal(constants["body"]["mean"], 5)
    np.testing.assert_array_equal(params["head"]["bias"], 7)  # the file has 1


def test_a_module_goes_where_it_is_asked_for():
    names = {"params": {"bodyguard": {"w": np.zeros(1)}, **full()["params"]}}
    other = parts.take(loaded(names), "guide/body", "body")
    assert {*other.variables["params"]["guide"]["body"]} == {
        *("block0", "block1", "block2")
    }
    assert other.variables["params"].keys() == {"guide"}
    assert other.names["params/guide/body/block1/kernel"] == "body.block1.kernel"
    guided = {"params": {"guide": {"body": model()["params"]["body"]}, "head": {}}}
    merged = merging.merge(other, guided)
    kernel = merged.variables["params"]["guide"]["body"]["block1"]["kernel"]
    np.testing.assert_array_equal(kernel, 1)


def test_what_the_file_lacks_of_the_part_is_reported():
    weights = full()
    del weights["params"]["body"]["block1"], weights["constants"]
    body = parts.take(loaded(weights), "body", "body")
    with pytest.raises(ValueError) as caught:
        merging.merge(body, model())
    message = str(caught.value)
    assert "  only in the model:\n    constants/*\n    params/body/block1/*" in message
    assert "head" not in message


def test_a_module_that_the_file_lacks_is_named_with_those_it_has():
    with pytest.raises(
        ValueError, match=r"init_from.fpn: a.pth.*no module 'fpn'.*body"
    ):
        parts.take(loaded(full()), "fpn", "fpn")


# -------------------------------------------------------------------- first convolution

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32)


def convolutions(kernel):
    other = np.ones((1, 1, 4, 2), np.float32)
    return {"params": {"body": {"stem": {"kernel": kernel}, "next": {"kernel": other}}}}


def widened(channels, rule):
    wide = convolutions(np.full((3, 3, channels, 4), 9, np.float32))
    merged = merging.merge(loaded(convolutions(KERNEL)), wide, widen=rule)
    return merged.variables["params"]["body"]["stem"]["kernel"]


def test_further_channels_are_not_seen_at_first():
    kernel = widened(4, "zeros")
    np.testing.assert_array_equal(kernel[:, :, :3], KERNEL)
    np.testing.assert_array_equal(kernel[:, :, 3], 0)


def test_two_frames_are_seen_as_their_mean():
    kernel = widened(6, "repeat")
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 3, 3, 3))
    both = np.einsum("hwi,hwio->o", np.concatenate([first, second], -1), kernel)
    mean = np.einsum("hwi,hwio->o", (first + second) / 2, KERNEL)
    np.testing.assert_allclose(both, mean, rtol=1e-5)


def test_nothing_is_widened_unasked_or_in_vain():
    with pytest.raises(
        ValueError, match=r"body/stem/kernel: \(3, 3, 3, 4\) in the file"
    ):
        widened(4, "")
    with pytest.raises(ValueError, match="expected one convolution.*found none"):
        widened(3, "zeros")
    with pytest.raises(ValueError, match="4 input channels.*multiple of the file's 3"):
        widened(4, "repeat")
    with pytest.raises(
        ValueError, match=r"'mean' is unknown; known: \['repeat', 'zeros"
    ):
        widened(4, "mean")


def test_every_convention_has_an_owner():
    options = sources.MASK_RCNN.options()
    assert {*options} == {*sources.OWNERS} - {"free_dim_std"}
    assert options["pixels"]["order"] == "bgr"
