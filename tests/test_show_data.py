import numpy as np
import PIL.Image

from configs import defaults
from stemseg_jax import show_data
from stemseg_jax.outputs import annotations


def test_a_sheet_of_the_training_stream(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(show_data, "CLIPS", 2)
    config = defaults.get_config()
    defaults.smoke(config)
    assert show_data.run(config, str(tmp_path)) == 0
    sheet = np.asarray(PIL.Image.open(tmp_path / "clips.png"))
    assert sheet.std() > 20
    assert capsys.readouterr().out.count("moving_shapes/") == 2


def test_ignored_regions_are_hatched_and_nothing_else():
    image = np.full((240, 320, 3), 100, np.uint8)
    ignore = np.zeros((240, 320), bool)
    ignore[50:150, 60:200] = True
    masks = np.zeros((0, 240, 320), bool)
    drawn = annotations.draw(image, masks, ignore, numbers=[], names={})
    np.testing.assert_array_equal(drawn[~ignore], 100)
    assert (drawn[ignore] != 100).any(axis=-1).all()
    assert (
        np.abs(drawn[ignore].astype(int) - annotations.HATCH).max(axis=-1) < 90
    ).any()


def test_an_instance_has_the_colour_of_its_number():
    image = np.full((240, 320, 3), 100, np.uint8)
    mask = np.zeros((240, 320), bool)
    mask[50:150, 60:200] = True
    nothing = np.zeros_like(mask)
    first, second = (
        annotations.draw(image, mask[None], nothing, numbers=[n], names={})
        for n in (1, 2)
    )
    assert (first[100, 130] != second[100, 130]).any()
