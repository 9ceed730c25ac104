"""Types are checked at run time, on eight simulated devices."""

import os
import pathlib

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import install_import_hook

# Neither the user's compiled programs nor ours, here and in processes started here.
os.environ["STEMSEG_CACHE"] = "off"
os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
jax.config.update("jax_compilation_cache_dir", None)
jax.config.update("jax_num_cpu_devices", 8)
# Compiling is most of it.
jax.config.update("jax_disable_most_optimizations", True)
if jax.__version_info__[:2] == (0, 10):  # others do not know it, and end for that
    # XLA's older way to make code of a fusion, in less than half the time.
    os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false"
install_import_hook("stemseg_jax", "beartype.beartype")
MAPPED = pathlib.Path("/proc/self/maps")  # there on Linux
MOST_MAPPED = 30_000  # pieces of memory; Linux gives a process 65,530


@pytest.fixture(scope="module", autouse=True)
def compiled_let_go():
    """A program maps ten pieces of memory; where there are none left, XLA aborts."""
    yield
    if MAPPED.exists() and MAPPED.read_text().count("\n") > MOST_MAPPED:
        jax.clear_caches()


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Programs that several tests build are compiled once, for all test processes."""
    from stemseg_jax import compilation

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    compilation.keep(shared / "compiled")
    compilation_cache.reset_cache()  # which folder there is, it asks once
    yield
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    """The folder with real samples and golden figures, which no user needs."""
    default = pathlib.Path(__file__).parents[2] / "shared"
    folder = pathlib.Path(os.environ.get("STEMSEG_SHARED", default))
    if not (folder / "data").is_dir():
        pytest.skip(f"no samples in {folder}; set STEMSEG_SHARED to their folder")
    return folder
