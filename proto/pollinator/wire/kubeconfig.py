"""Files that say how clusters are reached, as kubectl reads them: contexts, clusters and users by name.

Reads and finds only; ``cluster`` asks, and ``plugin`` runs the programs that some users get tokens from.
Nothing of what is secret is in an error, a log or the text of a value.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import yaml

from pollinator.wire.documents import Entry, as_entries, as_entry, as_list
from pollinator.wire.errors import InvalidInput, NeedsLogin, Violation

IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the token of its service account, which is replaced from time to time."""
ROTATED_S = 60.0
"""How long a token from a file is used before the file is read again."""
MOST_BYTES = 16 * 1024 * 1024
"""No such file is longer."""

_LISTS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_IMPERSONATION = ("as", "as-uid", "as-groups", "as-user-extra")
_FIRST = "the first file that names something counts, as with kubectl"


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one needs to ask a cluster, at this moment."""

    server: str
    namespace: str
    authorization: str = field(default="", repr=False)
    """The header of that name."""
    until: float = float("inf")
    """By the clock of this machine: ask for others then."""
    authority: str = field(default="", repr=False)
    """Certificates of whom the server must be, in PEM; empty for those that this machine trusts."""
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)
    verify: bool = True
    server_name: str = ""
    """What the server's certificate is for, where it is not the host."""
    proxy: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Context:
    """One context of the files: a cluster, who one is there, and a namespace."""

    name: str
    namespace: str
    cluster: Entry = field(repr=False)
    user: Entry = field(repr=False)
    cluster_folder: Path
    """What paths of the cluster are relative to."""
    user_folder: Path
    user_file: Path
    files: tuple[Path, ...] = ()
    """All that were read."""
    given: str = ""
    """The files that were named, where it was not left to the environment."""

    @property
    def login(self) -> str:
        """The command with which somebody logs in, and sees whether it worked."""
        files = f" --kubeconfig {shlex.quote(self.given)}" if self.given else ""
        return f"kubectl{files} --context {shlex.quote(self.name)} version"

    @property
    def plugin(self) -> Entry | None:
        """The program that this user gets tokens from, if there is one."""
        return as_entry(self.user.get("exec")) or None


def config_files(given: str, environ: Mapping[str, str]) -> list[Path]:
    """The files to read: those that were given, those of ``KUBECONFIG``, or kubectl's own.

    Args:
        given: paths with ``:`` between them, or empty.
        environ: the environment.
    """
    named = given or environ.get("KUBECONFIG", "")
    if named:
        # Not ``expanduser``, which raises where there is no such user: then it is a name like others.
        return [Path(os.path.expanduser(each)) for each in named.split(os.pathsep) if each]
    return [Path(environ.get("HOME") or Path.home(), ".kube", "config")]


def is_in_pod(environ: Mapping[str, str]) -> bool:
    """This is a container of a cluster."""
    return bool(environ.get("KUBERNETES_SERVICE_HOST"))


def find_context(files: Sequence[Path], name: str, given: str = "") -> Context:
    """The context with a name; empty is the current one.

    Args:
        files: where to look.
        name: of the context.
        given: what to tell kubectl of the files, where its own would not do.

    Raises:
        InvalidInput: there is none, or a file cannot be read.
    """
    read = [(path, found) for path in files if (found := _read(path)) is not None]
    listed = ", ".join(map(str, files)) or "no file"
    name = name or next((str(each["current-context"]) for _, each in read if each.get("current-context")), "")
    contexts = _names(read, "contexts")
    if name not in contexts:
        what = f"there is no context {name!r}" if name else "no context is named, and none is the current one"
        hint = f"contexts are: {', '.join(contexts)}" if contexts else "KUBECONFIG names the files to read"
        raise InvalidInput(f"{what} in {listed}", reason="context_missing", hint=hint)
    at, context = _entry(read, "contexts", name)
    cluster_at, cluster = _entry(read, "clusters", _named(at, name, context, "cluster"))
    user_at: Path = at
    user: Entry = {}
    if context.get("user"):
        user_at, user = _entry(read, "users", _named(at, name, context, "user"))
    if not isinstance(cluster.get("server"), str):
        raise _bad(cluster_at, f"the cluster of context {name} has no server")
    if others := [each for each in _IMPERSONATION if user.get(each)]:
        raise _bad(
            user_at, f"the user of context {name} is to act {others[0]} another, which is not done here"
        )
    return Context(
        name=name,
        namespace=str(context.get("namespace") or "default"),
        cluster=cluster,
        user=user,
        cluster_folder=cluster_at.parent,
        user_folder=user_at.parent,
        user_file=user_at,
        files=tuple(each.absolute() for each in files),
        given=given,
    )


def credentials_of(context: Context, status: Entry | None = None) -> Credentials:
    """What a context says, with what its user's program has said.

    Args:
        context: what is meant.
        status: answer of the program, where the user has one.

    Raises:
        InvalidInput: something cannot be meant, or a file is missing.
        NeedsLogin: what there is has expired, or needs something that is not done here.
    """
    cluster, user = context.cluster, context.user
    where = f"cluster of context {context.name}"
    authority = _bytes(cluster, "certificate-authority", context.cluster_folder, where)
    where = f"user of context {context.name}"
    authorization, until = _authorization(context, status)
    if status is not None and "clientCertificateData" in status:
        certificate = str(status["clientCertificateData"]).encode()
        key = str(status.get("clientKeyData", "")).encode()
    else:
        certificate = _bytes(user, "client-certificate", context.user_folder, where)
        key = _bytes(user, "client-key", context.user_folder, where)
    if not authorization.isprintable():
        raise _bad(context.user_file, f"the {where} has a token with a line's end or the like in it")
    if bool(certificate) != bool(key):
        raise _bad(context.user_file, f"the {where} has a certificate or a key, but not both")
    return Credentials(
        server=str(cluster["server"]).rstrip("/"),
        namespace=context.namespace,
        authorization=authorization,
        until=until,
        # Bundles name authorities beside their certificates, in the letters of many countries.
        authority=authority.decode("ascii", "ignore"),
        certificate=certificate,
        key=key,
        verify=not cluster.get("insecure-skip-tls-verify", False),
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=str(cluster.get("proxy-url") or ""),
    )


