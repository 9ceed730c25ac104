"""Steps of a stream that overlap in time, each in a thread, with bounded memory.

Threads suffice: decoding, XLA, OpenCV and the encoders let go of Python's lock.
"""

import collections
import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _End:
    """What a thread says last: a generator's return value, or what was raised."""

    def __init__(self, value: Any = None, error: BaseException | None = None):
        self.value, self.error = value, error


def ahead(items: Iterable[T], most: int) -> Generator[T, None, Any]:
    """The same items, made in a thread while those before them are in use.

    Returns what `items` returns, if it is a generator, and raises what it raises, in
    its place in the order. When this generator is closed early, `items` is too.

    Args:
        most: Items that wait at a time, at most.
    """
    made: queue.Queue = queue.Queue(most)
    closed = threading.Event()

    def put(item: Any) -> bool:
        while not closed.is_set():
            with contextlib.suppress(queue.Full):
                made.put(item, timeout=0.05)
                return True
        return False

    def make() -> None:
        try:
            iterator = iter(items)
            with contextlib.ExitStack() as stack:
                if hasattr(iterator, "close"):
                    stack.enter_context(contextlib.closing(iterator))
                while put(next(iterator)):
                    pass
        except StopIteration as end:
            put(_End(end.value))
        except BaseException as error:  # raised again where the items are used
            put(_End(error=error))

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            yield item
        error, value = item.error, item.value
        del item
        if error:
            raise error
        return value
    finally:
        error = None  # its traceback holds this frame, and with it the thread's work
        closed.set()
        thread.join()


def in_order(
    function: Callable[[T], R], items: Iterable[T], *, threads: int, most: int
) -> Iterator[R]:
    """`map` in several threads; of a failure the calls not begun are dropped.

    Args:
        most: Items that are taken before the result of the first of them is.
    """
    with futures.ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[futures.Future[R]] = collections.deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                while waiting and (waiting[0].done() or len(waiting) >= most):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def aside(function: Callable[[T], Any], *, most: int) -> Iterator[Callable[[T], None]]:
    """Gives a function that hands items over to `function`, in a thread of its own.

    It waits while `most` items do. What was raised for one of them is raised for a
    later one, or at the end.
    """
    with futures.ThreadPoolExecutor(1) as pool:
        waiting: collections.deque[futures.Future] = collections.deque()

        def hand_over(item: T) -> None:
            while waiting and (waiting[0].done() or len(waiting) >= most):
                waiting.popleft().result()
            waiting.append(pool.submit(function, item))

        try:
            yield hand_over
            while waiting:
                waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
