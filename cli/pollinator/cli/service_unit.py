"""Files that make the system start the daemon at login: a systemd user unit, a launchd agent.

Both leave what the daemon has started alone when they stop it: executors and runs outlive the daemon.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pollinator.cli.spawn import daemon_command

LABEL = "dev.pollinator.daemon"
UNIT = "pollinatord.service"
_PASSED_ON = ("PATH", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")


@dataclass(frozen=True, slots=True)
class Registration:
    """A file for the system's service manager and the commands that make it look at it."""

    path: Path
    text: str
    after_install: Sequence[Sequence[str]]
    before_uninstall: Sequence[Sequence[str]]
    after_uninstall: Sequence[Sequence[str]]
    note: str


def registration(environ: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Registration:
    """What this system wants."""
    return _launchd(environ) if platform == "darwin" else _systemd(environ)


def systemd_unit(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """The text of the systemd user unit."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    variables = {name: environ[name] for name in _PASSED_ON if environ.get(name)}
    if runtime and runtime != f"/run/user/{os.getuid()}":
        variables["XDG_RUNTIME_DIR"] = runtime
    lines = [
        "[Unit]",
        "Description=Pollinator: keeps projects in sync and drives their runs",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStart={' '.join(_systemd_word(word) for word in command)}",
        *(f"Environment={_systemd_word(f'{name}={value}')}" for name, value in variables.items()),
        "Restart=on-failure",
        "RestartSec=1",
        "# Executors and runs outlive the daemon: only its own process is ended.",
        "KillMode=process",
        "SendSIGKILL=no",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def launchd_plist(command: Sequence[str], environ: Mapping[str, str], log: Path) -> str:
    """The text of the launchd agent."""
    import plistlib

    agent = {
        "Label": LABEL,
        "ProgramArguments": list(command),
        "EnvironmentVariables": {name: environ[name] for name in _PASSED_ON if environ.get(name)},
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "AbandonProcessGroup": True,
        "StandardOutPath": str(log),
        "StandardErrorPath": str(log),
    }
    return plistlib.dumps(agent).decode()


def _systemd(environ: Mapping[str, str]) -> Registration:
    config = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    control = ("systemctl", "--user")
    return Registration(
        path=Path(config, "systemd", "user", UNIT),
        text=systemd_unit(daemon_command(), environ),
        after_install=((*control, "daemon-reload"), (*control, "enable", "--now", UNIT)),
        before_uninstall=((*control, "disable", "--now", UNIT),),
        after_uninstall=((*control, "daemon-reload"),),
        note="to keep it running after you log out: loginctl enable-linger",
    )


def _launchd(environ: Mapping[str, str]) -> Registration:
    from pollinator.cli.spawn import start_log

    path = Path.home() / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    domain = f"gui/{os.getuid()}"
    return Registration(
        path=path,
        text=launchd_plist(daemon_command(), environ, start_log()),
        after_install=(("launchctl", "bootstrap", domain, str(path)),),
        before_uninstall=(("launchctl", "bootout", f"{domain}/{LABEL}"),),
        after_uninstall=(),
        note="",
    )


def _systemd_word(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"' if any(mark in text for mark in " \t\"'\\;") else escaped
