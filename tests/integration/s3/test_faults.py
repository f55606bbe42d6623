"""Every trouble of a network or a server, on every way: it is sat out or told, and nothing is lost."""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3.session
import pytest

from pollinator.chunks import capture as capturing
from pollinator.chunks.capture import capture
from pollinator.chunks.keys import namespace
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.s3 import S3Store
from pollinator.chunks.s3_asking import Patience
from pollinator.chunks.upload import Uploader
from pollinator.daemon.sync import outbox
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.ledger import Ledger
from pollinator.daemon.sync.results import apply_results
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import Corrupt, PollinatorError, Unavailable
from support.desk import desk_at, read_back
from support.faulty_proxy import FaultyProxy, Target, Trouble
from support.s3_servers import S3Server
from support.storing import listed
from support.syncing import tree_listing

pytestmark = pytest.mark.integration

QUICK = Patience(tries=3, first_pause_s=0.001, longest_pause_s=0.002, connect_s=2.0, silence_s=0.3)
PACK_BYTES = 60_000
session = functools.cache(boto3.session.Session)
"""To make one takes most of a test's time."""


@dataclass
class Stage:
    """The same store, with and without the proxy in between, and a folder to work in."""

    proxy: FaultyProxy
    through: S3Store
    direct: S3Store
    folder: Path


@pytest.fixture
def rclone_stage(rclone_s3: S3Server, project: str, tmp_path: Path) -> Iterator[Stage]:
    """With rclone's server."""
    with staged(rclone_s3, project, tmp_path) as stage:
        yield stage


