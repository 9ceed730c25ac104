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
jax.config.update("jax_disable_most_optimizations", True)  # compiling is most of it
install_import_hook("stemseg_jax", "beartype.beartype")


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory):
    """Programs that are built twice in a module are compiled once."""
    from stemseg_jax import compilation

    compilation.keep(tmp_path_factory.mktemp("compiled"))
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
