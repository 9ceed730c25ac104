"""Order, errors and early ends of streams that run in threads."""

import threading
import time

import pytest

from stemseg_jax import pipelining
from tests.drained import drained


def numbers(count, fails_at=None, closed=None):
    try:
        for k in range(count):
            if k == fails_at:
                raise OSError(f"item {k}")
            yield k
        return "the end"
    finally:
        if closed is not None:
            closed.append(threading.current_thread())


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_items_and_the_return_value_come_through(most, count):
    items, value = drained(pipelining.ahead(numbers(count), most))
    assert items == list(range(count)) and value == "the end"
    assert drained(pipelining.ahead([3, 4], most)) == ([3, 4], None)


def test_an_error_comes_after_the_items_before_it():
    items = pipelining.ahead(numbers(5, fails_at=3), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="item 3"):
        next(items)


def test_no_more_than_some_are_made_ahead():
    made = []

    def making():
        for k in range(50):
            made.append(k)
            yield k

    items = pipelining.ahead(making(), 3)
    next(items)
    time.sleep(0.2)
    assert len(made) <= 1 + 3 + 1 + 1  # used, waiting, in hand, and just made
    items.close()


def test_whoever_stops_early_ends_the_thread():
    closed, before = [], threading.active_count()
    items = pipelining.ahead(numbers(1000, closed=closed), 2)
    next(items)
    items.close()
    assert len(closed) == 1 and threading.active_count() == before


def test_work_overlaps():
    met = threading.Barrier(2, timeout=10)  # breaks if one waits for the other's end

    def making():
        yield 0
        met.wait()
        yield 1

    items = pipelining.ahead(making(), 1)
    next(items)
    met.wait()
    assert list(items) == [1]


@pytest.mark.parametrize("threads", [1, 4])
def test_results_come_in_the_order_of_the_items(threads):
    def slow_first(k):
        time.sleep(0.02 * (k == 0))
        return k * k

    squares = pipelining.in_order(slow_first, range(9), threads=threads, most=5)
    assert list(squares) == [k * k for k in range(9)]


def test_the_first_error_in_order_is_raised():
    done = []

    def fails(k):
        if k in (2, 3):
            raise ValueError(f"item {k}")
        done.append(k)
        return k

    results = pipelining.in_order(fails, range(100), threads=2, most=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(results)
    assert len(done) < 10


def test_what_is_handed_over_is_done_in_order_and_by_the_end():
    seen = []
    with pipelining.aside(seen.append, most=2) as put:
        for k in range(20):
            put(k)
    assert seen == list(range(20))


def test_an_error_aside_is_raised_at_the_latest_at_the_end():
    def fails(k):
        if k == 1:
            raise ValueError("aside")

    with pytest.raises(ValueError, match="aside"), pipelining.aside(fails, most=8) as p:
        for k in range(3):
            p(k)
