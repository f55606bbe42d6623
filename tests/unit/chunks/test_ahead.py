"""Work done ahead of its use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from pollinator.chunks import ahead as under_test
from pollinator.chunks.ahead import AHEAD, AHEAD_BYTES, UNASKED, ahead
from support.sandbox import wait_until


class Work:
    """Counts what was begun."""

    def __init__(self, begin: Callable[[int], None] = lambda _: None) -> None:
        self._begin = begin
        self._lock = threading.Lock()
        self.begun = 0

    def __call__(self, item: int) -> int:
        with self._lock:
            self.begun += 1
        self._begin(item)
        return item * 10


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_results_come_in_order(count: int) -> None:
    assert [at * 10 for at in range(count)] == list(ahead(range(count), Work(), lambda _: 1))


def test_work_overlaps() -> None:
    together = threading.Barrier(4, timeout=10)

    def meet(_: int) -> None:
        together.wait()

    assert [0, 10, 20, 30] == list(ahead(range(4), Work(meet), lambda _: 1))


def test_work_begins_while_there_are_items_in_the_making() -> None:
    work = Work()

    def items() -> Iterator[int]:
        yield 0
        wait_until(lambda: work.begun == 1, "the first is begun")
        yield 1

    assert [0, 10] == list(ahead(items(), work, lambda _: 1))


def test_few_are_begun_until_somebody_waits_for_one_and_then_as_many_as_may_be() -> None:
    goes_on = threading.Event()

    def wait(_: int) -> None:
        assert goes_on.wait(10)

    work = Work(wait)
    before: list[int] = []

    def items() -> Iterator[int]:
        yield from range(100)
        wait_until(lambda: work.begun == UNASKED, "some are begun")
        before.append(work.begun)

    def watch() -> None:
        wait_until(lambda: work.begun == AHEAD, "as much as may be is begun")
        goes_on.set()

    watching = threading.Thread(target=watch)
    watching.start()
    results = ahead(items(), work, lambda _: 1)
    next(results)
    watching.join()
    next(results)
    wait_until(lambda: work.begun == AHEAD + 1, "one more is begun for one that was used")
    results.close()

    assert [UNASKED] == before


def test_no_more_bytes_are_held_than_may_be() -> None:
    work = Work()
    results = ahead(range(100), work, lambda _: AHEAD_BYTES // 3)
    next(results)
    wait_until(lambda: work.begun == 3, "three thirds are begun")
    results.close()

    assert 3 == work.begun


def test_what_weighs_more_than_may_be_is_worked_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "AHEAD_BYTES", 10)
    work = Work()
    results = ahead(range(3), work, lambda _: 100)
    for number in range(3):
        next(results)
        assert number + 1 == work.begun


def test_an_error_comes_where_its_result_would_and_ends_the_threads() -> None:
    def fail(item: int) -> None:
        if item == 2:
            raise ValueError("two")

    results = ahead(range(100), Work(fail), lambda _: 1)

    assert [0, 10] == [next(results), next(results)]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert not [each for each in threading.enumerate() if each.name.startswith("read")]
