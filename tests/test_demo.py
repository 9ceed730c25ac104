"""The demo and the benchmark at a size of seconds."""

import contextlib
import io
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from configs import defaults, moving_shapes, stemseg
from stemseg_jax import benchmark, demo, models, studies, track_masks
from stemseg_jax.data.datasets import moving_shapes as moving_shapes_videos
from stemseg_jax.formats import rle
from stemseg_jax.systems import volumes
from stemseg_jax.tracks import Track, VideoTracks

ROOT = pathlib.Path(__file__).parents[1]
RULES = ["paper", "released", "refined"]
LINKED = ["overlap", "flow", "looks"]
KEYS = ["model", *RULES, *LINKED, "random_class", "untrained", "one_object"]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """What the smallest demo leaves."""
    folder = tmp_path_factory.mktemp("demo")
    with contextlib.redirect_stdout(io.StringIO()) as said:
        demo.run(moving_shapes.get_config("smoke"), workdir=str(folder))
    (folder / "said.txt").write_text(said.getvalue())
    return folder


def test_the_demo_ends_in_scores_and_pictures(workdir):
    scores = json.loads((workdir / "scores.json").read_text())
    assert [*scores] == KEYS and scores["model"] == scores["refined"]
    for name, figures in scores.items():
        shown = demo.FIGURES + demo.WITH_CLASSES
        assert all(0 <= figures[key] <= 1 for key in shown), name
        assert len(figures["per_sequence"]) == 2
    # Of two or three objects one mask of all finds a part: neither nothing nor all.
    assert 0.05 < scores["one_object"]["J&F-Mean"] < 0.9
    assert scores["one_object"]["J&F-Mean"] > scores["untrained"]["J&F-Mean"]
    with PIL.Image.open(workdir / "contact_sheet.png") as sheet:
        assert np.asarray(sheet).std() > 10
    overlays = [*(workdir / "overlays").glob("*.mp4")]
    assert len(overlays) == 2 and all(file.stat().st_size for file in overlays)
    said = (workdir / "said.txt").read_text()
    assert "model, refined clustering (scores.json: model)" in said
    assert "perfect foreground as one object" in said


def true_tracks(videos):
    for video in videos:
        clip = video.clip(range(video.num_frames))
        own = [
            Track(n, int(kind), 1.0, tuple(rle.encode(mask) for mask in masks))
            for n, (kind, masks) in enumerate(
                zip(clip.categories, clip.masks, strict=True), start=1
            )
        ]
        yield VideoTracks(
            video.name, video.height, video.width, video.num_frames, tuple(own)
        )


def test_linked_masks_are_tracks_again():
    """True ones have their identities back; no embedding was asked."""
    videos = moving_shapes_videos.load(num_videos=2, num_frames=5).videos
    tracks = list(true_tracks(videos))
    for settings in track_masks.LINKINGS.values():
        linked = list(demo._linked(tracks, videos, settings))
        assert [one.name for one in linked] == [one.name for one in tracks]
        if settings.by != "looks":  # which mistakes some
            counts = studies.identities(videos, linked)
            assert counts == {"id switches": 0, "covered": 1}


def test_random_classes_change_classes_alone():
    tracks = list(true_tracks(moving_shapes_videos.load(num_videos=9).videos))
    model = models.Model(moving_shapes.get_config("smoke"), None, {})
    drawn = list(demo.with_random_classes(tracks, model))
    pairs = [
        pair
        for one, other in zip(tracks, drawn, strict=True)
        for pair in zip(one.tracks, other.tracks, strict=True)
    ]
    assert all(a == b._replace(category=a.category) for a, b in pairs)
    kinds = [b.category for _, b in pairs]
    assert set(kinds) == set(model.categories)
    assert 0 < sum(a.category == b.category for a, b in pairs) < len(pairs) / 2


def test_a_demo_without_its_own_config_is_refused(tmp_path):
    config = moving_shapes.get_config("smoke").unlock()
    config.demo.variants = config.demo.variants[:1]
    with pytest.raises(ValueError, match="none of them is the config"):
        demo.run(config, workdir=str(tmp_path))
    with pytest.raises(ValueError, match="evaluation.task='davis19'"):
        config.evaluation.task = "ytvis"
        demo.run(config, workdir=str(tmp_path))


def test_the_benchmark_times_every_stage(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(benchmark, "REPEATS", 1)
    monkeypatch.setattr(benchmark, "SIDE", 64)
    monkeypatch.setattr(volumes, "_group_size", lambda: 3)
    file = tmp_path / "figures.json"
    benchmark.run(moving_shapes.get_config("smoke"), json_file=str(file))
    found = json.loads(file.read_text())
    rows = {row["stage"]: row for row in found["stages"]}
    assert [name for name in rows if not name.startswith("restore")] == [
        *("read a batch", "an update in all"),
        *("forward, loss", "forward, loss, backward", "optimiser"),
        *("decode 40 JPEGs", "preprocess (9 frames)"),
        "encode, first convolutions (9 frames)",
        *("decode heads (8 frames)", "add up windows (8 frames)"),
        *("cluster (8 frames)", "stitch (8 frames)"),
        "cluster, stitch, sum up (4 frames)",
        *("track 40 frames", "write 40 PNGs"),
    ]
    printed = capsys.readouterr().out
    for name, row in rows.items():
        assert name in printed
        assert 0 < row["from"] <= row["median (s)"] <= row["to"]
    (restored,) = (name for name in rows if name.startswith("restore"))
    assert int(restored.split()[1]) > 0  # every seed counts
    forward, both, encode = (
        rows[name]["GFLOP"]
        for name in (
            *("forward, loss", "forward, loss, backward"),
            "encode, first convolutions (9 frames)",
        )
    )
    assert 0 < encode < forward
    assert 2 * forward < both < 4 * forward
    assert found["peak memory"]["host (MB)"] > 100
    assert "peak memory, host (MB)" in printed


def test_flops_are_counted_by_the_host(monkeypatch):
    product = jax.jit(lambda a, b: a @ b)
    a, b = jnp.ones((3, 4)), jnp.ones((4, 5))
    there = jax.device_put((a, b), jax.devices()[-1])
    assert benchmark.flops(product, a, b) == 2 * 3 * 4 * 5
    assert benchmark.flops(product, *there) == 2 * 3 * 4 * 5
    assert benchmark.flops(product, *jax.eval_shape(lambda: (a, b))) == 2 * 3 * 4 * 5

    def none(**_):
        raise RuntimeError("Unknown backend cpu")

    monkeypatch.setattr(jax, "local_devices", none)
    assert benchmark.flops(product, a, b) is None


def test_generic_scripts_name_no_key_of_one_system():
    """Whatever configs/stemseg.py adds to what all systems share."""
    shared = {*defaults.get_config().to_dict(), *defaults.get_config().model}
    own = {*stemseg.get_config().to_dict(), *stemseg.get_config().model} - shared
    assert {"clustering", "loss", "mixing"} <= own
    for script in (ROOT / "stemseg_jax").glob("*.py"):
        text = script.read_text()
        found = [
            key for key in own if f"config.{key}" in text or f"model.{key}" in text
        ]
        assert not found and "import stemseg" not in text, (script, found)
