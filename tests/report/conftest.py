"""A run to be shown."""

import shutil

import pytest

from tests.report import folders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return folders.write_run(tmp_path_factory.mktemp("runs") / "shapes")


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")
