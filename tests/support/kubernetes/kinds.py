"""The kinds of objects that the double keeps, and how each is called in a path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeGuard

Obj = dict[str, Any]
"""An object as it is written in JSON."""
VERSION = "1.37"
"""Of Kubernetes, whose schemas and words these are."""


@dataclass(frozen=True)
class Kind:
    """A kind of object."""

    group: str
    version: str
    name: str
    plural: str
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = (
        *("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
    )
    checked: bool = field(default=True)
    """There is a published schema for it."""

    @property
    def api_version(self) -> str:
        """As objects say it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As messages and records of requests say it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, order=True)
class Key:
    """What an object is called."""

    kind: str
    """``Kind.resource``."""
    namespace: str
    name: str


_ONLY_CREATED = ("create",)
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", False, ("status",))
NODE = Kind("", "v1", "Node", "nodes", False, ("status",))
POD = Kind("", "v1", "Pod", "pods", True, ("status", "log", "eviction", "portforward"))
SERVICE = Kind("", "v1", "Service", "services", True, ("status",))
SECRET = Kind("", "v1", "Secret", "secrets")
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps")
EVENT = Kind("", "v1", "Event", "events")
CLAIM = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, ("status",))
VOLUME = Kind("", "v1", "PersistentVolume", "persistentvolumes", False, ("status",))
ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", True, ("token",))
QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas", True, ("status",))
LIMITS = Kind("", "v1", "LimitRange", "limitranges")
JOB = Kind("batch", "v1", "Job", "jobs", True, ("status",))
DEPLOYMENT = Kind("apps", "v1", "Deployment", "deployments", True, ("status", "scale"))
STATEFUL_SET = Kind("apps", "v1", "StatefulSet", "statefulsets", True, ("status", "scale"))
ROLE = Kind("rbac.authorization.k8s.io", "v1", "Role", "roles")
BINDING = Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings")
CLUSTER_ROLE = Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False)
CLUSTER_BINDING = Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False)
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases")
POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
BUDGET = Kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", True, ("status",))
PRIORITY = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", False)
ACCESS_REVIEW = Kind(
    *("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews"),
    namespaced=False,
    verbs=_ONLY_CREATED,
)
WORKLOAD = Kind("kueue.x-k8s.io", "v1beta1", "Workload", "workloads", True, ("status",), checked=False)
LOCAL_QUEUE = Kind("kueue.x-k8s.io", "v1beta1", "LocalQueue", "localqueues", True, ("status",), checked=False)
PENDING = Kind(
    *("visibility.kueue.x-k8s.io", "v1beta1", "LocalQueue", "localqueues"),
    subresources=("pendingworkloads",),
    verbs=("get",),
    checked=False,
)
"""Who waits in a queue, as a server of Kueue's own says it."""

KUEUE = (WORKLOAD, LOCAL_QUEUE)
"""Those that are there only where Kueue is."""
BUILT_IN = (
    *(NAMESPACE, NODE, POD, SERVICE, SECRET, CONFIG_MAP, EVENT, CLAIM, VOLUME, ACCOUNT, QUOTA, LIMITS),
    *(JOB, DEPLOYMENT, STATEFUL_SET, ROLE, BINDING, CLUSTER_ROLE, CLUSTER_BINDING, LEASE, POLICY, BUDGET),
    *(PRIORITY, ACCESS_REVIEW),
)
_BY_RESOURCE = {each.resource: each for each in (*BUILT_IN, *KUEUE)}


def is_obj(value: Any) -> TypeGuard[Obj]:
    """It has fields."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """It has entries."""
    return isinstance(value, list)


def part(obj: Any, *names: str) -> Obj:
    """What an object has below these names; an empty one where it has nothing there."""
    found: Any = obj
    for name in names:
        found = found.get(name) if found else None
    return found or Obj()


def list_of(obj: Any, *names: str) -> list[Any]:
    """The same for a list."""
    found: Any = part(obj, *names)
    return list(found)


def kind_of(resource: str) -> Kind:
    """The kind with this ``Kind.resource``."""
    return _BY_RESOURCE[resource]


def key_of(kind: Kind, obj: Obj) -> Key:
    """What an object is called."""
    meta = obj["metadata"]
    return Key(kind.resource, meta.get("namespace", "") if kind.namespaced else "", meta["name"])
