"""What a server knows of files, with its defects. Of the double, and of a real server if there is one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from support.colonies.asking import Member, Said
from support.colonies.sites import Site

pytestmark = pytest.mark.integration


@dataclass
class Folder:
    """A label of its own, and a member who looks after it."""

    site: Site
    user: Member
    label: str

    def ask(self, kind: str, **fields: Any) -> Said:
        return self.site.line.ask(self.user, kind, colonyname=self.site.name, **fields)

    def add(self, path: str, checksum: str = "c", **fields: Any) -> Said:
        below, _, name = f"{self.label}/{path}".rpartition("/")
        file = {
            "colonyname": self.site.name,
            "label": below,
            "name": name,
            "size": len(checksum),
            "checksum": checksum,
            "checksumalg": "SHA256",
            "ref": {"protocol": "s3", "s3object": {"object": f"object-{checksum}", "port": -1}},
            **fields,
        }
        return self.site.line.ask(self.user, "addfilemsg", file=file)

    def ids(self, *paths: str) -> list[str]:
        return [self.add(each).granted["fileid"] for each in paths]

    def labels(self, below: str = "", *, exact: bool) -> dict[str, int] | None:
        found = self.ask("getfilelabelsmsg", name=f"{self.label}{below}", exact=exact).granted
        return None if found is None else {each["name"]: each["files"] for each in found}

    def snapshot(self, below: str = "") -> Any:
        name = self.site.fresh("snapshot")
        return self.ask("createsnapshotmsg", label=f"{self.label}{below}", name=name).granted


@pytest.fixture(scope="module")
def user(colony: Site) -> Member:
    return colony.user()


@pytest.fixture
def folder(colony: Site, user: Member) -> Folder:
    return Folder(colony, user, f"/{colony.fresh('label')}")


def test_a_file_comes_back_with_an_id_and_a_number(folder: Folder) -> None:
    first, second = folder.add("a").granted, folder.add("b").granted

    assert 64 == len(first["fileid"])
    assert first["sequencenr"] < second["sequencenr"]
    assert datetime.fromisoformat(first["added"]) <= datetime.fromisoformat(second["added"])
    expected = {
        "server": "",
        "port": -1,
        "tls": False,
        "accesskey": "",
        "secretkey": "",
        "region": "",
        "encryptionkey": "",
        "encryptionalg": "",
        "object": "object-c",
        "bucket": "",
    }
    assert {"protocol": "s3", "s3object": expected} == first["ref"]
    assert (folder.label, "a", 1, "c", "SHA256") == tuple(
        first[name] for name in ("label", "name", "size", "checksum", "checksumalg")
    )


def test_nothing_is_checked_of_a_file(folder: Folder) -> None:
    names = ["../evil.txt", "", "a/b", "."]
    label = folder.site.fresh("no-slash")
    said = [folder.add("x", name=each, label=label, checksumalg="").granted["name"] for each in names]

    assert names == said


def test_a_file_with_a_nul_is_lost_without_a_word(folder: Folder) -> None:
    said = folder.add("a\0b")

    assert (200, None) == (said.status, said.granted)
    assert [] == folder.ask("getfilesmsg", label=folder.label).granted


def test_a_label_lists_the_newest_of_its_own_files(folder: Folder) -> None:
    folder.add("a", "old")
    folder.add("a", "newer")
    folder.add("b")
    folder.add("sub/c")
    found = folder.ask("getfilesmsg", label=folder.label).granted

    row = {"name": "a", "checksum": "newer", "size": 5, "s3filename": "object-newer"}
    assert row == next(each for each in found if each["name"] == "a")
    assert ["a", "b"] == sorted(each["name"] for each in found)


def test_a_label_without_files_lists_an_empty_list(folder: Folder) -> None:
    assert [] == folder.ask("getfilesmsg", label=folder.label).granted


def test_revisions_of_a_file_come_newest_first(folder: Folder) -> None:
    ids = [folder.add("a", each).granted["fileid"] for each in ("1", "2", "3")]
    every = folder.ask("getfilemsg", label=folder.label, name="a").granted
    latest = folder.ask("getfilemsg", label=folder.label, name="a", latest=True).granted
    one = folder.ask("getfilemsg", fileid=ids[0]).granted

    assert ids[::-1] == [each["fileid"] for each in every]
    assert ids[-1:] == [each["fileid"] for each in latest]
    assert ids[:1] == [each["fileid"] for each in one]


def test_a_file_that_is_not_there_is_refused_by_name_and_by_id(folder: Folder) -> None:
    by_name = folder.ask("getfilemsg", label=folder.label, name="nosuch").refusal
    by_id = folder.ask("getfilemsg", fileid="nosuch").refusal
    by_nothing = folder.ask("getfilemsg", label=folder.label).refusal

    assert (404, "Failed to get file") == by_name
    assert (400, "Failed to get file") == by_id
    assert (500, "malformatted get file msg") == by_nothing


def test_removing_a_file_by_name_removes_every_revision(folder: Folder) -> None:
    folder.ids("a", "a", "b")

    assert {} == folder.ask("removefilemsg", label=folder.label, name="a").granted
    assert ["b"] == [each["name"] for each in folder.ask("getfilesmsg", label=folder.label).granted]
    assert {} == folder.ask("removefilemsg", label=folder.label, name="a").granted
    assert (400, "malformatted remove file msg") == folder.ask("removefilemsg", label=folder.label).refusal


def test_removing_a_revision_lays_the_one_before_open(folder: Folder) -> None:
    folder.add("a", "old")
    newest = folder.add("a", "new").granted["fileid"]
    folder.ask("removefilemsg", fileid=newest)

    assert ["old"] == [each["checksum"] for each in folder.ask("getfilesmsg", label=folder.label).granted]


def test_labels_count_revisions(folder: Folder) -> None:
    folder.ids("a", "a", "b", "sub/c", "sub/deeper/d")

    expected = {
        folder.label: 3,
        f"{folder.label}/sub": 1,
        f"{folder.label}/sub/deeper": 1,
    }
    assert expected == folder.labels(exact=True)
    assert expected == folder.labels(exact=False)


def test_a_label_that_holds_no_file_itself_is_forgotten_with_all_below_it(folder: Folder) -> None:
    folder.ids("sub/a", "sub/deeper/b")

    assert folder.labels(exact=True) is None
    assert {f"{folder.label}/sub": 1, f"{folder.label}/sub/deeper": 1} == folder.labels(exact=False)


def test_a_label_that_is_not_exact_is_how_others_begin_too(folder: Folder) -> None:
    folder.ids("pa/x", "pab/y", "pa/sub/z")

    below = folder.label
    assert {f"{below}/pa": 1, f"{below}/pab": 1, f"{below}/pa/sub": 1} == folder.labels("/pa", exact=False)
    assert {f"{below}/pa": 1, f"{below}/pa/sub": 1} == folder.labels("/pa", exact=True)


def test_an_underscore_and_a_percent_sign_stand_for_others(folder: Folder) -> None:
    folder.ids("p_a/x", "p_a/sub/x", "pxa/sub/y", "pxa/z")

    below = folder.label
    assert {f"{below}/p_a": 1, f"{below}/p_a/sub": 1, f"{below}/pxa/sub": 1} == folder.labels(
        "/p_a", exact=True
    )
    assert 4 == len(folder.labels("/p%a", exact=False) or {})


def test_a_label_whose_files_are_gone_is_gone(folder: Folder) -> None:
    folder.ids("a")
    folder.ask("removefilemsg", label=folder.label, name="a")

    assert folder.labels(exact=False) is None


def test_a_snapshot_holds_the_newest_of_all_below(folder: Folder) -> None:
    folder.add("a", "old")
    ids = folder.ids("a", "b", "sub/c", "sub/deeper/d")
    snapshot = folder.snapshot()

    assert sorted(ids) == sorted(snapshot["fileids"])
    assert (folder.label, folder.site.name) == (snapshot["label"], snapshot["colonyname"])
    folder.add("a", "newer")
    folder.ask("removefilemsg", label=folder.label, name="b")
    again = folder.ask("getsnapshotmsg", snapshotid=snapshot["snapshotid"]).granted
    assert sorted(ids) == sorted(again["fileids"])
    assert snapshot["name"] == again["name"]


def test_a_slash_at_the_end_of_a_label_does_not_count(folder: Folder) -> None:
    ids = folder.ids("a")
    snapshot = folder.snapshot("/")

    assert (ids, folder.label) == (snapshot["fileids"], snapshot["label"])


def test_a_snapshot_of_folders_only_holds_nothing(folder: Folder) -> None:
    folder.ids("sub/a", "sub/b")

    assert folder.snapshot()["fileids"] is None


def test_a_snapshot_of_a_label_with_an_underscore_holds_files_of_others(folder: Folder) -> None:
    mine = folder.ids("p_a/x")
    others = folder.ids("pxa/sub/y")

    assert sorted(mine + others) == sorted(folder.snapshot("/p_a")["fileids"])


def test_a_file_of_a_snapshot_that_was_removed_is_not_found(folder: Folder) -> None:
    ids = folder.ids("a")
    snapshot = folder.snapshot()
    folder.ask("removefilemsg", fileid=ids[0])

    assert ids == folder.ask("getsnapshotmsg", snapshotid=snapshot["snapshotid"]).granted["fileids"]
    assert 400 == folder.ask("getfilemsg", fileid=ids[0]).status


def test_names_of_snapshots_are_their_own(folder: Folder) -> None:
    name = folder.snapshot()["name"]
    refused = folder.ask("createsnapshotmsg", label=folder.label, name=name).refusal

    of = f"in Colony <{folder.site.name}>"
    assert (500, f"Snapshot with name <{name}> {of} already exists") == refused


def test_a_snapshot_that_is_not_there_is_an_error_of_the_server(folder: Folder) -> None:
    by_id = folder.ask("getsnapshotmsg", snapshotid="nosuch").refusal
    by_name = folder.ask("getsnapshotmsg", name="nosuch").refusal
    by_nothing = folder.ask("getsnapshotmsg").refusal

    of = f"in Colony <{folder.site.name}> does not exists"
    assert (500, f"Snapshot not found with Id <nosuch> {of}") == by_id
    assert (500, f"Snapshot not found with name <nosuch> {of}") == by_name
    assert (500, "Failed to get snapshot, malformatted msg") == by_nothing


def test_snapshots_are_found_by_name_listed_and_removed(folder: Folder) -> None:
    one, other = folder.snapshot(), folder.snapshot()
    by_name = folder.ask("getsnapshotmsg", name=one["name"]).granted
    every = [each["snapshotid"] for each in folder.ask("getsnapshotsmsg").granted]
    assert {} == folder.ask("removesnapshotmsg", snapshotid=one["snapshotid"]).granted
    left = [each["snapshotid"] for each in folder.ask("getsnapshotsmsg").granted]

    assert one["snapshotid"] == by_name["snapshotid"]
    assert [other["snapshotid"], one["snapshotid"]] == every[:2]
    assert one["snapshotid"] not in left
    assert {} == folder.ask("removesnapshotmsg", snapshotid="nosuch").granted


def test_files_are_the_colonys_not_their_makers(folder: Folder, colony: Site) -> None:
    other = Folder(colony, colony.executor(), folder.label)
    folder.ids("a")
    other.ask("removefilemsg", label=folder.label, name="a")

    assert [] == folder.ask("getfilesmsg", label=folder.label).granted
