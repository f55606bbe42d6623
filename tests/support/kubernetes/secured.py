"""The certificate of the API server, of an authority that its clients are told, and files for clients."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import ssl
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAYS = 7


class Authority:
    """Signs the certificate of one server.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: Path) -> None:
        self._authority, self._pair = folder / "ca.crt", folder / "server.pem"
        key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        name = _name("kubernetes")
        authority = (
            _builder(name, name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_usage(signs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        names = [
            x509.DNSName("localhost"),
            x509.DNSName("kubernetes.default.svc"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        server = (
            _builder(_name("kube-apiserver"), name, server_key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False
            )
            .add_extension(_usage(signs=False), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._authority.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        private = server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._pair.write_bytes(private + server.public_bytes(serialization.Encoding.PEM))
        self._pair.chmod(0o600)

    def certificate(self) -> str:
        """By which the server is known."""
        return self._authority.read_text()

    def context(self) -> ssl.SSLContext:
        """For the server."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self._pair)
        return context


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: x509.Name, issuer: x509.Name, key: Any) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=_DAYS))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def kubeconfig(
    path: Path, port: int, authority: str, user: dict[str, Any], namespace: str = "default"
) -> Path:
    """Write what a client is told of a cluster and of who it is."""
    name = "double"
    cluster = {
        "server": f"https://127.0.0.1:{port}",
        "certificate-authority-data": base64.b64encode(authority.encode()).decode(),
    }
    written = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "user", "namespace": namespace}}],
        "current-context": name,
    }
    path.write_text(yaml.safe_dump(written))
    path.chmod(0o600)
    return path
