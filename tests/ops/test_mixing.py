import goldens
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemseg_jax.ops import mixing
from tests import other_figures


@pytest.mark.parametrize(
    "name, E, V",
    [
        ("ff", 2, 2),
        ("xy", 2, 2),
        ("xyt", 3, 3),
        ("xyf", 3, 2),
        ("xytf", 4, 3),
        ("xyff", 4, 2),
        ("xytff", 5, 3),
        ("xyfff", 5, 2),
    ],
)
def test_dimensions(name, E, V):
    spec = mixing.get(name)
    assert (spec.dimensions, spec.bandwidths, spec.free) == (E, V, E - V)


def test_the_table_above_is_complete():
    assert len(mixing.MIXINGS) == 8


def test_grid_by_hand():
    grid = mixing.get("xytf").grid((2, 2, 3))  # wider than high: x beyond 1
    np.testing.assert_allclose(grid[0, 0, 0], [-1, -1, -1.5, 0])
    np.testing.assert_allclose(grid[1, 0, 1], [1, -1, 0, 0], atol=1e-7)
    np.testing.assert_allclose(grid[1, 1, 2], [1, 1, 1.5, 0])


def test_a_high_map_extends_along_y_and_time_has_its_own_scale():
    points = mixing.coordinates((3, 8, 4), 0.1)
    np.testing.assert_allclose(points[0, 0, 0], [-0.1, -2, -1])
    np.testing.assert_allclose(points[2, 7, 3], [0.1, 2, 1])


def test_a_single_frame_lies_at_the_beginning():
    np.testing.assert_array_equal(mixing.coordinates((1, 2, 2))[..., 0], -1)


def test_the_time_scale_may_be_traced():
    grid = jax.jit(lambda scale: mixing.get("xyt").grid((2, 2, 2), scale))
    np.testing.assert_allclose(grid(jnp.float32(0.5))[1, 0, 0], [0.5, -1, -1])


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'xxy'.*'xyff'"):
        mixing.get("xxy")


def check_figures(folder):
    _, arrays = goldens.load(folder, "grids")
    for key, expected in arrays.items():
        name, size, scale = key.split("_")
        size = tuple(map(int, size.split("x")))
        grid = mixing.get(name).grid(size, float(scale.removeprefix("ts")))
        lines = [grid[:, 0, 0], grid[0, :, 0], grid[0, 0, :]]
        np.testing.assert_allclose(
            jnp.concatenate(lines).T, expected, atol=3e-7, err_msg=key
        )


def test_reference_figures_kept_here():
    check_figures(goldens.KEPT)


def test_reference_figures(shared):
    check_figures(shared / "reference" / "goldens")


def test_places_and_coordinates_are_each_others_inverse():
    size = (4, 6)
    grid = mixing.coordinates((1, *size))[0, ..., 1:]
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, size), indexing="ij"), -1) * 1.0
    np.testing.assert_allclose(mixing.from_cells(places, size), grid, atol=1e-6)
    np.testing.assert_allclose(mixing.to_cells(grid, size), places, atol=1e-5)
    np.testing.assert_allclose(mixing.spacing(size), [2 / 3, 3 / 5])
    np.testing.assert_allclose(mixing.from_cells(jnp.array([1.5, 2.5]), size), 0)


def test_planar_ones_are_those_of_single_frames():
    assert mixing.PLANAR == ("xy", "xyf", "xyff", "xyfff")


@pytest.mark.parametrize("folder", other_figures.FOLDERS)
def test_grids_of_a_frame_equal_the_reference(folder, request):
    arrays = other_figures.load(folder, "stemseg_ovis", request)
    grids = {name: x for name, x in arrays.items() if name.startswith("grid_")}
    assert len(grids) >= 3
    for expected in grids.values():
        grid = mixing.get("xy").grid((1, *expected.shape[1:]))[0]
        np.testing.assert_allclose(
            jnp.moveaxis(grid[..., ::-1], -1, 0), expected, rtol=1e-5, atol=1e-6
        )
