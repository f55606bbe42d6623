"""Certificates for executors that are reached over TLS: who one is on such a line, and whom one believes.

A pair is made by an authority that signs these two and is forgotten: nobody can make a third. Each side has
three files, its certificate, its key, and the certificate of the authority that the other side must be of.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pollinator.wire import places
from pollinator.wire.errors import AlreadyExists, InvalidInput, NeedsLogin, Violation
from pollinator.wire.places import check_executor_name, private_dir

if TYPE_CHECKING:
    # Takes longer to import than most commands take in all.
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

DAYS = 730
"""So long certificates are good."""

CLOCKS_S = 3600.0
"""So much earlier they begin, for clocks that are behind."""

_FILES = ("certificate.pem", "key.pem", "authority.pem")


@dataclass(frozen=True, slots=True)
class Identity:
    """The files of one side."""

    certificate: Path
    key: Path
    authority: Path

    @classmethod
    def below(cls, folder: Path) -> Identity:
        """The files in a folder, as they are made."""
        return cls(*(folder / name for name in _FILES))


@dataclass(frozen=True, slots=True)
class Read:
    """What is in them."""

    certificate: bytes
    key: bytes
    authority: bytes


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sides that believe each other and nobody else."""

    server: Identity
    client: Identity
    until: dt.datetime


def folder_of(name: str) -> Path:
    """Where the pair of an executor with this name is made, and where the daemon looks for its side.

    Raises:
        InvalidInput: no executor can have this name.
    """
    return places.config_dir() / "certificates" / check_executor_name(name)


def make_pair(
    folder: Path, name: str, hosts: Sequence[str], *, days: int = DAYS, replace: bool = False
) -> Pair:
    """Make a pair, ``server`` and ``client`` below ``folder``.

    Args:
        folder: where.
        name: of the executor, for people who look into certificates.
        hosts: names and addresses by which it is reached.
        days: how long they are good.
        replace: also where there is a pair already.

    Raises:
        InvalidInput: something cannot be the name of a host, or of an executor.
        AlreadyExists: there is one.
    """
    check_executor_name(name)
    sides = Identity.below(folder / "server"), Identity.below(folder / "client")
    if not replace and any(side.certificate.exists() for side in sides):
        raise AlreadyExists(
            f"there are certificates in {folder}",
            reason="certificate_exists",
            hint="--replace makes new ones; the executor needs its new ones then, too",
        )
    from cryptography.x509.oid import ExtendedKeyUsageOID

    made = _Maker(name, days)
    server = made.signed(f"executor {name}", ExtendedKeyUsageOID.SERVER_AUTH, hosts)
    client = made.signed(f"daemon of executor {name}", ExtendedKeyUsageOID.CLIENT_AUTH, ())
    for side, read in zip(sides, (server, client), strict=True):
        private_dir(side.key.parent)
        for path, body in (
            (side.certificate, read.certificate),
            (side.key, read.key),
            (side.authority, read.authority),
        ):
            _write(path, body)
    return Pair(*sides, made.until)


def read_identity(identity: Identity) -> Read:
    """The files of one side, which can be used now.

    Raises:
        NeedsLogin: one is missing, cannot be used, or the certificate is not good any more.
    """
    read = Read(*(_body(path) for path in (identity.certificate, identity.key, identity.authority)))
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if identity.key.stat().st_mode & 0o077:
        raise _unusable(identity.key, "others can read it", f"chmod 600 {identity.key}")
    try:
        x509.load_pem_x509_certificates(read.authority)
        certificate = x509.load_pem_x509_certificates(read.certificate)[0]
        if load_pem_private_key(read.key, None).public_key() != certificate.public_key():
            raise _unusable(identity.key, f"it is not that of {identity.certificate}")
    except (TypeError, ValueError) as error:
        raise _unusable(identity.certificate, str(error)) from error
    until = certificate.not_valid_after_utc
    if until < dt.datetime.now(dt.UTC):
        raise NeedsLogin(
            f"the certificate {identity.certificate} was good until {until:%Y-%m-%d}",
            reason="certificate_expired",
            hint="make a new pair with pollinator executors certificate NAME --replace",
        )
    return read


class _Maker:
    """The authority; its key is nowhere but here."""

    def __init__(self, name: str, days: int) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec

        now = dt.datetime.now(dt.UTC)
        self._since = now - dt.timedelta(seconds=CLOCKS_S)
        self.until = now + dt.timedelta(days=days)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(f"Pollinator's authority for executor {name}")
        self._certificate = self._sign(
            self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0), _usage(ca=True)
        )

    def signed(self, name: str, purpose: x509.ObjectIdentifier, hosts: Sequence[str]) -> Read:
        """A new key and a certificate for it."""
        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        extensions: list[x509.ExtensionType] = [
            x509.BasicConstraints(ca=False, path_length=None),
            _usage(ca=False),
            x509.ExtendedKeyUsage([purpose]),
        ]
        if hosts:
            extensions.append(x509.SubjectAlternativeName([_host(each) for each in hosts]))
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_named(name), key.public_key(), *extensions)
        pem = serialization.Encoding.PEM
        return Read(
            certificate.public_bytes(pem),
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            self._certificate.public_bytes(pem),
        )

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes

        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._since)
            .not_valid_after(self.until)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        for each in extensions:
            critical = isinstance(each, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(each, critical=critical)
        return builder.sign(self._key, hashes.SHA256())


def _named(text: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    # Longer ones are refused.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _usage(*, ca: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _host(text: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not text or not text.isascii() or not text.replace("-", "").replace(".", "").isalnum():
        raise InvalidInput(
            f"{text!r} is not the name of a host",
            reason="bad_address",
            violations=[Violation("--host", "write a name such as login.example.org, or an address")],
        )
    return x509.DNSName(text)


def _write(path: Path, body: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
    fresh.replace(path)


def _body(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NeedsLogin(
            f"cannot read {path}: {error.strerror}",
            reason="certificate_missing",
            hint="pollinator executors certificate NAME makes a pair, and says what goes where",
        ) from error


def _unusable(path: Path, why: str, hint: str = "") -> NeedsLogin:
    return NeedsLogin(f"{path} cannot be used: {why}", reason="certificate_unusable", hint=hint)
