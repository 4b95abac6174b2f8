"""Signature Version 4: what a request says it is signed with, and whether that is true. Pure.

``find_claim`` reads the ``Authorization`` header or the presigned query string; ``verify`` checks
it against a secret key and the time. The hash of the body is always computed here and never taken
from a header, so ``UNSIGNED-PAYLOAD`` does not verify. Every ``x-amz-`` header that is sent must
be signed, and ``host`` always.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, unquote_to_bytes

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"
SKEW_MAX = timedelta(minutes=15)
EXPIRES_S_MAX = 7 * 24 * 3600
SIGNED_HEADER_COUNT_MAX = 64

_ACCESS_KEY_ID = re.compile(r"[\x21-\x2e\x30-\x7e]{1,128}", re.ASCII)  # printable, no slash
_REGION = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_SIGNED_HEADERS = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+(;[a-z0-9!#$%&'*+.^_`|~-]+)*", re.ASCII)
_BASIC_ISO: Final = "%Y%m%dT%H%M%SZ"
_BASIC_ISO_TEXT = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SAFE: Final = "-_.~"


class SignatureRefused(Exception):
    """The request is not who it says it is. ``code`` is the service's code for the reason."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The parts of an HTTP request that are signed. Header names are in lower case."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """What the request says about its signature; nothing in it is verified yet."""

    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: tuple[str, ...]
    signature: str
    signed_at_text: str
    session_token: str | None
    expires_s: int | None  # set where the signature is in the query string

    @property
    def credential_scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


def find_claim(request: SignedRequest, fields: Mapping[str, str]) -> Claim | None:
    """Return the claim of a request; None where it carries none of this algorithm.

    *fields* are the decoded fields of the query string alone.

    Raises:
        SignatureRefused: ``IncompleteSignature`` for one that cannot be read.
    """
    header = request.headers.get(b"authorization", b"").decode("latin-1")
    in_query = fields.get("X-Amz-Algorithm") == ALGORITHM
    if header.startswith(ALGORITHM):
        if in_query:
            raise _incomplete("Only one of the header and the query string may hold a signature.")
        return _header_claim(header[len(ALGORITHM) :], request.headers)
    return _query_claim(fields) if in_query else None


def verify(request: SignedRequest, claim: Claim, secret: str, *, now: datetime) -> None:
    """Return where *claim* is true of *request* at *now*.

    Raises:
        SignatureRefused: it is expired, not yet valid, or signed otherwise.
    """
    check_scope(claim)
    signed_at = _signed_at(claim)
    if claim.expires_s is None:
        _check_skew(signed_at, now)
    else:
        _check_expiry(signed_at, claim.expires_s, now)
    _check_signed_headers(request, claim)
    expected = _signature(request, claim, secret, signed_at)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise _mismatch(
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        )


def check_scope(claim: Claim, *, service: str = "elasticache") -> None:
    """Check the parts of the credential scope that need no secret.

    Raises:
        SignatureRefused: another service, terminator or date, or a region that cannot be one.
    """
    if claim.service != service:
        raise _mismatch(f"Credential should be scoped to correct service: '{service}'.")
    if claim.terminator != TERMINATOR:
        raise _mismatch(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'.")
    if not _REGION.fullmatch(claim.region):
        raise _mismatch("Credential should be scoped to a valid region.")


def _header_claim(text: str, headers: Mapping[bytes, bytes]) -> Claim:
    parts: dict[str, str] = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        if parts.setdefault(name, value) != value:
            raise _incomplete(f"Authorization header has two values of '{name}'.")
    signed_at = headers.get(b"x-amz-date", headers.get(b"date", b"")).decode("latin-1")
    lacking = [name for name in ("Credential", "SignedHeaders", "Signature") if not parts.get(name)]
    if lacking:
        raise _incomplete(
            " ".join(f"Authorization header requires '{name}' parameter." for name in lacking)
        )
    if not signed_at:
        raise _incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        )
    token = headers.get(b"x-amz-security-token")
    return _claim(
        credential=parts["Credential"],
        signed_headers=parts["SignedHeaders"],
        signature=parts["Signature"],
        signed_at=signed_at,
        token=token.decode("latin-1") if token is not None else None,
        expires_s=None,
    )


def _query_claim(fields: Mapping[str, str]) -> Claim:
    names = ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders")
    lacking = [name for name in (*names, "X-Amz-Signature") if not fields.get(name)]
    if lacking:
        raise _incomplete(f"The query string lacks {', '.join(lacking)}.")
    expires = fields["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,6}", expires, re.ASCII):
        raise _incomplete("X-Amz-Expires must be a number of seconds.")
    if not 1 <= int(expires) <= EXPIRES_S_MAX:
        raise _incomplete(f"X-Amz-Expires must be between 1 and {EXPIRES_S_MAX} seconds.")
    return _claim(
        credential=fields["X-Amz-Credential"],
        signed_headers=fields["X-Amz-SignedHeaders"],
        signature=fields["X-Amz-Signature"],
        signed_at=fields["X-Amz-Date"],
        token=fields.get("X-Amz-Security-Token"),
        expires_s=int(expires),
    )


