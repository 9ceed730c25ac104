"""Ctrl-C as a wish, which long work obeys where nothing is lost."""

import signal
import threading

from absl import logging


class Interruption:
    """Turns SIGTERM and the first Ctrl-C into a wish; a second one interrupts as ever.

        with Interruption("Stopping after this update.") as interruption:
            while not interruption.requested:
                ...

    Signals reach the main thread alone: in others nothing is ever requested.

    Args:
        says: What will happen now; it is logged.

    Attributes:
        requested: Whether there is a wish.
        exit_code: That of a process which ends by it.
    """

    requested = False
    exit_code = 0

    def __init__(self, says: str):
        self._says = says
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {
                number: signal.signal(number, self._request)
                for number in (signal.SIGTERM, signal.SIGINT)
            }
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _request(self, number: int, _) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True  # and no more: a thread may hold any lock now
        self.exit_code = 128 + number
        logging.info("%s", self._says)
