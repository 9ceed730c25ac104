"""Times that grow, of time stamps that may be missing or wrong."""

from fractions import Fraction


class Clock:
    """Turns the time stamps of successive frames into seconds from the first frame.

    A frame without a stamp, or with one that is not later than the frame before, comes
    1 / fps after that. So stamps that begin anew (two recordings in one file) go on at
    the nominal rate. A leap ahead is believed: a camera may have waited.

    Args:
        fps: The nominal rate.
        origin: The stamp of the first frame of all, in seconds, where it is not the one
            that comes first here.
    """

    def __init__(self, fps: Fraction, *, origin: Fraction | None = None):
        self._step = 1 / fps
        self._origin = origin
        self._last: Fraction | None = None

    @property
    def expected(self) -> Fraction:
        """When the next frame comes, by the nominal rate."""
        return Fraction(0) if self._last is None else self._last + self._step

    def time(self, stamp: Fraction | None) -> Fraction:
        """The time of the next frame, exactly."""
        time = self.expected
        if stamp is not None:
            if self._origin is None:
                self._origin = stamp - time
            if self._last is None or stamp - self._origin > self._last:
                time = stamp - self._origin
        self._last = time
        return time
