"""Who asks ``/v1``: a signature as in the Query API, or a bearer token.

With authentication off, the credential scope of a signature is believed, and a request without one
may say in its query string which ``account`` and ``region`` it means. With a bearer token only the
``region`` can be said; the token says the account.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from cachefleet.api.auth.identity import Authenticator, BearerTokens, Identity
from cachefleet.api.auth.sigv4 import SignatureRefused, SignedRequest
from cachefleet.api.faults import Fault

ACCOUNT: Final = "account"
REGION: Final = "region"
SCOPE_FIELDS: Final = frozenset({ACCOUNT, REGION})
BEARER: Final = b"bearer "
TOKEN_BYTES_MAX = 4096

_SHAPES: Final = {
    ACCOUNT: re.compile(r"[0-9]{12}", re.ASCII),
    REGION: re.compile(r"[a-z0-9-]{1,32}", re.ASCII),
}


async def identify(
    authenticator: Authenticator,
    tokens: BearerTokens | None,
    request: SignedRequest,
    query_fields: Mapping[str, str],
    *,
    now: datetime,
) -> Identity:
    """Return who sent *request*.

    Raises:
        Fault: the credentials are not good, or a scope is named that is not theirs to name.
    """
    wanted = {name: query_fields[name] for name in SCOPE_FIELDS & query_fields.keys()}
    for name, value in wanted.items():
        if not _SHAPES[name].fullmatch(value):
            raise Fault("InvalidParameterValueException", f"The {name} is not valid.")
    header = request.headers.get(b"authorization", b"")
    if header[: len(BEARER)].lower() == BEARER and (authenticator.enforces or tokens is not None):
        found = await _by_token(tokens, header[len(BEARER) :].strip(), wanted, now)
        if found is not None:
            return _within(found, {ACCOUNT: wanted[ACCOUNT]} if ACCOUNT in wanted else {})
        if authenticator.enforces:
            raise Fault("InvalidClientTokenId", "The bearer token is not valid.")
    if header[: len(BEARER)].lower() == BEARER:
        headers = {name: v for name, v in request.headers.items() if name != b"authorization"}
        request = replace(request, headers=headers)
    try:
        identity = await authenticator.identify(request, query_fields, now=now)
    except SignatureRefused as refusal:
        raise Fault(refusal.code, refusal.message) from refusal
    if identity.access_key_id is None:  # only where authentication is off
        return authenticator.anonymous(account=wanted.get(ACCOUNT), region=wanted.get(REGION))
    return _within(identity, wanted)


async def _by_token(
    tokens: BearerTokens | None, token: bytes, wanted: Mapping[str, str], now: datetime
) -> Identity | None:
    if tokens is None or not token or len(token) > TOKEN_BYTES_MAX or not token.isascii():
        return None
    return await tokens.identity_of(token.decode("ascii"), region=wanted.get(REGION), now=now)


def _within(identity: Identity, wanted: Mapping[str, str]) -> Identity:
    """Return *identity*, which may name no scope but its own."""
    if any(getattr(identity, name) != value for name, value in wanted.items()):
        raise Fault("AccessDenied", "The credentials are of another account or region.")
    return identity
