"""What is released loads back exactly, with its config, or not at all."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from stemseg_jax.conversion import loading, release

CONFIG = {"system": "stemseg", "model": {"mixing": "xyff", "widths": [256, 128]}}


def variables():
    rng = np.random.default_rng(0)
    return {
        "params": {
            "body": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 4, 8)), jnp.float32)},
            "half": {"kernel": jnp.asarray(rng.normal(size=5), jnp.bfloat16)},
        },
        "constants": {
            "head": {"time_scale": jnp.float32(0.1)},
            "transposed": np.arange(6.0).reshape(2, 3).T,
        },
    }


def test_it_loads_back_exactly(tmp_path):
    path = tmp_path / "new folder" / "davis.safetensors"
    release.write(path, variables(), CONFIG)
    loaded = loading.load(path)
    expected = variables()
    assert loaded.config == CONFIG
    assert loaded.conventions is None and loaded.parts == ()
    assert "davis.safetensors (a release of ours)" in loaded.origin
    assert jax.tree.structure(loaded.variables) == jax.tree.structure(expected)
    for actual, leaf in zip(
        jax.tree.leaves(loaded.variables), jax.tree.leaves(expected), strict=True
    ):
        assert actual.dtype == leaf.dtype and actual.shape == leaf.shape
        np.testing.assert_array_equal(actual, np.asarray(leaf))


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "davis.safetensors"
    release.write(path, variables(), CONFIG)
    before = path.read_bytes()
    broken = {"params": {"x": np.array(["no number"])}}
    with pytest.raises(Exception):  # noqa: B017  the library's own
        release.write(path, broken, CONFIG)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_config_is_readable_by_others(tmp_path):
    path = tmp_path / "x.safetensors"
    release.write(path, variables(), CONFIG)
    with safetensors.safe_open(path, "numpy") as file:
        assert json.loads(file.metadata()["config"]) == CONFIG
        assert "params/body/kernel" in file.keys()  # noqa: SIM118


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    release.write(path, variables(), CONFIG)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged or truncated"):
        loading.load(path)


def test_a_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "x.safetensors"
    release.write(path, variables(), CONFIG)
    sound = path.read_bytes()
    kernel = np.asarray(variables()["params"]["body"]["kernel"]).tobytes()
    for place, named in (
        (sound.index(kernel) + 9, "params/body/kernel"),
        (sound.index(b"xyff"), "its config"),
    ):
        damaged = bytearray(sound)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"x\.safetensors is damaged: {named}"):
            loading.load(path)


def test_a_release_from_before_digests_is_read_with_a_warning(tmp_path, caplog):
    path = tmp_path / "x.safetensors"
    metadata = {"format": "stemseg_jax", "config": json.dumps(CONFIG)}
    safetensors.numpy.save_file({"params/w": np.ones(2, np.float32)}, path, metadata)
    with caplog.at_level("WARNING"):
        assert loading.load(path).config == CONFIG
    assert "before digests" in caplog.text
    metadata["config"] = ""
    safetensors.numpy.save_file({"params/w": np.ones(2, np.float32)}, path, metadata)
    with pytest.raises(ValueError, match="x.safetensors is damaged: .* no config"):
        loading.load(path)


@pytest.mark.parametrize(
    "config",
    [{}, {"system": "stemseg"}, {"system": 1, "model": {}}]
    + [CONFIG | {"model": model} for model in (3, [], None)]
    + [CONFIG | {"evaluation": value} for value in (3, {"dataset": []})],
)
def test_a_config_of_another_form_is_damage(tmp_path, config):
    path = tmp_path / "x.safetensors"
    release.write(path, variables(), config)
    with pytest.raises(ValueError, match="x.safetensors is damaged: it carries no con"):
        loading.load(path)


@pytest.mark.parametrize(
    "text", ['{"a":[1]}', "[" * 10**5, '{"a":' * 10**5, "", "3", '{"": null}']
)
@pytest.mark.parametrize("part", ["digests", "config"])
def test_metadata_of_another_form_is_damage(tmp_path, part, text):
    path = tmp_path / "x.safetensors"
    release.write(path, variables(), CONFIG)
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata() | {part: text}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for form in ("stemseg_jax", release.FORMAT)[part == "digests" :]:
        safetensors.numpy.save_file(tensors, path, metadata | {"format": form})
        with pytest.raises(ValueError, match=r"x\.safetensors is damaged"):
            loading.load(path)


def test_a_tensor_inside_of_another_is_damage(tmp_path):
    path = tmp_path / "x.safetensors"
    tensors = {name: np.ones(2, np.float32) for name in ("params/a", "params/a/b")}
    metadata = {"format": "stemseg_jax", "config": json.dumps(CONFIG)}
    safetensors.numpy.save_file(tensors, path, metadata)
    with pytest.raises(ValueError, match="damaged: params/a/b is inside of params/a"):
        loading.load(path)


def test_types_that_numpy_does_not_know(tmp_path):
    header = {"x": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ValueError, match=r"x\.safetensors is damaged or"):
        loading.load(path)


def test_another_programs_state_dict(tmp_path):
    path = tmp_path / "resnet.safetensors"
    tensors = {"layer1.0.conv1.weight": np.ones((2, 3, 1, 1), np.float32)}
    safetensors.numpy.save_file(tensors, path)
    loaded = loading.load(path)
    kernel = loaded.variables["params"]["body"]["stage1_block0"]["conv1"]["kernel"]
    assert kernel.shape == (1, 1, 3, 2) and loaded.config is None
