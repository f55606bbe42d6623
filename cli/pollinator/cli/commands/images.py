"""``pollinator images``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pollinator.cli.group import Command, Lazy, LazyGroup
from pollinator.cli.options import Decorator, complete_executors, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pollinator.cli.connect import Daemon
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import Image, PullImageRequest

_HERE = "pollinator.cli.commands.images"


def _executor_option() -> Decorator[Any]:
    return click.option(
        "--executor",
        metavar="NAME",
        default="local",
        show_default=True,
        shell_complete=complete_executors,
        help="Where the images are.",
    )


@click.command(
    "images",
    cls=LazyGroup,
    short_help="Container images that are kept ready for runs.",
    lazy={
        "list": Lazy(_HERE, "list_images", "List images, newest use first."),
        "pull": Lazy(_HERE, "pull_image", "Make an image ready before a run needs it."),
        "prune": Lazy(_HERE, "prune_images", "Remove images that no run used for some time."),
    },
    examples=("pollinator images list", "pollinator images pull python:3.12-bookworm"),
)
def images_command() -> None:
    """Container images that are kept ready for runs."""


@click.command(
    "list",
    cls=Command,
    short_help="List images, newest use first.",
    examples=("pollinator images list --executor lumi",),
)
@_executor_option()
@json_option("Print each image as a JSON object, one a line.")
def list_images(executor: str, as_json: bool) -> int:
    """List the images that are ready, newest use first."""
    from pollinator.cli.session import run_async

    return run_async(_list(executor, as_json=as_json))


@click.command(
    "pull",
    cls=Command,
    short_help="Make an image ready before a run needs it.",
    examples=("pollinator images pull python:3.12-bookworm --executor lumi",),
)
@click.argument("reference", metavar="IMAGE")
@_executor_option()
@click.option("--engine", default="", help="Container engine; default: the executor's choice.")
@click.option("--rebuild", is_flag=True, help="Make it anew although it is there.")
@json_option()
def pull_image(reference: str, executor: str, engine: str, rebuild: bool, as_json: bool) -> int:
    """Make an image ready before a run needs it: it is fetched, and converted where the engine wants that."""
    from pollinator.cli.session import run_async
    from pollinator.v1.executor_pb2 import PullImageRequest

    request = PullImageRequest(executor=executor, reference=reference, engine=engine, rebuild=rebuild)
    return run_async(_pull(request, as_json=as_json))


@click.command(
    "prune",
    cls=Command,
    short_help="Remove images that no run used for some time.",
    examples=("pollinator images prune --unused 7d --dry-run",),
)
@_executor_option()
@click.option(
    "--unused",
    metavar="DURATION",
    default="30d",
    show_default=True,
    help="Only those that no run used for so long; 0s is all that none uses now.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@json_option("Print each image as a JSON object, one a line.")
def prune_images(executor: str, unused: str, dry_run: bool, as_json: bool) -> int:
    """Remove images that no run used for some time. What Docker or Podman had before stays."""
    from pollinator.cli.session import run_async
    from pollinator.cli.words import parse_duration_s

    try:
        unused_s = parse_duration_s(unused)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--unused") from error
    return run_async(_prune(executor, unused_s, dry_run=dry_run, as_json=as_json))


async def _list(executor: str, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import ListImagesRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.executors.ListImages, ListImagesRequest(executor=executor))
    _print(terminal, answer.images, as_json=as_json)
    return int(Exit.OK)


async def _pull(request: PullImageRequest, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.words import bytes_text

    terminal = Terminal()
    async with connected(terminal) as daemon:
        image = await _pulled(daemon, terminal, request)
    if as_json:
        terminal.print(json_text(plain(image)))
    terminal.say(f"{image.reference} is ready for {image.engine}", Size=bytes_text(image.bytes))
    return int(Exit.OK)


async def _pulled(daemon: Daemon, terminal: Terminal, request: PullImageRequest) -> Image:
    import grpc

    from pollinator.cli.progress import TransferBar
    from pollinator.v1.executor_pb2 import Image
    from pollinator.wire.status import to_error

    bar, image = TransferBar(terminal), Image()
    try:
        async for answer in daemon.executors.PullImage(request):
            if answer.HasField("progress"):
                bar.show(answer.progress)
            else:
                image = answer.image
    except grpc.aio.AioRpcError as error:
        raise to_error(error) from error
    finally:
        bar.clear()
    return image


async def _prune(executor: str, unused_s: int, *, dry_run: bool, as_json: bool) -> int:
    from pollinator.cli.connect import LONG_S, connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.words import bytes_text, count_text
    from pollinator.v1.executor_pb2 import PruneImagesRequest

    terminal = Terminal()
    request = PruneImagesRequest(executor=executor, unused_s=unused_s, dry_run=dry_run)
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.executors.PruneImages, request, timeout_s=LONG_S)
    if answer.images or as_json:
        _print(terminal, answer.images, as_json=as_json)
    amount = bytes_text(sum(image.bytes for image in answer.images))
    verb = "would be removed" if dry_run else "removed"
    terminal.say(f"{count_text(len(answer.images), 'image')} {verb}", Size=amount)
    return int(Exit.OK)


def _print(terminal: Terminal, images: Iterable[Image], *, as_json: bool) -> None:
    from datetime import UTC, datetime

    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.table import print_table
    from pollinator.cli.words import age_text, bytes_text

    if as_json:
        for image in images:
            terminal.print(json_text(plain(image)))
        return
    rows = [
        [
            image.reference,
            image.digest[:19] or "-",
            image.engine,
            bytes_text(image.bytes),
            age_text(image.use_time, datetime.now(UTC)),
        ]
        for image in images
    ]
    print_table(terminal, ["IMAGE", "DIGEST", "ENGINE", "SIZE", "USED"], rows)
