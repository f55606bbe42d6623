"""Lines over TCP: TLS, where both sides show who they are. There are no others."""

from __future__ import annotations

import ssl

import grpc

from pollinator.wire.certificates import Identity, read_identity
from pollinator.wire.errors import InvalidInput, Unavailable, Violation


def bind_secured(server: grpc.aio.Server, target: str, identity: Identity) -> int:
    """Listen on ``HOST:PORT`` for those whose certificate is of our authority; returns the port.

    Raises:
        NeedsLogin: the certificate cannot be used.
        Unavailable: nobody can listen there.
    """
    read = read_identity(identity)
    credentials = grpc.ssl_server_credentials(
        [(read.key, read.certificate)], read.authority, require_client_auth=True
    )
    try:
        return server.add_secure_port(target, credentials)
    except RuntimeError as error:
        raise Unavailable(f"cannot listen on {target}: {error}", reason="cannot_listen") from error


def client_context(identity: Identity) -> ssl.SSLContext:
    """What a client needs to connect to such a server.

    Raises:
        NeedsLogin: the certificate cannot be used.
    """
    read = read_identity(identity)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=read.authority.decode("ascii", "replace"))
    context.load_cert_chain(identity.certificate, identity.key)
    # gRPC speaks nothing else.
    context.set_alpn_protocols(["h2"])
    return context


def host_and_port(target: str) -> tuple[str, int]:
    """The parts of ``HOST:PORT``; an IPv6 address is in brackets.

    Raises:
        InvalidInput: it is not that.
    """
    host, colon, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise InvalidInput(
            f"{target!r} is no HOST:PORT",
            reason="bad_address",
            violations=[Violation("address", "write it as login.example.org:7443")],
        )
    return host, int(port)
