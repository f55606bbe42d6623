"""What a Kubernetes executor was told when it was added: settings in text, and what they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pollinator.executors.base import check_settings
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, Violation
from pollinator.wire.store_env import is_endpoint

SETTINGS = tuple(
    f"kubernetes.{name}"
    for name in (
        *("kubeconfig", "context", "namespace"),
        *("data", "claim", "mount", "executor_image", "python", "credentials", "endpoint"),
        *("image", "pull_secrets", "user", "node_selector", "tolerations", "gpus", "priority_class"),
        *("queue", "start", "peers"),
    )
)
ANY_GPU = "*"
USUAL_GPU = "nvidia.com/gpu"
START_S = 600
PEERS_S = 600
PLAIN_USER = 1000
"""Whom ranks are where the executor is root, unless told."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What a model of GPU is called in this cluster."""

    resource: str
    label: tuple[str, str] | None = None
    """Of the nodes that have it."""


@dataclass(frozen=True, slots=True)
class Site:
    """All that the settings say."""

    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    claim: str = ""
    mount: Path | None = None
    executor_image: str = ""
    bucket: bool = False
    """Files go through the store of the project, and not over a volume."""
    python: str = "python3"
    """The interpreter in the executor's image."""
    credentials: str = ""
    """A Secret with keys for the stores of runs."""
    endpoint: str = ""
    """Of the stores of runs, as pods reach them."""
    image: str = ""
    pull_secrets: tuple[str, ...] = ()
    user: int = PLAIN_USER
    group: int = PLAIN_USER
    node_selector: Mapping[str, str] = field(default_factory=dict[str, str])
    tolerations: tuple[Mapping[str, str], ...] = ()
    gpus: Mapping[str, Accelerator] = field(default_factory=lambda: {ANY_GPU: Accelerator(USUAL_GPU)})
    priority_class: str = ""
    queue: str = ""
    start_s: int = START_S
    """So long a pod that has a node may take to begin where something is wrong with it."""
    peers_s: int = PEERS_S
    """So long the first node of a run waits for the last."""

    def queue_of(self, spec: RunSpec) -> str:
        """In which queue of Kueue a run waits for its turn; empty for none."""
        return spec.kubernetes.queue or self.queue


def read_settings(settings: Mapping[str, str]) -> Site:
    """Understand them.

    Raises:
        InvalidInput: one is unknown or cannot be meant; each is named.
    """
    check_settings(settings, SETTINGS)
    wrong: list[Violation] = []

    def read(name: str, parse: Callable[[str], _Value], without: _Value) -> _Value:
        text = settings.get(f"kubernetes.{name}", "").strip()
        try:
            return parse(text) if text else without
        except ValueError as error:
            wrong.append(Violation(f"kubernetes.{name}", str(error)))
            return without

    user, group = read("user", _user, own_user())
    site = Site(
        kubeconfig=read("kubeconfig", str, ""),
        context=read("context", str, ""),
        namespace=read("namespace", _name, ""),
        claim=read("claim", _name, ""),
        mount=read("mount", _folder, None),
        executor_image=read("executor_image", str, ""),
        bucket=read("data", _data, _shares_nothing(settings)),
        python=read("python", str, "python3"),
        credentials=read("credentials", _name, ""),
        endpoint=read("endpoint", _endpoint, ""),
        image=read("image", str, ""),
        pull_secrets=read("pull_secrets", _names, ()),
        user=user,
        group=group,
        node_selector=read("node_selector", _labels, {}),
        tolerations=read("tolerations", _tolerations, ()),
        gpus=read("gpus", _gpus, {ANY_GPU: Accelerator(USUAL_GPU)}),
        priority_class=read("priority_class", _name, ""),
        queue=read("queue", _name, ""),
        start_s=read("start", _seconds, START_S),
        peers_s=read("peers", _seconds, PEERS_S),
    )
    wrong += _missing(site)
    if wrong:
        raise InvalidInput("a setting cannot be meant", reason="bad_settings", violations=wrong)
    return site


def _missing(site: Site) -> list[Violation]:
    if not site.bucket or site.executor_image:
        return []
    text = "names the image that brings files to pods, which share no volume with the executor"
    return [Violation("kubernetes.executor_image", text)]


def own_user() -> tuple[int, int]:
    """Whom the ranks are unless told: the executor itself, but never root."""
    return (os.geteuid(), os.getegid()) if os.geteuid() else (PLAIN_USER, PLAIN_USER)


def _shares_nothing(settings: Mapping[str, str]) -> bool:
    return bool(settings.get("kubernetes.executor_image")) and not settings.get("kubernetes.claim")


def _data(text: str) -> bool:
    if text not in ("volume", "bucket"):
        raise ValueError(f"write volume or bucket, not {text!r}")
    return text == "bucket"


def _endpoint(text: str) -> str:
    if not is_endpoint(text):
        raise ValueError("write http://HOST:PORT or https://HOST:PORT")
    return text


def _user(text: str) -> tuple[int, int]:
    user, colon, group = text.partition(":")
    if not (user.isdecimal() and (group.isdecimal() or not colon)):
        raise ValueError(f"write the number of a user, or of a user and a group as 1000:1000, not {text!r}")
    found = int(user), int(group or user)
    if os.geteuid() and found != (os.geteuid(), os.getegid()):
        raise ValueError(
            f"only root can give files to others; this executor is {os.geteuid()}:{os.getegid()}"
        )
    return found


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of an object: use small letters, digits, '-' and '.'")
    return text


def _names(text: str) -> tuple[str, ...]:
    return tuple(_name(each) for each in _parts(text))


def _folder(text: str) -> Path:
    if not os.path.isabs(text):
        raise ValueError("write an absolute path")
    return Path(text)


def _seconds(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 30 * 86400:
        raise ValueError(f"write whole seconds, at most 30 days, not {text!r}")
    return int(text)


def _labels(text: str) -> dict[str, str]:
    return dict(_label(each) for each in _parts(text))


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (equals and _KEY.fullmatch(key) and _VALUE.fullmatch(value)):
        raise ValueError(f"{text!r} is no label: write KEY=VALUE, with commas between several")
    return key, value


def _tolerations(text: str) -> tuple[dict[str, str], ...]:
    return tuple(_toleration(each) for each in _parts(text))


def _toleration(text: str) -> dict[str, str]:
    rest, colon, effect = text.partition(":")
    key, equals, value = rest.partition("=")
    if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value) or (colon and effect not in _EFFECTS):
        raise ValueError(f"{text!r} is no toleration: write KEY, KEY=VALUE or KEY=VALUE:EFFECT")
    found = {"key": key, "operator": "Equal" if equals else "Exists"}
    return found | ({"value": value} if equals else {}) | ({"effect": effect} if effect else {})


def _gpus(text: str) -> dict[str, Accelerator]:
    found: dict[str, Accelerator] = {}
    for each in _parts(text):
        name, equals, rest = each.partition("=")
        resource, colon, label = rest.partition(":")
        if not (name and equals and "/" in resource and _KEY.fullmatch(resource)):
            raise ValueError(
                f"{each!r} is not NAME=RESOURCE or NAME=RESOURCE:LABEL=VALUE, as "
                "a100=nvidia.com/gpu:nvidia.com/gpu.product=NVIDIA-A100-SXM4-80GB"
            )
        found[name] = Accelerator(resource, _label(label) if colon else None)
    return found


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", text) if part]
