"""The S3 store against servers that fail, refuse, or speak in unusual ways."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import pack_key
from pollinator.chunks.s3 import S3Store
from pollinator.chunks.s3_asking import Patience
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import Denied, NeedsLogin, NotFound, PollinatorError, Unavailable
from support.s3_servers import Certificate
from support.scripted_s3 import CUT, Answer, Script, refusal, serving, unused_port

KEY = pack_key("p", digest_of(b"object"))
QUICK = Patience(tries=4, first_pause_s=0.001, longest_pause_s=0.002, connect_s=2.0, silence_s=1.0)
SECRET = "SECRETSECRETSECRET"
BUSY = refusal(503, "SlowDown")
A_KEY = (
    f"<Contents><Key>pollinator/demo/{KEY}</Key><Size>1</Size>"
    "<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
)
EMPTY_LIST = Answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")


def store_at(
    port: int,
    *,
    scheme: str = "http",
    host: str = "127.0.0.1",
    patience: Patience = QUICK,
    **settings: object,
) -> S3Store:
    made = S3Settings(
        endpoint=f"{scheme}://{host}:{port}", bucket="bucket", access_key="KEYKEYKEY", secret_key=SECRET
    )
    for name, value in settings.items():
        setattr(made, name, value)
    return S3Store(made, "pollinator/demo", patience)


def put(store: S3Store) -> object:
    store.put(KEY, b"object" * 1000)
    return None


def get(store: S3Store) -> object:
    return store.get(KEY)


@pytest.mark.parametrize(
    "trouble",
    [
        BUSY,
        refusal(500, "InternalError"),
        refusal(429, "TooManyRequests"),
        refusal(400, "RequestTimeout"),
        CUT,
    ],
)
@pytest.mark.parametrize("call", [put, get])
def test_passing_trouble_is_sat_out(trouble: Answer, call: Callable[[S3Store], object]) -> None:
    with serving(trouble, trouble, Answer(200, b"object")) as (script, port):
        store = store_at(port)
        answer = call(store)
        store.close()

    assert answer in (None, b"object")
    assert (len(script.asked), store.requests) == (3, 3)


def test_what_went_out_counts_once_however_often_it_was_tried() -> None:
    with serving(BUSY, CUT, Answer()) as (_, port):
        store = store_at(port)
        store.put(KEY, b"x" * 300_000)
        store.close()

    assert (3, 2, 300_000) == (store.requests, store.retries, store.sent.total)


def test_of_a_put_that_failed_nothing_went_out() -> None:
    with serving(BUSY) as (_, port):
        store = store_at(port)
        with pytest.raises(Unavailable):
            store.put(KEY, b"x" * 300_000)
        store.close()

    assert 0 == store.sent.total


def test_tries_are_bounded() -> None:
    with serving(BUSY) as (script, port):
        store = store_at(port)
        with pytest.raises(Unavailable) as caught:
            put(store)
        store.close()

    assert len(script.asked) == QUICK.tries
    assert caught.value.reason == "store_busy"


def test_a_body_that_is_cut_short_is_read_again() -> None:
    body = b"object" * 10_000
    with serving(Answer(200, body, cut_after=1000), Answer(200, body)) as (script, port):
        store = store_at(port)
        answer = get(store)
        store.close()

    assert answer == body
    assert len(script.asked) == 2


def page(*parts: str) -> Answer:
    return Answer(200, f"<ListBucketResult>{''.join(parts)}</ListBucketResult>".encode())


@pytest.mark.parametrize(
    "garbled",
    [
        Answer(200),
        Answer(200, b"<ListBucketResult><IsTruncated>false</IsTrunc"),
        Answer(200, b"<html>Please log in</html>"),
        page("<IsTruncated>true</IsTruncated>", A_KEY),
        page("<IsTruncated>false</IsTruncated>", A_KEY, "<KeyCount>2</KeyCount>"),
        page("<IsTruncated>false</IsTruncated>", A_KEY.replace("Key>", "Kex>")),
        page("<IsTruncated>false</IsTruncated>", A_KEY.replace("2026", "yesterday")),
    ],
)
def test_a_list_that_is_not_whole_is_asked_for_again(garbled: Answer) -> None:
    whole = page("<IsTruncated>false</IsTruncated>", A_KEY, "<KeyCount>1</KeyCount>")
    with serving(garbled, whole) as (script, port):
        store = store_at(port)
        found = list(store.keys())
        store.close()

    assert [KEY] == found
    assert 2 == len(script.asked)


def test_an_answer_with_a_date_that_is_none_is_asked_for_again() -> None:
    with serving(Answer(headers=(("Last-Modified", "yesterday"),)), Answer()) as (script, port):
        store = store_at(port)
        missing = store.missing([KEY])
        store.close()

    assert [] == missing
    assert 2 == len(script.asked)


def test_a_server_that_makes_no_sense_is_told() -> None:
    with serving(Answer(200, b"<html>Please log in</html>")) as (_, port):
        store = store_at(port)
        with pytest.raises(Unavailable) as caught:
            store.check()
        store.close()

    assert "store_garbled" == caught.value.reason
    assert f"http://127.0.0.1:{port}" in caught.value.message


def test_a_server_that_falls_silent_is_left_and_asked_again() -> None:
    with serving(Answer(200, b"", silent_s=30), Answer(200, b"object")) as (_, port):
        store = store_at(port)
        started = time.monotonic()
        answer = get(store)
        store.close()

    assert answer == b"object"
    assert time.monotonic() - started < 10


def test_nobody_at_the_endpoint_names_it() -> None:
    port = unused_port()
    store = store_at(port)
    with pytest.raises(Unavailable) as caught:
        store.check()
    store.close()

    assert caught.value.reason == "store_unreachable"
    assert f"http://127.0.0.1:{port}" in caught.value.message
    assert store.requests == 2


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (refusal(403, "InvalidAccessKeyId"), NeedsLogin, "bad_credentials"),
        (refusal(403, "SignatureDoesNotMatch"), NeedsLogin, "bad_credentials"),
        (refusal(403, "RequestTimeTooSkewed"), NeedsLogin, "clock_skew"),
        (refusal(404, "NoSuchBucket"), NotFound, "bucket_missing"),
        (refusal(403, "AccessDenied"), Denied, "store_denied"),
    ],
)
def test_what_trying_again_cannot_mend_is_not_tried_again(
    answer: Answer, kind: type[PollinatorError], reason: str
) -> None:
    with serving(answer) as (script, port):
        store = store_at(port)
        for call in (S3Store.check, put, get):
            with pytest.raises(kind) as caught:
                call(store)

            assert caught.value.reason == reason
            assert caught.value.hint
            assert SECRET not in f"{caught.value} {caught.value.hint}"
        store.close()

    assert len(script.asked) == 3


def test_closing_ends_the_waiting_for_another_try() -> None:
    with serving(BUSY) as (script, port):
        store = store_at(port, patience=Patience(tries=50, first_pause_s=60.0, longest_pause_s=60.0))
        failures: list[PollinatorError] = []

        def ask() -> None:
            try:
                put(store)
            except Unavailable as error:
                failures.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        _wait_for(script, 1)
        store.close()
        thread.join(10)

    assert not thread.is_alive()
    assert [each.reason for each in failures] == ["store_closed"]


def _wait_for(script: Script, requests: int) -> None:
    deadline = time.monotonic() + 10
    while len(script.asked) < requests and time.monotonic() < deadline:
        time.sleep(0.005)

    assert len(script.asked) >= requests


def test_servers_that_choke_on_new_checksum_headers_never_see_them() -> None:
    with serving(Answer(200, b"object")) as (script, port):
        store = store_at(port)
        put(store)
        get(store)
        store.get(KEY, 2, 3)
        store.close()
    names = {name.lower() for asked in script.asked for name in asked.headers}

    assert not [name for name in names if "checksum" in name or name == "x-amz-trailer"]
    assert "aws-chunked" not in str([asked.headers for asked in script.asked])


def test_a_wrong_checksum_of_the_server_is_ignored_for_every_byte_is_verified_anyway() -> None:
    with serving(Answer(200, b"obj")) as (script, port):
        store = store_at(port)
        answer = store.get(KEY, 0, 3)
        store.close()

    assert answer == b"obj"
    assert script.asked[0].headers["Range"] == "bytes=0-2"


def test_path_style_names_the_bucket_in_the_path() -> None:
    with serving(Answer(200, b"object")) as (script, port):
        store = store_at(port)
        get(store)
        store.close()

    assert script.asked[0].path == f"/bucket/pollinator/demo/{KEY}"


def test_virtual_host_style_names_the_bucket_in_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def resolve(host: str | None, *args: object, **kwargs: object) -> object:
        known = host in ("bucket.s3.test", "s3.test")
        return real("127.0.0.1" if known else host, *args, **kwargs)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with serving(Answer(200, b"object")) as (script, port):
        store = store_at(port, host="s3.test", addressing="virtual")
        get(store)
        store.close()

    assert script.asked[0].headers["Host"] == f"bucket.s3.test:{port}"
    assert script.asked[0].path == f"/pollinator/demo/{KEY}"


@pytest.fixture(scope="module")
def tls(certificate: Certificate) -> ssl.SSLContext:
    """What a server needs to show a certificate that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    return context


