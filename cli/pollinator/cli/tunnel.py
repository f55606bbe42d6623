"""A port of this machine that leads to a port of the node where a run is, for as long as it is followed.

By the user's own ssh: its configuration, its agent, its known hosts. Only this machine reaches the port.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress

from pollinator.cli.connect import PATIENCE_S, Daemon
from pollinator.cli.terminal import Terminal
from pollinator.v1.daemon_pb2 import GetSettingsRequest
from pollinator.v1.run_pb2 import Run, RunState, WatchRunRequest
from pollinator.v1.spec_pb2 import Tunnel
from pollinator.wire.streams import follow_run

LOOPBACK = "127.0.0.1"
PAUSE_S = 2.0
LONGEST_PAUSE_S = 30.0
END_S = 3.0
_NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def missing(tunnel: Tunnel) -> list[str]:
    """Keys without which a tunnel leads nowhere."""
    wanted = {
        "tunnel.jumpHost": tunnel.jump_host,
        "tunnel.localPort": tunnel.local_port,
        "tunnel.remotePort": tunnel.remote_port,
    }
    return [key for key, value in wanted.items() if not value]


async def keep_tunnel(daemon: Daemon, terminal: Terminal, run: Run) -> None:
    """Open the tunnel of a run once it is known where it runs, and again after a cut; until cancelled."""
    if keys := missing(run.spec.tunnel):
        terminal.warn(f"no tunnel: {', '.join(keys)} is not set")
        return
    node = await _node_of(daemon, run.id)
    if node is None:
        return
    if not _NODE.fullmatch(node):
        terminal.warn(f"no tunnel: {node!r} is no name of a node")
        return
    answer = await daemon.ask(daemon.daemon.GetSettings, GetSettingsRequest())
    ssh = next(each.value for each in answer.settings if each.name == "ssh_command")
    command = ssh_command(shlex.split(ssh), run.spec.tunnel, node)
    pause_s = PAUSE_S
    while True:
        if await _held(command, terminal, run.spec.tunnel, node):
            pause_s = PAUSE_S
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def ssh_command(ssh: Sequence[str], tunnel: Tunnel, node: str) -> list[str]:
    """How the tunnel is opened. It prints a line once it is there.

    Args:
        ssh: how ssh is called.
        tunnel: what was asked for.
        node: where the run is.
    """
    command = [*ssh, "-N", "-T", "-o", "ExitOnForwardFailure=yes", "-o", "ServerAliveInterval=15"]
    # An open connection of somebody else is not asked: the port would end with it, or outlive us.
    command += ["-o", "ControlPath=none", "-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo there"]
    command += ["-L", f"{LOOPBACK}:{tunnel.local_port}:{node}:{tunnel.remote_port}"]
    if tunnel.user:
        command += ["-l", tunnel.user]
    if tunnel.jump_host_port:
        command += ["-p", str(tunnel.jump_host_port)]
    if tunnel.ssh_key:
        command += ["-i", tunnel.ssh_key]
    return [*command, "--", tunnel.jump_host]


async def _node_of(daemon: Daemon, run_id: str) -> str | None:
    """The node of the first rank, as soon as the run runs; None when it ended without."""
    run = Run()
    request = WatchRunRequest(run_id=run_id, follow=True)
    async for message in follow_run(daemon.runs, request, patience_s=PATIENCE_S, on_cut=daemon.revive):
        match message.WhichOneof("kind"):
            case "run":
                run.CopyFrom(message.run)
            case "event" if message.event.HasField("state_changed"):
                run.state = message.event.state_changed.state
            case "event" if message.event.HasField("nodes_assigned"):
                run.nodes[:] = message.event.nodes_assigned.nodes
            case _:
                continue
        if run.state == RunState.RUN_STATE_RUNNING and run.nodes:
            return run.nodes[0]
    return None


async def _held(command: Sequence[str], terminal: Terminal, tunnel: Tunnel, node: str) -> bool:
    """Hold the tunnel until it breaks; whether it was there at all."""
    # What it asks, it asks on the terminal itself.
    ssh = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    assert ssh.stdout is not None
    assert ssh.stderr is not None
    try:
        there = bool(await ssh.stdout.readline())
        if there:
            terminal.say(f"Port {tunnel.remote_port} of {node} is at http://localhost:{tunnel.local_port}")
        said = (await ssh.stderr.read()).decode(errors="replace").strip()
        await ssh.wait()
        terminal.warn(f"the tunnel {'broke' if there else 'cannot be opened'}: {said or 'ssh ended'}")
        return there
    finally:
        await _end(ssh)


async def _end(ssh: Process) -> None:
    if ssh.returncode is not None:
        return
    with suppress(ProcessLookupError):
        ssh.terminate()
    try:
        await asyncio.wait_for(ssh.wait(), END_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            ssh.kill()
