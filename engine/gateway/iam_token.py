"""IAM authentication tokens: presigned ``connect`` requests, checked. Pure; the clock is passed in.

A token is a SigV4 presigned GET without its scheme: ``<cache>/?Action=connect&User=<id>&...``.
Clients get one answer for every failure; the reason in :class:`IllegalToken` is for the log,
and never holds the token or a part of it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import quote, unquote

TOKEN_CHARS_MAX: Final = 8192  # session tokens are 1 to 2 KiB
PARAMETERS_MAX: Final = 32
EXPIRES_S_MAX: Final = 900  # the service's own cap
CLOCK_SKEW_S_MAX: Final = 300  # a token may come from a clock that is this much ahead
ALGORITHM: Final = "AWS4-HMAC-SHA256"
SERVICE: Final = "elasticache"
RESOURCE_TYPE_SERVERLESS: Final = "ServerlessCache"
EMPTY_BODY_SHA256: Final = hashlib.sha256(b"").hexdigest()

_SECONDS = re.compile(r"[0-9]{1,6}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_INSTANT = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_REQUIRED: Final = frozenset(
    (
        "Action",
        "User",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-SignedHeaders",
        "X-Amz-Signature",
    )
)


class IllegalToken(Exception):
    """Not a token that lets this user into this cache now; ``args[0]`` says why, for the log."""


@dataclass(frozen=True, kw_only=True)
class TokenSubject:
    """What the token must be for."""

    cache_name: str  # replication group id or serverless cache name
    user_id: str
    region: str
    serverless: bool


@dataclass(frozen=True, kw_only=True)
class VerifiedToken:
    access_key_id: str
    expires_at: datetime


# (access key id, session token or None, day of the scope) -> the key that signs on that day in the
# subject's region (:func:`signing_key`), or None for one that is not known.
SigningKeyOf = Callable[[str, str | None, str], bytes | None]


def signing_key(secret: str, *, day: str, region: str) -> bytes:
    """Return what signs requests to this service in *region* on *day* (``20260102``), UTC.

    It opens nothing else: not another day, another region or another service.
    """
    key = f"AWS4{secret}".encode()
    for part in (day, region, SERVICE, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def verify_token(
    token: str, *, subject: TokenSubject, signing_key_of: SigningKeyOf, now: datetime
) -> VerifiedToken:
    """Check everything about *token* but permissions; raises :class:`IllegalToken`."""
    host, parameters = _parameters(token)
    if host != subject.cache_name.lower():
        raise IllegalToken("for another cache")
    if parameters["Action"] != "connect":
        raise IllegalToken("for another action")
    if parameters["User"] != subject.user_id:
        raise IllegalToken("for another user")
    wanted_type = RESOURCE_TYPE_SERVERLESS if subject.serverless else None
    if parameters.get("ResourceType") != wanted_type:
        raise IllegalToken("for another type of resource")
    if parameters["X-Amz-Algorithm"] != ALGORITHM or parameters["X-Amz-SignedHeaders"] != "host":
        raise IllegalToken("signed in another way")
    expires_at = _expires_at(parameters, now=now)

    access_key_id, _, scope = parameters["X-Amz-Credential"].partition("/")
    day = parameters["X-Amz-Date"][:8]
    if scope != f"{day}/{subject.region}/{SERVICE}/aws4_request":
        raise IllegalToken("for another scope")
    key = signing_key_of(access_key_id, parameters.get("X-Amz-Security-Token"), day)
    if key is None:
        raise IllegalToken("signed with an unknown key")
    signature = parameters["X-Amz-Signature"]
    if not _SIGNATURE.fullmatch(signature) or not hmac.compare_digest(
        signature, _signature(host, parameters, scope=scope, key=key)
    ):
        raise IllegalToken("the signature is wrong")
    return VerifiedToken(access_key_id=access_key_id, expires_at=expires_at)


def _parameters(token: str) -> tuple[str, dict[str, str]]:
    """Take the token apart: the host, and the query's parameters decoded."""
    if len(token) > TOKEN_CHARS_MAX:
        raise IllegalToken("too long")
    host, separator, query = token.partition("/?")
    pairs = query.split("&", PARAMETERS_MAX)
    if not separator or len(pairs) > PARAMETERS_MAX:
        raise IllegalToken("not a presigned request")
    parameters: dict[str, str] = {}
    for pair in pairs:
        name, _, value = (unquote(part) for part in pair.partition("="))
        if name in parameters:
            raise IllegalToken("a parameter is given twice")
        parameters[name] = value
    if missing := _REQUIRED - parameters.keys():
        raise IllegalToken(f"{', '.join(sorted(missing))} missing")
    return host, parameters


def _expires_at(parameters: dict[str, str], *, now: datetime) -> datetime:
    seconds, stamp = parameters["X-Amz-Expires"], parameters["X-Amz-Date"]
    # isascii: \d and strptime take the digits of every script.
    if not seconds.isascii() or not _SECONDS.fullmatch(seconds) or not _INSTANT.fullmatch(stamp):
        raise IllegalToken("unreadable times")
    if not 1 <= int(seconds) <= EXPIRES_S_MAX:
        raise IllegalToken("valid for too long, or never")
    try:
        signed_at = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise IllegalToken("unreadable times") from error
    if signed_at > now + timedelta(seconds=CLOCK_SKEW_S_MAX):
        raise IllegalToken("not valid yet")
    expires_at = signed_at + timedelta(seconds=int(seconds))
    if now >= expires_at:
        raise IllegalToken("expired")
    return expires_at


def _signature(host: str, parameters: dict[str, str], *, scope: str, key: bytes) -> str:
    encoded = sorted(
        (_encoded(name), _encoded(value))
        for name, value in parameters.items()
        if name != "X-Amz-Signature"
    )
    query = "&".join(f"{name}={value}" for name, value in encoded)
    request = f"GET\n/\n{query}\nhost:{host}\n\nhost\n{EMPTY_BODY_SHA256}"
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = f"{ALGORITHM}\n{parameters['X-Amz-Date']}\n{scope}\n{digest}"
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~", errors="replace")
