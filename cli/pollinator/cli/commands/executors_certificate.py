"""``pollinator executors certificate``."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command

if TYPE_CHECKING:
    from pollinator.wire.certificates import Pair

SECRET = "pollinator-executor-certificate"  # noqa: S105 - the name of one, as the chart has it


@click.command(
    "certificate",
    cls=Command,
    short_help="Make the certificates for an executor at grpcs:// or kube://.",
    examples=(
        "pollinator executors certificate hall --host hall.example.org",
        "pollinator executors certificate hall --host hall.example.org --host 10.1.2.3 --replace",
    ),
)
@click.option(
    "--host",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Name or address by which the executor is reached; may be given several times.  [default: NAME]",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to make them.  [default: where the daemon looks for them]",
)
@click.option("--replace", is_flag=True, help="Make new ones where there are some already.")
@click.argument("name", metavar="NAME")
def executor_certificate(name: str, hosts: tuple[str, ...], directory: Path | None, replace: bool) -> int:
    """Make a pair of certificates, for an executor that a site or a cluster runs as a service and the daemon.

    Each believes the other and nobody else: what signs them is forgotten at once.
    """
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal
    from pollinator.wire.certificates import folder_of, make_pair

    terminal = Terminal()
    folder = (directory or folder_of(name)).absolute()
    pair = make_pair(folder, name, hosts or (name,), replace=replace)
    for line in _what_goes_where(name, (hosts or (name,))[0], pair, told=directory is not None):
        terminal.print(line)
    return int(Exit.OK)


def _what_goes_where(name: str, host: str, pair: Pair, *, told: bool) -> Iterator[str]:
    there = "pollinator-server"
    options = " ".join(f"--{each} {there}/{each}.pem" for each in ("certificate", "key", "authority"))
    client = pair.client
    settings = "".join(
        f" --set tls.{each}={path}"
        for each, path in (
            ("certificate", client.certificate),
            ("key", client.key),
            ("authority", client.authority),
        )
    )
    address = f"[{host}]" if ":" in host else host
    yield f"Good until {pair.until:%Y-%m-%d}."
    yield ""
    yield "The executor's side goes to its machine, where only its user may read it:"
    yield f"  scp -pr {pair.server.key.parent} {address}:{there}"
    yield f"  pollinator-executor KIND --state DIR --listen 0.0.0.0:7443 {options}"
    yield ""
    yield f"The daemon's side stays here, in {client.key.parent}:"
    yield f"  pollinator executors add {name} grpcs://{address}:7443{settings if told else ''}"
    yield ""
    yield "Or in a namespace of a Kubernetes cluster:"
    half = shlex.quote(str(pair.server.key.parent))
    yield f"  kubectl --namespace NAMESPACE create secret generic {SECRET} --from-file={half}"
    named = "" if host == name else f" --set kube.host={host}"
    yield f"  pollinator executors add {name} kube://CONTEXT/NAMESPACE{named}{settings if told else ''}"
