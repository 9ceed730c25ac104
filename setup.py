"""Installs stemseg_jax and the `stemseg` command."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (HERE / "stemseg_jax/__init__.py").read_text()
).group(1)

OF_THE_SITE = ("index.md", "extending.md", "changelog.md")  # Sphinx fills them
PAGES = [
    page.relative_to(HERE)
    for page in (HERE / "docs").glob("*.md")
    if page.name not in OF_THE_SITE
]
DOCS = ["furo>=2025.12.19", "matplotlib>=3.11", "myst-parser>=5.2", "sphinx>=9.0"]

setup(
    name="stemseg_jax",
    version=VERSION,
    description="Bottom-up video instance segmentation in JAX",
    long_description=(HERE / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0 AND CC-BY-NC-4.0",  # the latter: weights/
    packages=find_packages(include=["stemseg_jax", "stemseg_jax.*", "configs"]),
    package_data={
        "stemseg_jax": [
            *("weights/*.safetensors", "weights/LICENCE.md"),
            "outputs/templates/*",
        ]
    },
    # Where messages speak of docs/: in an environment, below this folder.
    data_files=[("share/doc/stemseg_jax/docs", sorted(map(str, PAGES)))],
    python_requires=">=3.11",
    install_requires=[
        "absl-py",
        "av>=14",
        "flatbuffers",
        "flax>=0.12.7",
        "grain>=0.2.15",
        "h5py",
        "jax>=0.10,<0.13",
        "jaxtyping",
        "jinja2>=3.1",
        "ml-collections>=1.1",
        "msgspec>=0.19",
        "numpy>=2.0",
        "opencv-python-headless",
        "optax>=0.2.5",
        "orbax-checkpoint>=0.11.36",
        "pillow>=10.1",
        "pycocotools>=2.0.11",
        "safetensors",
        "scipy>=1.14",
        "tensorboardX",
        "tensorflow-datasets>=4.9.10",
        "tqdm",
        "typing-extensions",
    ],
    extras_require={
        "cuda12": ["jax[cuda12]"],
        "cuda13": ["jax[cuda13]"],
        "tpu": ["jax[tpu]"],
        "notebooks": ["ipywidgets", "jupyter", "matplotlib"],
        "docs": DOCS,
        "dev": [
            *DOCS,
            "beartype",
            "build>=1.6",
            "hypothesis",
            "nbmake",
            "playwright>=1.49",
            "pytest",
            "pytest-xdist",
            "ruff",
            "setuptools>=77",
            "tensorboard",
        ],
    },
    entry_points={"console_scripts": ["stemseg = stemseg_jax.main:run"]},
)
