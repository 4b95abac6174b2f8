"""Which requests are refused before anything reads them: strange hosts, foreign web pages. Pure.

The API changes things for whoever can reach it, so a web page that a user visits must not be able
to. A page can reach a loopback service in two ways. It can make its own name resolve here (then
``Host`` names it), or send a cross-site request (then ``Origin``, or ``Sec-Fetch-Site``, or at
least ``Referer`` tells). No client of the AWS API sends any of the last three.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Mapping

from cachefleet.api.settings import ApiSettings

HOST_CHARS_MAX = 255
HOST_MEMORY_COUNT_MAX = 256

_ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:[0-9]{1,5})?", re.ASCII)


class Guard:
    """Decides by a request's headers alone."""

    def __init__(self, settings: ApiSettings) -> None:
        self._bound = settings.host.lower()
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.allowed_origins)
        self._patterns = tuple(_host_pattern(name) for name in settings.allowed_hosts)
        self.is_known_host = functools.lru_cache(maxsize=HOST_MEMORY_COUNT_MAX)(self._is_known_host)

    def refusal(
        self, *, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes]
    ) -> str | None:
        """Return why the request is refused, or None."""
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if not self.is_known_host(host):
            return (
                "The Host header names a host that this server is not known by; "
                "see the setting allowed_hosts."
            )
        origin = headers.get(b"origin")
        if origin is not None:
            if self._is_own(origin.decode("latin-1").lower(), host):
                return None
            return "Requests from other web origins are refused; see the setting allowed_origins."
        if self._is_cross_site(method, path, query, headers, host):
            return "Requests from other web sites are refused."
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        if origin in self._origins:
            return True
        scheme, _, authority = origin.partition("://")
        port = _DEFAULT_PORTS.get(scheme)
        return port is not None and authority.removesuffix(port) == host.removesuffix(port)

    def _is_cross_site(
        self, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes], host: str
    ) -> bool:
        site = headers.get(b"sec-fetch-site")
        calls_api = path == "/" and query != b""
        if site is not None:
            # Following a link to the console is fine; a link that is an API call is not.
            is_visit = method in ("GET", "HEAD") and headers.get(b"sec-fetch-mode") == b"navigate"
            return site not in (b"same-origin", b"none") and (calls_api or not is_visit)
        referer = headers.get(b"referer")
        if referer is None or path != "/":
            return False
        scheme, _, rest = referer.decode("latin-1").lower().partition("://")
        return not self._is_own(f"{scheme}://{rest.partition('/')[0]}", host)

    def _is_known_host(self, host: str) -> bool:
        if len(host) > HOST_CHARS_MAX or not _HOST.fullmatch(host):
            return False
        name = re.sub(r":[0-9]+$", "", host) if not host.endswith("]") else host
        name = name.strip("[]").rstrip(".")
        if name == self._bound or any(pattern.fullmatch(name) for pattern in self._patterns):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address is no name that a page could make resolve here. It is let in where it can
        # be ours: any loopback address, and any at all when we listen on all of them.
        return address.is_loopback or self._bound in _ANY_ADDRESS


def _host_pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name.lower().strip("[]")).replace(r"\*", "[a-z0-9_-]+"))
