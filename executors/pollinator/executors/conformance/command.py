"""``pollinator-executor conformance``: the suite against any executor, whoever wrote it."""

from __future__ import annotations

from pathlib import Path

import click

PARTS = ("surroundings", "ends", "output", "requests", "results", "requeue")


@click.command("conformance")
@click.option("--executor", "address", metavar="ADDRESS", required=True, help="Where it listens: unix:/path.")
@click.option("--image", default="", help="Run everything in this container image, which has python3.")
@click.option("--only", metavar="EXPRESSION", default="", help="Only tests that match, as for pytest -k.")
@click.pass_context
def conformance(ctx: click.Context, address: str, image: str, only: str) -> None:
    """Check that an executor keeps the contract.

    The suite starts some hundred small runs there and ends them. It needs python3 where the runs are.
    """
    try:
        import pytest

        from pollinator.executors.conformance.plugin import suite
    except ImportError as error:
        raise click.ClickException(
            f"{error.name} is needed for this: pip install 'pollinatord[conformance]'"
        ) from error
    here = Path(__file__).parent
    arguments = [str(here / f"{part}.py") for part in PARTS]
    arguments += ["--rootdir", str(here), "-c", "/dev/null", "-p", "no:cacheprovider", "-ra"]
    for setting in ("asyncio_mode=auto", "python_files=*.py", "timeout=120"):
        arguments += ["-o", setting]
    for scope in ("fixture", "test"):
        arguments += ["-o", f"asyncio_default_{scope}_loop_scope=session"]
    # This very module has imported the suite's plugin by now.
    arguments += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    arguments += ["-k", only] if only else []
    ctx.exit(int(pytest.main(arguments, plugins=[suite(address, image)])))
