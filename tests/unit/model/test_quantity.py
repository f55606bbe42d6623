"""Quantities as people write them."""

from __future__ import annotations

import pytest

from pollinator.model.quantity import parse_bytes, parse_cpu, parse_duration_ms

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("500m", 500),
        ("1", 1000),
        ("2.5", 2500),
        ("0.001", 1),
        ("0", 0),
        ("0m", 0),
        (" 1 ", 1000),
        ("1.0m", 1),
    ],
)
def test_cpu(text: str, millis: int) -> None:
    assert millis == parse_cpu(text)


@pytest.mark.parametrize(
    "text",
    ["", "m", "-1", "+1", "1 m", "1M", "1k", ".5", "1.", "1e3", "0.0001", "0.5m", "inf", "nan", "1" * 19],
)
def test_no_cpu(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 500m or 2|finer than"):
        parse_cpu(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("1048576", 1 << 20),
        ("1000Mi", 1000 << 20),
        ("4Gi", 4 << 30),
        ("4GiB", 4 << 30),
        ("4 GiB", 4 << 30),
        ("1Ki", 1024),
        ("1Ti", 1 << 40),
        ("1Pi", 1 << 50),
        ("1k", 1000),
        ("1K", 1000),
        ("1kB", 1000),
        ("1M", 10**6),
        ("1.5G", 1_500_000_000),
        ("1T", 10**12),
        ("1P", 10**15),
        ("5B", 5),
        ("0.3Ki", 308),
        ("0.1", 1),
    ],
)
def test_bytes(text: str, number: int) -> None:
    assert number == parse_bytes(text)


@pytest.mark.parametrize(
    "text", ["", "Mi", "-1Mi", "1mi", "1m", "1gb", "1iB", "1Gii", "1GiiB", "1 G i", "1e9", "0x10", "1E"]
)
def test_no_bytes(text: str) -> None:
    with pytest.raises(ValueError, match="write 1000Mi or 4Gi"):
        parse_bytes(text)


@pytest.mark.parametrize("text", ["1000P", "999999999999999999Pi"])
def test_more_than_there_can_be(text: str) -> None:
    with pytest.raises(ValueError, match="more than there can be"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("0", 0),
        ("600", 600 * SECOND),
        ("0.5", 500),
        ("0.0001", 1),
        ("10s", 10 * SECOND),
        ("10m", 10 * MINUTE),
        ("1h30m", 90 * MINUTE),
        ("1.5h", 90 * MINUTE),
        ("1d", DAY),
        ("1d2h3m4s5ms", DAY + 2 * HOUR + 3 * MINUTE + 4 * SECOND + 5),
        ("90:00", 90 * MINUTE),
        ("01:30:00", 90 * MINUTE),
        ("100:00:00", 100 * HOUR),
        ("1-00:00:00", DAY),
        ("1-12:30", DAY + 12 * HOUR + 30 * MINUTE),
        (" 5m ", 5 * MINUTE),
    ],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert milliseconds == parse_duration_ms(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-5",
        "soon",
        "10min",
        "1h 30m",
        "1:2:3:4",
        "1:60",
        "00:60:00",
        "1-2",
        "1-",
        ":30",
        "5M",
        "1e3",
        "m",
        "\u0663",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write 600, 10m, 1h30m or 01:30:00"):
        parse_duration_ms(text)