def test_a_certificate_that_is_not_trusted_is_refused_with_the_way_out(tls: ssl.SSLContext) -> None:
    with serving(Answer(200, b"object"), tls=tls) as (script, port):
        store = store_at(port, scheme="https")
        with pytest.raises(Unavailable) as caught:
            store.check()
        store.close()

    assert "AWS_S3_SKIPVERIFY" in caught.value.hint
    assert script.asked == []


def test_a_certificate_goes_unchecked_where_the_user_says_so(tls: ssl.SSLContext) -> None:
    with serving(Answer(200, b"object"), tls=tls) as (_, port):
        store = store_at(port, scheme="https", skip_verify=True)
        answer = get(store)
        store.close()

    assert answer == b"object"


def test_the_signature_covers_every_byte_of_an_upload_over_tls_as_well(tls: ssl.SSLContext) -> None:
    with serving(Answer(200), tls=tls) as (script, port):
        store = store_at(port, scheme="https", skip_verify=True)
        put(store)
        store.close()
    expected = hashlib.sha256(b"object" * 1000).hexdigest()

    assert script.asked[0].headers["X-Amz-Content-SHA256"] == expected


def test_plain_http_where_tls_is_expected_hints_at_the_setting() -> None:
    with serving(EMPTY_LIST) as (_, port):
        store = store_at(port, scheme="https")
        with pytest.raises(Unavailable) as caught:
            store.check()
        store.close()

    assert "AWS_S3_TLS" in caught.value.hint


def test_without_any_credentials_a_login_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    with serving(EMPTY_LIST) as (script, port):
        store = store_at(port, access_key="", secret_key="")
        with pytest.raises(NeedsLogin) as caught:
            store.check()
        store.close()

    assert caught.value.reason == "no_credentials"
    assert script.asked == []


def test_a_profile_of_the_standard_chain_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[work]\naws_access_key_id=PROFILEKEY\naws_secret_access_key=x\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with serving(EMPTY_LIST) as (script, port):
        store = store_at(port, access_key="", secret_key="", profile="work")
        store.check()
        store.close()

    assert "PROFILEKEY" in script.asked[0].headers["Authorization"]


def test_a_profile_that_does_not_exist_needs_a_login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    store = store_at(unused_port(), access_key="", secret_key="", profile="nobody")
    with pytest.raises(NeedsLogin):
        store.check()
    store.close()

    assert store.requests == 0
