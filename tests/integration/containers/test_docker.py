"""Docker's images: pulled by digest, loaded from archives, and removed only where they are ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.containers.engines import Engine, Engines, probe_engine
from pollinator.executors.containers.images import ContainerImages, Ready
from pollinator.executors.containers.reference import parse_reference
from pollinator.wire.errors import InvalidInput
from support.containers import Dockerd, Registry
from support.image_files import RELEASE, image_of, small_image, tar_of

pytestmark = pytest.mark.integration


class Place:
    """What one executor keeps with one daemon."""

    def __init__(self, folder: Path, daemon: Dockerd) -> None:
        self.daemon = daemon
        found = probe_engine("docker")
        assert isinstance(found, Engine)
        self.engine = found
        self.images = ContainerImages(Engines(["docker"]), folder=str(folder / "images"))
        self.told: list[int] = []

    def ready(self, name: str, *, rebuild: bool = False) -> Ready:
        return self.images.ready(parse_reference(name), self.engine, rebuild=rebuild, tell=self.told.append)

    def there(self) -> set[str]:
        """Ids of the images that the daemon has."""
        return set(self.daemon.run("images", "--all", "--quiet", "--no-trunc").split())


@pytest.fixture
def place(tmp_path: Path, dockerd: Dockerd, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    for image in dockerd.run("images", "--all", "--quiet").split():
        dockerd.run("image", "rm", "--force", image)
    return Place(tmp_path, dockerd)


def test_an_image_is_pulled_by_its_digest(place: Place, registry: Registry) -> None:
    ready = place.ready(registry.push(small_image()))
    release = place.daemon.run("run", "--rm", "--network", "none", ready.image, "cat", "/etc/os-release")

    assert (small_image().manifest.digest, small_image().config.digest) == (ready.digest, ready.image)
    assert RELEASE in release
    assert len(small_image().layer.content) == max(place.told)


def test_an_image_that_is_there_is_not_pulled_again(place: Place, registry: Registry) -> None:
    name = registry.push(small_image())
    first = place.ready(name)
    place.told.clear()
    registry.stop()
    later = place.ready(name)

    assert (first.image, registry.host in later.notice) == (later.image, True)
    assert [] == place.told


def test_a_tag_that_was_moved_means_the_new_image(place: Place, registry: Registry) -> None:
    other = image_of(tar_of({"other": b"1"}))
    name = registry.push(small_image())
    before = place.ready(name)
    registry.push(other)

    assert (small_image().config.digest, other.config.digest) == (before.image, place.ready(name).image)


@pytest.mark.parametrize("kind", ["oci-archive", "docker-archive", "oci"])
def test_an_image_may_be_a_file(place: Place, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "image"
    if kind == "docker-archive":
        small_image().docker_archive(path)
    else:
        small_image().archive(path)
    if kind == "oci":
        import tarfile

        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "folder", filter="data")
        path = tmp_path / "folder"
    first = place.ready(f"{kind}:{path}")
    again = place.ready(f"{kind}:{path}")

    assert small_image().config.digest == first.image
    assert first == again


def test_of_several_images_in_an_archive_one_is_named(place: Place, tmp_path: Path) -> None:
    path = small_image().archive(tmp_path / "two.tar", "v1", "v2")
    with pytest.raises(InvalidInput) as caught:
        place.ready(f"oci-archive:{path}")

    assert "v1, v2" in caught.value.message
    assert small_image().config.digest == place.ready(f"oci-archive:{path}:v2").image


def test_a_sif_file_is_nothing_for_docker(place: Place) -> None:
    with pytest.raises(InvalidInput) as caught:
        place.ready("/some/image.sif")

    assert "bad_image" == caught.value.reason


def test_only_images_that_were_not_there_before_are_removed(
    place: Place, registry: Registry, tmp_path: Path
) -> None:
    ours = place.ready(registry.push(image_of(tar_of({"x": b"1"}))))
    small_image().docker_archive(tmp_path / "saved.tar", "theirs:1")
    place.daemon.run("load", "--input", str(tmp_path / "saved.tar"))
    theirs = place.ready(f"docker-archive:{tmp_path / 'saved.tar'}")
    listed = place.images.all()
    removed = place.images.prune(0, dry_run=False)

    assert {ours.digest, theirs.digest} == {each.digest for each in listed}
    assert {ours.digest, theirs.digest} == {each.digest for each in removed}
    assert {theirs.image} == place.there()
    assert [] == place.images.all()
