"""Passwords of registries, from the files of Docker and Podman."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.containers.credentials import Login, find_login
from pollinator.wire.errors import NeedsLogin


def word(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


class Home:
    """A user's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"HOME": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}

    def write(self, path: str, **settings: Any) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))

    def login(self, registry: str = "ghcr.io", repository: str = "group/name") -> Login | None:
        return find_login(registry, repository, self.environ)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_without_files_nobody_is_known(home: Home) -> None:
    assert home.login() is None


def test_dockers_file_is_read(home: Home) -> None:
    home.write(".docker/config.json", auths={"ghcr.io": word("ada", "a:b")})

    assert Login("ada", "a:b") == home.login()
    assert home.login("quay.io") is None


def test_dockers_folder_can_be_another(home: Home) -> None:
    home.write("other/config.json", auths={"ghcr.io": word("ada", "x")})
    home.environ["DOCKER_CONFIG"] = str(home.folder / "other")

    assert Login("ada", "x") == home.login()


@pytest.mark.parametrize("path", ["run/containers/auth.json", ".config/containers/auth.json"])
def test_podmans_files_are_read(home: Home, path: str) -> None:
    home.write(path, auths={"ghcr.io": word("ada", "x")})
    home.environ["XDG_RUNTIME_DIR"] = str(home.folder / "run")

    assert Login("ada", "x") == home.login()


def test_a_file_that_is_named_comes_first(home: Home) -> None:
    home.write(".docker/config.json", auths={"ghcr.io": word("ada", "x")})
    home.write("named.json", auths={"ghcr.io": word("grace", "y")})
    home.environ["REGISTRY_AUTH_FILE"] = str(home.folder / "named.json")

    assert Login("grace", "y") == home.login()


def test_the_closest_entry_to_the_repository_wins(home: Home) -> None:
    home.write("named.json", auths={"ghcr.io": word("all", "x"), "ghcr.io/group": word("group", "y")})
    home.environ["REGISTRY_AUTH_FILE"] = str(home.folder / "named.json")

    assert Login("group", "y") == home.login()
    assert Login("all", "x") == home.login(repository="other/name")


@pytest.mark.parametrize("name", ["https://index.docker.io/v1/", "docker.io", "index.docker.io"])
def test_the_hub_has_several_names(home: Home, name: str) -> None:
    home.write(".docker/config.json", auths={name: word("ada", "x")})

    assert Login("ada", "x") == home.login("docker.io", "library/python")


def test_a_token_may_take_the_place_of_a_password(home: Home) -> None:
    home.write(".docker/config.json", auths={"ghcr.io": {**word("ada", "x"), "identitytoken": "t"}})

    assert Login(token="t") == home.login()


def helper(home: Home, name: str, text: str) -> None:
    program = home.folder / f"docker-credential-{name}"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


ANSWERS = """read -r host; printf '{"ServerURL":"%s","Username":"ada","Secret":"of %s"}' "$host" "$host" """


def test_helpers_are_asked(home: Home) -> None:
    home.write(".docker/config.json", credHelpers={"ghcr.io": "own"}, credsStore="all")
    helper(home, "own", ANSWERS)
    helper(home, "all", 'echo \'{"Username":"<token>","Secret":"t"}\'')

    assert Login("ada", "of ghcr.io") == home.login()
    assert Login(token="t") == home.login("quay.io")


def test_a_helper_that_knows_nothing_is_no_error(home: Home) -> None:
    home.write(".docker/config.json", credsStore="all")
    helper(home, "all", "echo credentials not found; exit 1")

    assert home.login() is None


def test_a_helper_that_is_gone_is_named(home: Home) -> None:
    home.write(".docker/config.json", credHelpers={"ghcr.io": "lost"})
    with pytest.raises(NeedsLogin) as caught:
        home.login()

    assert "docker-credential-lost" in caught.value.message


@pytest.mark.parametrize("text", ["", "[]", "{", '{"auths": 3}', '{"auths": {"ghcr.io": {"auth": "%"}}}'])
def test_files_that_cannot_be_meant_are_passed_over(home: Home, text: str) -> None:
    (home.folder / ".docker").mkdir()
    (home.folder / ".docker" / "config.json").write_text(text)

    assert home.login() is None


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Login("ada", "secret", "secret"))
