"""Settings in text, what they mean, and what is said of those that cannot be meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pollinator.executors.kubernetes.reason_table import REASONS
from pollinator.executors.kubernetes.settings import SETTINGS, Accelerator, own_user, read_settings
from pollinator.wire.errors import InvalidInput
from support.documents import rows, sections


def refused(**settings: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read_settings({f"kubernetes.{name}": value for name, value in settings.items()})
    return [each.where for each in caught.value.violations]


def test_without_any_there_is_a_meaning() -> None:
    site = read_settings({})

    assert (site.user, site.group) == own_user()
    assert 0 not in own_user()
    assert {"*": Accelerator("nvidia.com/gpu")} == site.gpus


def test_all_are_understood() -> None:
    site = read_settings(
        {
            "kubernetes.mount": "/volume",
            "kubernetes.node_selector": "disk=ssd, zone=a",
            "kubernetes.tolerations": "a,b=c,d=e:NoExecute",
            "kubernetes.gpus": "a100=nvidia.com/gpu:product=A100 h100=nvidia.com/gpu",
            "kubernetes.pull_secrets": "one,two",
            "kubernetes.start": "60",
        }
    )

    assert Path("/volume") == site.mount
    assert {"disk": "ssd", "zone": "a"} == site.node_selector
    assert (
        {"key": "a", "operator": "Exists"},
        {"key": "b", "operator": "Equal", "value": "c"},
        {"key": "d", "operator": "Equal", "value": "e", "effect": "NoExecute"},
    ) == site.tolerations
    assert ("product", "A100") == site.gpus["a100"].label
    assert (("one", "two"), 60) == (site.pull_secrets, site.start_s)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", "ada"),
        ("user", "1000:"),
        ("mount", "relative"),
        ("claim", "No_Name"),
        ("node_selector", "disk"),
        ("tolerations", "a=b:Sometimes"),
        ("gpus", "a100"),
        ("gpus", "a100=gpu"),
        ("start", "0"),
        ("peers", "soon"),
        ("data", "pigeon"),
    ],
)
def test_what_cannot_be_meant_is_named(name: str, value: str) -> None:
    assert [f"kubernetes.{name}"] == refused(**{name: value})


def test_all_that_is_wrong_is_named_at_once() -> None:
    assert ["kubernetes.user", "kubernetes.start"] == refused(user="ada", start="soon")
    assert ["kubernetes.claimed"] == refused(claimed="x")


def test_every_setting_is_documented() -> None:
    table = rows(sections("docs/kubernetes.md", "##")["Settings"])
    documented = {row[0].strip("`") for row in table} | set(
        re.findall(r"`(kubernetes\.[a-z_]+)`", Path("docs/kubernetes.md").read_text())
    )

    assert set(SETTINGS) <= documented


def test_every_reason_is_documented_as_it_is_said() -> None:
    table = {
        row[0].strip("`"): row[1:] for row in rows(sections("docs/kubernetes.md", "##")["Why a run waits"])
    }

    assert {code: [words.text, words.action] for code, words in REASONS.items()} == {
        code: row for code, row in table.items() if code != "code"
    }
