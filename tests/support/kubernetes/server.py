"""The API server: paths, verbs, and who may."""

from __future__ import annotations

import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass
from typing import Any

import yaml
from aiohttp import web

from support.kubernetes.access import account
from support.kubernetes.api import Api, check_options
from support.kubernetes.asked import Asked, asked_by, discovery
from support.kubernetes.faults import Fault
from support.kubernetes.kinds import ACCESS_REVIEW, PENDING, POD, Kind, Obj, part
from support.kubernetes.kueue import pending
from support.kubernetes.pod_requests import PodRequests
from support.kubernetes.refusals import Refusal, bad_request
from support.kubernetes.watching import Wanted, told
from support.kubernetes.world import World

_MOST_BYTES = 3 << 20
_PLAIN = {"healthz": "ok", "readyz": "ok", "livez": "ok"}


@dataclass(frozen=True)
class Record:
    """A request that came in."""

    verb: str
    resource: str
    namespace: str
    name: str
    user: str
    code: int
    agent: str


class Server:
    """Answers on one port of this machine. Belongs to one event loop."""

    def __init__(self, world: World, tls: ssl.SSLContext | None) -> None:
        self.world = world
        self.api: Api = world.api
        self.faults: list[Fault] = []
        self.records: list[Record] = []
        self.port = 0
        self._tls = tls
        self._pods = PodRequests(world)
        self._runner: web.AppRunner | None = None
        self._watching = 0

    @property
    def watching(self) -> int:
        """So many watches there are now."""
        return self._watching

    async def start(self) -> None:
        """Begin to answer, on the port that it had before if it had one."""
        application = web.Application(client_max_size=_MOST_BYTES)
        application.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(
            application,
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=0.1,
            keepalive_timeout=3600,
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls).start()
        self.port = runner.addresses[0][1]
        self._runner = runner

    async def stop(self) -> None:
        """Answer no more: every line is cut."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        for site in list(runner.sites):
            await site.stop()
        self.cut()
        if runner.server is not None:
            for connection in list(runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()
        await runner.cleanup()

    def cut(self) -> None:
        """Cut every line that there is; new ones are taken."""
        if self._runner is not None and self._runner.server is not None:
            for connection in list(self._runner.server.connections):
                if connection.transport is not None:
                    connection.transport.abort()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked: Asked | None = None
        user = ""
        try:
            path = [each for each in request.path.split("/") if each]
            if len(path) == 1 and path[0] in _PLAIN:
                return web.Response(text=_PLAIN[path[0]])
            user = self.world.access.user(request.headers.get("Authorization", ""))
            if (found := discovery(path, self.world.kinds)) is not None:
                return web.json_response(found)
            asked = asked_by(request.method, path, request.query, self.world.kinds)
            fault = next((each for each in self.faults if each.hits(asked.verb, asked.kind.plural)), None)
            if fault is not None:
                await fault.before()
            self._allow(user, asked)
            answer = await self._done(request, asked, user, fault)
            if fault is not None and fault.how == "lose":
                _cut(request)
            if fault is not None and fault.how == "garbage":
                answer = web.Response(text="<html>bad gateway</html>", content_type="text/html")
        except Refusal as refusal:
            answer = _refused(refusal)
        except ConnectionAbortedError:
            _cut(request)
            # Nobody gets it, and nothing was done.
            answer = web.Response(status=499)
        if asked is not None and asked.verb != "watch":
            self._note(request, asked, user, answer.status)
        return answer

    def _note(self, request: web.Request, asked: Asked, user: str, code: int) -> None:
        resource = f"{asked.kind.plural}/{asked.sub}" if asked.sub else asked.kind.plural
        agent = request.headers.get("User-Agent", "")
        self.records.append(Record(asked.verb, resource, asked.namespace, asked.name, user, code, agent))

    def _allow(self, user: str, asked: Asked) -> None:
        self.world.access.check(user, asked.verb, asked.kind, asked.sub, asked.namespace, asked.name)

    async def _done(
        self, request: web.Request, asked: Asked, user: str, fault: Fault | None
    ) -> web.StreamResponse:
        if asked.verb == "watch":
            self._note(request, asked, user, 200)
            return await self._watch(request, asked, ends=fault is not None and fault.how == "end")
        if asked.kind is POD and asked.sub in ("log", "portforward", "eviction"):
            body = await _body(request) if asked.sub == "eviction" else Obj()
            return await self._pods.answer(request, asked, body)
        does: dict[str, Callable[[web.Request, Asked], Awaitable[web.Response]]] = {
            "get": self._get,
            "list": self._list,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_all,
        }
        if asked.kind is ACCESS_REVIEW:
            return web.json_response(self._review(await _body(request), user), status=201)
        if asked.kind is PENDING:
            return web.json_response(pending(self.api.store, asked.namespace, asked.name))
        if asked.sub == "token":
            return web.json_response(self._token(await _body(request), asked), status=201)
        return await does[asked.verb](request, asked)

    async def _get(self, request: web.Request, asked: Asked) -> web.Response:
        return web.json_response(self.api.store.get(asked.kind, asked.namespace, asked.name))

    async def _list(self, request: web.Request, asked: Asked) -> web.Response:
        return web.json_response(self.api.list(asked.kind, asked.namespace, request.query))

    async def _create(self, request: web.Request, asked: Asked) -> web.Response:
        check_options(request.query)
        body = await _body(request)
        dry = request.query.get("dryRun") == "All"
        return web.json_response(self.api.create(asked.kind, asked.namespace, body, dry=dry), status=201)

    async def _update(self, request: web.Request, asked: Asked) -> web.Response:
        body = await _body(request)
        return web.json_response(self.api.update(asked.kind, asked.namespace, asked.name, body, asked.sub))

    async def _patch(self, request: web.Request, asked: Asked) -> web.Response:
        how = request.headers.get("Content-Type", "")
        new = self.api.store.find(asked.kind, asked.namespace, asked.name) is None
        body = await _body(request)
        made = self.api.patch(asked.kind, asked.namespace, asked.name, body, how, asked.sub)
        return web.json_response(made, status=201 if new else 200)

    async def _delete(self, request: web.Request, asked: Asked) -> web.Response:
        left = self.api.delete(asked.kind, asked.namespace, asked.name, await _options(request))
        if self.api.store.find(asked.kind, asked.namespace, asked.name) is not None:
            return web.json_response(left)
        details = {"name": asked.name, "kind": asked.kind.plural, "uid": left["metadata"]["uid"]}
        done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        return web.json_response(left if asked.kind is POD else done)

    async def _delete_all(self, request: web.Request, asked: Asked) -> web.Response:
        found = self.api.list(asked.kind, asked.namespace, request.query)
        options = await _options(request)
        for each in found["items"]:
            with suppress(Refusal):
                self.api.delete(asked.kind, each["metadata"]["namespace"], each["metadata"]["name"], options)
        return web.json_response(found)

    async def _watch(self, request: web.Request, asked: Asked, *, ends: bool) -> web.StreamResponse:
        settings = self.world.settings
        query = dict(request.query)
        if asked.name:
            query["fieldSelector"] = f"metadata.name={asked.name}"
        wanted = Wanted.asked(asked.kind, asked.namespace, query, 0.0 if ends else settings.longest_watch_s)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        self._watching += 1
        try:
            async with aclosing(told(self.api.store, wanted, settings.bookmark_s)) as events:
                async for event in events:
                    if request.transport is None or request.transport.is_closing():
                        break
                    await response.write(json.dumps(event).encode() + b"\n")
        except ConnectionError:
            # Who asked has gone away.
            pass
        finally:
            self._watching -= 1
        return response

    def _review(self, body: Obj, user: str) -> Obj:
        wanted = part(body["spec"], "resourceAttributes")
        kind = next(
            (
                each
                for each in self.world.kinds
                if each.plural == wanted.get("resource") and each.group == wanted.get("group", "")
            ),
            Kind(wanted.get("group", ""), "", "", wanted.get("resource", "")),
        )
        where = wanted.get("subresource", ""), wanted.get("namespace", ""), wanted.get("name", "")
        allowed = self.world.access.may(user, wanted.get("verb", ""), kind, *where)
        return {**body, "status": {"allowed": allowed}}

    def _token(self, body: Obj, asked: Asked) -> Obj:
        lasts = int(part(body, "spec").get("expirationSeconds") or 3600)
        token = self.world.access.issue(account(asked.namespace, asked.name), lasts)
        return {**body, "status": {"token": token, "expirationTimestamp": "2100-01-01T00:00:00Z"}}

    def shown(self) -> list[dict[str, Any]]:
        """The requests that came in, the first first."""
        return [asdict(each) for each in self.records]


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _body(request: web.Request) -> Any:
    text = await request.text()
    try:
        return yaml.safe_load(text) if "yaml" in request.headers.get("Content-Type", "") else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"error decoding: {error}") from error


async def _options(request: web.Request) -> Obj:
    """How it is to be deleted, which a body says or the query."""
    text = await request.text()
    options: Obj = json.loads(text) if text else {}
    for name in ("propagationPolicy", "gracePeriodSeconds", "orphanDependents"):
        if name in request.query:
            value: Any = request.query[name]
            options[name] = int(value) if name.endswith("Seconds") else value
    return {name: value for name, value in options.items() if value is not None}


def _refused(refusal: Refusal) -> web.Response:
    headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s else {}
    return web.json_response(refusal.status(), status=refusal.code, headers=headers)
