"""The list of executors, and what an executor's process may know."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from pollinator.daemon import registry as registry_module
from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.reach.local import executor_environment
from pollinator.daemon.reach.transport import NotLoggedIn
from pollinator.daemon.registry import Registry
from pollinator.v1.executor_pb2 import Reach
from pollinator.wire.errors import AlreadyExists, Corrupt, InvalidInput, Unavailable, WrongState
from pollinator.wire.presence import holder_of
from pollinator.wire.status import error_status
from support.scripted_executor import until


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncGenerator[Registry]:
    registry = Registry(tmp_path / "executors")
    yield registry
    await registry.close()


async def test_credentials_for_a_cluster_reach_its_executor_but_those_of_the_store_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("AWS_S3_SECRETKEY", "COLONIES_PRVKEY", "AWS_PROFILE"):
        monkeypatch.setenv(name, f"of {name}")

    found = {name for name, value in executor_environment("kubernetes").items() if value.startswith("of ")}

    assert {"AWS_PROFILE"} == found


async def test_runs_of_a_cluster_get_credentials_of_their_own_though_its_executor_is_here(
    registry: Registry,
) -> None:
    assert registry.add("second", "local:", "local", {}).near
    lab = registry.add("lab", "local:", "kubernetes", {})
    assert (False, True) == (lab.near, lab.transport.trusted)


def end_executor(state: Path) -> None:
    """End the process that was started for a test."""
    holder = holder_of(state / "executor.lock")
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)


async def test_an_executor_that_does_not_run_says_nothing_and_is_not_started_for_a_question(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        await registry.get("local").describe(0.5)

    assert not (tmp_path / "executors").exists()


async def test_an_executor_whose_process_ends_is_told_with_its_log(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    link: ExecutorLink = registry.get("local")

    with pytest.raises(Unavailable) as caught:
        await link.ensure()

    assert "executor_down" == caught.value.reason
    assert "its process ended with 1" in caught.value.message
    assert str(tmp_path / "executors/local/executor.log") in caught.value.hint


async def test_what_an_executor_refuses_has_the_name_that_it_has_here(registry: Registry) -> None:
    link = registry.add("lumi", "unix:/nobody", "slurm", {})
    refusal = InvalidInput("no", reason="cannot_run_here", hint="see pollinator executors show NAME")
    status = error_status(refusal)
    metadata = grpc.aio.Metadata(*status.trailing_metadata)
    error = grpc.aio.AioRpcError(status.code, metadata, metadata, status.details)

    assert "see pollinator executors show lumi" == link.meant(error).hint


def test_credentials_of_the_daemon_do_not_reach_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_S3_SECRETKEY", "AWS_SECRET_ACCESS_KEY", "COLONIES_PRVKEY", "POLLINATOR_CRASH_AT"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("KEPT", "yes")

    environment = executor_environment()

    assert "secret" not in environment.values()
    assert ("yes", "0") == (environment["KEPT"], environment["GRPC_ENABLE_FORK_SUPPORT"])


# What was added


async def test_what_was_added_is_there_for_the_next_daemon_and_for_nobody_else(tmp_path: Path) -> None:
    Registry(tmp_path).add("lumi", "ssh://ada@lumi:2222", "slurm", {"slurm.account": "p"})

    place = Registry(tmp_path).get("lumi").place

    assert ("ssh://ada@lumi:2222", "slurm", {"slurm.account": "p"}) == (
        place.address,
        place.kind,
        place.settings,
    )
    assert 0o600 == (tmp_path / "executors.json").stat().st_mode & 0o777


async def test_settings_that_were_changed_are_there_for_the_next_daemon_at_the_same_place(
    tmp_path: Path,
) -> None:
    registry = Registry(tmp_path)
    before = registry.add("lumi", "ssh://lumi", "slurm", {"slurm.account": "a", "slurm.qos": "b"}).place

    await registry.configure("lumi", {"slurm.account": "c", "slurm.poll": "5-60"}, ["slurm.qos"])

    place = Registry(tmp_path).get("lumi").place
    assert {"slurm.account": "c", "slurm.poll": "5-60"} == place.settings
    assert before.mark == place.mark
    assert place == registry.get("lumi").place


@pytest.mark.parametrize(
    ("name", "settings", "unset"),
    [
        ("local", {"slurm.account": "a"}, []),
        ("served", {"slurm.account": "a"}, []),
        ("hall", {"slurm.account": "a"}, []),
        ("hall", {"tls.key": "relative"}, []),
        ("lab", {"kubernetes.image": "python:3.12"}, []),
        ("lab", {"kube.config": "relative"}, []),
        ("lab", {"kube.nonsense": "x"}, []),
        ("lumi", {"ssh.dir": "/elsewhere"}, []),
        ("lumi", {"ssh.nonsense": "x"}, []),
        ("lumi", {"ssh.python": "a b; c"}, []),
        ("lumi", {}, ["slurm.account"]),
        ("nobody", {"slurm.account": "a"}, []),
    ],
)
async def test_a_setting_that_cannot_be_changed_stays_as_it_is(
    tmp_path: Path, name: str, settings: dict[str, str], unset: list[str]
) -> None:
    registry = Registry(tmp_path)
    registry.add("lumi", "ssh://lumi", "slurm", {})
    registry.add("hall", "grpcs://hall:7443", "slurm", {})
    registry.add("served", "unix:/x.sock", "slurm", {})
    registry.add("lab", "kube://lab/runs", "", {})

    with pytest.raises(InvalidInput):
        await registry.configure(name, settings, unset)

    assert all(not registry.get(each).place.settings for each in ("lumi", "hall", "served", "lab"))
    await registry.close()


async def test_another_executor_of_the_same_name_and_address_is_another_place(tmp_path: Path) -> None:
    marks = {Registry(tmp_path / each).add("lumi", "ssh://lumi", "", {}).place.mark for each in "ab"}

    assert 2 == len(marks)


@pytest.mark.parametrize("name", ["", "Lumi", "-x", "a b", "a/b", "..", "x" * 64])
async def test_a_name_that_would_not_do_for_a_file_is_refused(registry: Registry, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.add(name, "ssh://lumi", "", {})

    assert "bad_name" == caught.value.reason


@pytest.mark.parametrize(
    "address",
    [
        "lumi",
        "unix:relative",
        "http://lumi",
        "ssh://",
        "ssh://-oProxyCommand=x",
        "ssh://a@-oProxyCommand=x",
        "ssh://lumi:port",
        "ssh://lumi/path",
        "ssh://lumi;x",
        "ssh://lumi\n",
    ],
)
async def test_an_address_that_cannot_be_meant_is_refused_and_not_kept(
    registry: Registry, address: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.add("lumi", address, "", {})

    assert "bad_address" == caught.value.reason
    assert ["local"] == registry.names()


@pytest.mark.parametrize(
    "address", ["ssh://lumi", "ssh://a.b+c@lumi.example.org:22", "ssh://ada@[::1]:22", "unix:/run/x.sock"]
)
async def test_an_address_that_can_is_taken(registry: Registry, address: str) -> None:
    assert address == registry.add("lumi", address, "", {}).address


async def test_a_setting_of_ssh_that_nobody_knows_is_refused(registry: Registry) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.add("lumi", "ssh://lumi", "", {"ssh.pyton": "x"})

    assert "known are: ssh.dir, ssh.python" == caught.value.hint


async def test_a_name_that_is_taken_is_refused(registry: Registry) -> None:
    for name in ("local", "lumi"):
        if name not in registry.names():
            registry.add(name, "ssh://lumi", "", {})
        with pytest.raises(AlreadyExists):
            registry.add(name, "ssh://lumi", "", {})


async def test_the_executor_of_this_machine_cannot_be_removed(registry: Registry) -> None:
    with pytest.raises(InvalidInput):
        await registry.remove("local", busy=False)


async def test_one_that_was_removed_is_not_there_for_the_next_daemon(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add("mine", f"unix:{tmp_path}/x.sock", "", {})

    left = await registry.remove("mine", busy=False)

    assert "" == left
    assert ["local"] == Registry(tmp_path).names()


async def test_one_that_was_removed_is_not_brought_up_by_somebody_who_still_knows_it(
    registry: Registry, tmp_path: Path
) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\necho x >> {tmp_path}/calls\nexit 255\n")
    ssh.chmod(0o755)
    registry = Registry(tmp_path / "daemon", [str(ssh)])
    link = registry.add("lumi", "ssh://lumi", "", {})
    left, late = await asyncio.gather(
        registry.remove("lumi", busy=False), link.ensure(), return_exceptions=True
    )
    calls = (tmp_path / "calls").read_text()
    with pytest.raises(WrongState):
        await link.ensure()

    assert "stay at ssh://lumi" in str(left)
    assert isinstance(late, WrongState)
    assert "executor_missing" == late.reason
    assert calls == (tmp_path / "calls").read_text()
    await registry.close()


async def test_a_damaged_list_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "executors.json").write_text('{"executors": [{"name": "lu')

    with pytest.raises(Corrupt) as caught:
        Registry(tmp_path)

    assert str(tmp_path / "executors.json") in caught.value.message


async def test_one_that_this_version_cannot_reach_is_kept_for_one_that_can(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add("lumi", "ssh://lumi", "", {})
    path = tmp_path / "executors.json"
    path.write_text(path.read_text().replace("ssh://lumi", "carrier-pigeon:lumi"))

    again = Registry(tmp_path)
    again.add("other", "ssh://other", "", {})

    assert ["local", "other"] == again.names()
    assert "carrier-pigeon:lumi" in path.read_text()


# Reaching


async def test_a_socket_that_somebody_else_serves_is_used_and_tells_its_kind(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "daemon")
    own = registry.get("local")
    await own.ensure()
    link = registry.add("mine", own.address, "", {})

    found = await link.connect(print)

    assert ("mine", "local", Reach.REACH_CONNECTED) == (found.name, found.kind, found.reach)
    assert "local" == Registry(tmp_path / "daemon").get("mine").place.kind
    await registry.close()
    end_executor(tmp_path / "daemon/local")


async def test_a_socket_where_nobody_listens_is_out_of_reach_once_somebody_asked(
    registry: Registry, tmp_path: Path
) -> None:
    link = registry.add("mine", f"unix:{tmp_path}/x.sock", "slurm", {"a.b": "c"})
    before = await link.look()

    with pytest.raises(Unavailable) as caught:
        await link.ensure()

    after = await link.look()
    assert "executor_down" == caught.value.reason
    assert (Reach.REACH_IDLE, "nobody has answered there yet") == (before.reach, before.health_detail)
    assert (Reach.REACH_UNREACHABLE, caught.value.message) == (after.reach, after.health_detail)
    assert ("slurm", {"a.b": "c"}) == (after.kind, dict(after.settings))


async def test_what_failed_a_moment_ago_is_not_tried_again_unless_somebody_is_in_a_hurry(
    registry: Registry, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f"#!/bin/sh\necho x >> {calls}\necho 'lumi: Permission denied (publickey).' >&2\nexit 255\n"
    )
    ssh.chmod(0o755)
    registry = Registry(tmp_path / "daemon", [str(ssh)])
    link = registry.add("lumi", "ssh://lumi", "", {})
    with pytest.raises(NotLoggedIn):
        await link.ensure()
    first = calls.read_text()

    with pytest.raises(NotLoggedIn):
        await link.ensure()
    soon = calls.read_text()
    with pytest.raises(NotLoggedIn):
        await link.connect(print)

    assert first == soon
    assert len(first) * 2 == len(calls.read_text())
    looked = await link.look()
    assert (Reach.REACH_NEEDS_AUTH, "pollinator executors login lumi") == (looked.reach, looked.fix)
    assert [str(ssh)] == list(looked.login)[:1]
    await registry.close()


# Looking after those that are far away


@asynccontextmanager
async def looked_after(registry: Registry) -> AsyncGenerator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(registry.look_after())
        # So that it has seen who is there.
        await asyncio.sleep(0)
        try:
            yield
        finally:
            task.cancel()
    await registry.close()


async def test_one_that_is_dead_holds_up_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "TROUBLED_S", 0.01)
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\nexec sleep 60\n")
    ssh.chmod(0o755)
    registry = Registry(tmp_path / "daemon", [str(ssh)])
    dead = registry.add("dead", "ssh://dead", "", {})
    other = registry.add("other", f"unix:{tmp_path}/x.sock", "", {})
    async with looked_after(registry):
        for _ in range(3):
            other.trouble = None
            await until(lambda: other.trouble is not None, "the other one is looked after")

        assert Reach.REACH_CONNECTING == dead.reach


async def test_one_that_is_added_is_looked_after_and_one_that_was_removed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TROUBLED_S", "LOOK_S"):
        monkeypatch.setattr(registry_module, name, 0.01)
    registry = Registry(tmp_path)
    async with looked_after(registry):
        link = registry.add("mine", f"unix:{tmp_path}/x.sock", "", {})
        await until(lambda: link.trouble is not None, "it is looked after")
        await registry.remove("mine", busy=False)

        def connecting() -> bool:
            return any(task.get_name() == "connect mine" for task in asyncio.all_tasks())

        await until(lambda: not connecting(), "nobody looks after it any more")
