"""What the tables of the benchmarks say is what was measured."""

from __future__ import annotations

from bench.harness import Bound, Measured, Row, Sample, figure, interleave, ratio, table
from bench.page import merged, page
from bench.proxy import Requests, Tally


def sample(name: str, *values_ms: float) -> Sample:
    return Sample(name, tuple(Measured(value, value / 2, requests=3) for value in values_ms))


def test_contenders_take_turns_and_the_first_round_is_not_counted() -> None:
    turns: list[str] = []

    def contender(name: str) -> Measured:
        turns.append(name)
        return Measured(float(len(turns)))

    samples = interleave({"a": lambda: contender("a"), "b": lambda: contender("b")}, 2)

    assert ["a", "b", "a", "b", "a", "b"] == turns
    assert [(3.0, 5.0), (4.0, 6.0)] == [tuple(each.values("wall_ms")) for each in samples]


def test_a_ratio_is_that_of_the_medians() -> None:
    bound = ratio([sample("ours", 1, 2, 90), sample("peer", 4, 4, 4)], "ours", "peer", 0.5)

    assert Bound("at most 0.5 x peer", 0.5, 0.5, cpu=0.5) == bound
    assert bound.met
    assert not ratio([sample("ours", 3), sample("peer", 4)], "ours", "peer", 0.5).met


def test_what_was_not_measured_has_no_median() -> None:
    assert sample("ours", 1).median("puts") is None


def test_a_figure_is_the_median_of_ours() -> None:
    assert 3 == figure([sample("peer", 1), sample("ours", 1)], "ours", "requests", 12, "few").value


def test_a_bound_that_is_missed_is_seen_in_the_table_and_on_the_page() -> None:
    row = Row(
        "row", "some work", [sample("ours", 3), sample("peer", 4)], [Bound("at most 0.5 x peer", 0.75, 0.5)]
    )
    words: dict[str, object] = {
        "at": "", "commit": "", "kernel": "", "cpu": "", "cores": 2, "memory_gib": 1, "filesystem": "",
        "python": "", "versions": {}, "rows": [{**row.shown(), "load": [1.0, 2.0]}],
    }  # fmt: skip

    assert "MISS  at most 0.5 x peer: 0.75" in table(row)
    assert "| some work | at most 0.5 x peer | 0.75 | **no** |" in page(merged([words]))
    assert "- **some work**: at most 0.5 x peer, is 0.75." in page(merged([words]))


def test_a_row_that_was_measured_again_takes_the_place_of_the_earlier_one() -> None:
    first, other, again = (
        {"name": name, "round_trip_ms": away, "value": value}
        for name, away, value in (("row", 0.0, 1), ("row", 20.0, 2), ("row", 0.0, 3))
    )
    runs = [{"at": "1", "commit": "a", "rows": [first, other]}, {"at": "2", "commit": "b", "rows": [again]}]

    assert [again, other] == merged(runs)["rows"]


def test_requests_are_counted_wherever_their_bytes_are_cut() -> None:
    put = b"PUT /bucket/key HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /\r"
    sent = put[:-1] + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + put[:-1]
    for size in range(1, len(sent)):
        tally = Tally()
        requests = Requests(tally)
        for start in range(0, len(sent), size):
            requests.sent(memoryview(sent[start : start + size]))

        assert {"PUT": 2, "GET": 1} == tally.methods
        assert 10 == tally.bodies


def test_a_put_is_answered_when_all_of_it_was_sent() -> None:
    tally = Tally()
    requests = Requests(tally)
    requests.sent(memoryview(b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"))
    requests.answered()

    assert 0 == tally.puts_answered

    requests.sent(memoryview(b"12345"))
    requests.answered()
    requests.answered()

    assert 1 == tally.puts_answered
