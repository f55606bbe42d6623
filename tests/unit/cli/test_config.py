"""Settings of this shell, with where each comes from."""

from __future__ import annotations

import pytest

from pollinator.cli.commands.config import own_settings
from pollinator.wire.errors import InvalidInput


def told(environ: dict[str, str]) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["value"], row["origin"]) for row in own_settings(environ)}


def test_without_variables_everything_is_the_default() -> None:
    store = "the project's own; folder for a new one"

    assert told({}) == {"autostart": ("true", "default"), "store": (store, "default")}


@pytest.mark.parametrize(
    ("environ", "value", "origin"),
    [
        ({"POLLINATOR_STORE": "folder"}, "folder", "environment POLLINATOR_STORE"),
        ({"POLLINATOR_STORE": "folder:/x"}, "folder:/x", "environment POLLINATOR_STORE"),
        ({"AWS_S3_BUCKET": "b"}, "s3://b at AWS", "environment AWS_S3_BUCKET"),
        (
            {"POLLINATOR_STORE": "s3://b/team", "AWS_S3_ENDPOINT": "box:9000", "AWS_S3_TLS": "false"},
            "s3://b/team at http://box:9000",
            "environment POLLINATOR_STORE",
        ),
    ],
)
def test_the_store_is_told_with_the_variable_that_names_it(
    environ: dict[str, str], value: str, origin: str
) -> None:
    assert told(environ)["store"] == (value, origin)


def test_keys_are_not_told() -> None:
    rows = own_settings({"AWS_S3_BUCKET": "b", "AWS_S3_ACCESSKEY": "AKIAXYZ", "AWS_S3_SECRETKEY": "hunter2"})

    assert "AKIAXYZ" not in str(rows)
    assert "hunter2" not in str(rows)


def test_forbidden_autostart_is_told() -> None:
    assert told({"POLLINATOR_NO_AUTOSTART": "1"})["autostart"] == (
        "false",
        "environment POLLINATOR_NO_AUTOSTART",
    )


def test_half_a_store_is_an_error() -> None:
    with pytest.raises(InvalidInput):
        own_settings({"AWS_S3_ACCESSKEY": "a"})
