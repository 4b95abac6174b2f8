"""TLS contexts for the server's side: made from files, replaced without touching connections.

A connection keeps the context of its handshake, so a new certificate is simply a new context
for the handshakes to come. Files that did not change keep theirs, and with it the session
tickets. A file that turns bad is reported, and the context that works stays.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cachefleet.engine.gateway.routes import TlsOptions

HANDSHAKE_BYTE: Final = 0x16  # the first byte of a TLS connection; no engine request starts so
PEM_BYTES_MAX: Final = 1024 * 1024


class UnusableCertificate(Exception):
    """The files make no TLS server; ``args[0]`` says why."""


class Contexts:
    """The contexts of all routes; routes that name the same files share one."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], tuple[bytes, ssl.SSLContext]] = {}

    def refresh(self, wanted: Iterable[TlsOptions]) -> dict[TlsOptions | None, str]:
        """Read the files of *wanted*, forget all others; return what is wrong with which."""
        made: dict[tuple[str, str], tuple[bytes, ssl.SSLContext]] = {}
        bad: dict[TlsOptions | None, str] = {}
        for tls in wanted:
            files = (tls.certificate_path, tls.key_path)
            before = made.get(files) or self._made.get(files)
            try:
                digest = _digest(tls)
                if before is None or before[0] != digest:
                    before = (digest, server_context(tls))
            except UnusableCertificate as error:
                bad[tls] = f"{error}; {'none' if before is None else 'the one before'} is served"
            if before is not None:
                made[files] = before
        self._made = made
        return bad

    def get(self, tls: TlsOptions | None) -> ssl.SSLContext | None:
        if tls is None:
            return None
        made = self._made.get((tls.certificate_path, tls.key_path))
        return None if made is None else made[1]

    def usable(self, tls: TlsOptions | None) -> bool:
        """Whether a route with *tls* can be served as it asks."""
        return tls is None or self.get(tls) is not None


def server_context(tls: TlsOptions) -> ssl.SSLContext:
    """A context for TLS 1.2 and 1.3; raises :class:`UnusableCertificate`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    try:
        # An empty password: an encrypted key must fail here, not ask on a terminal.
        context.load_cert_chain(tls.certificate_path, tls.key_path, password="")
    except (OSError, ValueError) as error:
        raise UnusableCertificate(f"{tls.certificate_path}, {tls.key_path}: {error}") from error
    return context


def _digest(tls: TlsOptions) -> bytes:
    digest = hashlib.sha256()
    for path in (tls.certificate_path, tls.key_path):
        try:
            with Path(path).open("rb") as file:
                content = file.read(PEM_BYTES_MAX + 1)
        except OSError as error:
            raise UnusableCertificate(f"{path}: {error.strerror}") from error
        if len(content) > PEM_BYTES_MAX:
            raise UnusableCertificate(f"{path}: larger than {PEM_BYTES_MAX} bytes")
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.digest()
