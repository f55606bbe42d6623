"""What the API of the cluster of the tests takes, refuses and tells. Runs unchanged on a real cluster."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from support.kubernetes.asking import Line, Said, path_of
from support.kubernetes.jobs_of_tests import job
from support.kubernetes.kinds import Obj
from support.kubernetes.sites import Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def config(name: str, labels: dict[str, str] | None = None, **data: str) -> Obj:
    """Something to change."""
    meta = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def created(cluster: Site, obj: Obj) -> Said:
    return cluster.line.create(obj, cluster.namespace)


# What is refused


def test_a_second_one_of_a_name(cluster: Site) -> None:
    made = created(cluster, config("one")).granted
    again = created(cluster, config("one"))
    assert (409, "AlreadyExists", 'configmaps "one" already exists') == (
        again.code,
        again.reason,
        again.message,
    )
    assert made["metadata"]["uid"] == cluster.get("configmaps", "one")["metadata"]["uid"]


def test_what_is_not_there(cluster: Site) -> None:
    said = cluster.line.ask("GET", path_of("jobs", cluster.namespace, "none"))
    assert (404, "NotFound", 'jobs.batch "none" not found') == (said.code, said.reason, said.message)
    said = cluster.line.ask("GET", "/apis/nothing.example/v1/things")
    assert 404 == said.code


def test_fields_that_there_are_not(cluster: Site) -> None:
    wrong = job(cluster, "wrong", "true")
    wrong["spec"]["template"]["spec"]["containers"][0]["comand"] = ["true"]
    path = path_of("jobs", cluster.namespace, fieldValidation="Strict")
    said = cluster.line.ask("POST", path, wrong)
    assert (400, "BadRequest") == (said.code, said.reason)
    assert "comand" in said.message
    assert "unknown field" in said.message


_WRONG: list[tuple[str, str, Any]] = [
    ("metadata.name", "name", "Not_A_Name"),
    ("metadata.labels", "labels", {"a": "x" * 64}),
    ("spec.completions", "completions", None),
    ("spec.template.spec.restartPolicy", "restartPolicy", "Always"),
    ("volumeMounts[0].name", "volumeMounts", [{"name": "no", "mountPath": "/x"}]),
    ("resources.requests", "resources", {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
    ("containers[0].image", "image", ""),
]


@pytest.mark.parametrize(("at", "field", "value"), _WRONG, ids=[field for _, field, _ in _WRONG])
def test_what_cannot_be_meant(cluster: Site, at: str, field: str, value: Any) -> None:
    wrong = job(cluster, "wrong", "true")
    places: tuple[Obj, ...] = (wrong["metadata"], wrong["spec"], _pod(wrong), _main(wrong))
    wanted = ("name labels", "completions", "restartPolicy", "volumeMounts resources image")
    place = next(each for each, names in zip(places, wanted, strict=True) if field in names.split())
    place[field] = value
    said = created(cluster, wrong)
    assert (422, "Invalid") == (said.code, said.reason)
    assert at in said.message


def _pod(obj: Obj) -> Obj:
    found: Obj = obj["spec"]["template"]["spec"]
    return found


def _main(obj: Obj) -> Obj:
    found: Obj = _pod(obj)["containers"][0]
    return found


def test_a_pod_of_a_job_cannot_be_another(cluster: Site) -> None:
    cluster.create(job(cluster, "fixed", "true", suspend=False))
    said = cluster.patch("jobs", "fixed", {"spec": {"completionMode": "NonIndexed"}})
    assert (422, "Invalid") == (said.code, said.reason)
    assert "field is immutable" in said.message


# Changes


def test_the_ways_to_change_something(cluster: Site) -> None:
    created(cluster, config("way", {"a": "1", "b": "2"}, x="1", y="2")).granted  # noqa: B018
    merge = cluster.patch("configmaps", "way", {"data": {"x": None, "z": "3"}}).granted
    assert {"y": "2", "z": "3"} == merge["data"]
    step = [
        {"op": "replace", "path": "/data/y", "value": "4"},
        {"op": "remove", "path": "/metadata/labels/a"},
    ]
    stepped = cluster.patch("configmaps", "way", step).granted
    assert ({"y": "4", "z": "3"}, {"b": "2"}) == (stepped["data"], stepped["metadata"]["labels"])
    strategic = cluster.line.patch(
        *("configmaps", cluster.namespace, "way"),
        {"metadata": {"finalizers": ["example.com/one"]}},
        "application/strategic-merge-patch+json",
    ).granted
    assert ["example.com/one"] == strategic["metadata"]["finalizers"]
    let_go = cluster.patch("configmaps", "way", {"metadata": {"finalizers": None}}).granted
    assert "finalizers" not in let_go["metadata"]


def test_containers_are_told_apart_by_their_name(cluster: Site) -> None:
    cluster.create(job(cluster, "held", "true", suspend=True))
    patch = {"spec": {"template": {"spec": {"nodeSelector": {"a": "b"}}}}}
    how = "application/strategic-merge-patch+json"
    directed = cluster.line.patch("jobs", cluster.namespace, "held", patch, how).granted
    assert {"a": "b"} == _pod(directed)["nodeSelector"]
    assert ["main"] == [each["name"] for each in _pod(directed)["containers"]]


def test_what_is_applied_is_there_afterwards(cluster: Site) -> None:
    path = path_of("configmaps", cluster.namespace, "applied", fieldManager="tests", force="true")
    how = "application/apply-patch+yaml"
    first = cluster.line.ask("PATCH", path, config("applied", x="1"), how)
    assert 201 == first.code
    second = cluster.line.ask("PATCH", path, config("applied", x="2"), how)
    assert (200, {"x": "2"}) == (second.code, second.granted["data"])


def test_nobody_changes_what_has_changed_meanwhile(cluster: Site) -> None:
    old = created(cluster, config("both", x="1")).granted
    path = path_of("configmaps", cluster.namespace, "both")
    cluster.line.ask("PUT", path, {**old, "data": {"x": "2"}}).granted  # noqa: B018
    said = cluster.line.ask("PUT", path, {**old, "data": {"x": "3"}})
    assert (409, "Conflict") == (said.code, said.reason)
    assert {"x": "2"} == cluster.get("configmaps", "both")["data"]


def test_only_the_one_that_is_meant_is_deleted(cluster: Site) -> None:
    created(cluster, config("mine")).granted  # noqa: B018
    said = cluster.delete("configmaps", "mine", preconditions={"uid": "0-0-0"})
    assert (409, "Conflict") == (said.code, said.reason)
    assert cluster.find("configmaps", "mine") is not None


def test_a_finalizer_holds_what_is_deleted(cluster: Site) -> None:
    held = config("held")
    held["metadata"]["finalizers"] = ["example.com/one"]
    created(cluster, held).granted  # noqa: B018
    cluster.delete("configmaps", "held").granted  # noqa: B018
    assert "deletionTimestamp" in cluster.get("configmaps", "held")["metadata"]
    cluster.patch("configmaps", "held", [{"op": "remove", "path": "/metadata/finalizers"}]).granted  # noqa: B018
    cluster.wait_gone("configmaps", "held")


# Lists and watches


def test_lists_are_selected_and_told_in_parts(cluster: Site) -> None:
    for number in range(5):
        created(cluster, config(f"c{number}", {"even": str(number % 2 == 0), "all": "x"})).granted  # noqa: B018
    names = [each["metadata"]["name"] for each in cluster.all("configmaps", labelSelector="even=True")]
    assert ["c0", "c2", "c4"] == names
    assert ["c1", "c3"] == [
        each["metadata"]["name"]
        for each in cluster.all("configmaps", labelSelector="all in (x,y),even notin (True)")
    ]
    assert ["c3"] == [
        each["metadata"]["name"] for each in cluster.all("configmaps", fieldSelector="metadata.name=c3")
    ]
    first = cluster.line.ask(
        "GET", path_of("configmaps", cluster.namespace, labelSelector="all", limit=2)
    ).granted
    assert ["c0", "c1"] == [each["metadata"]["name"] for each in first["items"]]
    more: dict[str, Any] = {"limit": 10, "continue": first["metadata"]["continue"], "labelSelector": "all"}
    rest = cluster.line.ask("GET", path_of("configmaps", cluster.namespace, **more)).granted
    assert ["c2", "c3", "c4"] == [each["metadata"]["name"] for each in rest["items"]]


class Watching(threading.Thread):
    """What a watch tells, until it has ended."""

    def __init__(self, cluster: Site, **query: Any) -> None:
        super().__init__()
        self.events: list[Obj] = []
        self._path = path_of("configmaps", cluster.namespace, watch="true", timeoutSeconds=5, **query)
        self._line = cluster.line
        self.start()

    def run(self) -> None:
        said = self._line.ask("GET", self._path)
        lines = said.body.splitlines() if isinstance(said.body, str) else [json.dumps(said.body)]
        self.events = [json.loads(each) for each in lines]

    def seen(self) -> list[tuple[str, str]]:
        """What was told, without the bookmarks."""
        self.join()
        told = [each for each in self.events if each["type"] != "BOOKMARK"]
        return [(each["type"], each["object"]["metadata"]["name"]) for each in told]


def test_a_watch_tells_what_enters_and_what_leaves(cluster: Site) -> None:
    before = created(cluster, config("before", {"in": "yes"})).granted
    watching = Watching(
        cluster,
        labelSelector="in=yes",
        resourceVersion=before["metadata"]["resourceVersion"],
        allowWatchBookmarks="true",
    )
    created(cluster, config("other")).granted  # noqa: B018
    created(cluster, config("new", {"in": "yes"})).granted  # noqa: B018
    cluster.patch("configmaps", "before", {"data": {"x": "1"}})
    cluster.patch("configmaps", "before", {"metadata": {"labels": {"in": "no"}}})
    cluster.patch("configmaps", "other", {"metadata": {"labels": {"in": "yes"}}})
    cluster.delete("configmaps", "new")
    told = [
        ("ADDED", "new"),
        ("MODIFIED", "before"),
        ("DELETED", "before"),
        ("ADDED", "other"),
        ("DELETED", "new"),
    ]
    assert told == watching.seen()


def test_a_watch_from_nowhere_begins_with_what_there_is(cluster: Site) -> None:
    created(cluster, config("there")).granted  # noqa: B018
    assert ("ADDED", "there") in Watching(cluster).seen()


# Who may


def test_an_account_may_what_its_role_says(cluster: Site) -> None:
    group = "rbac.authorization.k8s.io"
    for obj in (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}},
        {
            "apiVersion": f"{group}/v1",
            "kind": "Role",
            "metadata": {"name": "reads"},
            "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}],
        },
        {
            "apiVersion": f"{group}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "reads"},
            "roleRef": {"apiGroup": group, "kind": "Role", "name": "reads"},
            "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": cluster.namespace}],
        },
    ):
        cluster.create(obj)
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 600},
    }
    path = path_of("serviceaccounts", cluster.namespace, "reader", "token")
    token = cluster.line.ask("POST", path, request).granted["status"]["token"]
    reader = Line(cluster.kubeconfig_for({"token": token}))
    assert 200 == reader.ask("GET", path_of("configmaps", cluster.namespace)).code
    said = reader.create(config("no"), cluster.namespace)
    who = f"system:serviceaccount:{cluster.namespace}:reader"
    assert (403, "Forbidden") == (said.code, said.reason)
    assert f'User "{who}" cannot create resource "configmaps" in API group ""' in said.message
    assert 401 == Line(cluster.kubeconfig_for({"token": "nobody's"})).ask("GET", path_of("nodes")).code


def test_the_server_says_what_it_serves(cluster: Site) -> None:
    said = cluster.line.ask("GET", "/apis/batch/v1").granted
    assert {"jobs", "jobs/status"} <= {each["name"] for each in said["resources"]}
    assert cluster.line.ask("GET", "/version").granted["gitVersion"].startswith("v1.")
