"""What a container of the cluster of the tests is given. Runs unchanged on a real cluster."""

from __future__ import annotations

import pytest

from support.kubernetes.jobs_of_tests import (
    USER,
    container,
    finished,
    job,
    pods_of,
    state,
    the_pod,
    volume,
    waiting,
)
from support.kubernetes.kinds import Obj
from support.kubernetes.sites import Site

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def printed(cluster: Site, name: str, pod: Obj) -> list[str]:
    """What the container ``main`` of a Job prints, once that is complete."""
    cluster.create(job(cluster, name, "", pod=pod))
    ended = cluster.wait("jobs", name, finished)
    assert "Complete" == ended["status"]["conditions"][-1]["type"], ended["status"]
    return cluster.log(pods_of(cluster, name)[0]["metadata"]["name"], container="main").splitlines()


def test_who_a_container_is(cluster: Site) -> None:
    script = "id -u; id -g; echo $$$$; hostname; grep -c $(hostname) /etc/hosts; pwd"
    main = container(cluster, script, workingDir="/tmp")
    assert [str(USER), str(USER), "1", "who-0", "1", "/tmp"] == printed(
        cluster, "who", {"containers": [main]}
    )


def test_what_its_variables_say(cluster: Site) -> None:
    words = {"WORD": "swordfish", "OTHER": "mackerel"}
    cluster.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": words})
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A) $$(A) $(C)"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "OTHER"}}},
    ]
    script = 'echo "$WORD $ONE $B $LIMIT $JOB_COMPLETION_INDEX"; echo "$NODE"; echo "$(A)"'
    main = container(cluster, script, env=env, envFrom=[{"secretRef": {"name": "s"}}])
    said = printed(cluster, "says", {"containers": [main]})
    node = pods_of(cluster, "says")[0]["spec"]["nodeName"]
    assert [f"swordfish mackerel a $(A) $(C) {64 << 20} 0", node, "a"] == said


def test_what_it_sees_of_the_volume(cluster: Site) -> None:
    work = cluster.folder / "run" / "work"
    work.mkdir(parents=True)
    (work / "in").write_text("input\n")
    (cluster.folder / "other").write_text("not for everybody")
    for each in (work.parent, work):
        each.chmod(0o777)
    script = """
        cat in; echo out > out; ls
        (echo x > ro/file) 2>&1 | grep -c -i read-only
        cat /pollinator/first; echo more > /pollinator/more
    """
    ours = {"name": "ours", "mountPath": "/pollinator"}
    mounts = [
        {"name": "volume", "mountPath": "/cfs", "subPath": "run/work"},
        {"name": "volume", "mountPath": "/cfs/ro", "subPath": "run/work/ro", "readOnly": True},
        ours,
    ]
    pod: Obj = {
        "containers": [container(cluster, script, volumeMounts=mounts, workingDir="/cfs")],
        "initContainers": [container(cluster, "echo first > /pollinator/first", "init", volumeMounts=[ours])],
        "volumes": [volume(cluster), {"name": "ours", "emptyDir": {}}],
    }
    assert ["input", "in", "out", "ro", "1", "first"] == printed(cluster, "sees", pod)
    assert ("out\n", USER) == ((work / "out").read_text(), (work / "out").stat().st_uid)
    assert 0 == state(pods_of(cluster, "sees")[0], "initContainerStatuses")["terminated"]["exitCode"]


def test_pods_find_each_other_by_name(cluster: Site) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "peers"},
        "spec": {
            "clusterIP": "None",
            "selector": {"batch.kubernetes.io/job-name": "named"},
            "publishNotReadyAddresses": True,
        },
    }
    cluster.create(service)
    # One that has ended is not found any more.
    script = """
        for n in 0 1; do
            until python3 -c "import socket; print(socket.gethostbyname('named-$n.peers'))" 2>&-; do
                sleep 0.2
            done
        done
        : > /volume/$JOB_COMPLETION_INDEX
        until test -e /volume/0 && test -e /volume/1; do sleep 0.1; done
    """
    cluster.folder.chmod(0o777)
    main = container(cluster, script, volumeMounts=[{"name": "volume", "mountPath": "/volume"}])
    pod = {"subdomain": "peers", "containers": [main], "volumes": [volume(cluster)]}
    cluster.create(job(cluster, "named", "", nodes=2, pod=pod))
    assert "Complete" in str(cluster.wait("jobs", "named", finished)["status"]["conditions"])
    pods = pods_of(cluster, "named")
    told = "".join(f"{each['status']['podIP']}\n" for each in pods)
    assert [told, told] == [cluster.log(each["metadata"]["name"]) for each in pods]


def test_a_side_car_ends_with_the_others(cluster: Site) -> None:
    side = container(
        cluster, "trap 'echo bye; exit 0' TERM; while :; do sleep 0.1; done", "side", restartPolicy="Always"
    )
    cluster.create(job(cluster, "side", "sleep 1", pod={"initContainers": [side]}))
    ended = cluster.wait("jobs", "side", finished)
    assert "Complete" == ended["status"]["conditions"][-1]["type"]
    assert "bye\n" == cluster.log(pods_of(cluster, "side")[0]["metadata"]["name"], container="side")


def test_links_do_not_lead_out_of_a_volume(cluster: Site) -> None:
    (cluster.folder / "link").symlink_to("/etc")
    mounts = [{"name": "volume", "mountPath": "/x", "subPath": "link"}]
    volumes = [volume(cluster)]
    main = container(cluster, "true", volumeMounts=mounts)
    cluster.create(job(cluster, "link", "", pod={"containers": [main], "volumes": volumes}))
    pod = the_pod(cluster, "link")["metadata"]["name"]
    cluster.wait(
        "pods", pod, lambda each: waiting(each) == "CreateContainerConfigError", "the mount is refused"
    )
