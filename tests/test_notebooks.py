"""The notebooks as they are stored; colab/conftest.py runs them."""

import pathlib
import re

import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ("quickstart", "train", "your_own_data", "what_the_embedding_sees")
PAGE = re.compile(r"colab\.research\.google\.com/github/(\S+)/blob/main/colab/(\w+)")
A_FOLDER_OF_OURS = re.compile(r"/(home|root|work|Users)/")


@pytest.fixture(params=NAMES)
def notebook(request):
    return nbformat.read(ROOT / f"colab/{request.param}.ipynb", as_version=4)


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_all_are_known():
    assert {path.stem for path in (ROOT / "colab").glob("*.ipynb")} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_each_begins_with_its_own_badge_and_the_same_installation(name):
    read = [nbformat.read(ROOT / f"colab/{n}.ipynb", 4) for n in (NAMES[0], name)]
    head = read[1].cells[0].source
    (address, page), *_ = PAGE.findall(head)
    first, own = (code_of(notebook)[0].source for notebook in read)
    assert page == name and own == first
    assert f"git+https://github.com/{address}" in own and "jax.__version__" in own


def test_they_import_the_package_and_define_nothing(notebook):
    lines = [line for cell in code_of(notebook) for line in cell.source.splitlines()]
    assert any(line.startswith("from stemseg_jax") for line in lines)
    assert not [line for line in lines if line.startswith(("def ", "class ", "@"))]


def test_what_is_stored_was_run_in_one_go(notebook):
    code = code_of(notebook)
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert sum(kind.startswith("image/") for kind in kinds) >= 2
    said = nbformat.writes(notebook)
    assert not A_FOLDER_OF_OURS.search(said) and len(said) < 4e6