@pytest.fixture
def ceph_stage(ceph_s3: S3Server, project: str, tmp_path: Path) -> Iterator[Stage]:
    """With Ceph's gateway."""
    with staged(ceph_s3, project, tmp_path) as stage:
        yield stage


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that there are several."""
    small = functools.partial(Uploader, pack_bytes=PACK_BYTES)
    monkeypatch.setattr(outbox, "Uploader", small)
    monkeypatch.setattr(capturing, "Uploader", small)
    monkeypatch.setattr(boto3.session, "Session", session)


@contextmanager
def staged(server: S3Server, project: str, folder: Path) -> Generator[Stage]:
    """A stage in a folder."""
    with FaultyProxy(server.endpoint) as proxy:
        through = S3Store(server.settings(endpoint=proxy.endpoint).s3, namespace(project), QUICK)
        direct = S3Store(server.settings().s3, namespace(project))
        yield Stage(proxy, through, direct, folder)
        through.close()
        direct.close()


def fill(folder: Path, number: int = 0) -> None:
    """Something to send, and other things with another number."""
    folder.mkdir(parents=True, exist_ok=True)
    for at in range(6):
        (folder / f"f{at}").write_bytes(random_bytes(30_000, b"%d %d" % (number, at)))
    (folder / "text").write_text("some text\n" * 100)


Attempt = Callable[[], tuple[object, object]]
"""Goes the way once; gives what should be there and what is."""


@contextmanager
def sync_up(stage: Stage) -> Generator[Attempt]:
    """A desk seals; others read without the proxy."""
    with desk_at(stage.folder / "desk", stage.through) as desk:
        attempts = iter(range(100))

        def attempt() -> tuple[object, object]:
            number = next(attempts)
            fill(desk.data, number)
            return desk.listing(), read_back(stage.direct, desk.seal().ref, stage.folder / f"read {number}")

        yield attempt


@contextmanager
def lay_out_down(stage: Stage) -> Generator[Attempt]:
    """An executor lays out what a desk has sealed."""
    with desk_at(stage.folder / "desk", stage.through) as desk:
        fill(desk.data)
        ref, listing = desk.seal().ref, desk.listing()
    attempts = iter(range(100))

    def attempt() -> tuple[object, object]:
        return listing, read_back(stage.through, ref, stage.folder / f"work {next(attempts)}")

    yield attempt


@contextmanager
def results_up(stage: Stage) -> Generator[Attempt]:
    """An executor seals results."""
    result = stage.folder / "result"
    attempts = iter(range(100))

    def attempt() -> tuple[object, object]:
        fill(result, next(attempts))
        captured = capture(result, stage.through)
        reader = SnapshotReader(stage.direct)
        return listed(result), tree_listing(reader, reader.open(captured.ref).result)

    yield attempt


@contextmanager
def results_home(stage: Stage) -> Generator[Attempt]:
    """A daemon brings them home, where one file was edited."""
    result = stage.folder / "result"
    fill(result)
    ref = capture(result, stage.through).ref
    expected = {**listed(result), b"text": ("file", 0o644, b"mine"), b"text.run": listed(result)[b"text"]}
    attempts = iter(range(100))

    def attempt() -> tuple[object, object]:
        home = stage.folder / f"home {next(attempts)}"
        home.mkdir()
        (home / "text").write_text("mine")
        reader = SnapshotReader(stage.through)
        with Ledger(stage.folder / "ledgers", home) as ledger:
            apply_results(reader, reader.open(ref).result, home, ledger, "run")
        return expected, listed(home)

    yield attempt


@contextmanager
def looking_after(stage: Stage) -> Generator[Attempt]:
    """A daemon that starts again looks what is to be removed from the store, and goes on."""
    folder = stage.folder / "desk"
    with desk_at(folder, stage.through) as desk:
        fill(desk.data)
        desk.seal()
    attempts = iter(range(100))

    def attempt() -> tuple[object, object]:
        engine = SyncEngine(folder, folder / "index.db", stage.through)
        (desk.src / "f").write_text(f"{attempts}")
        try:
            ref = engine.seal(RunSpec(project="demo")).ref
        finally:
            engine.close()
        return desk.listing(), read_back(stage.direct, ref, stage.folder / f"read {next(attempts)}")

    yield attempt


def asks(method: str, words: str) -> Target:
    """Requests of this method with these words in their path."""
    return lambda request: request.method == method and words in request.path


WAYS = {
    "sync up, packs": (sync_up, asks("PUT", "/p/")),
    "sync up, the snapshot": (sync_up, asks("PUT", "/s/")),
    "lay-out down, the snapshot": (lay_out_down, asks("GET", "/s/")),
    "lay-out down, packs": (lay_out_down, asks("GET", "/p/")),
    "results up, packs": (results_up, asks("PUT", "/p/")),
    "results home, packs": (results_home, asks("GET", "/p/")),
    "what goes from the store": (looking_after, asks("GET", "list-type")),
}

_NO_ANSWER = frozenset({"store_unreachable"})
_REFUSED = frozenset({"store_busy"})
_NO_SENSE = frozenset({"store_garbled", "store_busy"})
"""To boto3 some of what cannot be parsed is a 500."""
_DAMAGED = frozenset({"bad_pack", "bad_chunk"})
LASTING = {
    Trouble.CUT_BEFORE: _NO_ANSWER,
    Trouble.CUT_REQUEST: _NO_ANSWER,
    Trouble.UNANSWERED: _NO_ANSWER,
    Trouble.CUT_ANSWER: _NO_ANSWER,
    Trouble.STALL: _NO_ANSWER,
    Trouble.STALL_ANSWER: _NO_ANSWER,
    Trouble.GARBAGE: _NO_ANSWER,
    Trouble.INTERNAL: _REFUSED,
    Trouble.BUSY: _REFUSED,
    Trouble.TOO_MANY: _REFUSED,
}
"""How it ends when a trouble does not: reasons by which it is told. With others all goes well in the end."""
READING = {
    **LASTING,
    Trouble.TRUNCATED: _NO_ANSWER,
    Trouble.SHORTER: _DAMAGED,
    Trouble.EMPTY: _DAMAGED,
    Trouble.FLIP_ANSWER: _DAMAGED,
    Trouble.WRONG_RANGE: _DAMAGED,
    Trouble.WHOLE: _DAMAGED,
}
"""The same for answers that hold something."""
LISTING = {
    **LASTING,
    Trouble.TRUNCATED: _NO_ANSWER | _NO_SENSE,
    Trouble.SHORTER: _NO_SENSE,
    Trouble.EMPTY: _NO_SENSE,
    Trouble.WRONG_RANGE: _NO_SENSE,
}
"""The same for lists. A bit may flip in what nobody reads of one."""


def reasons(way: str, trouble: Trouble) -> frozenset[str]:
    """By which a trouble on this way is told; empty when it does no harm."""
    if WAYS[way][0] is looking_after:
        return LISTING.get(trouble, frozenset())
    if WAYS[way][0] in (sync_up, results_up):
        return LASTING.get(trouble, frozenset())
    whole = way == "lay-out down, the snapshot" and trouble is Trouble.WHOLE
    return frozenset() if whole else READING.get(trouble, frozenset())


TROUBLES = [each for each in Trouble if each is not Trouble.FLIP_REQUEST]
MEETINGS = [
    (way, trouble)
    for way in WAYS
    for trouble in TROUBLES
    if (WAYS[way][0], trouble) != (looking_after, Trouble.FLIP_ANSWER)
]


@pytest.mark.parametrize(
    ("way", "trouble"), [pytest.param(*each, id=f"{each[0]}, {each[1].name.lower()}") for each in MEETINGS]
)
def test_trouble_is_sat_out_or_told_and_when_it_is_over_nothing_was_lost(
    rclone_stage: Stage, way: str, trouble: Trouble
) -> None:
    _meet(rclone_stage, way, trouble)


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: each.name.lower())
@pytest.mark.parametrize("way", ["sync up, packs", "lay-out down, packs"])
def test_the_same_before_a_server_that_checks_signatures(
    ceph_stage: Stage, way: str, trouble: Trouble
) -> None:
    _meet(ceph_stage, way, trouble)


def _meet(stage: Stage, way: str, trouble: Trouble) -> None:
    go, target = WAYS[way]
    expected = reasons(way, trouble)
    with go(stage) as attempt:
        with stage.proxy.making(trouble, target, 1) as once:
            there, found = attempt()

        assert 1 == once.struck
        assert there == found
        with stage.proxy.making(trouble, target) as lasting:
            if expected:
                with pytest.raises(PollinatorError) as caught:
                    attempt()

                assert caught.value.reason in expected
            else:
                there, found = attempt()

                assert there == found
        assert lasting.struck
        there, found = attempt()

        assert there == found


@pytest.mark.parametrize("way", ["sync up, packs", "sync up, the snapshot", "results up, packs"])
def test_a_bit_that_flips_on_its_way_up_is_refused_by_a_server_that_checks(
    ceph_stage: Stage, way: str
) -> None:
    """Every upload is signed with its SHA-256, also over TLS."""
    go, target = WAYS[way]
    with go(ceph_stage) as attempt:
        with ceph_stage.proxy.making(Trouble.FLIP_REQUEST, target, 1) as once:
            there, found = attempt()

        assert 1 == once.struck
        assert there == found
        with ceph_stage.proxy.making(Trouble.FLIP_REQUEST, target), pytest.raises(Unavailable) as caught:
            attempt()

        assert "store_garbled" == caught.value.reason
        there, found = attempt()

        assert there == found


@pytest.mark.parametrize("way", ["sync up, packs", "sync up, the snapshot", "results up, packs"])
def test_what_a_careless_server_stores_wrong_is_noticed_by_whoever_reads_it(
    rclone_stage: Stage, way: str
) -> None:
    go, target = WAYS[way]
    with go(rclone_stage) as attempt:
        with rclone_stage.proxy.making(Trouble.FLIP_REQUEST, target, 1), pytest.raises(Corrupt) as caught:
            attempt()

        assert caught.value.reason in _DAMAGED
