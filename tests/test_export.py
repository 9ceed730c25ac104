"""The network as StableHLO: what is written, and that it is the network."""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from absl import app

from stemseg_jax import export, models
from stemseg_jax.conversion import packaged, release
from stemseg_jax.ops import pixels
from stemseg_jax.systems import volumes
from tests.test_main import config_of, run

PAGE = pathlib.Path(__file__).parents[1] / "docs/export.md"
LIMIT = jax.config.jax_traceback_in_locations_limit  # before
RNG = np.random.default_rng(0)
# One of each system; "ovis" has all maps that STEm-Seg can have.
STEPS = {
    "ovis": ["encode", "decode"],
    "davis16": ["encode", "decode"],
    "srnet_ytvis": ["encode", "decode"],
    "causal_kitti": ["look", "foreground"],
    "target_aware_ytvis": ["discover", "look", "refine", "embed"],
}


def frames(count, height, width):
    return RNG.integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A release of random weights of a config, for which nothing is compiled."""

    def drawn(path, leaf):
        if path[-1].key in ("var", "scale"):
            return np.float32(RNG.uniform(0.5, 1.5, leaf.shape))
        return np.float32(RNG.normal(0, 0.1, leaf.shape))

    @functools.cache
    def write(name):
        path = tmp_path_factory.mktemp(name) / "weights.safetensors"
        variables = jax.tree.map_with_path(drawn, models.abstract(config_of(name))[1])
        release.write(path, variables, config_of(name).to_dict())
        return path

    return write


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    """The folder that the mode writes, for all platforms and sizes; the model."""

    @functools.cache
    def write(name):
        folder = tmp_path_factory.mktemp(name) / "served"
        assert not run(
            *("--mode=export", f"--config=configs/{name}.py:smoke"),
            *(f"--checkpoint={checkpoint(name)}", f"--output={folder}"),
        )
        return folder, models.load(config_of(name), str(checkpoint(name)))

    return write


@pytest.fixture(scope="module")
def served(exported):
    """The steps of a model by name, from its folder alone; and the model."""

    def load(name):
        folder, model = exported(name)
        weights = safetensors.numpy.load_file(folder / "weights.safetensors")

        def step(name):
            data = (folder / f"{name}.stablehlo").read_bytes()
            program = jax.jit(jax.export.deserialize(data).call)
            return functools.partial(program, weights)

        return {name: step(name) for name in STEPS[name]}, model

    return load


def own(model, images, *given, method=None):
    """What the model's network says itself, of frames that are not normalised."""
    images = normalised(model, images)
    call = functools.partial(model.system.network.apply, method=method)
    return jax.jit(lambda variables, x: call(variables, x, *given))(
        model.variables, images
    )


def normalised(model, images):
    convention = pixels.Convention.from_config(model.config.model.pixels)
    return convention.normalise(jnp.asarray(images))


