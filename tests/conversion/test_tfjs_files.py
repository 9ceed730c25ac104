import json

import numpy as np
import pytest

from stemseg_jax.conversion import tfjs_files

TENSORS = {
    "net/Conv/Conv2D/merged_input": np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4),
    "stack/0": np.array(7, np.int32),
    "net/Conv/BatchNorm/FusedBatchNorm/Offset": np.float32([1, 2, 3, 4]),
}


def write(folder, tensors, *, shard=20):
    """A manifest with its numbers in files of `shard` bytes."""
    content = b"".join(value.tobytes() for value in tensors.values())
    parts = [content[i : i + shard] for i in range(0, len(content), shard)]
    names = [f"shard{i + 1}of{len(parts)}" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        (folder / name).write_bytes(part)
    entries = [
        {"name": name, "shape": list(value.shape), "dtype": str(value.dtype)}
        for name, value in tensors.items()
    ]
    path = folder / "model.json"
    manifest = [{"paths": names, "weights": entries}]
    path.write_text(json.dumps({"modelTopology": {}, "weightsManifest": manifest}))
    return path


def test_tensors_are_found_across_files(tmp_path):
    found = tfjs_files.read(write(tmp_path, TENSORS))
    assert found.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def edit(path, **changes):
    content = json.loads(path.read_text())
    content["weightsManifest"][0]["weights"][0] |= changes
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: (path.parent / "shard2of4").unlink(), "shard2of4 is named in it"),
        (lambda path: (path.parent / "shard4of4").write_bytes(b""), "ends at byte 68"),
        (
            lambda path: edit(path, shape=[1, 1, 3, 3]),
            "tensors end at byte 56, .* at 68",
        ),
        (lambda path: edit(path, shape=[1, 1, -3, 4]), "a shape of"),
        (lambda path: edit(path, shape="12"), "a shape of"),
        (lambda path: edit(path, dtype="uint8"), "merged_input is uint8"),
        (lambda path: edit(path, quantization={"scale": 1}), "quantised"),
        (lambda path: path.write_text(path.read_text()[:-9]), "JSONDecodeError"),
        (lambda path: path.write_text('{"a":' * 10**5), "RecursionError"),
        (lambda path: path.write_text('{"a": 1}'), "KeyError: 'weightsManifest'"),
    ],
)
def test_damage_is_told_with_the_file(tmp_path, damage, message):
    path = write(tmp_path, TENSORS)
    damage(path)
    with pytest.raises(ValueError, match=rf"model\.json is no manifest.*{message}"):
        tfjs_files.read(path)
