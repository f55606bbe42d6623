"""What passes is counted, and how fast it passed of late."""

from __future__ import annotations

import threading

from pollinator.chunks.flow import WINDOW_S, Flow
from pollinator.daemon.sync.meter import Meter


class Clock:
    """Time goes on when told."""

    def __init__(self) -> None:
        self.now = 1000.25

    def __call__(self) -> float:
        return self.now


def test_a_steady_flow_has_its_rate() -> None:
    clock = Clock()
    flow = Flow(clock)
    for _ in range(100):
        clock.now += 0.1
        flow.add(50)

    assert 5000 == flow.total
    assert abs(500 - flow.rate()) < 30


def test_a_flow_that_ended_has_no_rate_soon() -> None:
    clock = Clock()
    flow = Flow(clock)
    flow.add(1000)
    clock.now += WINDOW_S + 1.1

    assert 0 == flow.rate()
    assert 1000 == flow.total


def test_the_time_before_a_flow_began_does_not_count() -> None:
    clock = Clock()
    flow = Flow(clock)
    clock.now += 100
    flow.add(500)
    clock.now += 1
    flow.add(500)

    assert 1000 == flow.rate()


def test_the_first_bytes_are_no_flood() -> None:
    flow = Flow(Clock())
    flow.add(1000)

    assert 2000 == flow.rate()


def test_nothing_is_lost_when_threads_count_together() -> None:
    flow = Flow()

    def count() -> None:
        for _ in range(2000):
            flow.add(1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 8000 == flow.total


def test_a_meter_knows_how_far_a_file_is() -> None:
    meter = Meter()
    meter.begin(b"data/f")
    meter.took(10)
    meter.took(5)

    assert (b"data/f", 15, 15) == (meter.reading, meter.of_file, meter.read.total)
    meter.end()

    assert (b"", 0, 15) == (meter.reading, meter.of_file, meter.read.total)
