"""What pods have told, as files of the run: exact whoever is killed, and within what a pod may tell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.executors.kubernetes import told as told_module
from pollinator.executors.kubernetes.pages import JOURNAL, WORDS, Incoming, Outgoing, Page, Piece
from pollinator.executors.kubernetes.told import Told
from pollinator.wire.errors import Corrupt
from support.lone_pod import RUN, LonePod
from support.storing import MemoryStore

UID = "00000000-aaaa-4bbb-8ccc-000000000001"
OTHER = "00000000-aaaa-4bbb-8ccc-000000000002"
THIRD = "00000000-aaaa-4bbb-8ccc-000000000003"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "output").mkdir()
    return tmp_path


def say(store: MemoryStore, workspace: Path, *pieces: Piece, uid: str = UID, **about: object) -> None:
    folder = workspace / f"of-{uid}"
    folder.mkdir(exist_ok=True)
    Outgoing(folder, RUN, uid).send(store, Page(pieces, about=about), {})


def take(store: MemoryStore, told: Told, uid: str = UID, node: int = 0, attempt: int = 1) -> None:
    while told.read(store, uid, node, attempt):
        pass


def test_what_ranks_print_lands_where_it_belongs(workspace: Path) -> None:
    store, told = MemoryStore(), Told(workspace, RUN, 2)
    say(store, workspace, Piece(0, 0, b"ab"), Piece(1, 0, b"x"), Piece(JOURNAL, 0, b"began\n"), node=0)
    say(store, workspace, Piece(0, 2, b"cd"), Piece(JOURNAL, 6, b"done\n"), node=0)
    take(store, told)

    assert (b"abcd", b"x") == tuple((workspace / "output" / name).read_bytes() for name in "01")
    assert b"began\ndone\n" == (workspace / "control/1/0").read_bytes()
    assert told.pods[UID].quiet


def test_applying_pages_a_second_time_changes_nothing(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    say(store, workspace, Piece(0, 0, b"ab"), Piece(JOURNAL, 0, b"began\n"))

    def killed(name: str) -> None:
        raise KeyboardInterrupt(name)

    with monkeypatch.context() as patched:
        patched.setattr(told_module, "crash_point", killed)
        with pytest.raises(KeyboardInterrupt):
            Told(workspace, RUN, 1).read(store, UID, 0, 1)
    say(store, workspace, Piece(0, 2, b"cd"))
    take(store, Told(workspace, RUN, 1))

    assert b"abcd" == (workspace / "output/0").read_bytes()
    assert b"began\n" == (workspace / "control/1/0").read_bytes()


def test_a_pod_that_takes_the_place_of_another_goes_on_behind_it(workspace: Path) -> None:
    store, told = MemoryStore(), Told(workspace, RUN, 1)
    say(store, workspace, Piece(0, 0, b"first"), Piece(JOURNAL, 0, b"began\n"))
    take(store, told)
    say(store, workspace, Piece(0, 0, b"second"), Piece(JOURNAL, 0, b"began\n"), uid=OTHER)
    take(store, told, OTHER, attempt=2)

    assert b"firstsecond" == (workspace / "output/0").read_bytes()
    assert b"began\n" == (workspace / "control/2/0").read_bytes()


def test_what_a_pod_says_after_another_took_its_place_disturbs_nothing(workspace: Path) -> None:
    store, told = MemoryStore(), Told(workspace, RUN, 1)
    say(store, workspace, Piece(0, 0, b"first"), Piece(JOURNAL, 0, b"began\n"))
    take(store, told)
    for uid, attempt in ((OTHER, 1), (THIRD, 2)):
        say(store, workspace, Piece(0, 0, b"second"), Piece(JOURNAL, 0, b"began\n"), uid=uid)
        take(store, told, uid, attempt=attempt)
    say(store, workspace, Piece(0, 5, b" and late"), Piece(JOURNAL, 6, b"rank 0 Killed\n"))
    say(store, workspace, over=True)
    # After a restart all pods are asked once more.
    told = Told(workspace, RUN, 1)
    take(store, told)

    assert b"firstsecondsecond" == (workspace / "output/0").read_bytes()
    assert b"began\nbegan\n" == (workspace / "control/1/0").read_bytes()
    assert told.pods[UID].end is not None


def test_how_far_it_is_is_known_after_a_restart(workspace: Path) -> None:
    store = MemoryStore()
    for at in range(40):
        say(store, workspace, Piece(0, at, b"x"))
    take(store, Told(workspace, RUN, 1))
    store.gets.clear()
    again = Told(workspace, RUN, 1)

    assert not again.read(store, UID, 0, 1)
    assert 1 == len(store.gets)
    assert b"x" * 40 == (workspace / "output/0").read_bytes()


def test_the_last_page_says_where_the_results_are(workspace: Path) -> None:
    store = MemoryStore()
    say(store, workspace, node=0, over=True, result={"key": "k", "digest": "00"})
    take(store, Told(workspace, RUN, 1))
    known = Told(workspace, RUN, 1).pods[UID]

    assert known.quiet
    assert known.end == {"node": 0, "over": True, "result": {"key": "k", "digest": "00"}}


@pytest.mark.parametrize(
    "piece", [Piece(2, 0, b"x"), Piece(0, 5, b"x"), Piece(JOURNAL, 1 << 20, b"x"), Piece(1 << 60, 0, b"x")]
)
def test_a_pod_cannot_write_what_is_not_its(workspace: Path, piece: Piece) -> None:
    store = MemoryStore()
    say(store, workspace, piece)
    with pytest.raises(Corrupt):
        Told(workspace, RUN, 2).read(store, UID, 0, 1)

    assert [] == list((workspace / "output").iterdir())


@pytest.mark.parametrize("uid", ["../../x", "", "a/b", "x" * 100])
def test_what_is_no_id_of_a_pod_names_no_folder(workspace: Path, uid: str) -> None:
    with pytest.raises(Corrupt, match="no id of a pod"):
        Told(workspace, RUN, 1).tell(MemoryStore(), uid, {"go": "x"})


def test_a_link_in_place_of_output_is_not_followed(workspace: Path) -> None:
    store = MemoryStore()
    (workspace / "elsewhere").write_bytes(b"")
    (workspace / "output/0").symlink_to("../elsewhere")
    say(store, workspace, Piece(0, 0, b"x"))
    with pytest.raises(OSError, match="symbolic links"):
        Told(workspace, RUN, 1).read(store, UID, 0, 1)

    assert b"" == (workspace / "elsewhere").read_bytes()


def heard(store: MemoryStore) -> list[Page]:
    pages, found = Incoming(RUN, UID + WORDS), list[Page]()
    while (page := pages.next(store)) is not None:
        found.append(page)
        pages.number += 1
    return found


def test_each_word_is_told_once_also_after_a_restart(workspace: Path) -> None:
    store = MemoryStore()
    words: list[dict[str, str]] = [{}, {"go": "n0"}, {"go": "n0"}, {"go": "n0", "stop": "cancel"}]
    for each in words:
        Told(workspace, RUN, 1).tell(store, UID, each)
    for _ in range(2):
        Told(workspace, RUN, 1).tell(store, UID, words[-1], gone=True)
    pages = heard(store)

    assert [{"go": "n0"}, {"stop": "cancel"}, {}] == [page.files for page in pages]
    assert [False, False, True] == [page.about["gone"] for page in pages]


def test_a_pod_and_the_executor_agree(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    send: Callable[..., None] = Outgoing(tmp_path, RUN, pod.uid).send
    send(pod.store, Page([Piece(0, 0, b"hello")]), {})
    pod.read_all()

    assert b"hello" == pod.output(0)
