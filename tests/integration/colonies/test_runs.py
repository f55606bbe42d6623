"""Runs that go to a colony where an executor takes them that is as the public ones are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.colonies.handing import Handing, handing
from support.colonies.public import Public
from support.colonies.sites import Site
from support.s3_servers import S3Server

pytestmark = pytest.mark.integration

IMAGE = "python:3.12"


@pytest.fixture(scope="module")
def public(colony: Site, rclone_s3: S3Server) -> Public:
    return Public(colony, rclone_s3)


@pytest.fixture(scope="module")
async def executor(colony: Site, public: Public, rclone_s3: S3Server) -> AsyncIterator[Handing]:
    seen = colony.seen_by(colony.user(), rclone_s3.settings().s3)
    async with handing(seen, image=IMAGE, executor_names=[public.name]) as one:
        yield one


async def test_a_run_goes_to_the_colony_and_comes_home(executor: Handing, public: Public) -> None:
    run = await executor.begins("print('hello')")
    spec = await asyncio.to_thread(public.take)
    files = await asyncio.to_thread(public.files)
    public.runs_on("n1", "n2")
    public.says("one\n", "two, ", "three\n")
    public.leaves({"r.txt": b"result", "deep/er/x": b"x", "empty": b"", "deep/none": b""})
    public.closes()
    ended = await executor.follow(run.id)

    assert f"pollinator-{run.id}" == spec["label"]
    assert {"main.py": b"print('hello')"} == files
    assert {0: b"one\ntwo, three\n"} == ended.output
    assert ["LAUNCHING", "QUEUED", "RUNNING", "COLLECTING", "SUCCEEDED"] == [
        each for each in ended.states if each != "STARTING"
    ]
    assert ["n1", "n2"] == list(ended.run.nodes)
    found = await executor.results(ended.run)

    assert {b"r.txt": b"result", b"deep/er/x": b"x", b"empty": b"", b"deep/none": b""} == {
        path: content for path, (kind, _, content) in found.items() if kind == "file"
    }
