"""How objects travel to an S3 server and back: slow lines, servers that ask for patience, limits."""

from __future__ import annotations

import hashlib
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import REF, client_key, pack_key
from pollinator.chunks.s3 import S3Store
from pollinator.chunks.s3_asking import Patience
from pollinator.chunks.s3_errors import asked_to_wait_s
from pollinator.chunks.traffic import Traffic
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import InvalidInput, Unavailable
from support.scripted_s3 import Answer, refusal, serving

KEY = pack_key("p", digest_of(b"object"))
TAG = f'"{hashlib.md5(b"object" * 1000).hexdigest()}"'
QUICK = Patience(tries=4, first_pause_s=0.001, longest_pause_s=0.002, connect_s=5.0, silence_s=5.0)


def store_at(port: int, *, patience: Patience = QUICK, traffic: Traffic | None = None) -> S3Store:
    settings = S3Settings(
        endpoint=f"http://127.0.0.1:{port}", bucket="bucket", access_key="KEYKEYKEY", secret_key="SECRET"
    )
    return S3Store(settings, "pollinator/demo", patience, traffic)


def put(store: S3Store) -> None:
    store.put(KEY, b"object" * 1000)


def test_a_slow_line_that_makes_progress_is_not_cut() -> None:
    """A timeout counts for a block, and not for all of a pack."""
    with serving(Answer(200)) as (script, port):
        script.pause_s = 0.01
        store = store_at(port, patience=Patience(tries=1, connect_s=0.7, silence_s=5.0))
        started = time.monotonic()
        store.put(KEY, b"object" * 2_000_000)
        took_s = time.monotonic() - started
        store.close()

    assert took_s > 1.4
    assert len(script.asked) == 1


def test_a_line_without_progress_is_cut_and_the_pack_is_sent_again() -> None:
    with serving(Answer(200)) as (script, port):
        script.pause_s = 30.0
        store = store_at(port, patience=Patience(tries=2, first_pause_s=0.01, connect_s=0.2, silence_s=0.2))
        with pytest.raises(Unavailable) as caught:
            store.put(KEY, b"object" * 2_000_000)
        store.close()

    assert caught.value.reason == "store_unreachable"
    assert store.requests == 2


IN_A_WHILE = format_datetime(datetime.now(tz=UTC) + timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize("wish", ["30", IN_A_WHILE], ids=["seconds", "date"])
def test_a_server_that_asks_to_be_left_alone_is(wish: str) -> None:
    """For no longer than is bearable."""
    patience = Patience(first_pause_s=0.001, longest_pause_s=0.002, longest_asked_s=0.4)
    with serving(refusal(503, "SlowDown", Retry_After=wish), Answer(200)) as (script, port):
        store = store_at(port, patience=patience)
        started = time.monotonic()
        put(store)
        took_s = time.monotonic() - started
        store.close()

    assert took_s >= 0.4
    assert len(script.asked) == 2


@pytest.mark.parametrize("wish", ["", "soon", "-5", "Fri, 01 May 2026 09:00:00 GMT"])
def test_a_wish_that_cannot_be_meant_is_none(wish: str) -> None:
    now = "Fri, 01 May 2026 10:00:00 GMT"
    answer = {"ResponseMetadata": {"HTTPHeaders": {"retry-after": wish, "date": now}}}

    assert asked_to_wait_s(answer) == 0


@pytest.mark.parametrize("way", ["upload", "download"])
def test_a_limit_holds_for_all_stores_that_share_it(way: str) -> None:
    body = bytes(1_000_000)
    with serving(Answer(200, body)) as (_, port):
        traffic = Traffic(upload=1_000_000, download=1_000_000)
        stores = [store_at(port, traffic=traffic) for _ in range(2)]
        started = time.monotonic()
        for store in stores:
            if way == "upload":
                store.put(KEY, body)
            else:
                assert store.get(KEY) == body
        took_s = time.monotonic() - started
        for store in stores:
            store.close()

    assert 1.7 <= took_s <= 15


def test_no_more_transfers_are_under_way_than_are_allowed() -> None:
    with serving(Answer(200, b"object", silent_s=0.1)) as (script, port):
        store = store_at(port, patience=Patience(), traffic=Traffic(transfers=2))
        threads = [threading.Thread(target=store.get, args=(KEY,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.close()

    assert len(script.asked) == 6
    assert script.most_at_once == 2


def test_a_snapshot_does_not_wait_for_what_others_send() -> None:
    with serving(Answer(200)) as (script, port):
        traffic = Traffic(transfers=1)
        store = store_at(port, traffic=traffic)
        with traffic.slots:
            store.put(pack_key("s", digest_of(b"snapshot")), b"snapshot")
        store.close()

    assert len(script.asked) == 1


def test_a_pack_is_sent_without_asking_first_whether_it_may_be() -> None:
    """That would cost one more round trip, and a second at servers that do not answer it."""
    with serving(Answer(200)) as (script, port):
        store = store_at(port)
        put(store)
        store.close()

    assert "Expect" not in script.asked[0].headers
    assert script.asked[0].headers["Content-Length"] == str(len(b"object" * 1000))


def there(tag: str = TAG, age: timedelta = timedelta()) -> Answer:
    """Of a HEAD."""
    modified = format_datetime(datetime.now(tz=UTC) - age, usegmt=True)
    return Answer(200, headers=(("ETag", tag), ("Last-Modified", modified)))


def test_what_is_there_already_is_not_written_over() -> None:
    with serving(refusal(412, "PreconditionFailed"), there()) as (script, port):
        store = store_at(port)
        put(store)
        store.close()

    assert [("PUT", "*"), ("HEAD", None)] == [
        (asked.method, asked.headers.get("If-None-Match")) for asked in script.asked
    ]


@pytest.mark.parametrize(
    "found",
    [there('"other"'), there(age=timedelta(hours=2)), Answer(200, headers=(("ETag", TAG),))],
    ids=["something else", "old", "of unknown age"],
)
def test_what_is_there_and_something_else_or_old_is_put_without_a_condition(found: Answer) -> None:
    with serving(refusal(412, "PreconditionFailed"), found, Answer(200)) as (script, port):
        store = store_at(port)
        put(store)
        store.close()

    assert [("PUT", "*"), ("HEAD", None), ("PUT", None)] == [
        (asked.method, asked.headers.get("If-None-Match")) for asked in script.asked
    ]


def test_a_conflict_with_another_writer_is_sat_out() -> None:
    with serving(refusal(409, "ConditionalRequestConflict"), Answer(200)) as (script, port):
        store = store_at(port)
        put(store)
        store.close()

    assert ["PUT", "PUT"] == [asked.method for asked in script.asked]


def test_a_server_that_knows_no_conditions_is_asked_once_and_never_again() -> None:
    with serving(refusal(501, "NotImplemented"), Answer(200)) as (script, port):
        store = store_at(port)
        put(store)
        put(store)
        store.close()

    assert ["*", None, None] == [asked.headers.get("If-None-Match") for asked in script.asked]


def test_what_a_server_does_not_know_at_all_is_an_error() -> None:
    with serving(refusal(501, "NotImplemented")) as (script, port):
        store = store_at(port)
        with pytest.raises(InvalidInput) as caught:
            put(store)
        store.close()

    assert caught.value.reason == "store_refused"
    assert len(script.asked) == 2


def test_what_has_one_writer_and_changes_is_put_without_a_condition() -> None:
    with serving(Answer(200)) as (script, port):
        store = store_at(port)
        store.put(client_key(REF, "0" * 32), b"ref")
        store.close()

    assert "If-None-Match" not in script.asked[0].headers