def _claim(
    *,
    credential: str,
    signed_headers: str,
    signature: str,
    signed_at: str,
    token: str | None,
    expires_s: int | None,
) -> Claim:
    scope = credential.split("/")
    if len(scope) != 5 or not all(scope) or not _ACCESS_KEY_ID.fullmatch(scope[0]):
        raise _incomplete(
            "Credential must have exactly 5 slash-delimited elements, "
            "e.g. keyid/date/region/service/term."
        )
    if not _SIGNED_HEADERS.fullmatch(signed_headers):
        raise _incomplete("SignedHeaders must be names in lower case, parted by semicolons.")
    names = tuple(signed_headers.split(";"))
    if len(names) > SIGNED_HEADER_COUNT_MAX:
        raise _incomplete(f"SignedHeaders has more than {SIGNED_HEADER_COUNT_MAX} names.")
    return Claim(
        access_key_id=scope[0],
        date=scope[1],
        region=scope[2],
        service=scope[3],
        terminator=scope[4],
        signed_headers=names,
        signature=signature,
        signed_at_text=signed_at,
        session_token=token,
        expires_s=expires_s,
    )


def _signed_at(claim: Claim) -> datetime:
    is_basic = _BASIC_ISO_TEXT.fullmatch(claim.signed_at_text) is not None
    try:
        moment = (
            datetime.fromisoformat(claim.signed_at_text)
            if is_basic
            else parsedate_to_datetime(claim.signed_at_text)
        )
        moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _incomplete(
            "Date must be in ISO-8601 'basic format', e.g. 20260102T030405Z."
        ) from None
    if moment.strftime("%Y%m%d") != claim.date:
        raise _mismatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            f"HTTP: '{claim.date}' != '{moment:%Y%m%d}'."
        )
    return moment


def _check_skew(signed_at: datetime, now: datetime) -> None:
    oldest, newest = now - SKEW_MAX, now + SKEW_MAX
    if signed_at < oldest:
        raise _mismatch(
            f"Signature expired: {_iso(signed_at)} is now earlier than {_iso(oldest)} "
            f"({_iso(now)} - 15 min.)"
        )
    if signed_at > newest:
        raise _mismatch(
            f"Signature not yet current: {_iso(signed_at)} is still later than {_iso(newest)} "
            f"({_iso(now)} + 15 min.)"
        )


def _check_expiry(signed_at: datetime, expires_s: int, now: datetime) -> None:
    if now > signed_at + timedelta(seconds=expires_s):
        raise SignatureRefused("RequestExpired", "Request has expired.")
    if signed_at > now + SKEW_MAX:
        raise SignatureRefused("RequestExpired", "Request is dated in the future.")


def _iso(moment: datetime) -> str:
    return moment.strftime(_BASIC_ISO)


def _check_signed_headers(request: SignedRequest, claim: Claim) -> None:
    signed = frozenset(claim.signed_headers)
    sent = {name.decode("latin-1") for name in request.headers}
    unsigned = {name for name in sent if name.startswith("x-amz-")} - signed
    # Without X-Amz-Date it is the Date header that says when the request was signed.
    if claim.expires_s is None and "x-amz-date" not in sent and "date" not in signed:
        unsigned.add("date")
    if "host" not in signed:
        unsigned.add("host")
    if unsigned:
        names = ", ".join(sorted(unsigned))
        raise _mismatch(f"'{names}' must be a 'SignedHeader' in the AWS Authorization.")
    if not signed <= sent:
        names = ", ".join(sorted(signed - sent))
        raise _mismatch(f"SignedHeaders names headers that were not sent: {names}.")


def _signature(request: SignedRequest, claim: Claim, secret: str, signed_at: datetime) -> str:
    canonical = canonical_request(request, claim)
    to_sign = "\n".join(
        (
            ALGORITHM,
            _iso(signed_at),
            claim.credential_scope,
            hashlib.sha256(canonical).hexdigest(),
        )
    )
    key = f"AWS4{secret}".encode()
    for part in (claim.date, claim.region, claim.service, claim.terminator, to_sign):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def canonical_request(request: SignedRequest, claim: Claim) -> bytes:
    """Return the canonical form of *request* with the headers that *claim* names."""
    lines = [
        request.method.encode(),
        quote(request.path, safe="/~").encode(),
        _canonical_query(request.query),
        *(
            name.encode() + b":" + b" ".join(request.headers[name.encode()].split())
            for name in claim.signed_headers
        ),
        b"",
        ";".join(claim.signed_headers).encode(),
        hashlib.sha256(request.body).hexdigest().encode(),
    ]
    return b"\n".join(lines)


def _canonical_query(query: bytes) -> bytes:
    pairs = []
    for pair in query.split(b"&"):
        if not pair:
            continue
        name, _, value = (part.replace(b"+", b" ") for part in pair.partition(b"="))
        name = unquote_to_bytes(name)
        if name != b"X-Amz-Signature":
            pairs.append((quote(name, safe=_SAFE), quote(unquote_to_bytes(value), safe=_SAFE)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs)).encode()


def _incomplete(message: str) -> SignatureRefused:
    return SignatureRefused("IncompleteSignature", message)


def _mismatch(message: str) -> SignatureRefused:
    return SignatureRefused("SignatureDoesNotMatch", message)