def credentials_of_pod(environ: Mapping[str, str], account: Path = IN_POD) -> Credentials:
    """Those of the service account that this pod has.

    Raises:
        NeedsLogin: it has none.
    """
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    try:
        token = (account / "token").read_text("ascii").strip()
        authority = (account / "ca.crt").read_text("ascii")
        namespace = (account / "namespace").read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise NeedsLogin(
            f"the account of this pod cannot be read in {account}: {_why(error)}",
            reason="kubernetes_login",
            hint="the pod needs a service account: automountServiceAccountToken",
        ) from error
    return Credentials(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        namespace=namespace,
        authorization=f"Bearer {token}",
        until=time.time() + ROTATED_S,
        authority=authority,
    )


def expiry_of(token: str) -> float:
    """Until when a token says that it is good, if it says so: the claim of a JWT. Nothing is verified."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return float(claims["exp"])
    except (IndexError, ValueError, TypeError, KeyError):
        return float("inf")


def _authorization(context: Context, status: Entry | None) -> tuple[str, float]:
    """The header, and until when it is good."""
    user = context.user
    if status is not None:
        token = status.get("token")
        return (f"Bearer {token}" if token else ""), _seconds(status.get("expirationTimestamp"))
    if user.get("tokenFile"):
        path = context.user_folder / str(user["tokenFile"])
        return (
            f"Bearer {_file(path, 'tokenFile').decode('ascii', 'replace').strip()}",
            time.time() + ROTATED_S,
        )
    if user.get("token"):
        return f"Bearer {user['token']}", float("inf")
    if user.get("auth-provider"):
        return _of_provider(context), time.time() + ROTATED_S
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}"
        return f"Basic {base64.b64encode(pair.encode()).decode()}", float("inf")
    return "", float("inf")


def _of_provider(context: Context) -> str:
    """What kubectl has got from a provider of tokens. It renews them: who does so keeps the only copy."""
    config = as_entry(as_entry(context.user["auth-provider"]).get("config"))
    token = str(config.get("id-token") or config.get("access-token") or "")
    if not token or expiry_of(token) < time.time():
        raise NeedsLogin(
            f"the token of context {context.name} has expired",
            reason="kubernetes_login",
            hint=context.login,
        )
    return f"Bearer {token}"


def _seconds(text: object) -> float:
    from datetime import datetime

    try:
        return datetime.fromisoformat(str(text)).timestamp() if text else float("inf")
    except ValueError:
        return float("inf")


def _read(path: Path) -> Entry | None:
    """What is in a file; None where there is none."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _bad(path, "it is too long")
        found = yaml.safe_load(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The words of the parser would quote the file. What looks like a date and is none it does not expect.
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        raise _bad(path, f"it is no YAML{line}") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _bad(path, "it holds no clusters, users and contexts")
    document = as_entry(cast("object", found))
    for listed in _LISTS:
        if document.get(listed) and len(as_entries(document[listed])) != len(as_list(document[listed])):
            raise _bad(path, f"{listed} is not a list of names with what they mean")
    return document


def _names(read: Sequence[tuple[Path, Entry]], listed: str) -> list[str]:
    return sorted({str(each.get("name")) for _, found in read for each in as_entries(found.get(listed))})


def _entry(read: Sequence[tuple[Path, Entry]], listed: str, name: str) -> tuple[Path, Entry]:
    for path, found in read:
        for each in as_entries(found.get(listed)):
            if each.get("name") == name:
                return path.absolute(), as_entry(each.get(_LISTS[listed]))
    where = ", ".join(str(path) for path, _ in read)
    raise InvalidInput(
        f"there is no {_LISTS[listed]} {name!r} in {where}, which a context names",
        reason="bad_kubeconfig",
        hint=f"known are: {', '.join(_names(read, listed)) or 'none'}",
    )


def _named(path: Path, context: str, entry: Entry, what: str) -> str:
    if not isinstance(entry.get(what), str):
        raise _bad(path, f"context {context} has no {what}")
    return str(entry[what])


def _bytes(entry: Entry, name: str, folder: Path, where: str) -> bytes:
    if data := entry.get(f"{name}-data"):
        try:
            return base64.b64decode("".join(str(data).split()), validate=True)
        except binascii.Error:
            raise InvalidInput(
                f"{name}-data of the {where} is not base64", reason="bad_kubeconfig", hint=_FIRST
            ) from None
    return _file(folder / str(entry[name]), name) if entry.get(name) else b""


def _file(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _bad(path, f"{what} cannot be read: {error.strerror}") from error


def _bad(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path} cannot be used: {why}",
        reason="bad_kubeconfig",
        hint="kubectl config view shows what there is",
        violations=[Violation(str(path), why)],
    )


def _why(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or "it is no text"
