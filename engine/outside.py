"""How a server that is none of the fleet's lets us in: its user, and who vouches for it."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class OutsideAccess:
    """A login, empty where none is asked for, and the authorities in PEM (empty: no TLS)."""

    username: str = ""
    password: str = field(default="", repr=False)
    ca: str = ""


@functools.lru_cache(maxsize=64)
def trusting(ca: str) -> ssl.SSLContext:
    """Return what trusts whom *ca* vouches for, under whatever name it is reached.

    Raises:
        ssl.SSLError: it is no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # it is named by an address, and followed to others
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=ca)
    return context
