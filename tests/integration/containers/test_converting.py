"""Apptainer's images: resolved, converted once, and never half."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pollinator.executors.containers.engines import Engines
from pollinator.executors.containers.images import ContainerImages, Ready
from pollinator.executors.containers.reference import parse_reference
from pollinator.wire.errors import InvalidInput, NeedsLogin, NotFound, PollinatorError, Unavailable
from support.containers import Registry, apptainer
from support.image_files import RELEASE, image_of, small_image, tar_of
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

CONVERTS = """\
import codecs, os, sys, tempfile
from pollinator.executors.containers.engines import Engines, probe_engine
from pollinator.executors.containers.images import ContainerImages
from pollinator.executors.containers.reference import parse_reference

def convert(folder, scratch):
    images = ContainerImages(Engines(["apptainer"]), folder=folder, scratch=scratch)
    reference, engine = parse_reference(sys.argv[3]), probe_engine("apptainer")
    assert not isinstance(engine, str), engine
    return images.ready(reference, engine, rebuild=False, tell=lambda done: None).image

if user := int(sys.argv[4]):
    # Others may not read this interpreter's own files: what is needed of them is loaded before.
    with tempfile.TemporaryDirectory() as folder:
        convert(folder, folder)
    codecs.lookup("ascii")
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
print(convert(sys.argv[1], sys.argv[2]))
"""


USERS = [pwd.getpwnam(name).pw_uid for name in ("nobody", "daemon")]


class Cancelled(Exception):
    """Somebody wishes that it ends."""


def cancelled(done: int) -> None:
    raise Cancelled


class Place:
    """Images in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self.scratch = folder / "scratch"
        self.engine = apptainer()
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        for each in (self.folder, self.scratch):
            each.mkdir(mode=0o777)
            each.chmod(0o777)
        self.images = ContainerImages(
            Engines(["apptainer"]), folder=str(self.folder), scratch=str(self.scratch)
        )
        self.told: list[int] = []

    def ready(self, name: str, *, rebuild: bool = False) -> Ready:
        return self.images.ready(parse_reference(name), self.engine, rebuild=rebuild, tell=self.told.append)

    def files(self) -> list[Path]:
        """Images that are there."""
        return sorted(self.folder.glob("sif/*"))

    def left(self) -> list[str]:
        """What nobody should have left."""
        return [str(path) for path in [*self.scratch.iterdir(), *self.folder.glob("sif/.*")]]

    def start(self, name: str, user: int = 0, **variables: str) -> subprocess.Popen[bytes]:
        """Convert in a process of its own, which may become another user."""
        return subprocess.Popen(
            [sys.executable, "-c", CONVERTS, str(self.folder), str(self.scratch), name, str(user)],
            stdout=subprocess.PIPE,
            process_group=0,
            env=os.environ | variables,
        )


@pytest.fixture
def place(ground: Path) -> Place:
    return Place(ground)


@pytest.fixture
def archive(ground: Path) -> str:
    path = small_image().archive(ground / "image.oci.tar")
    path.chmod(0o644)
    return f"oci-archive:{path}"


def printed(ready: Ready, *command: str) -> str:
    """What a command in an image prints."""
    run = [ready.program, "--silent", "exec", ready.image, *command]
    return subprocess.run(run, check=True, capture_output=True, text=True, cwd="/").stdout


def test_an_image_is_converted_once(place: Place, archive: str) -> None:
    first = place.ready(archive)
    made = os.stat(first.image)
    place.told.clear()
    began = time.monotonic()
    again = place.ready(archive)
    took_s = time.monotonic() - began

    assert first == again
    assert small_image().manifest.digest == first.digest
    assert RELEASE in printed(first, "cat", "/etc/os-release")
    assert (made.st_ino, made.st_mtime_ns) == (os.stat(again.image).st_ino, os.stat(again.image).st_mtime_ns)
    assert [] == place.told
    assert took_s < 5
    assert [] == place.left()


def test_how_far_it_is_is_told(place: Place, archive: str) -> None:
    place.ready(archive)

    assert max(place.told) > 1 << 20


def test_rebuilding_converts_anew(place: Place, archive: str) -> None:
    before = os.stat(place.ready(archive).image).st_ino
    after = os.stat(place.ready(archive, rebuild=True).image).st_ino

    assert before != after


def test_an_image_may_come_from_docker_save(place: Place, ground: Path) -> None:
    small_image().docker_archive(ground / "saved.tar", "some/name:2")
    ready = place.ready(f"docker-archive:{ground / 'saved.tar'}")

    assert small_image().config.digest == ready.digest
    assert RELEASE in printed(ready, "cat", "/etc/os-release")


def test_an_image_that_is_converted_already_is_run_as_it_is(place: Place, archive: str) -> None:
    converted = place.ready(archive).image
    count = len(place.files())

    assert converted == place.ready(converted).image
    assert count == len(place.files())


def test_a_tag_is_resolved_whenever_it_is_asked_for(place: Place, registry: Registry) -> None:
    other = image_of(tar_of({"bin/sh": b"#!"}))
    name = registry.push(small_image())
    first = place.ready(name)
    registry.push(other)
    with pytest.raises(PollinatorError) as caught:
        place.ready(name)

    assert small_image().manifest.digest == first.digest
    # The other one cannot run, and that is found out before it is taken for an image.
    assert "image_failed" == caught.value.reason
    assert 1 == len(place.files())
    assert [] == place.left()


