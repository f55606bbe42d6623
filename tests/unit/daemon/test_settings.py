"""Settings: where each value comes from, and what is wrong with those that cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.daemon.settings import Settings, load_settings
from pollinator.wire.errors import InvalidInput


def load(tmp_path: Path, text: str | bytes | None = None, **environ: str) -> Settings:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_settings(environ, path)


def refused(tmp_path: Path, text: str | bytes | None = None, **environ: str) -> list[tuple[str, str]]:
    """Where and what is wrong; the file's folder left out."""
    with pytest.raises(InvalidInput) as caught:
        load(tmp_path, text, **environ)
    return [(each.where.removeprefix(f"{tmp_path}/"), each.message) for each in caught.value.violations]


def test_without_a_file_the_defaults_hold_and_say_so(tmp_path: Path) -> None:
    settings = load(tmp_path)

    assert ("INFO", 10_000_000, 5) == (settings.log_level, settings.log_bytes, settings.log_files)
    assert "" == settings.metrics
    assert {"default"} == {setting.origin for setting in settings.values.values()}
    assert all(setting.description for setting in settings.values.values())


def test_each_value_knows_its_file_line_and_column_or_its_variable(tmp_path: Path) -> None:
    settings = load(
        tmp_path, "# mine\nlog_level: debug\n\nlog_bytes: 5000\n", POLLINATOR_LOG_FILES="2", OTHER="x"
    )

    assert ("DEBUG", 5000, 2) == (settings.log_level, settings.log_bytes, settings.log_files)
    assert {
        "log_level": f"{tmp_path}/config.yaml:2:12",
        "log_bytes": f"{tmp_path}/config.yaml:4:12",
        "log_files": "environment POLLINATOR_LOG_FILES",
    } == {name: each.origin for name, each in settings.values.items() if each.origin != "default"}


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, "log_level: DEBUG\n", POLLINATOR_LOG_LEVEL="error")

    assert "ERROR" == settings.log_level
    assert "environment POLLINATOR_LOG_LEVEL" == settings.values["log_level"].origin


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("off", ""),
        ("OFF", ""),
        ("9464", "127.0.0.1:9464"),
        ("0.0.0.0:9464", "0.0.0.0:9464"),
        ("[::1]:9464", "[::1]:9464"),
        ("0", "127.0.0.1:0"),
    ],
)
def test_a_port_alone_is_for_this_machine_only(tmp_path: Path, text: str, address: str) -> None:
    assert address == load(tmp_path, POLLINATOR_METRICS=text).metrics


@pytest.mark.parametrize("text", ["on", "host", "host:", ":1", "70000", "1.5", "a:b"])
def test_what_is_no_address_is_refused(tmp_path: Path, text: str) -> None:
    assert [
        ("environment POLLINATOR_METRICS", f"metrics: write off, a port, or HOST:PORT, not {text!r}")
    ] == (refused(tmp_path, POLLINATOR_METRICS=text))


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing yet\n  # at all\n"])
def test_a_file_without_a_setting_is_fine(tmp_path: Path, text: str) -> None:
    assert "INFO" == load(tmp_path, text).log_level


def test_an_unknown_key_is_named_with_its_place_and_what_was_meant(tmp_path: Path) -> None:
    wrong = refused(tmp_path, "log_level: INFO\nlog_bites: 3\n")

    assert [("config.yaml:2:1", "unknown key 'log_bites'; did you mean 'log_bytes'?")] == wrong


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    wrong = refused(tmp_path, "log_level: LOUD\nlog_bytes: 10MB\nlog_files: 0\n", POLLINATOR_LOG_FILES="many")

    assert {
        "config.yaml:1:12": "log_level: write DEBUG, INFO, WARNING or ERROR, not 'LOUD'",
        "config.yaml:2:12": "log_bytes: write a whole number of at least 1, not '10MB'",
        "config.yaml:3:12": "log_files: write a whole number of at least 1, not '0'",
        "environment POLLINATOR_LOG_FILES": "log_files: write a whole number of at least 1, not 'many'",
    } == dict(wrong)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("log_level: [INFO]\n", "config.yaml:1:12"),
        ("log_level: INFO\nlog_level: DEBUG\n", "config.yaml:2:1"),
        ("- log_level\n", "config.yaml:1:1"),
        ("just words\n", "config.yaml:1:1"),
        ("log_level: 'INFO\n", "config.yaml:2:1"),
        ("log_level: \x07\n", "config.yaml:1:12"),
        (b"log_level: \xff\n", "config.yaml:1:12"),
    ],
)
def test_what_is_no_list_of_settings_is_told_with_its_place(
    tmp_path: Path, text: str | bytes, where: str
) -> None:
    assert [where] == [place for place, _ in refused(tmp_path, text)]


def test_a_folder_in_the_files_place_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").mkdir()

    assert [("config.yaml", "cannot be read: Is a directory")] == refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [("none", 0), ("20MB", 20_000_000), ("1.5MiB/s", 1_572_864), ("500k", 500_000), ("1000", 1000)],
)
def test_a_limit_is_so_many_bytes_in_a_second(tmp_path: Path, text: str, bytes_per_s: int) -> None:
    settings = load(tmp_path, f"download_limit: {text}\n", POLLINATOR_UPLOAD_LIMIT=text)

    assert (bytes_per_s, bytes_per_s) == (settings.upload_limit, settings.download_limit)
    assert text == settings.values["upload_limit"].value


@pytest.mark.parametrize("text", ["fast", "0", "999", "-1", "20MB/h", ""])
def test_a_limit_that_cannot_be_meant_is_refused(tmp_path: Path, text: str) -> None:
    ((where, message),) = refused(tmp_path, POLLINATOR_UPLOAD_LIMIT=text)

    assert "environment POLLINATOR_UPLOAD_LIMIT" == where
    assert message.startswith("upload_limit: ")


def test_transfers_are_bounded_by_a_whole_number(tmp_path: Path) -> None:
    assert 3 == load(tmp_path, "transfers: 3\n").transfers
    assert [
        ("environment POLLINATOR_TRANSFERS", "transfers: write a whole number of at least 1, not '0'")
    ] == refused(tmp_path, POLLINATOR_TRANSFERS="0")
