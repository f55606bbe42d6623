"""What is let into the cluster: namespaces, accounts, pod security, quotas, and somebody else's webhook."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from support.kubernetes.defaults import TOLERATION_S
from support.kubernetes.kinds import JOB, NAMESPACE, POD, QUOTA, Kind, Obj, list_of, part
from support.kubernetes.quantities import added, amounts, asked_of, shown
from support.kubernetes.refusals import Refusal, forbidden, not_found
from support.kubernetes.security import LABEL, violations
from support.kubernetes.store import Store

_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass
class Webhook:
    """Somebody who has a word in what is created, as policy engines have."""

    kind: str = "Pod"
    namespace: str = ""
    """An empty one is every one."""
    denies: str = ""
    """With this message."""
    fails: bool = False
    """Nobody answers."""
    adds: Obj = field(default_factory=Obj)
    """A container that is put into every pod, as meshes do; those whose label or annotation
    ``sidecar.istio.io/inject`` is ``false`` are left alone."""


@dataclass
class Admission:
    """Says yes or no to what is created."""

    store: Store
    webhooks: list[Webhook] = field(default_factory=list[Webhook])
    toleration_s: int = TOLERATION_S

    def change(self, kind: Kind, obj: Obj) -> None:
        """Write into a new object what is written into every one.

        Raises:
            Refusal: a webhook does not let it in.
        """
        if kind is POD:
            self._tolerate(obj["spec"])
            obj["spec"].setdefault("serviceAccountName", "default")
            obj["spec"].setdefault("serviceAccount", obj["spec"]["serviceAccountName"])
            _token(obj["spec"])
        for hook in self.webhooks:
            if hook.kind == kind.name and hook.namespace in ("", obj["metadata"].get("namespace")):
                _ask(hook, kind, obj)

    def check(self, kind: Kind, obj: Obj) -> None:
        """Refuse what is not let in.

        Raises:
            Refusal: the namespace, its standard, or a quota is against it.
        """
        name = obj["metadata"].get("name") or obj["metadata"].get("generateName", "")
        if kind.namespaced:
            self._namespace(kind, name, obj["metadata"]["namespace"])
        if kind is POD:
            self._secure(name, obj)
        if kind in (POD, JOB):
            self._quota(kind, name, obj)

    def _namespace(self, kind: Kind, name: str, namespace: str) -> None:
        found = self.store.find(NAMESPACE, "", namespace)
        if found is None:
            raise not_found(NAMESPACE, namespace)
        if "deletionTimestamp" in found["metadata"]:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(kind, name, why)

    def _tolerate(self, spec: Obj) -> None:
        rows = spec.setdefault("tolerations", [])
        for taint in _AWAY:
            if not any(
                each.get("key") in (taint, None) and each.get("effect") in ("NoExecute", None)
                for each in rows
            ):
                rows.append(
                    {
                        "key": taint,
                        "operator": "Exists",
                        "effect": "NoExecute",
                        "tolerationSeconds": self.toleration_s,
                    }
                )

    def _secure(self, name: str, pod: Obj) -> None:
        namespace = self.store.get(NAMESPACE, "", pod["metadata"]["namespace"])
        level = part(namespace["metadata"], "labels").get(LABEL, "privileged")
        if found := violations(level, pod["spec"]):
            raise forbidden(POD, name, f'violates PodSecurity "{level}:latest": {", ".join(found)}')

    def _quota(self, kind: Kind, name: str, obj: Obj) -> None:
        for quota in self.store.all(QUOTA, obj["metadata"]["namespace"]):
            hard = amounts(quota["spec"].get("hard"))
            asked = _charge(kind, obj)
            if missing := [
                each for each in hard if kind is POD and _must_be_said(each) and each not in asked
            ]:
                each = f"must specify {','.join(sorted(missing))} for: {obj['spec']['containers'][0]['name']}"
                raise forbidden(kind, name, f"failed quota: {quota['metadata']['name']}: {each}")
            used = self.used(quota)
            over = [
                each
                for each in sorted(hard)
                if each in asked and used.get(each, Fraction()) + asked[each] > hard[each]
            ]
            if over:
                told = [
                    f"{what}: {','.join(f'{each}={shown(values.get(each, Fraction()))}' for each in over)}"
                    for what, values in (("requested", asked), ("used", used), ("limited", hard))
                ]
                raise forbidden(kind, name, f"exceeded quota: {quota['metadata']['name']}, {', '.join(told)}")

    def used(self, quota: Obj) -> dict[str, Fraction]:
        """What is taken of a quota now."""
        namespace = quota["metadata"]["namespace"]
        pods = [each for each in self.store.all(POD, namespace) if not _ended(each)]
        every = [_charge(POD, each) for each in pods] + [
            _charge(JOB, each) for each in self.store.all(JOB, namespace)
        ]
        return added(every)


def _token(spec: Obj) -> None:
    """Every container can read the token of the pod's account, unless the pod does without."""
    at = "/var/run/secrets/kubernetes.io/serviceaccount"
    if spec.get("automountServiceAccountToken") is False:
        return
    name = "kube-api-access"
    sources: list[Obj] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                ]
            }
        },
    ]
    spec.setdefault("volumes", []).append(
        {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}
    )
    for container in [*list_of(spec, "initContainers"), *spec["containers"]]:
        mounts = container.setdefault("volumeMounts", [])
        if not any(each["mountPath"] == at for each in mounts):
            mounts.append({"name": name, "readOnly": True, "mountPath": at})


def _ask(hook: Webhook, kind: Kind, obj: Obj) -> None:
    name = obj["metadata"].get("name") or obj["metadata"].get("generateName", "")
    if hook.fails:
        raise Refusal(
            500,
            "InternalError",
            'Internal error occurred: failed calling webhook "policy.example.com": failed to call webhook: '
            'Post "https://policy.example.svc:443/validate?timeout=10s": context deadline exceeded',
        )
    if hook.denies:
        message = f'admission webhook "policy.example.com" denied the request: {hook.denies}'
        raise Refusal(403, "Forbidden", message, {"name": name, "kind": kind.plural})
    if hook.adds:
        marks = [part(obj["metadata"], each) for each in ("labels", "annotations")]
        if not any(each.get("sidecar.istio.io/inject") == "false" for each in marks):
            obj["spec"]["containers"] = [*obj["spec"]["containers"], dict(hook.adds)]


def _charge(kind: Kind, obj: Obj) -> dict[str, Fraction]:
    one = Fraction(1)
    if kind is JOB:
        return {"count/jobs.batch": one}
    asked = {f"requests.{name}": value for name, value in asked_of(obj).items()}
    limits = {f"limits.{name}": value for name, value in asked_of(obj, "limits").items()}
    plain = {name: value for name, value in asked_of(obj).items() if name in ("cpu", "memory")}
    return {"pods": one, "count/pods": one, **asked, **limits, **plain}


def _must_be_said(name: str) -> bool:
    return name.removeprefix("requests.").removeprefix("limits.") in ("cpu", "memory")


def _ended(pod: Obj) -> bool:
    return part(pod, "status").get("phase") in ("Succeeded", "Failed")
