"""A project in an image, and the images on the command line, as a user has them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.containers import apptainer, dockerd, shared_dockerd, small_archive
from support.image_files import RELEASE, small_image
from support.sandbox import Sandbox, sandbox

__all__ = ["dockerd", "sandbox"]
pytestmark = pytest.mark.e2e

SAYS = """\
import os, sys
print(open("/etc/os-release").readline().strip(), os.getcwd(), os.path.exists(os.environ["HOME"] + "/made"))
sys.exit(int(os.environ.get("CODE", "0")))
"""


class User:
    """Somebody with one engine."""

    def __init__(self, box: Sandbox, engine: str) -> None:
        self.box = box
        self.engine = engine
        self.env: Mapping[str, str] = {}
        if engine == "docker":
            self.env = shared_dockerd().env
        else:
            apptainer()
        self.root = box.project("demo", SAYS)
        settings = self.root / "project.yaml"
        settings.write_text(f"{settings.read_text()}  engine: {engine}\n  init-cmd: echo 1 > $HOME/made\n")

    def use(self, image: str) -> None:
        settings = self.root / "project.yaml"
        settings.write_text(f"{settings.read_text()}  docker: {image}\n")

    def cli(self, *arguments: str) -> tuple[int, str, str]:
        done = self.box.cli(*arguments, cwd=self.root, env=self.env)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def images(self, *arguments: str) -> list[dict[str, object]]:
        code, printed, said = self.cli("images", *arguments, "--json")
        assert code == 0, said
        return [json.loads(line) for line in printed.splitlines()]


@pytest.fixture(params=["apptainer", "docker"])
def user(request: pytest.FixtureRequest, sandbox: Sandbox) -> User:
    if request.param == "docker":
        request.getfixturevalue("dockerd")
    return User(sandbox, request.param)


def test_a_command_runs_in_its_image(user: User) -> None:
    user.use(small_archive())
    first = user.cli("run", "--follow")
    (image,) = user.images("list")
    again = user.cli("run", "--follow", "--env", "CODE=7")

    assert (0, f'PRETTY_NAME="{RELEASE}" /cfs True\n') == first[:2]
    assert (7, first[1]) == again[:2]
    assert (small_image().manifest.digest, user.engine) == (image["digest"], image["engine"])


def test_an_archive_in_src_travels_with_the_project(user: User) -> None:
    small_image().archive(user.root / "cfs" / "src" / "image.tar")
    user.use("oci-archive:image.tar")

    ended = user.cli("run", "--follow")

    assert (0, f'PRETTY_NAME="{RELEASE}" /cfs True\n') == ended[:2], ended


def test_images_are_made_ready_ahead_and_removed(user: User) -> None:
    pulled = user.images("pull", small_archive(), "--engine", user.engine)
    young = user.images("prune")
    removed = user.images("prune", "--unused", "0s")
    left = user.images("list")

    assert [small_image().manifest.digest] == [each["digest"] for each in pulled]
    assert [] == young
    assert [small_image().manifest.digest] == [each["digest"] for each in removed]
    assert [] == left


def test_an_image_that_cannot_be_had_ends_the_run_with_that_reason(user: User, tmp_path: Path) -> None:
    user.use(f"oci-archive:{tmp_path / 'none.tar'}")
    code, _, said = user.cli("run", "--follow")
    pulled, _, told = user.cli("images", "pull", "No/Name")

    assert 100 == code
    assert "none.tar" in said
    assert "nothing was collected" not in said
    assert "image" == user.box.reason("latest", user.root)
    assert 2 == pulled
    assert "lower case" in told
