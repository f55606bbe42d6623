"""The double, as tests see it: a process of its own, which may be stopped, disturbed, and looked into."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from support.kubernetes.cluster import mark_of
from support.kubernetes.containers import remove_groups
from support.kubernetes.kinds import Obj
from support.kubernetes.secured import kubeconfig
from support.kubernetes.volumes import SHM
from support.obeying import Obeying

_TESTS = Path(__file__).parents[2]
_ENDS_S = 20.0


@dataclass(frozen=True)
class Request:
    """A request that came in."""

    verb: str
    resource: str
    namespace: str
    name: str
    user: str
    code: int
    agent: str


class Double:
    """A cluster on a port of its own. All that runs in it ends with it, and it with the tests.

    Args:
        settings: see ``Settings``.
    """

    def __init__(self, **settings: Any) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pol-k8s-"))
        self.folder.chmod(0o755)
        with (self.folder / "log").open("wb") as log:
            self._process = Obeying("support.kubernetes", {"folder": str(self.folder), **settings}, log)
        self._before = 0
        try:
            opened = self._do("open")
        except BaseException:
            self.close()
            raise
        self.port: int = opened["port"]
        self.authority: str = opened["authority"]
        self.kubeconfig = self.write_kubeconfig("admin.conf", {"token": opened["token"]})
        """Of an administrator."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it for good, with all that runs in it.

        Raises:
            AssertionError: a part of it had failed.
        """
        trouble = ""
        with contextlib.suppress(RuntimeError, OSError):
            trouble = self._do("trouble")
        self._process.end(_ENDS_S)
        remove_groups(mark_of(self.folder))
        said = (self.folder / "log").read_text(errors="replace")
        for each in SHM.glob(f"{self.folder.name}-*"):
            shutil.rmtree(each, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        assert "" == trouble + said, f"the double failed: {trouble} {said}"

    def write_kubeconfig(self, name: str, user: dict[str, Any], namespace: str = "default") -> Path:
        """A file by which a client finds it, and is this user."""
        return kubeconfig(self.folder / name, self.port, self.authority, user, namespace)

    # The server

    def stop(self) -> None:
        """Cut all lines and take no more; what runs goes on."""
        self._do("stop")

    def start(self) -> None:
        """Go on, on the same port; what changed before is not told any more."""
        self._do("start")

    def cut(self) -> None:
        """Cut all lines; new ones are taken."""
        self._do("cut")

    def forget(self) -> None:
        """What changed before is not told any more: watches from there are answered with 410."""
        self._do("forget")

    @contextmanager
    def settings(self, **changed: Any) -> Generator[None]:
        """Change some of ``Settings`` for a while."""
        before = self._do("settings", **changed)
        try:
            yield
        finally:
            self._do("settings", **before)

    def fault(self, how: str, verb: str = "", resource: str = "", **described: Any) -> None:
        """Have something go wrong; see ``Fault``."""
        self._do("fault", how=how, verb=verb, resource=resource, **described)

    def hits(self) -> list[int]:
        """How often each fault hit, in the order in which they were switched on."""
        return list(self._do("hits"))

    def webhook(self, **described: Any) -> None:
        """Have somebody say a word in what is created; see ``Webhook``."""
        self._do("webhook", **described)

    def clear_faults(self) -> None:
        """Have everything go well again: faults, webhooks, and what was denied."""
        self._do("clear_faults")

    def mark(self) -> None:
        """What is asked from now on is what ``asked`` gives."""
        self._before += len(self.asked())

    def asked(self, verb: str = "", resource: str = "") -> Sequence[Request]:
        """Requests that came in since the mark, of one sort or of all."""
        found = [Request(**each) for each in self._do("asked", since=self._before)]
        return [each for each in found if verb in ("", each.verb) and resource in ("", each.resource)]

    def watching(self) -> int:
        """So many watches there are now."""
        return int(self._do("watching"))

    # Who may

    def token(self, user: str, lasts_s: float = 3600.0) -> str:
        """A new token of a user; of an account, that is ``system:serviceaccount:NAMESPACE:NAME``."""
        return str(self._do("token", user=user, lasts_s=lasts_s))

    def expire(self, user: str = "") -> None:
        """No token of a user, or of anybody, is good any more."""
        self._do("expire", user=user)

    def deny(self, pattern: str) -> None:
        """Nobody may do ``VERB RESOURCE`` for now; ``*`` is any."""
        self._do("deny", pattern=pattern)

    # Nodes and pods

    def cut_off(self, node: str) -> None:
        """Nobody hears of a node any more; what runs there goes on."""
        self._do("cut_off", name=node)

    def crash(self, node: str) -> None:
        """Nobody hears of a node any more, and what ran there is gone."""
        self._do("crash", name=node)

    def come_back(self, node: str) -> None:
        """A node is heard of again."""
        self._do("come_back", name=node)

    def add_node(self, name: str, labels: dict[str, str] | None = None, **has: str) -> None:
        """A node more."""
        self._do("add_node", name=name, has={"pods": "110", **has}, labels=labels or {})

    def remove_node(self, name: str) -> None:
        """A node less, with all that ran there."""
        self._do("remove_node", name=name)

    def evict(self, namespace: str, pod: str, reason: str = "Evicted", message: str = "") -> None:
        """The node of a pod ends it for want of something."""
        message = (
            message or "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi."
        )
        self._do("evict", namespace=namespace, name=pod, reason=reason, message=message)

    def preempt(self, namespace: str, pod: str) -> None:
        """The scheduler ends a pod for one that matters more."""
        self._do("preempt", namespace=namespace, name=pod)

    def images_come(self) -> None:
        """Slow images are there now."""
        self._do("images_come")

    # What it knows

    def objects(self, kind: str = "") -> list[Obj]:
        """All objects, or those of a kind."""
        found: list[Obj] = self._do("objects")
        return [each for each in found if kind in ("", each["kind"])]

    def wrong(self) -> list[str]:
        """Objects that their own schemas would not take."""
        return list(self._do("wrong"))

    def _do(self, what: str, /, **how: Any) -> Any:
        try:
            return self._process.do(what, **how)
        except RuntimeError as error:
            said = (self.folder / "log").read_text(errors="replace")
            raise RuntimeError(f"{error} {said}") from error
