"""Files and members by our client, against a server: the double, and a real one if there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.messages import FileRow
from pollinator.wire.errors import AlreadyExists, Denied, NotFound
from support.colonies.asking import stranger
from support.colonies.sites import Site
from support.colonies.staging import CHECKSUM, NOBODY, Stage, file

pytestmark = pytest.mark.integration


@pytest.fixture
async def stage(colony: Site) -> AsyncIterator[Stage]:
    stage = Stage(colony)
    yield stage
    for client in (stage.user, stage.executor, stage.owner):
        await client.close()


async def test_a_file_has_revisions(stage: Stage) -> None:
    label = f"/{stage.site.fresh('files')}"
    first = await stage.user.add_file(file(stage, label, "a", size=1))
    second = await stage.user.add_file(file(stage, label, "a", size=2))

    assert second == await stage.user.file(label, "a")
    assert first == await stage.user.file_by_id(first.id)
    assert first.sequence < second.sequence
    assert (label, "a", 1, CHECKSUM) == (first.label, first.name, first.size, first.checksum)
    assert 64 == len(first.object)
    assert [FileRow("a", CHECKSUM, 2, second.object)] == await stage.user.files(label)
    await stage.user.remove_file(label, "a")
    await stage.user.remove_file(label, "a")
    assert [] == await stage.user.files(label)
    for asked in (stage.user.file(label, "a"), stage.user.file_by_id(second.id)):
        with pytest.raises(NotFound):
            await asked


async def test_labels_are_those_below(stage: Stage) -> None:
    label = f"/{stage.site.fresh('files')}"
    for each in (f"{label}/a", f"{label}/a/b", f"{label}c", f"{label}_"):
        await stage.user.add_file(file(stage, each, "x"))

    assert [f"{label}/a", f"{label}/a/b"] == await stage.user.labels(label)
    assert [f"{label}/a", f"{label}/a/b"] == await stage.user.labels(f"{label}/a")
    assert [] == await stage.user.labels(f"{label}/none")


async def test_a_snapshot_keeps_what_was(stage: Stage) -> None:
    label = f"/{stage.site.fresh('files')}"
    files = [await stage.user.add_file(file(stage, *each)) for each in ((label, "a"), (f"{label}/b", "c"))]
    snapshot = await stage.user.create_snapshot(label, stage.site.fresh("snapshot"))
    await stage.user.add_file(file(stage, label, "a"))

    assert {each.id for each in files} == set(snapshot.file_ids)
    assert snapshot == await stage.user.snapshot(snapshot.id)
    assert label == snapshot.label
    await stage.user.remove_snapshot(snapshot.id)
    with pytest.raises(NotFound):
        await stage.user.snapshot(snapshot.id)


async def test_an_executor_comes_and_goes(stage: Stage) -> None:
    member = stranger(stage.site.fresh("executor"))
    client = Client(stage.site.seen_by(member))
    await stage.owner.add_executor(member.identity, member.name, "kind")
    with pytest.raises(Denied):
        await client.assign(-1)
    await stage.owner.approve_executor(member.name)
    await client.add_function(member.name, "execute")
    assert await client.assign(-1) is None

    assert {(member.name, "kind", member.identity, 1)} <= {
        (each.name, each.type, each.id, each.state) for each in await stage.user.executors()
    }
    await stage.owner.remove_executor(member.name)
    with pytest.raises(Denied):
        await client.assign(-1)
    for asked in (stage.owner.approve_executor("no-such"), stage.owner.remove_executor("no-such")):
        with pytest.raises(NotFound):
            await asked
    await client.close()


async def test_a_name_is_taken_once(stage: Stage) -> None:
    user = stranger("user")
    fields = {"colonyname": stage.site.name, "userid": user.identity, "name": stage.site.fresh("user")}
    await stage.owner.rpc.call("addusermsg", {"user": fields})

    with pytest.raises(AlreadyExists):
        await stage.owner.rpc.call("addusermsg", {"user": fields})


async def test_capabilities_are_told(stage: Stage) -> None:
    member = stranger(stage.site.fresh("executor"))
    capabilities = {"hardware": [], "software": [{"name": "pollinator", "type": "", "version": "1"}]}
    await stage.owner.add_executor(member.identity, member.name, "kind", capabilities)

    [found] = [each for each in await stage.user.executors() if each.name == member.name]
    assert ({"pollinator": ""}, 0, None) == (found.software, found.state, found.last_heard)


async def test_the_server_says_its_version_to_anybody(stage: Stage) -> None:
    client = Client(stage.site.seen_by(stranger("nobody")))

    assert await client.version()
    await client.close()


async def test_a_stranger_is_denied_and_told_who_it_is(stage: Stage) -> None:
    nobody = stranger("nobody")
    client = Client(stage.site.seen_by(nobody))
    for asked in (client.submit(stage.spec()), client.executors(), client.files("/a"), client.assign(-1)):
        with pytest.raises(Denied) as caught:
            await asked

        assert nobody.identity in caught.value.hint
    await client.close()


async def test_a_user_is_no_executor_and_no_owner(stage: Stage) -> None:
    for asked in (
        stage.user.assign(-1),
        stage.user.approve_executor(stage.worker.name),
        stage.user.add_executor(NOBODY, "n", "t"),
    ):
        with pytest.raises(Denied):
            await asked


async def test_a_colony_that_is_none_is_denied(stage: Stage) -> None:
    seen = stage.site.seen_by(stranger("nobody"))
    seen.name = "no-such-colony"
    client = Client(seen)

    with pytest.raises(Denied, match="no-such-colony"):
        await client.executors()
    await client.close()
