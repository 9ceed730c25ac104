"""A live source that is recorded while it is read, so that it can be read again."""

import pathlib
from collections.abc import Iterator

from stemseg_jax.data import inputs
from stemseg_jax.outputs import video


class Recorded:
    """The frames of a camera or stream the first time, and then those of a file.

    Args:
        path: Of the file, an .mp4 that looks as the source does.
    """

    live = False

    def __init__(self, source: inputs.InputVideo, path: pathlib.Path):
        self._source, self._path, self._read = source, path, False
        self.name, self.fps, self.sound = source.name, source.fps, None
        self.num_frames = source.num_frames

    @property
    def height(self) -> int:
        return self._source.height

    @property
    def width(self) -> int:
        return self._source.width

    def __iter__(self) -> Iterator[inputs.InputFrame]:
        again, self._read = self._read, True
        return self._replayed() if again else self._record()

    def _replayed(self) -> Iterator[inputs.InputFrame]:
        for frame in inputs.VideoFile(self._path):
            # Odd sides have grown by one in the file.
            yield frame._replace(image=frame.image[: self.height, : self.width])

    def _record(self) -> Iterator[inputs.InputFrame]:
        fault = None
        with video.Writer(self._path, fps=self.fps, quality=12) as writer:
            # What was read stays, however reading ends.
            try:
                for frame in self._source:
                    writer.write(frame.image, frame.time)
                    yield frame
            except GeneratorExit:
                pass
            except inputs.BrokenVideoError as error:
                fault = error
            finally:
                if isinstance(self._source, inputs.LiveVideo):
                    self._source.close()
        if fault:
            raise fault
