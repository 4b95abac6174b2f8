"""TLS for accepted connections: a context that can be reloaded, and receive and send to match.

Imported only by a server that was started with ``-Z``.
"""

from __future__ import annotations

import socket
import ssl

from cachefleet.engine.memserver.settings import Settings

_VERSIONS = {
    "tlsv1.0": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_VERIFY = {0: ssl.CERT_NONE, 1: ssl.CERT_OPTIONAL, 2: ssl.CERT_REQUIRED, 3: ssl.CERT_REQUIRED}


class BadCertificates(Exception):
    """Certificate, key or ciphers could not be loaded; ``args[0]`` says why."""


def server_context(settings: Settings) -> ssl.SSLContext:
    """A context made of the settings' files as they are now."""
    assert settings.ssl_chain_cert is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.minimum_version = _VERSIONS[settings.ssl_min_version]
        context.load_cert_chain(settings.ssl_chain_cert, settings.ssl_key)
        if settings.ssl_ciphers is not None:
            context.set_ciphers(settings.ssl_ciphers)
        if settings.ssl_ca_cert is not None:
            context.load_verify_locations(settings.ssl_ca_cert)
    except (OSError, ValueError) as error:
        raise BadCertificates(f"Error loading the certificate chain: {error}") from None
    context.verify_mode = _VERIFY[settings.ssl_verify_mode]
    return context


class TlsChannel:
    """``recv`` and ``send`` of a non-blocking TLS connection, in a plain socket's manner.

    The handshake happens by itself with the first of either.
    """

    def __init__(self, context: ssl.SSLContext, sock: socket.socket) -> None:
        self.sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    def recv(self, size: int) -> bytes:
        """What arrived; BlockingIOError where nothing is complete."""
        try:
            data = self.sock.recv(size)
            # What is decrypted already raises no event: it has to be taken now.
            while data and self.sock.pending():
                data += self.sock.recv(self.sock.pending())
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        return data

    def send(self, data: bytes | memoryview) -> int:
        """How much was taken; BlockingIOError where none."""
        try:
            return self.sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
