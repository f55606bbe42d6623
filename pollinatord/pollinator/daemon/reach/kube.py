"""An executor in a Kubernetes cluster: ``kube://CONTEXT/NAMESPACE``, reached through the cluster's own API.

Nothing of the cluster has to be open to the outside. Inside of what the API server carries both sides show
certificates, as at ``grpcs://``: who may forward ports in a namespace cannot thereby run programs.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from pathlib import Path

from pollinator.daemon.reach.forward import Forward
from pollinator.daemon.reach.tls import OverTls, Streams
from pollinator.daemon.reach.transport import NotLoggedIn, Peer, Place, Tell
from pollinator.wire import places
from pollinator.wire.cluster import Cluster, Where
from pollinator.wire.errors import InvalidInput, NeedsLogin, PollinatorError, Violation

SETTINGS = ("kube.config", "kube.host", "kube.selector")
SELECTOR = "app.kubernetes.io/name=pollinator-executor"
"""What the chart calls it."""
RETRY_S = (1.0, 15.0)
"""Shortest and longest pause after a failure."""
LOGIN_RETRY_S = (60.0, 3600.0)
"""The same where somebody has to log in: each try may run a program that asks a server."""


def context_and_namespace(address: str) -> tuple[str, str]:
    """The parts of ``kube://CONTEXT/NAMESPACE``. Names of contexts may have ``/`` in them.

    Raises:
        InvalidInput: it is not that.
    """
    rest = address.removeprefix("kube:").removeprefix("//")
    context, slash, namespace = rest.rpartition("/")
    if not slash:
        context, namespace = rest, ""
    plain = namespace.replace("-", "")
    if not context or (plain and not (plain.isascii() and plain.isalnum())):
        raise InvalidInput(
            f"{address!r} names no place in a cluster",
            reason="bad_address",
            hint="write kube://CONTEXT/NAMESPACE; 'kubectl config get-contexts' lists contexts",
        )
    return context, namespace


class Kube(OverTls):
    """The way to an executor in a cluster. It is started there, by whoever has installed the chart.

    Args:
        place: what is remembered of it.

    Raises:
        InvalidInput: the address or a setting cannot be meant.
    """

    hint = "'kubectl logs' of its pod says more"

    def __init__(self, place: Place) -> None:
        self._context, self._namespace = context_and_namespace(place.address)
        self._inner = places.runtime_dir() / f"kube-{place.mark}.sock"
        self._forward: Forward | None = None
        self._cluster: Cluster | None = None
        self._turn = asyncio.Lock()
        self._stale = False
        self._login: list[str] = []
        self._failures = 0
        self._again_s = 0.0
        self._put_off: PollinatorError | None = None
        super().__init__(place, place.address)

    @property
    def _host(self) -> str:
        return self._place.settings.get("kube.host", self._place.name)

    def login(self) -> list[str]:
        """The program that the kubeconfig gets tokens from, once it was seen that somebody has to log in."""
        return self._login

    def hurry(self) -> None:
        """Ask at once: somebody may have logged in."""
        self._again_s = 0.0
        if self._cluster is not None:
            self._cluster.hurry()

    def configure(self, place: Place) -> None:
        """The next connection has other files, and goes to another pod."""
        _check(place)
        super().configure(place)
        # Those before are closed when the next one is wanted, for that takes a loop.
        self._stale = self._forward is not None
        self.hurry()

    async def ensure(self, peer: Peer, tell: Tell) -> None:
        """Find the executor's pod, and ask whether it is one that we believe, and that believes us.

        Raises:
            NotLoggedIn: somebody has to log in to the cluster, or a certificate is missing, wrong or expired.
            PollinatorError: it cannot be reached, or could not a moment ago.
        """
        if self._put_off is not None and time.monotonic() < self._again_s:
            raise self._put_off.with_traceback(None)
        try:
            forward = await self._forwarding()
            if not peer.connected():
                tell(f"looking for its pod in context {self._context}")
                await forward.find()
            forward.trouble = None
            await super().ensure(peer, tell)
        except NeedsLogin as error:
            self._wait(await self._needs_login(error), LOGIN_RETRY_S)
        except PollinatorError as error:
            self._wait(error, RETRY_S)
        self._put_off, self._failures = None, 0

    async def close(self) -> None:
        """End all connections."""
        await super().close()
        async with self._turn:
            await self._let_go()

    def _why(self) -> PollinatorError | None:
        trouble = self._forward.trouble if self._forward is not None else None
        return trouble or super()._why()

    async def _dial(self, context: ssl.SSLContext) -> Streams:
        forward = await self._forwarding()
        try:
            return await asyncio.open_unix_connection(self._inner, ssl=context, server_hostname=self._host)
        except (OSError, TimeoutError):
            if forward.trouble is not None:
                raise forward.trouble from None
            raise

    async def _forwarding(self) -> Forward:
        """The socket that leads to the pod, as the settings are now."""
        async with self._turn:
            if self._stale:
                await self._let_go()
            if self._forward is None:
                settings = self._place.settings
                where = Where(settings.get("kube.config", ""), self._context, self._namespace)
                self._cluster = Cluster(where)
                selector = settings.get("kube.selector", SELECTOR)
                self._forward = Forward(self._inner, self._cluster, selector)
                await self._forward.listen()
            return self._forward

    async def _let_go(self) -> None:
        forward, cluster, self._stale = self._forward, self._cluster, False
        self._forward = self._cluster = None
        if forward is not None:
            await forward.close()
        if cluster is not None:
            await cluster.close()

    async def _needs_login(self, error: NeedsLogin) -> PollinatorError:
        """What to do, in one command."""
        if isinstance(error, NotLoggedIn):
            return error
        assert self._cluster is not None
        self._login = await self._cluster.login()
        command = f"pollinator executors login {self._place.name}"
        fix = command if self._login else error.hint
        return NotLoggedIn(f"executor {self._place.name}: {error.message}", reason=error.reason, fix=fix)

    def _wait(self, error: PollinatorError, pauses_s: tuple[float, float]) -> None:
        """Put the next try off, and raise; ever longer as long as it is the same."""
        if self._put_off is not None and self._put_off.reason != error.reason:
            self._failures = 0
        least, most = pauses_s
        pause_s = min(most, least * 2**self._failures) * random.uniform(0.7, 1.0)  # noqa: S311 - no secret
        self._failures = min(self._failures + 1, 10)
        self._put_off, self._again_s = error, time.monotonic() + pause_s
        raise error


def _check(place: Place) -> None:
    violations = [
        Violation(name, f"is no setting of such an executor; known are: {', '.join(SETTINGS)}")
        for name in place.settings
        if name.startswith("kube.") and name not in SETTINGS
    ]
    files = place.settings.get("kube.config", "")
    if any(not Path(each).is_absolute() for each in files.split(":") if each):
        violations.append(Violation("kube.config", "write absolute paths"))
    if violations:
        raise InvalidInput("some settings cannot be meant", reason="bad_settings", violations=violations)