def test_a_digest_needs_no_registry_once_it_is_there(place: Place, registry: Registry) -> None:
    name = registry.push(small_image()).rpartition(":")[0]
    pinned = f"{name}@{small_image().manifest.digest}"
    first = place.ready(pinned)
    registry.stop()

    assert first == place.ready(pinned)


def test_when_the_registry_is_silent_a_tag_means_what_it_did(place: Place, registry: Registry) -> None:
    name = registry.push(small_image())
    first = place.ready(name)
    registry.stop()
    later = place.ready(name)

    assert first.image == later.image
    assert "" == first.notice
    assert registry.host in later.notice
    with pytest.raises(Unavailable):
        place.ready(f"{registry.host}/never/seen:1")


def test_an_image_that_is_not_there_is_named(place: Place, registry: Registry) -> None:
    with pytest.raises(NotFound) as caught:
        place.ready(f"{registry.host}/no/such:1")

    assert "image_missing" == caught.value.reason


def test_a_private_registry_wants_the_password(
    place: Place, private_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = private_registry.push(small_image())
    with pytest.raises(NeedsLogin) as caught:
        place.ready(name)
    monkeypatch.setenv("DOCKER_CONFIG", str(private_registry.login(tmp_path / "docker")))
    ready = place.ready(name)

    assert "docker login" in caught.value.hint
    assert RELEASE in printed(ready, "cat", "/etc/os-release")


def test_an_archive_that_is_none_is_named(place: Place, ground: Path) -> None:
    (ground / "junk.tar").write_bytes(b"junk")
    with pytest.raises(InvalidInput) as caught:
        place.ready(f"oci-archive:{ground / 'junk.tar'}")

    assert "bad_image" == caught.value.reason
    assert "junk.tar" in caught.value.message


# Several at once


def test_two_processes_convert_an_image_once(place: Place, archive: str) -> None:
    both = [place.start(archive) for _ in range(2)]
    answers = [process.communicate(timeout=50)[0] for process in both]

    assert [0, 0] == [process.returncode for process in both]
    assert answers[0] == answers[1]
    assert 1 == len(place.files())
    assert [] == place.left()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_convert_an_image_once(place: Place, archive: str, ground: Path) -> None:
    both = [place.start(archive, user, HOME=str(ground)) for user in USERS]
    answers = [process.communicate(timeout=50)[0] for process in both]

    assert [0, 0] == [process.returncode for process in both]
    assert answers[0] == answers[1]
    assert 1 == len(place.files())
    assert [] == place.left()


def test_folders_of_images_may_share_the_place_where_they_are_made(
    place: Place, archive: str, ground: Path
) -> None:
    other = Place(ground / "other")
    other.scratch.rmdir()
    other.scratch.symlink_to(place.scratch)
    first = place.start(archive)
    wait_until(lambda: any(place.scratch.iterdir()), "the first is at it")
    both = [first, other.start(archive)]
    for process in both:
        process.communicate(timeout=50)

    assert [0, 0] == [process.returncode for process in both]
    assert [1, 1] == [len(each.files()) for each in (place, other)]


# Ends before the end


def test_a_converter_that_is_killed_leaves_nothing_that_is_taken_for_an_image(
    place: Place, archive: str
) -> None:
    process = place.start(archive, POLLINATOR_CRASH_AT="before_image")
    process.communicate(timeout=50)
    left = place.left()
    ready = place.ready(archive)

    assert -signal.SIGKILL == process.returncode
    assert left
    assert RELEASE in printed(ready, "cat", "/etc/os-release")
    assert [] == place.left()


def test_a_conversion_that_is_cancelled_ends_at_once_and_leaves_nothing(place: Place, archive: str) -> None:
    with pytest.raises(Cancelled):
        place.images.ready(parse_reference(archive), place.engine, rebuild=False, tell=cancelled)

    assert [] == place.files()
    assert [] == place.left()


def test_who_waits_for_another_can_be_cancelled(place: Place, archive: str) -> None:
    process = place.start(archive)
    wait_until(lambda: bool(list(place.scratch.iterdir())), "the other one converts")
    os.killpg(process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Cancelled):
            place.images.ready(parse_reference(archive), place.engine, rebuild=False, tell=cancelled)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_where_there_is_no_room_that_is_said(place: Place, archive: str, ground: Path) -> None:
    full = ContainerImages(Engines(["apptainer"]), folder=str(place.folder), scratch="/proc")
    with pytest.raises(PollinatorError) as caught:
        full.ready(parse_reference(archive), place.engine, rebuild=False, tell=place.told.append)

    assert "disk_full" == caught.value.reason
    assert "images.tmp" in caught.value.hint


# Keeping


def test_images_are_listed_and_those_that_nobody_uses_removed(place: Place, archive: str) -> None:
    ready = place.ready(archive)
    (listed,) = place.images.all()
    unused = place.images.prune(3600, dry_run=False)
    place.images.hold("a run", ready.key)
    held = place.images.prune(0, dry_run=False)
    place.images.release("a run")
    told = place.images.prune(0, dry_run=True)
    size = place.files()[0].stat().st_size
    removed = place.images.prune(0, dry_run=False)

    assert (archive, ready.digest, "apptainer") == (listed.reference, listed.digest, listed.engine)
    assert size == listed.bytes
    assert abs(time.time() - listed.use_time.ToNanoseconds() / 1e9) < 60
    assert [] == unused
    assert [] == held
    assert [ready.digest] == [each.digest for each in told]
    assert [ready.digest] == [each.digest for each in removed]
    assert [] == place.files()
    assert [] == place.images.all()
