"""Maps are shown over the frame they belong to, in colours that can be read."""

import numpy as np
import pytest

from stemseg_jax import geometry
from stemseg_jax.outputs import panels, side_by_side

SIZE = (96, 160)
GEOMETRY = geometry.SizeRule(min_dim=96, max_dim=160).geometry(SIZE, stride=4)
H, W = GEOMETRY.labels


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def maps(value=None):
    rng = np.random.default_rng(1)
    ramp = np.linspace(0, 1, W, dtype=np.float32)[None, :, None].repeat(H, axis=0)
    return {
        "embedding": rng.normal(size=(H, W, 4)).astype(np.float32),
        "foreground": ramp,
        "seediness": ramp,
        "bandwidth": np.concatenate([ramp - 1, ramp + 1], axis=-1),
        "depth": 1 + 9 * ramp,
    }


def panel(name, image, values, drawer=None):
    """One panel, and its title."""
    drawer = drawer or panels.Panels([name])
    title, picture = panels.DRAWN[name](drawer, values[name], GEOMETRY)
    assert picture.shape == image.shape and picture.dtype == np.uint8
    return title, picture


def test_all_lie_beside_the_frame(image):
    drawn = panels.Panels([*panels.DRAWN]).draw(image, maps(), GEOMETRY)
    nothing = panels.Panels([*panels.DRAWN]).draw(image, {}, GEOMETRY)
    pictures = [("", image)] * (1 + len(panels.DRAWN))
    assert drawn.shape == nothing.shape == side_by_side.tile(pictures).shape
    assert (drawn != nothing).any()


def test_seediness_is_dark_at_0_and_bright_at_1(image):
    title, picture = panel("seediness", image, maps())
    assert title == "seediness, 0 to 1"
    bright = picture.sum(axis=-1).mean(axis=0)
    assert bright[2] < 200 and bright[-3] > 350
    half = maps() | {"seediness": np.full((H, W, 1), 0.5, np.float32)}
    _, picture = panel("seediness", image, half)
    np.testing.assert_array_equal(
        picture, np.broadcast_to(panels.VIRIDIS[128, 0], picture.shape)
    )


def test_bandwidths_are_averaged_and_their_range_is_told(image):
    values = maps()
    values["bandwidth"] = np.exp(values["bandwidth"])
    title, picture = panel("bandwidth", image, values)
    assert title == "log bandwidth, 0.0 to 1.0"
    np.testing.assert_array_equal(picture[5, 1], panels.VIRIDIS[0, 0])
    np.testing.assert_array_equal(picture[5, -2], panels.VIRIDIS[255, 0])


def test_near_is_red_far_is_blue_and_what_is_not_known_black(image):
    values = maps()
    values["depth"][:, : W // 4] = np.nan
    values["depth"][:, W // 4] = 0
    title, picture = panel("depth", image, values)
    assert title.startswith("depth, ")
    assert (picture[:, : 160 // 4 - 4] == 0).all()
    near, far = picture[50, 60].astype(int), picture[50, 155].astype(int)
    assert near[0] > near[2] and far[2] > far[0]


def test_a_video_without_change_looks_alike(image):
    drawer = panels.Panels([*panels.DRAWN])
    first = drawer.draw(image, maps(), GEOMETRY)
    for _ in range(5):
        again = drawer.draw(image, maps(), GEOMETRY)
        assert np.abs(again.astype(int) - first).max() <= 1


def test_maps_lie_over_the_frame_without_its_padding():
    size = (50, 70)
    fitted = geometry.SizeRule(min_dim=50, max_dim=70).geometry(size, stride=4)
    values = np.zeros((*fitted.labels, 1), np.float32)
    values[:, 50 // 4 + 9 :] = 1  # in the padding alone
    _, picture = panels.DRAWN["seediness"](panels.Panels(["seediness"]), values, fitted)
    assert picture.shape == (*size, 3)
    assert len(np.unique(picture[:, :70].reshape(-1, 3), axis=0)) == 1


def test_unknown_maps_are_refused():
    with pytest.raises(ValueError, match="panels='flow' is unknown; known:.*seediness"):
        panels.Panels(["seediness", "flow"])