def close(ours, expected):
    """To 1e-5 of the largest value, or of 1."""
    expected = np.asarray(expected)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(ours, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("name", STEPS)
def test_the_manifest_says_what_each_step_takes_and_gives(name, exported):
    folder, _ = exported(name)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [*manifest["steps"]] == STEPS[name]
    assert manifest["platforms"] == ["cpu", "cuda", "tpu"]
    for told in manifest["steps"].values():
        program = jax.export.deserialize((folder / told["file"]).read_bytes())
        assert program.platforms == ("cpu", "cuda", "tpu")
        version = program.calling_convention_version
        assert told["calling_convention_version"] == version
        (_, takes), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        gives = jax.tree.unflatten(program.out_tree, program.out_avals)
        for arrays, avals in ((told["takes"], takes), (told["gives"], gives)):
            assert arrays.keys() == avals.keys()
            for key, aval in avals.items():
                shape = jax.export.symbolic_shape(arrays[key]["shape"])
                assert str(shape) == str(aval.shape)
                assert arrays[key]["dtype"] == aval.dtype.name
                assert arrays[key]["meaning"]


def test_sizes_are_free_and_clips_have_the_networks_length(exported):
    folder, model = exported("ovis")
    steps = json.loads((folder / "manifest.json").read_text())["steps"]
    assert steps["encode"]["takes"]["frames"]["shape"] == "b, 32*h, 32*w, 3"
    T = model.config.num_frames
    assert steps["decode"]["takes"]["stride16"]["shape"] == f"b, {T}, 2*h, 2*w, 16"
    assert steps["decode"]["gives"]["seediness"]["shape"] == f"b, {T}, 8*h, 8*w"


def test_nothing_in_the_folder_names_a_folder_of_this_machine(exported):
    folder, _ = exported("ovis")
    for file in folder.iterdir():
        data = file.read_bytes()
        if file.suffix == ".safetensors":  # random numbers may spell anything
            data = data[8 : 8 + int.from_bytes(data[:8], "little")]
        assert b".py" not in data and str(folder.parent).encode() not in data
    assert jax.config.jax_traceback_in_locations_limit == LIMIT


@pytest.mark.parametrize("size", [(32, 64), (96, 64)])
def test_the_code_of_the_page_gives_the_models_own_maps(size, exported, tmp_path):
    """In a process that has none of our code, nor Flax."""
    folder, model = exported("ovis")
    (code,) = re.findall("```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    clip = frames(model.config.num_frames, *size)
    np.save(tmp_path / "frames.npy", clip)
    (tmp_path / "served").symlink_to(folder)
    (tmp_path / "serve.py").write_text(code)
    without = "import sys; sys.modules.update(dict.fromkeys(['stemseg_jax', 'flax']))"
    subprocess.run(
        [sys.executable, "-I", "-c", f"{without}; exec(open('serve.py').read())"],
        cwd=tmp_path,
        env=os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        check=True,
    )
    maps = np.load(tmp_path / "maps.npz")
    network, images = model.system.network, normalised(model, clip)
    pyramids = volumes._encode(network, model.variables, images, shared=False)
    expected = volumes._decode(network, model.variables, pyramids, shared=False)
    expected = expected._asdict()
    assert {*maps} == {*expected}
    for name, values in expected.items():
        close(maps[name][0], values)


def test_the_foreground_of_a_window(served):
    steps, model = served("davis16")
    clip = frames(model.config.num_frames, 32, 64)
    features = steps["encode"]({"frames": clip})
    maps = steps["decode"]({name: x[None] for name, x in features.items()})
    close(maps["foreground_logits"], own(model, clip[None]))


def test_frames_of_other_sizes_are_refused_where_they_are_served(served):
    steps, _ = served("davis16")
    with pytest.raises(ValueError, match="32\\*h"):
        steps["encode"]({"frames": frames(1, 48, 64)})


def test_pairs_of_frames(served):
    steps, model = served("srnet_ytvis")
    pair, heatmap = frames(2, 32, 64), jnp.float32(RNG.random((1, 8, 16)))
    features = steps["encode"]({"frames": pair})
    before, now = ({k: x[t : t + 1] for k, x in features.items()} for t in range(2))
    maps = steps["decode"]({**now, "past": before["stride32"], "heatmap": heatmap})
    expected = own(model, pair[None], heatmap)._asdict()
    assert maps.keys() == expected.keys()
    for name, values in expected.items():
        close(maps[name], values)


def test_frames_one_by_one_are_the_clip(served):
    steps, model = served("causal_kitti")
    clip = frames(3, 32, 64)
    expected, _ = own(model, clip[None], method="look")
    depth = model.system._depth(expected)
    shape = jax.ShapeDtypeStruct((1, 32, 64, 3), np.uint8)
    takes = model.system.steps(model.variables, shape)["look"].takes
    past = {k: np.zeros(x.shape, x.dtype) for k, x in takes.items() if k != "frames"}
    for t in range(3):
        said = steps["look"]({"frames": clip[[t]], **past})
        past = {name: said[name] for name in past}
        close(said["embeddings"][0], expected.embeddings[0, t])
        close(said["depth"][0], depth[0, t])
    found = steps["foreground"]({"frames": clip})
    close(found["foreground_logits"], own(model, clip, method="foreground"))


def test_what_finds_objects_and_follows_them(served):
    steps, model = served("target_aware_ytvis")
    settings = model.system.tracking
    views = frames(1, settings.size, settings.size)
    # Each network once, as when variables are made.
    maps, logits, _ = own(model, views, (settings.size,) * 2, settings.crop)
    foreground = normalised(model, views)[..., 0]
    found = steps["discover"](
        {"frames": views, "before": views, "foreground": foreground}
    )
    close(found.pop("foreground"), maps.foreground())
    for name, values in found.items():
        close(values, getattr(maps, name))
    looked = steps["look"]({"views": views})
    places = (1, settings.max_tracks, *looked["stride16"].shape[1:3])
    masks = steps["refine"]({**looked, "scores": np.zeros(places, np.float32)})
    close(masks["mask_logits"][:, :1], logits)
    crops = frames(2, settings.crop, settings.crop)
    vectors = steps["embed"]({"crops": crops})["vectors"]
    close(vectors, own(model, crops, method="embed"))


def test_each_platform_has_the_form_that_is_fast_there(exported):
    """Three-dimensional convolutions in 2-D on a CPU; all forms in one file."""
    folder, model = exported("ovis")
    shape = jax.ShapeDtypeStruct((1, 32, 64, 3), np.uint8)
    step = model.system.steps(model.variables, shape)["decode"]

    def native(*platforms):
        program = export._program("decode", step, model.variables, platforms)
        return program.mlir_module().count("[b, 0, 1, 2, f]x")

    assert native("cpu") == 0 < native("cuda") == native("tpu") <= native("cpu", "tpu")


@pytest.mark.parametrize(
    ("size", "expected"),
    [("64,96", "b, 64, 96, 3"), ("2,64,96", "2, 64, 96, 3")],
)
def test_sizes_may_be_fixed(size, expected, checkpoint, tmp_path):
    source = f"--checkpoint={checkpoint('davis16')}"
    flags = f"--output={tmp_path / 'served'}", f"--size={size}", "--platforms=cuda"
    assert not run("--mode=export", source, *flags)
    manifest = json.loads((tmp_path / "served/manifest.json").read_text())
    assert manifest["platforms"] == ["cuda"]
    steps = manifest["steps"]
    assert steps["encode"]["takes"]["frames"]["shape"] == expected
    clips, *_ = expected.split(",")
    shape = f"{clips}, 8, 16, 24"
    assert steps["decode"]["gives"]["foreground_logits"]["shape"] == shape


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--platforms=cpu,gpu"], "--platforms='gpu' is unknown; known: .*'cuda'"),
        (["--platforms="], "--platforms names none; known: .*'cuda'"),
        (["--size=480,854"], "--size=480,854: expected height,.*of 32, or batch,"),
        (["--size=0,32"], "--size=0,32: expected height,width"),
        (["--size=32"], "--size=32: expected height,width"),
        (["--checkpoint=none.safetensors"], "none.safetensors: no such checkpoint"),
    ],
)
def test_what_cannot_be_is_refused(flags, message, checkpoint, tmp_path, capsys):
    output = tmp_path / "served"
    given = (f"--checkpoint={checkpoint('davis16')}", f"--output={output}")
    assert run("--mode=export", "--config=configs/davis16.py:smoke", *given, *flags)
    assert re.search(message, capsys.readouterr().err)
    assert not [*tmp_path.iterdir()]


