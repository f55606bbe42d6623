"""What is written in objects of Kubernetes, as the double of a cluster reads it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.kubernetes import schemas, sites
from support.kubernetes.images import pulled, valid, whole
from support.kubernetes.job_pods import read, shown
from support.kubernetes.kinds import JOB, SECRET, Obj
from support.kubernetes.patching import merged, patched
from support.kubernetes.quantities import asked_of, quantity
from support.kubernetes.quantities import shown as written
from support.kubernetes.refusals import Refusal
from support.kubernetes.selecting import matches, selector
from support.kubernetes.variables import expanded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("100m", Fraction(1, 10)),
        ("2", 2),
        ("1Gi", 2**30),
        ("1.5k", 1500),
        ("1e3", 1000),
        (0.5, Fraction(1, 2)),
    ],
)
def test_quantities(text: Any, value: Any) -> None:
    assert value == quantity(text)


@pytest.mark.parametrize("text", ["", "1GB", "one", "1 Gi", "m"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity(text)


@given(st.integers(0, 2**50))
def test_a_written_quantity_is_the_same(value: int) -> None:
    assert value == quantity(written(Fraction(value)))
    assert Fraction(value, 1000) == quantity(written(Fraction(value, 1000)))


def test_a_pod_asks_for_what_is_taken_at_its_largest() -> None:
    def container(cpu: str, **more: str) -> Obj:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    both = {"containers": [container("1"), container("500m")]}
    assert {"cpu": Fraction(3, 2)} == asked_of({"spec": both})
    assert {"cpu": 4} == asked_of({"spec": {**both, "initContainers": [container("4")]}})
    side = container("1", restartPolicy="Always")
    assert {"cpu": Fraction(5, 2)} == asked_of({"spec": {**both, "initContainers": [side]}})
    assert {"cpu": 3} == asked_of({"spec": {**both, "initContainers": [side, container("2")]}})


@given(st.sets(st.integers(0, 40)))
def test_indexes_are_read_as_they_are_shown(indexes: set[int]) -> None:
    assert indexes == read(shown(indexes))


def test_indexes_are_shown_as_a_job_shows_them() -> None:
    assert ["", "0", "0,1", "0-2", "0-2,4,6,7"] == [
        shown(each) for each in (set[int](), {0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 4, 6, 7})
    ]


@pytest.mark.parametrize(
    ("labels", "selected"),
    [
        ("a=1", True),
        ("a==1,b!=2", True),
        ("a!=1", False),
        ("c", False),
        ("!c", True),
        ("a in (0, 1),b notin (2)", True),
        ("a in (0)", False),
        ("x/y-z=w", True),
    ],
)
def test_labels_select(labels: str, selected: bool) -> None:
    obj = {"metadata": {"name": "n", "labels": {"a": "1", "b": "3", "x/y-z": "w"}}}
    assert selected == selector(labels, "")(obj)


def test_fields_select() -> None:
    obj = {"metadata": {"name": "n"}, "status": {"phase": "Running"}}
    assert selector("", "metadata.name=n,status.phase!=Failed")(obj)
    assert not selector("", "status.phase=Failed")(obj)
    with pytest.raises(Refusal, match="not supported"):
        selector("", "spec.nothing=1")


def test_expressions_select() -> None:
    given = {
        "matchLabels": {"a": "1"},
        "matchExpressions": [{"key": "b", "operator": "Exists"}, {"key": "c", "operator": "DoesNotExist"}],
    }
    assert matches(given, {"a": "1", "b": ""})
    assert not matches(given, {"a": "1", "b": "", "c": ""})


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("python", "docker.io/library/python:latest"),
        ("me/x:1", "docker.io/me/x:1"),
        ("registry.example/a/b", "registry.example/a/b:latest"),
        ("localhost:5000/a:2", "localhost:5000/a:2"),
    ],
)
def test_images_have_whole_names(image: str, name: str) -> None:
    assert valid(image)
    assert name == whole(image)
    assert pulled(image) is None


@pytest.mark.parametrize("image", ["", "a/UPPER", "a::b", "a b", "a/:1"])
def test_what_is_no_image(image: str) -> None:
    assert not valid(image)


@pytest.mark.parametrize(
    ("text", "is_so"),
    [
        ("$(A)", "a"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$A $$ $", "$A $ $"),
        ("$$$$", "$$"),
        ("$(A", "$(A"),
    ],
)
def test_variables_are_expanded(text: str, is_so: str) -> None:
    assert is_so == expanded(text, {"A": "a"})


def test_a_merge_patch_is_that_of_its_standard() -> None:
    # The example of RFC 7386.
    old = {"title": "Goodbye!", "author": {"given": "John", "family": "Doe"}, "tags": ["example", "sample"]}
    patch = {"title": "Hello!", "phone": "+01", "author": {"family": None}, "tags": ["example"]}
    new = {"title": "Hello!", "author": {"given": "John"}, "tags": ["example"], "phone": "+01"}
    assert new == merged(old, patch)


def test_a_strategic_patch_knows_entries_by_their_name() -> None:
    containers = [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]
    old: Obj = {"spec": {"template": {"spec": {"containers": containers}}}}
    how = "application/strategic-merge-patch+json"

    def change(rows: list[Obj]) -> list[Obj]:
        new = patched(JOB, old, {"spec": {"template": {"spec": {"containers": rows}}}}, how)
        found: list[Obj] = new["spec"]["template"]["spec"]["containers"]
        return found

    assert [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}] == change([{"name": "b", "image": "2"}])
    assert [{"name": "b", "image": "1"}] == change([{"name": "a", "$patch": "delete"}])
    assert ["a", "b", "c"] == [each["name"] for each in change([{"name": "c"}])]


def test_objects_are_held_to_their_schemas() -> None:
    good = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "YQ=="}}
    schemas.check(SECRET, good)
    with pytest.raises(Refusal, match='unknown field "dta"'):
        schemas.check(SECRET, {**good, "dta": {}})
    with pytest.raises(Refusal, match=r"data\.a: json: cannot unmarshal"):
        schemas.check(SECRET, {**good, "data": {"a": 1}})


@pytest.mark.parametrize(("required", "outcome"), [("", "Skipped"), ("s3,kubernetes", "Failed")])
def test_a_double_that_cannot_run_is_missed(
    monkeypatch: pytest.MonkeyPatch, required: str, outcome: str
) -> None:
    monkeypatch.setattr(sites, "cannot_run", lambda: "containers are started by root, on Linux")
    monkeypatch.setenv("POLLINATOR_REQUIRE", required)
    with pytest.raises(BaseException, match="containers are started by root") as said:
        sites.new_double()
    assert outcome == said.typename
