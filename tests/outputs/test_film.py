import io

import av
import numpy as np
import PIL.Image
import pytest

from stemseg_jax.outputs import film


def test_a_film_and_its_poster():
    frames = [(np.full((32, 48, 3), 60 * t, np.uint8), t / 5) for t in range(4)]
    made = film.film(iter(frames), fps=5, poster=2)
    assert (made.height, made.width) == (32, 48)
    with av.open(io.BytesIO(made.mp4)) as container:
        images = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert float(container.duration / av.time_base) == pytest.approx(0.8, abs=0.01)
    assert [round(image.mean() / 60) for image in images] == [0, 1, 2, 3]
    poster = np.asarray(PIL.Image.open(io.BytesIO(made.poster)))
    assert poster.shape == (32, 48, 3) and abs(poster.mean() - 120) < 3


def test_a_poster_that_is_beyond_the_end_is_the_first_frame():
    frames = [(np.full((16, 16, 3), 200 * t, np.uint8), t) for t in (0.0, 1.0)]
    poster = PIL.Image.open(io.BytesIO(film.film(frames, fps=1, poster=7).poster))
    assert np.asarray(poster).max() == 0


def test_no_frame_is_refused():
    with pytest.raises(ValueError, match="no frame was written"):
        film.film([], fps=5)
