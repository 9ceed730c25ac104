"""Each notebook is a test (nbmake): it runs from top to bottom, in small."""

import pathlib

import pytest

IN_SMALL = {
    "STEMSEG_SMALL": "1",  # the one parameter by which a notebook takes a minute
    # As tests/conftest.py has it, for the process of the notebook.
    "STEMSEG_CACHE": "off",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_PLATFORMS": "cpu",
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[1]))
        for name, value in IN_SMALL.items():
            patch.setenv(name, value)
        return (yield)
