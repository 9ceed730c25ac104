import jax
import numpy as np
import pytest

from stemseg_jax.modules import initialisers

SHAPE = (3, 3, 3, 16, 50)
FAN_IN = 27 * 16


@pytest.mark.parametrize(
    "name, deviation, bound",
    [
        ("torch", (3 * FAN_IN) ** -0.5, FAN_IN**-0.5),
        ("lecun_uniform", FAN_IN**-0.5, (3 / FAN_IN) ** 0.5),
        ("he_normal", (2 / FAN_IN) ** 0.5, np.inf),
    ],
)
def test_kernels_have_the_scheme_s_spread(name, deviation, bound):
    kernel = initialisers.INITIALISERS[name].kernel(jax.random.key(0), SHAPE)
    np.testing.assert_allclose(np.std(kernel), deviation, rtol=0.03)
    assert abs(kernel).max() <= bound
    if name != "he_normal":
        assert abs(kernel).max() > 0.99 * bound


def test_biases_are_uniform_in_torchs_scheme_and_zero_in_the_others():
    for name, scheme in initialisers.INITIALISERS.items():
        bias = scheme.bias(FAN_IN)(jax.random.key(0), (1000,))
        if name == "torch":
            assert 0.98 < abs(bias).max() * FAN_IN**0.5 <= 1
        else:
            assert not bias.any()
