"""What a page is made of, mutated and damaged: told in a message or on the page."""

import json
import shutil

import hypothesis
import pytest
from hypothesis import strategies as st

from stemseg_jax import report
from tests.fuzz import harness
from tests.report import folders


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    folders.write_run(root / "davis")
    folders.write_run(root / "ytvis", task="ytvis")
    folders.write_predicted(root / "predicted" / "clip")
    return root


JSON = (
    *("davis/evaluated.json", "davis/scores.json", "ytvis/scores.json"),
    *("ytvis/predictions/results.json", "predicted/clip/made_of.json"),
    "predicted/clip/tracks.json",
)
FILES = (
    *("davis/metrics.jsonl", "davis/config.json", "predicted/clip/overlay.mp4"),
    *("davis/predictions/val_000001/00002.png", *JSON),
    "davis/ground_truth/JPEGImages/480p/val_000001/00002.jpg",
    "davis/ground_truth/Annotations_unsupervised/480p/val_000001/00002.png",
)


def written(folder, name):
    """The page, or what `main` would say in place of it."""
    path = report.run(str(folder / name.split("/")[0]), videos=2)
    return path.read_text()


def ends_well(sound, tmp_path_factory, name, content):
    folder = tmp_path_factory.mktemp("mutated") / "all"
    shutil.copytree(sound, folder)
    (folder / name).write_bytes(content)
    harness.verdict(
        lambda: written(folder, name),
        form="folders of reports",
        names=(name.rpartition("/")[2], "--config=FILE", "evaluation."),
        right=lambda text: text.endswith("</html>"),
    )
    shutil.rmtree(folder.parent)


@harness.slow
@hypothesis.given(data=st.data())
def test_json(sound, tmp_path_factory, data):
    name = data.draw(st.sampled_from(JSON))
    content = data.draw(harness.mutated(json.loads((sound / name).read_text())))
    ends_well(sound, tmp_path_factory, name, json.dumps(content).encode())


@harness.slow
@hypothesis.given(data=st.data())
def test_bytes(sound, tmp_path_factory, data):
    name = data.draw(st.sampled_from(FILES))
    content = data.draw(harness.damaged((sound / name).read_bytes()))
    ends_well(sound, tmp_path_factory, name, content)
