"""Studies on the smallest of configs."""

import argparse
import json

import numpy as np
import pytest

from configs import moving_shapes
from stemseg_jax import studies, train
from stemseg_jax.data.datasets import layered_world
from stemseg_jax.data.datasets import moving_shapes as videos
from stemseg_jax.formats import rle
from stemseg_jax.tracks import Track, VideoTracks

pytestmark = pytest.mark.usefixtures("compiled_once")
ROWS = {
    "whole": studies.Row(moving_shapes.get_config),
    "strict": studies.Row(
        moving_shapes.get_config, {"clustering.min_seediness": 0.9}, weights="whole"
    ),
    "longer": studies.Row(moving_shapes.get_config, {"optim.steps": 3}, after="whole"),
}


def options(folder, rows, seeds=2):
    parser = studies.arguments("A study.", ROWS, seeds=seeds)
    return parser.parse_args(
        [f"--output={folder}", f"--rows={rows}", "--variant=smoke"]
    )


def figures(result: studies.Result) -> studies.Figures:
    return studies.masks_and_identities(result) | {"n": float(len(result.tracks))}


def test_rows_train_once_and_share_weights(tmp_path, monkeypatch):
    chosen = options(tmp_path, "whole,strict")
    first = studies.table(ROWS, figures, chosen)
    assert [line[""] for line in first] == ["whole", "strict"]
    assert all(line["n"] == "2.000 ± 0.000" for line in first)
    own = [json.loads((tmp_path / f"whole_{s}/figures.json").read_text()) for s in "01"]
    assert [held["config"]["seed"] for held in own] == [0, 1]
    values = [held["figures"]["J-Mean"] for held in own]
    assert first[0]["J-Mean"] == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    assert not (tmp_path / "strict_0/checkpoints").exists()

    monkeypatch.setattr(train, "run", None)  # what is finished is taken as it is
    assert studies.table(ROWS, figures, chosen) == first
    studies.write(first, tmp_path)
    assert "strict" in (tmp_path / "table.txt").read_text()
    assert len(studies.rates(ROWS, chosen, rounds=1)) == 2


def test_a_row_starts_from_the_run_of_another(tmp_path):
    chosen = options(tmp_path, "longer")
    config, workdir = studies.recipe(ROWS, "longer", 1, chosen)
    assert config.init_from == str(tmp_path / "whole_1")
    assert workdir == tmp_path / "longer_1" and config.optim.steps == 3


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="whole_0: train that first"):
        studies.table(ROWS, figures, options(tmp_path, "strict"))
    with pytest.raises(ValueError, match="--rows='wohle'.*whole"):
        studies.table(ROWS, figures, options(tmp_path, "wohle"))


def test_identities_by_hand():
    (video,) = videos.load(num_videos=1, num_frames=4, objects=(2, 2)).videos
    clip = video.clip(range(4))
    assert len(clip.ids) == 2 and clip.masks.any(axis=(2, 3)).all()
    one, other = ([rle.encode(mask) for mask in masks] for masks in clip.masks)
    swapped = [
        Track(1, 1, 1.0, (*one[:2], *other[2:])),
        Track(2, 1, 1.0, (*other[:2], one[2], None)),
    ]
    found = VideoTracks(video.name, video.height, video.width, 4, tuple(swapped))
    counts = studies.identities([video], [found])
    assert counts == {"id switches": 2.0, "covered": 7 / 8}
    assert isinstance(options(".", "whole"), argparse.Namespace)


def test_what_returns_by_hand():
    """Ids are those of tracks with the very masks; one object goes and comes back."""
    videos_, masks = [], {}
    for video in layered_world.load(num_videos=20).videos:
        clip = video.clip(range(video.num_frames))
        seen = clip.masks.any(axis=(2, 3))
        for n in range(len(clip.ids)):
            gone = np.flatnonzero(~seen[n])
            if len(gone) and seen[n, : gone[0]].any() and seen[n, gone[0] :].any():
                videos_, masks = [video], clip.masks[n]
    (video,) = videos_
    shown = masks.any(axis=(1, 2))
    back = np.flatnonzero(~shown[:-1] & shown[1:])
    back = [t + 1 for t in back if shown[:t].any()]
    encoded = [rle.encode(mask) if mask.any() else None for mask in masks]

    def tracks(last):
        """One track until the last return, then the other one."""
        parts = ([*encoded[:last], *[None] * (20 - last)], [None] * last)
        both = (parts[0], [*parts[1], *encoded[last:]])
        return VideoTracks(
            *(video.name, video.height, video.width, 20),
            tuple(Track(i + 1, 1, 1.0, tuple(m)) for i, m in enumerate(both)),
        )

    assert studies.kept([video], [tracks(20)]) == 1
    changed = studies.kept([video], [tracks(back[-1])])
    assert changed == (len(back) - 1) / len(back)
    assert np.isnan(studies.kept([video], [tracks(0)._replace(tracks=())]))
