"""Whatever is cut and wherever: a follower gets every event and every byte once, in order."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pollinator.v1.run_pb2 import WatchRunRequest, WatchRunResponse
from pollinator.wire.errors import PollinatorError
from pollinator.wire.streams import follow_run
from support.watched import RUN, CutService, GrowingRun, Proxy, serving, taken

STEPS = st.lists(
    st.one_of(
        st.none(),
        st.tuples(st.integers(0, 3), st.one_of(st.binary(min_size=1, max_size=40), st.just(b"y" * 200_000))),
    ),
    max_size=12,
)
"""What happens to a run: an event, or a rank prints something."""

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Played:
    """A run that goes on by a step whenever somebody has noticed the one before."""

    def __init__(self, steps: list[tuple[int, bytes] | None], at_once: int) -> None:
        self.run = GrowingRun()
        self._left = list(steps)
        self.go(at_once)

    def go(self, count: int = 1) -> None:
        for _ in range(count):
            step = self._left.pop(0) if self._left else ()
            match step:
                case None:
                    self.run.note()
                case (rank, data):
                    self.run.print(rank, data)
                case _:
                    self.run.end()


async def follow(played: Played, service: CutService, proxy: Proxy | None) -> None:
    async def on_cut(error: PollinatorError) -> None:
        played.go()

    request = WatchRunRequest(run_id=RUN, output=True, follow=True)
    seen: list[WatchRunResponse] = []
    async with serving(service, proxy) as served:
        async for message in follow_run(served.stub, request, patience_s=20, on_cut=on_cut):
            seen.append(message)
            played.go()
    run = played.run

    assert (list(range(1, len(run.log) + 1)), run.printed) == taken(seen)


@QUICK
@given(steps=STEPS, at_once=st.integers(0, 12), cuts=st.lists(st.integers(0, 6), max_size=8))
async def test_a_call_cut_after_any_message_goes_on_without_gap_or_repeat(
    steps: list[tuple[int, bytes] | None], at_once: int, cuts: list[int]
) -> None:
    played = Played(steps, at_once)

    await follow(played, CutService(played.run, cuts), None)


@QUICK
@given(steps=STEPS, at_once=st.integers(0, 12), cuts=st.lists(st.integers(1, 3000), max_size=6))
async def test_a_connection_cut_after_any_byte_goes_on_without_gap_or_repeat(
    steps: list[tuple[int, bytes] | None], at_once: int, cuts: list[int]
) -> None:
    played = Played(steps, at_once)

    await follow(played, CutService(played.run, []), Proxy(cuts))
