"""Who asks, and what they may: tokens that expire, accounts, and roles."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from support.kubernetes.kinds import BINDING, CLUSTER_BINDING, CLUSTER_ROLE, ROLE, Kind, Obj, list_of
from support.kubernetes.refusals import Refusal, unauthorized
from support.kubernetes.store import Store

ADMIN = "kubernetes-admin"


@dataclass
class Token:
    """Stands for somebody, for a while."""

    user: str
    expires: float
    """On the clock of ``time.monotonic``."""


class Access:
    """Knows everybody."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tokens: dict[str, Token] = {}
        self.denied: list[str] = []
        """``VERB RESOURCE`` that nobody may for now, with ``*`` for any."""

    def issue(self, user: str, lasts_s: float = 1e9) -> str:
        """A new token of somebody."""
        token = f"double.{secrets.token_urlsafe(24)}"
        self._tokens[token] = Token(user, time.monotonic() + lasts_s)
        return token

    def expire(self, user: str = "") -> None:
        """No token of somebody, or of anybody, is good any more."""
        for each in self._tokens.values():
            if user in ("", each.user):
                each.expires = 0.0

    def user(self, header: str) -> str:
        """Who says this.

        Raises:
            Refusal: nobody that is known, or not any more.
        """
        scheme, _, text = header.partition(" ")
        token = self._tokens.get(text.strip())
        if scheme.lower() != "bearer" or token is None or token.expires < time.monotonic():
            raise unauthorized()
        return token.user

    def check(self, user: str, verb: str, kind: Kind, sub: str, namespace: str, name: str) -> None:
        """Refuse what somebody may not.

        Raises:
            Refusal: no role of theirs allows it.
        """
        if self.may(user, verb, kind, sub, namespace, name):
            return
        resource = f"{kind.plural}/{sub}" if sub else kind.plural
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        named = f' "{name}"' if name else ""
        whole = f"{resource}.{kind.group}" if kind.group else resource
        why = f'User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
        details = {"name": name, "kind": kind.plural, "group": kind.group}
        raise Refusal(
            403,
            "Forbidden",
            f"{whole}{named} is forbidden: {why}",
            {key: text for key, text in details.items() if text},
        )

    def may(self, user: str, verb: str, kind: Kind, sub: str, namespace: str, name: str) -> bool:
        """Somebody may do that."""
        resource = f"{kind.plural}/{sub}" if sub else kind.plural
        if any(fnmatchcase(f"{verb} {resource}", each) for each in self.denied):
            return False
        if user == ADMIN or kind.verbs == ("create",):
            return True
        return any(_allows(rule, verb, kind.group, resource, name) for rule in self._rules(user, namespace))

    def _rules(self, user: str, namespace: str) -> Iterable[Obj]:
        bindings = self._store.all(CLUSTER_BINDING)
        if namespace:
            bindings = [*bindings, *self._store.all(BINDING, namespace)]
        for binding in bindings:
            if not any(_is(each, user, binding) for each in list_of(binding, "subjects")):
                continue
            ref = binding["roleRef"]
            kind = ROLE if ref["kind"] == "Role" else CLUSTER_ROLE
            role = self._store.find(kind, namespace, ref["name"])
            yield from list_of((role or {}), "rules")


def account(namespace: str, name: str) -> str:
    """The user that a service account is."""
    return f"system:serviceaccount:{namespace}:{name}"


def _is(subject: Obj, user: str, binding: Obj) -> bool:
    if subject["kind"] == "ServiceAccount":
        return user == account(
            subject.get("namespace") or binding["metadata"].get("namespace", ""), subject["name"]
        )
    if subject["kind"] == "Group":
        return subject["name"] in ("system:authenticated", "system:serviceaccounts")
    return bool(subject["name"] == user)


def _allows(rule: Obj, verb: str, group: str, resource: str, name: str) -> bool:
    names = list_of(rule, "resourceNames")
    return (
        bool({verb, "*"} & set(rule["verbs"]))
        and bool({group, "*"} & set(list_of(rule, "apiGroups")))
        and bool({resource, "*"} & set(list_of(rule, "resources")))
        and (not names or name in names)
    )
