"""Videos of several containers, cut or damaged: all frames, or where they end."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from stemseg_jax.data import inputs
from tests.data.inputs.written import FORMS, values, write_video
from tests.fuzz import harness

COUNT = 20


@pytest.fixture(scope="module", params=sorted({*FORMS} - {"a.flv"}))
def video(request, tmp_path_factory):
    """Where to write, the bytes of a sound video, and the values of its frames."""
    codec, options = FORMS[request.param]
    path = tmp_path_factory.mktemp("videos") / request.param
    write_video(path, COUNT, codec=codec, options=options)
    return path, path.read_bytes(), values(inputs.VideoFile(path))


@hypothesis.given(data=st.data())
def test_cut(video, data):
    path, sound, expected = video
    path.write_bytes(sound[: data.draw(st.integers(0, len(sound) - 1))])
    found = []

    def read():
        for _, image, _ in inputs.VideoFile(path):
            found.append(int(image[-4, -4].mean().round()))
        return found

    harness.verdict(
        read,
        form=f"cut {path.suffix}",
        names=(path.name,),
        right=lambda found: found == expected,
    )
    assert found == expected[: len(found)]


@hypothesis.given(data=st.data())
def test_damaged(video, data):
    path, sound, _ = video
    path.write_bytes(data.draw(harness.damaged(sound)))
    start = data.draw(st.sampled_from([0.0, 0.0, 0.05, 0.4]))
    choice = inputs.FrameChoice(start=start, end=start + 0.2 if start else None)

    def read():
        source = inputs.VideoFile(path, choice=choice)
        sizes = {image.shape for _, image, _ in source}
        return source, sizes

    harness.verdict(
        read,
        form=f"damaged {path.suffix}",
        names=(path.name,),
        right=lambda result: result[1] == {(result[0].height, result[0].width, 3)},
    )


@hypothesis.given(
    st.sampled_from([2, 4, 6, 64, 4000]), st.sampled_from([2, 4, 6, 64, 4000])
)
def test_shapes(tmp_path_factory, height, width):
    if height * width > 10**6:
        return
    path = tmp_path_factory.getbasetemp() / "shape.mkv"
    write_video(path, 2, codec="rawvideo", height=height, width=width)
    harness.verdict(
        lambda: [image for _, image, _ in inputs.VideoFile(path)],
        form="shapes of videos",
        right=lambda images: np.shape(images) == (2, height, width, 3),
    )
