"""Names of images: what people write, and what cannot be meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.containers.reference import Reference, Source, parse_reference
from pollinator.wire.errors import InvalidInput

DIGEST = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("python:3.12-bookworm", "docker.io/library/python:3.12-bookworm"),
        ("docker://python:3.12", "docker.io/library/python:3.12"),
        ("docker.io/python", "docker.io/library/python:latest"),
        ("index.docker.io/library/python", "docker.io/library/python:latest"),
        ("group/name", "docker.io/group/name:latest"),
        ("ghcr.io/x/y:tag", "ghcr.io/x/y:tag"),
        ("localhost/x:1", "localhost/x:1"),
        ("127.0.0.1:5000/some/image", "127.0.0.1:5000/some/image:latest"),
        ("[::1]:5000/image", "[::1]:5000/image:latest"),
        (f"name@{DIGEST}", f"docker.io/library/name@{DIGEST}"),
        (f"ghcr.io/x/y:1@{DIGEST}", f"ghcr.io/x/y@{DIGEST}"),
        ("a__b/c--d/e.f", "docker.io/a__b/c--d/e.f:latest"),
    ],
)
def test_an_image_in_a_registry_has_one_name_however_it_is_written(text: str, name: str) -> None:
    assert name == parse_reference(text).name


@pytest.mark.parametrize(
    ("text", "source", "path", "tag"),
    [
        ("oci-archive:images/a.tar", Source.OCI_ARCHIVE, "/src/images/a.tar", ""),
        ("oci-archive:///abs/a.tar", Source.OCI_ARCHIVE, "/abs/a.tar", ""),
        ("oci-archive://a.tar:v1", Source.OCI_ARCHIVE, "/src/a.tar", "v1"),
        ("docker-archive:/abs/a.tar", Source.DOCKER_ARCHIVE, "/abs/a.tar", ""),
        ("oci:folder", Source.OCI_FOLDER, "/src/folder", ""),
        ("tool.sif", Source.SIF, "/src/tool.sif", ""),
        ("/abs/tool.sif", Source.SIF, "/abs/tool.sif", ""),
        ("./root", Source.SANDBOX, "/src/root", ""),
        ("root/", Source.SANDBOX, "/src/root", ""),
        ("/abs/root", Source.SANDBOX, "/abs/root", ""),
    ],
)
def test_an_image_in_a_file_is_found_below_src_or_where_its_path_says(
    text: str, source: Source, path: str, tag: str
) -> None:
    found = parse_reference(text).below(Path("/src"))

    assert (source, path, tag) == (found.source, found.path.rstrip("/"), found.tag)


@pytest.mark.parametrize("text", ["library://user/some/image:1", "shub://user/image", "oras://host/image:1"])
def test_what_only_some_engines_understand_is_passed_on(text: str) -> None:
    found = parse_reference(text)

    assert text == found.name


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "spaces"),
        ("two words", "spaces"),
        ("new\nline", "spaces"),
        ("Python:3", "lower case"),
        ("name:", "tag"),
        ("name:a b", "spaces"),
        ("name:-x", "tag"),
        ("name@sha256:12", "digest"),
        ("name@", "digest"),
        ("a//b", "is not a name"),
        ("host.example:99999999/x", "registry"),
        ("oci-archive:", "path"),
        ("oci-archive:../a.tar", "below"),
        ("../a.sif", "below"),
        ("library://", "nothing"),
        ("https://example.org/x", "https"),
        ("$(reboot)", "is not a name"),
        ("x;y", "is not a name"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_reference(text)

    assert "bad_image" == caught.value.reason
    (violation,) = caught.value.violations
    assert "environment.docker" == violation.where
    assert why in violation.message


def test_exactly_one_image_has_a_name_with_its_digest() -> None:
    found = Reference("x", Source.REGISTRY, "ghcr.io", "x/y", "1")

    assert f"ghcr.io/x/y@{DIGEST}" == found.pinned(DIGEST)
