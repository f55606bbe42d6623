"""The store that every server lends: one suite, run against every executor and against the daemon."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import grpc
import pytest

from pollinator.chunks.blobs import PeerStore
from pollinator.chunks.digest import digest_of
from pollinator.chunks.keeping import encode
from pollinator.chunks.keys import pack_key
from pollinator.chunks.pack import PackBuilder
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.keeping_pb2 import Lease, Ref
from pollinator.v1.run_pb2 import ListRunsRequest
from pollinator.v1.store_pb2 import FindMissingRequest, GetRequest, ListRequest, PutRequest
from support.executing import CALL_S
from support.serving import Refusal, Server, refused, server

__all__ = ["server"]

ABSENT = pack_key("p", digest_of(b"never stored"))
HOSTILE_KEYS = (
    "",
    "/etc/passwd",
    "../../etc/passwd",
    "p/../../../etc/passwd",
    f"p/00/{'0' * 63}/",
    f"p/01/{'0' * 64}",
    f"q/00/{'0' * 64}",
    f"p/00/{'0' * 64}\n",
    f"p/AB/AB{'0' * 62}",
    f"p/00/{'0' * 64}\0",
)
HOSTILE_PROJECTS = ("", ".", "..", "../other", "a/b", "/etc", ".hidden", "a\0b", "a\nb", "x" * 129, "é")


def pack(*chunks: bytes) -> tuple[str, bytes]:
    builder = PackBuilder("test")
    for chunk in chunks:
        builder.add(digest_of(chunk), chunk)
    row, body = builder.finish("p")
    return row.key, bytes(body)


async def put(server: Server, key: str, *parts: bytes, project: str = "demo") -> int:
    answer = await server.blobs.Put(uploads(key, parts, project), timeout=CALL_S)
    return answer.bytes


def uploads(key: str, parts: tuple[bytes, ...], project: str = "demo") -> Iterator[PutRequest]:
    yield PutRequest(project=project, key=key, data=parts[0] if parts else b"")
    for part in parts[1:]:
        yield PutRequest(data=part)


async def missing(server: Server, *keys: str, project: str = "demo") -> list[str]:
    answer = await server.blobs.FindMissing(FindMissingRequest(project=project, keys=keys), timeout=CALL_S)
    return list(answer.keys)


async def fetched(
    server: Server, key: str, offset: int = 0, length: int = 0, project: str = "demo"
) -> list[bytes]:
    request = GetRequest(project=project, key=key, offset=offset, length=length)
    return [block.data async for block in server.blobs.Get(request, timeout=CALL_S)]


async def test_an_object_comes_back_in_blocks(server: Server) -> None:
    key, body = pack(random_bytes(300_000), b"small")
    before = await missing(server, ABSENT, key)
    stored = await put(server, key, body)
    after = await missing(server, ABSENT, key)
    blocks = await fetched(server, key)

    assert [ABSENT, key] == before
    assert len(body) == stored
    assert [ABSENT] == after
    assert body == b"".join(blocks)
    assert 64 * 1024 == max(len(block) for block in blocks)


async def test_an_upload_may_be_cut_anywhere(server: Server) -> None:
    key, body = pack(random_bytes(200_000, b"cut anywhere"))
    await put(server, key, b"", body[:1], body[1:8], b"", body[8:150_000], body[150_000:], b"")

    assert body == b"".join(await fetched(server, key))


async def test_ranges_of_an_object_can_be_fetched(server: Server) -> None:
    key, body = pack(random_bytes(200_000, b"ranges"))
    await put(server, key, body)
    ranges = [(0, 0), (0, 1), (5, 0), (100, 70_000), (len(body) - 1, 10), (len(body), 0), (len(body) + 9, 9)]

    for offset, length in ranges:
        expected = body[offset : offset + length if length else None]
        assert expected == b"".join(await fetched(server, key, offset, length)), (offset, length)


async def test_an_object_that_is_not_there_is_not_found(server: Server) -> None:
    refusal = await refused(server.blobs.Get(GetRequest(project="demo", key=ABSENT), timeout=CALL_S))

    assert Refusal(grpc.StatusCode.NOT_FOUND, "object_missing", "pollinator.dev") == refusal


@pytest.mark.parametrize("key", HOSTILE_KEYS)
async def test_what_is_no_key_is_refused(server: Server, key: str) -> None:
    expected = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad_key", "pollinator.dev", ("key",))
    asked = FindMissingRequest(project="demo", keys=[key])

    assert expected == await refused(server.blobs.Get(GetRequest(project="demo", key=key), timeout=CALL_S))
    assert expected == await refused(server.blobs.Put(uploads(key, (b"x",)), timeout=CALL_S))
    assert expected == await refused(server.blobs.FindMissing(asked, timeout=CALL_S))


@pytest.mark.parametrize("project", HOSTILE_PROJECTS)
async def test_what_is_no_project_is_refused(server: Server, project: str) -> None:
    key, body = pack(b"chunk")
    expected = Refusal(grpc.StatusCode.INVALID_ARGUMENT, "bad_project", "pollinator.dev", ("project",))
    asked = FindMissingRequest(project=project, keys=[key])

    assert expected == await refused(server.blobs.Get(GetRequest(project=project, key=key), timeout=CALL_S))
    assert expected == await refused(server.blobs.Put(uploads(key, (body,), project), timeout=CALL_S))
    assert expected == await refused(server.blobs.FindMissing(asked, timeout=CALL_S))


async def test_content_that_its_key_does_not_name_is_not_stored(server: Server) -> None:
    key, body = pack(random_bytes(5000, b"wrong"))
    flawed = body[:100] + bytes([body[100] ^ 1]) + body[101:]
    wrong = [(key, flawed), (key, body[:-1]), (key, b""), (ABSENT, body), (key, random_bytes(5000))]
    refusals = [
        await refused(server.blobs.Put(uploads(name, (data,)), timeout=CALL_S)) for name, data in wrong
    ]

    assert {grpc.StatusCode.DATA_LOSS} == {refusal.code for refusal in refusals}
    assert {"bad_pack", "bad_chunk"} == {refusal.reason for refusal in refusals}
    assert [key, ABSENT] == await missing(server, key, ABSENT)


async def test_an_upload_of_nothing_is_refused(server: Server) -> None:
    refusal = await refused(server.blobs.Put(iter([]), timeout=CALL_S))

    assert (grpc.StatusCode.INVALID_ARGUMENT, "bad_key") == (refusal.code, refusal.reason)


async def test_an_upload_that_is_broken_off_stores_nothing(server: Server) -> None:
    key, body = pack(random_bytes(100_000, b"broken off"))
    call = server.blobs.Put(timeout=CALL_S)
    await call.write(PutRequest(project="demo", key=key, data=body[:50_000]))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert [key] == await missing(server, key)


async def test_a_listing_names_what_was_stored(server: Server) -> None:
    key, body = pack(b"to be listed")
    await put(server, key, body, project="listed")
    asked = ListRequest(project="listed", prefix="p/")
    found = [each async for answer in server.blobs.List(asked, timeout=CALL_S) for each in answer.objects]

    assert [(key, len(body))] == [(each.key, each.size) for each in found]
    assert abs(found[0].modify_time.ToSeconds() - time.time()) < 3600


async def test_of_what_keeps_objects_a_peer_may_only_write_leases(server: Server) -> None:
    lease, ref = encode(Lease()), encode(Ref())
    await put(server, "l/run1", lease)
    refusals = [
        await refused(server.blobs.Put(uploads(key, (body,)), timeout=CALL_S))
        for key, body in ((f"r/{'0' * 32}", ref), (f"g/{'0' * 32}", ref), ("l/run1", b"nonsense"))
    ]

    assert lease == b"".join(await fetched(server, "l/run1"))
    assert ["not_offered", "not_offered", "bad_keeping"] == [refusal.reason for refusal in refusals]


async def test_projects_do_not_see_each_others_objects(server: Server) -> None:
    key, body = pack(b"of one project")
    await put(server, key, body, project="one")

    assert [key] == await missing(server, key, project="other")


async def test_the_store_of_a_peer_can_be_used_like_any_other(server: Server) -> None:
    key, body = pack(random_bytes(3 << 20, b"peer"))

    def work() -> tuple[list[str], bytes, bytes]:
        store = PeerStore(grpc.insecure_channel(server.address), "demo", server.address)
        try:
            store.put(key, body)
            return store.missing([key, ABSENT]), store.get(key), store.get(key, 1000, 5)
        finally:
            store.close()

    assert ([ABSENT], body, body[1000:1005]) == await asyncio.to_thread(work)


async def test_a_call_whose_time_is_over_says_so_and_harms_nothing(server: Server) -> None:
    key, body = pack(random_bytes(100_000, b"too slow"))
    call = server.blobs.Put(timeout=0.2)
    await call.write(PutRequest(project="demo", key=key, data=body[:50_000]))
    refusal = await refused(call)

    assert grpc.StatusCode.DEADLINE_EXCEEDED == refusal.code
    assert [key] == await missing(server, key)


async def test_bulk_transfers_do_not_hold_up_small_calls(server: Server) -> None:
    key, body = pack(*(random_bytes(2 << 20, b"%d" % at) for at in range(10)))
    parts = tuple(body[at : at + 65536] for at in range(0, len(body), 65536))
    loop = asyncio.get_running_loop()
    taken: list[float] = []
    async with asyncio.TaskGroup() as group:
        transfer = group.create_task(put(server, key, *parts))
        while not transfer.done():
            began = loop.time()
            await server.runs.ListRuns(ListRunsRequest(), timeout=CALL_S)
            taken.append(loop.time() - began)

    assert len(body) == transfer.result()
    assert 0.1 > sorted(taken)[len(taken) // 2]
