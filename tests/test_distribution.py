"""What is uploaded to PyPI: it is whole, and what is installed from it runs."""

import os
import pathlib
import subprocess
import sys
import tarfile
import venv
import zipfile

import jax
import ml_collections
import pytest

import stemseg_jax
from tests import documents, test_documents

pytestmark = pytest.mark.slow
ROOT = documents.ROOT


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """A folder with an sdist, and the wheel that was made of it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder]
    subprocess.run([*command, ROOT], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(dist, tmp_path_factory):
    """A fresh environment with the wheel; what it needs is that of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (wheel,) = dist.glob("*.whl")
    run(folder, folder, "pip", "install", "--no-deps", "--no-index", wheel)
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = pathlib.Path(run(folder, folder, "python", "-c", where).strip())
    needed = {str(pathlib.Path(m.__file__).parents[1]) for m in (jax, ml_collections)}
    (own / "needed.pth").write_text("\n".join(needed))
    return folder


def run(environment: pathlib.Path, folder: pathlib.Path, name, *arguments) -> str:
    """What a program of an environment prints, of which this clone is no part."""
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ended = subprocess.run(
        [environment / "bin" / name, *arguments],
        cwd=folder,
        env={**variables, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_sdist_has_every_file_of_the_repository(dist):
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True)
    if listed.returncode or not (ROOT / ".git").exists():
        pytest.skip("needs a clone")
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {*listed.stdout.decode().splitlines()} <= held
    assert not any(name.startswith(("docs/api", "docs/site", "runs")) for name in held)


def test_the_wheel_has_weights_their_terms_and_the_pages_that_messages_name(dist):
    (path,) = dist.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        held = {*archive.namelist()}
    version = stemseg_jax.__version__
    assert path.name.startswith(f"stemseg_jax-{version}-py3-none-any")
    pages = f"stemseg_jax-{version}.data/data/share/doc/stemseg_jax/docs"
    assert {
        *("stemseg_jax/weights/real.safetensors", "stemseg_jax/weights/LICENCE.md"),
        *("configs/ytvis.py", f"stemseg_jax-{version}.dist-info/licenses/LICENSE"),
        *(f"{pages}/model_card.md", f"{pages}/model_zoo.md", f"{pages}/data.md"),
    } <= held
    assert not any(name.startswith(("tests", "experiments", "docs")) for name in held)


def test_what_is_installed_labels_a_video_from_any_folder(installed, tmp_path):
    test_documents.write_inputs(tmp_path)
    where = "import stemseg_jax as s; print(s.__version__, s.__file__)"
    version, file = run(installed, tmp_path, "python", "-c", where).split()
    assert version == stemseg_jax.__version__ and file.startswith(str(installed))
    run(installed, tmp_path, "stemseg", "--mode=predict", "--input=clip.mp4")
    written = {path.name for path in (tmp_path / "predicted/clip").iterdir()}
    assert {"masks", "tracks.json", "overlay.mp4"} <= written


def test_what_is_installed_knows_the_configs_by_their_names(installed, tmp_path):
    run(
        *(installed, tmp_path, "stemseg", "--config=configs/davis.py:smoke"),
        *("--mode=show_data", "--output=look"),
    )
    assert (tmp_path / "look/clips.png").exists()