def test_a_folder_of_others_stays(checkpoint, tmp_path, capsys):
    (tmp_path / "model.bin").write_text("mine")
    given = (f"--checkpoint={checkpoint('davis16')}", f"--output={tmp_path}")
    assert run("--mode=export", *given)
    assert "holds model.bin; only a folder that --mode=ex" in capsys.readouterr().err
    assert [f.name for f in tmp_path.iterdir()] == ["model.bin"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output=x"], r"--mode=export \(.*StableHLO\) needs --checkpoint"),
        (["--checkpoint=x", "--output=x", "--size=a"], "--size=a: expected height,wid"),
    ],
)
def test_what_is_missing_is_named(flags, message):
    with pytest.raises(app.UsageError, match=message):
        run("--mode=export", "--config=configs/davis16.py:smoke", *flags)


def test_weights_with_terms_take_them_along(tmp_path):
    assert not run(
        *("--mode=export", "--checkpoint=real", f"--output={tmp_path / 'served'}"),
        *("--size=1,32,32", "--platforms=cpu"),
    )
    manifest = json.loads((tmp_path / "served/manifest.json").read_text())
    assert "non-commercial" in manifest["weights"]["terms"]
    assert manifest["categories"] == {"1": "object"}
    assert manifest["frames"]["padding"] == [128, 128, 128]
    assert packaged.terms(str(packaged.locate("real"))) == packaged.terms("real")
    # They are a checkpoint of ours, too.
    weights = str(tmp_path / "served/weights.safetensors")
    assert packaged.terms(weights) == packaged.terms("real")
    own = models.read(weights)
    assert own.config["system"] == "stemseg"


def test_a_release_made_of_weights_with_terms_has_them_too(checkpoint, tmp_path):
    """Wherever it lies, and so a release that is made of that one."""
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    for source, output in (("real", first), (first, second)):
        given = f"--checkpoint={source}", f"--output={output}"
        assert not run("--mode=export_weights", *given)
    assert packaged.terms(str(second)) == packaged.terms("real") != ""
    assert packaged.terms(str(checkpoint("davis16"))) == ""
