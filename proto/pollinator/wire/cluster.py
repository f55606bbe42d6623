"""A line to the API of a Kubernetes cluster: who asks, what is answered, and what goes wrong with it.

The only module that imports Kubernetes' client. What is sent and what comes are plain JSON: the models of the
client refuse what they do not know, and clusters are older and newer than it.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from pollinator.wire import cluster_refusals, plugin
from pollinator.wire.cluster_login import Login, Where
from pollinator.wire.documents import as_entry
from pollinator.wire.errors import Denied, Exhausted, InvalidInput, Unavailable
from pollinator.wire.forwarding import HEARTBEAT_S, PROTOCOL, WORDS, Forwarding
from pollinator.wire.kubeconfig import IN_POD, Credentials

if TYPE_CHECKING:
    import aiohttp
    from kubernetes.aio.client import ApiClient

CALL_S = 30.0
CONNECT_S = 10.0
MOST_BYTES = 64 * 1024 * 1024
"""No answer is longer."""
MOST_LINE = 16 * 1024 * 1024
"""Nor is what one watch tells at once."""

Query = Mapping[str, str | int | bool]
__all__ = ["Cluster", "Where"]


class Cluster:
    """A line to one cluster. Belongs to one event loop; does nothing before it is first used.

    Args:
        where: which one.
        environ: the environment to find it in.
        account: where a pod has its account.
        plugin_s: longest time a program may take to give a token.
    """

    def __init__(
        self,
        where: Where,
        environ: Mapping[str, str] | None = None,
        account: Path = IN_POD,
        plugin_s: float = plugin.LIMIT_S,
    ) -> None:
        self._where = where
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="cluster")
        environment = os.environ if environ is None else environ
        self._login = Login(where, environment, account, plugin_s, self._threads)
        self._turn = asyncio.Lock()
        self._made: Credentials | None = None
        self._client: ApiClient | None = None
        self._retired: ApiClient | None = None
        self._sockets: aiohttp.ClientSession | None = None

    @property
    def namespace(self) -> str:
        """The namespace that is meant; known once it was opened."""
        known = self._login.credentials
        return self._where.namespace or (known.namespace if known is not None else "")

    @property
    def server(self) -> str:
        """Which server this is, for people."""
        known = self._login.credentials
        return known.server if known is not None else "the cluster"

    async def open(self) -> None:
        """Have credentials. Every call does this.

        Raises:
            InvalidInput: nothing such is to be found.
            NeedsLogin: somebody has to log in; the hint is a command.
        """
        await self._asking()

    def hurry(self) -> None:
        """Somebody may have logged in: try at once where that failed a moment ago."""
        self._login.hurry()

    async def close(self) -> None:
        """Close the connections."""
        clients, sockets = (self._client, self._retired), self._sockets
        self._client = self._retired = self._sockets = self._made = None
        await self._login.close()
        self._threads.shutdown(wait=False)
        for client in clients:
            if client is not None:
                await client.close()
        if sockets is not None:
            await sockets.close()

    async def login(self) -> list[str]:
        """The program that logs in, for the user's own terminal; empty where none is known.

        Raises:
            InvalidInput: the cluster is not to be found.
        """
        return await self._login.program()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout_s: float = CALL_S,
    ) -> Any:
        """Ask, and return what JSON says.

        Args:
            method: such as GET.
            path: such as ``/api/v1/namespaces/default/pods``.
            query: what stands behind it.
            body: what is sent.
            content_type: of what is sent; says which kind a PATCH is.
            timeout_s: longest time for all of it.

        Raises:
            PollinatorError: it was refused, or there was no answer; ``cluster_refusals`` has the reasons.
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        async with self._answer(method, path, query, headers, body, total_s=timeout_s) as answer:
            data = bytearray()
            async for part in answer.content.iter_any():
                data += part
                if len(data) > MOST_BYTES:
                    raise _too_much(self.server)
        return cluster_refusals.read(bytes(data), self.server)

    async def text(
        self, path: str, *, query: Query | None = None, most: int = 65536, timeout_s: float = CALL_S
    ) -> str:
        """What is no JSON, such as the output of a container; no more than ``most`` bytes of it."""
        async with self._answer("GET", path, query, {"Accept": "*/*"}, total_s=timeout_s) as answer:
            data = bytearray()
            async for part in answer.content.iter_any():
                data += part
                if len(data) >= most:
                    break
        return bytes(data[:most]).decode("utf-8", "replace")

    async def watch(
        self, path: str, *, query: Query | None = None, idle_s: float
    ) -> AsyncGenerator[dict[str, Any]]:
        """What changes from now on, until the server ends it. Close it with ``aclosing``.

        Args:
            path: of a list.
            query: selectors, ``resourceVersion``, ``timeoutSeconds`` and so on.
            idle_s: so long the server may be silent.

        Raises:
            OutOfRange: what it was to begin with is not known any more: list again.
            PollinatorError: see ``request``.
        """
        asked: Query = {**(query or {}), "watch": True}
        headers = {"Accept": "application/json"}
        async with self._answer("GET", path, asked, headers, idle_s=idle_s) as answer:
            rest = bytearray()
            async for part in answer.content.iter_any():
                rest += part
                *lines, rest = rest.split(b"\n") if b"\n" in part else (rest,)
                if len(rest) > MOST_LINE:
                    raise _too_much(self.server)
                for line in filter(None, lines):
                    yield self._event(bytes(line))

    async def forward(self, pod: str, port: int) -> Forwarding:
        """A connection to a port of a pod, through the server.

        Raises:
            PollinatorError: see ``request``.
        """
        path = f"/api/v1/namespaces/{quote(self.namespace)}/pods/{quote(pod)}/portforward"
        socket = await self._connected(path, {"ports": port})
        return Forwarding(socket, f"port {port} of pod {pod}")

    def _event(self, line: bytes) -> dict[str, Any]:
        event = cluster_refusals.read(line, self.server)
        about = as_entry(as_entry(event).get("object"))
        if not about:
            raise cluster_refusals.garbled(self.server)
        if as_entry(event).get("type") == "ERROR":
            code = about.get("code")
            code = code if isinstance(code, int) else 500
            raise cluster_refusals.refused(code, about, self.server, self._login.command)
        return dict(as_entry(event))

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Query | None,
        headers: Mapping[str, str],
        body: Any = None,
        *,
        total_s: float | None = None,
        idle_s: float | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The beginning of a good answer. Credentials that are not good any more are renewed once."""
        limit_s = total_s or idle_s or CALL_S
        for last in (False, True):
            tries, client, authorization = await self._asking()
            limit = _limits(total_s, idle_s)
            url = f"{client.configuration.host}{path}{_query(query)}"
            sent = {"User-Agent": "pollinator", **headers, **authorization}
            with self._mapped(limit_s):
                reply = await client.call_api(method, url, sent, body, _request_timeout=limit)
                answer = reply.response
                try:
                    if answer.status < 300:
                        yield answer
                        return
                    said = await answer.content.read(cluster_refusals.MOST_BYTES)
                finally:
                    answer.close()
            await self._refused(answer.status, said, tries, last=last)

    async def _connected(self, path: str, query: Query) -> aiohttp.ClientWebSocketResponse:
        for last in (False, True):
            tries, client, authorization = await self._asking()
            import aiohttp

            if self._sockets is None:
                connector = aiohttp.TCPConnector(limit=0, ssl=client.rest_client.ssl_context)
                self._sockets = aiohttp.ClientSession(connector=connector, trust_env=True)
            try:
                with self._mapped(CONNECT_S):
                    async with asyncio.timeout(CONNECT_S):
                        return await self._sockets.ws_connect(
                            f"{client.configuration.host}{path}{_query(query)}",
                            headers={"User-Agent": "pollinator", **authorization},
                            protocols=(PROTOCOL,),
                            heartbeat=HEARTBEAT_S,
                            max_msg_size=MOST_LINE,
                            proxy=client.configuration.proxy,
                            server_hostname=client.configuration.tls_server_name,
                        )
            except aiohttp.WSServerHandshakeError as error:
                status = error.status
            # A websocket is refused without a word.
            await self._refused(status, WORDS.get(status, f"HTTP {status}").encode(), tries, last=last)
        raise AssertionError

    async def _asking(self) -> tuple[int, ApiClient, dict[str, str]]:
        """Which credentials these are, the connections, and the header that says who asks."""
        credentials = await self._login.current()
        tries = self._login.tries
        line = replace(credentials, authorization="", until=0.0, namespace="")
        async with self._turn:
            if self._client is None or self._made != line:
                await self._take(credentials)
                self._made = line
        assert self._client is not None
        authorization = credentials.authorization
        return tries, self._client, {"Authorization": authorization} if authorization else {}

    async def _take(self, credentials: Credentials) -> None:
        """Have connections with them. Whoever asks just now goes on with those before."""
        loop = asyncio.get_running_loop()
        client = await loop.run_in_executor(self._threads, _client, credentials)
        retired, sockets = self._retired, self._sockets
        self._client, self._retired, self._sockets = client, self._client, None
        if retired is not None:
            await retired.close()
        if sockets is not None:
            await sockets.close()

    async def _refused(self, status: int, said: bytes, tries: int, *, last: bool) -> None:
        """Return where asking again may help."""
        about = cluster_refusals.status_of(said)
        error = cluster_refusals.refused(status, about, self.server, self._login.command)
        if status != 401:
            raise error
        if last:
            self._login.rejected(error)
            raise error
        await self._login.renew(tries)

    @contextmanager
    def _mapped(self, limit_s: float) -> Generator[None]:
        import aiohttp

        try:
            yield
        except aiohttp.WSServerHandshakeError:
            raise
        except aiohttp.ClientConnectorCertificateError as error:
            raise Denied(
                f"{self.server} cannot be trusted: {error.certificate_error}",
                reason="kubernetes_tls",
                hint="certificate-authority of its cluster in the kubeconfig has to be the server's",
            ) from error
        except aiohttp.InvalidURL as error:
            # Not repeated: it may hold a password.
            raise InvalidInput(
                "the server of the cluster, or its proxy, is no URL", reason="bad_kubeconfig"
            ) from error
        except TimeoutError as error:
            raise Unavailable(
                f"{self.server} gave no answer for {limit_s:.3g} s", reason="kubernetes_silent"
            ) from error
        except aiohttp.ClientConnectorError as error:
            raise Unavailable(
                f"{self.server} cannot be reached: {_why(error.os_error)}", reason="kubernetes_down"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(
                f"{self.server} cut the line: {_why(error)}", reason="kubernetes_down"
            ) from error


def _client(credentials: Credentials) -> ApiClient:
    from kubernetes.aio.client import ApiClient, Configuration

    configuration = Configuration(
        host=credentials.server,
        ca_cert_data=credentials.authority or None,
        verify_ssl=credentials.verify,
        tls_server_name=credentials.server_name or None,
        proxy=credentials.proxy or None,
    )
    # Authorities of clusters are made by many programs; kubectl takes them all.
    configuration.disable_strict_ssl_verification = True
    try:
        # The client reads them here and now, and nobody needs them any more.
        with tempfile.TemporaryDirectory(prefix="pollinator-") as folder:
            if credentials.certificate:
                configuration.cert_file = _written(folder, "certificate.pem", credentials.certificate)
                configuration.key_file = _written(folder, "key.pem", credentials.key)
            return ApiClient(configuration)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidInput(
            f"the certificates for {credentials.server} cannot be used: {_why(error)}",
            reason="bad_kubeconfig",
        ) from error
    except OSError as error:
        # Full for a moment, say.
        raise Unavailable(
            f"the certificate for {credentials.server} cannot be written down: {_why(error)}",
            reason="kubernetes_down",
            hint="make room in the folder of temporary files: TMPDIR",
        ) from error


def _written(folder: str, name: str, body: bytes) -> str:
    path = os.path.join(folder, name)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
    return path


def _limits(total_s: float | None, idle_s: float | None) -> aiohttp.ClientTimeout:
    # Long since there: a thread has imported it for the client.
    import aiohttp

    return aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_S, sock_read=idle_s)


def _query(query: Query | None) -> str:
    if not query:
        return ""
    told = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
    return f"?{urlencode(told)}"


def _too_much(server: str) -> Exhausted:
    return Exhausted(f"{server} sends too much at once", reason="kubernetes_garbled")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or str(error)
    if isinstance(error, ConnectionError) and not error.errno:
        return "the connection was cut"
    if isinstance(error, OSError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
