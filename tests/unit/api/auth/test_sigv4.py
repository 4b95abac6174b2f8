"""Signature Version 4 against botocore's own signers, and against every way to tamper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from unittest import mock
from urllib.parse import urlencode, urlsplit

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.api.auth.sigv4 import (
    Claim,
    SignatureRefused,
    SignedRequest,
    canonical_request,
    find_claim,
    verify,
)
from cachefleet.api.protocol.query import parse_form

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
BODY = b"Action=DescribeCacheClusters&Version=2015-02-02&CacheClusterId=a%20b"
URL = "http://localhost:8379/"


def sign(
    *,
    method: str = "POST",
    url: str = URL,
    body: bytes = BODY,
    headers: dict[str, str] | None = None,
    token: str | None = None,
    region: str = "eu-west-1",
    service: str = "elasticache",
    expires_s: int | None = None,
    signer: Any = SigV4Auth,
) -> SignedRequest:
    """Let botocore sign a request, and return it as it would arrive."""
    request = AWSRequest(method=method, url=url, data=body, headers=headers or {})
    credentials = Credentials("AKIDEXAMPLE", SECRET, token)
    if expires_s is None:
        auth = signer(credentials, service, region)
    else:
        auth = SigV4QueryAuth(credentials, service, region, expires=expires_s)
    # botocore's clock cannot be passed in; this is the edge of the process under test.
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        auth.add_auth(request)
    parts = urlsplit(request.url)
    sent = {name.lower().encode(): str(value).encode() for name, value in request.headers.items()}
    sent.setdefault(b"host", parts.netloc.encode())
    return SignedRequest(
        method=method, path=parts.path, query=parts.query.encode(), headers=sent, body=body
    )


def claim_of(request: SignedRequest) -> Claim:
    claim = find_claim(request, parse_form(request.query))
    assert claim is not None
    return claim


def check(request: SignedRequest, *, now: datetime = NOW, secret: str = SECRET) -> None:
    verify(request, claim_of(request), secret, now=now)


def with_header(request: SignedRequest, name: bytes, value: bytes | None) -> SignedRequest:
    headers = dict(request.headers)
    if value is None:
        del headers[name]
    else:
        headers[name] = value
    return replace(request, headers=headers)


def edit_authorization(request: SignedRequest, old: bytes, new: bytes) -> SignedRequest:
    header = request.headers[b"authorization"]
    assert old in header
    return with_header(request, b"authorization", header.replace(old, new))


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(sign(), id="post"),
        pytest.param(sign(token="session/token+=="), id="session-token"),
        pytest.param(sign(body=b""), id="empty-body"),
        pytest.param(
            sign(headers={"Content-Type": "text/x;  a=1", "X-Amz-Meta": " a   b "}), id="spaces"
        ),
        pytest.param(sign(method="GET", url=URL + "?b=2&a=1&c", body=b""), id="get"),
        pytest.param(
            sign(method="GET", url=URL + "?" + urlencode({"A": "~-_.x"}), body=b""), id="safe"
        ),
        pytest.param(sign(headers={"Date": "x"}), id="date-header"),
        pytest.param(sign(url="https://elasticache.us-east-1.amazonaws.com/"), id="aws-name"),
        pytest.param(sign(expires_s=60, method="GET", body=b""), id="presigned"),
        pytest.param(
            sign(expires_s=60, token="a+b/c=", method="GET", body=b""), id="presigned-token"
        ),
        pytest.param(
            sign(expires_s=60, url=URL + "?Action=X&Name=%C3%BC%20%26", method="GET", body=b""),
            id="presigned-query",
        ),
    ],
)
def test_believes_what_botocore_signs(request_: SignedRequest) -> None:
    check(request_)
    with pytest.raises(SignatureRefused) as refusal:
        check(request_, secret=SECRET + "x")
    assert refusal.value.code == "SignatureDoesNotMatch"


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
        st.text(
            st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
            max_size=8,
        ),
        max_size=4,
    )
)
def test_believes_any_query_that_botocore_signs(fields: dict[str, str]) -> None:
    query = urlencode(fields).replace("+", "%20").replace("%7E", "~")
    check(sign(method="GET", url=f"{URL}?{query}", body=b""))


Tamper = Callable[[SignedRequest], SignedRequest]

TAMPERED: dict[str, Tamper] = {
    "method": lambda r: replace(r, method="GET"),
    "path": lambda r: replace(r, path="/other"),
    "query": lambda r: replace(r, query=b"Action=DeleteUser"),
    "body": lambda r: replace(r, body=r.body + b"&x=1"),
    "body-emptied": lambda r: replace(r, body=b""),
    "host": lambda r: with_header(r, b"host", b"localhost:8380"),
    "signed-header": lambda r: with_header(r, b"x-extra", b"2"),
    "signed-header-removed": lambda r: with_header(r, b"x-extra", None),
    "amz-header-added": lambda r: with_header(r, b"x-amz-security-token", b"t"),
    "date": lambda r: with_header(r, b"x-amz-date", b"20260102T030406Z"),
    "region": lambda r: edit_authorization(r, b"/eu-west-1/", b"/eu-west-2/"),
    "service": lambda r: edit_authorization(r, b"/elasticache/", b"/rds/"),
    "terminator": lambda r: edit_authorization(r, b"/aws4_request", b"/aws5_request"),
    "scope-date": lambda r: edit_authorization(r, b"/20260102/", b"/20260103/"),
    "host-not-signed": lambda r: edit_authorization(r, b"=host;", b"="),
    "amz-date-not-signed": lambda r: edit_authorization(r, b";x-amz-date", b""),
    "header-named-but-not-sent": lambda r: edit_authorization(r, b"host;", b"host;ghost;"),
    "signature-bit": lambda r: edit_authorization(
        r,
        r.headers[b"authorization"][-1:],
        b"0" if r.headers[b"authorization"][-1:] != b"0" else b"1",
    ),
    "signature-not-ascii": lambda r: edit_authorization(r, b"Signature=", b"Signature=\xfc"),
    "signature-upper-case": lambda r: with_header(
        r,
        b"authorization",
        r.headers[b"authorization"][:-64] + r.headers[b"authorization"][-64:].upper(),
    ),
    "region-that-is-none": lambda r: edit_authorization(r, b"/eu-west-1/", b"/eu_west_1/"),
}


@pytest.mark.parametrize("what", sorted(TAMPERED))
def test_refuses_a_request_that_was_changed(what: str) -> None:
    request = sign(headers={"X-Extra": "1"})
    check(request)
    with pytest.raises(SignatureRefused) as refusal:
        check(TAMPERED[what](request))
    assert refusal.value.code == "SignatureDoesNotMatch"


PRESIGNED_TAMPERED: dict[str, tuple[str, str]] = {
    "expires": ("X-Amz-Expires=60", "X-Amz-Expires=600"),
    "date": ("T030405Z", "T030406Z"),
    "region": ("eu-west-1", "eu-west-2"),
    "service": ("%2Felasticache", "%2Frds"),
    "field": ("Name=a", "Name=b"),
    "field-added": ("Name=a", "Name=a&More=1"),
    "headers": ("SignedHeaders=host", "SignedHeaders=x-host"),
    "key": ("AKIDEXAMPLE", "AKIDEXAMPLF"),
    "token": ("X-Amz-Expires", "X-Amz-Security-Token=t&X-Amz-Expires"),
}


@pytest.mark.parametrize("what", sorted(PRESIGNED_TAMPERED))
def test_refuses_a_presigned_request_that_was_changed(what: str) -> None:
    request = sign(method="GET", url=URL + "?Name=a", body=b"", expires_s=60)
    old, new = PRESIGNED_TAMPERED[what]
    assert old in request.query.decode()
    changed = replace(request, query=request.query.decode().replace(old, new).encode())
    with pytest.raises(SignatureRefused) as refusal:
        check(changed)
    assert refusal.value.code == "SignatureDoesNotMatch"


class _WithoutHost(SigV4Auth):  # type: ignore[misc]
    def headers_to_sign(self, request: AWSRequest) -> Any:
        headers = super().headers_to_sign(request)
        del headers["host"]
        return headers


class _OfAnotherDay(SigV4Auth):  # type: ignore[misc]
    """Signs correctly, but under a credential scope of the year before."""

    def scope(self, request: AWSRequest) -> str:
        return str(super().scope(request)).replace("/2026", "/2025")

    def credential_scope(self, request: AWSRequest) -> str:
        return str(super().credential_scope(request)).replace("2026", "2025", 1)

    def signature(self, string_to_sign: str, request: AWSRequest) -> str:
        stamp = request.context["timestamp"]
        request.context["timestamp"] = stamp.replace("2026", "2025", 1)
        return str(super().signature(string_to_sign, request))


@pytest.mark.parametrize(
    ("signer", "region", "message"),
    [
        (_WithoutHost, "eu-west-1", "'host' must be a 'SignedHeader'"),
        (_OfAnotherDay, "eu-west-1", "'20250102' != '20260102'"),
        (SigV4Auth, "eu_west_1", "valid region"),
    ],
)
def test_refuses_what_is_signed_well_but_should_not_be(
    signer: Any, region: str, message: str
) -> None:
    with pytest.raises(SignatureRefused, match=message) as refusal:
        check(sign(signer=signer, region=region))
    assert refusal.value.code == "SignatureDoesNotMatch"


def test_a_presigned_request_may_not_grow_a_body() -> None:
    request = sign(method="POST", body=b"", expires_s=60)
    check(request)
    with pytest.raises(SignatureRefused):
        check(replace(request, body=b"Action=DeleteUser"))


def test_a_hash_in_a_header_is_no_hash_of_the_body() -> None:
    request = sign(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"})
    with pytest.raises(SignatureRefused):
        check(request)


@pytest.mark.parametrize("offset_s", [-900, 0, 900])
def test_tolerates_a_clock_that_is_a_quarter_of_an_hour_off(offset_s: int) -> None:
    check(sign(), now=NOW + timedelta(seconds=offset_s))


def test_refuses_an_old_signature_in_the_services_words() -> None:
    with pytest.raises(SignatureRefused) as refusal:
        check(sign(), now=NOW + timedelta(seconds=901))
    assert refusal.value.code == "SignatureDoesNotMatch"
    assert refusal.value.message == (
        "Signature expired: 20260102T030405Z is now earlier than 20260102T030406Z "
        "(20260102T031906Z - 15 min.)"
    )


def test_refuses_a_signature_of_the_future() -> None:
    with pytest.raises(SignatureRefused) as refusal:
        check(sign(), now=NOW - timedelta(seconds=901))
    assert refusal.value.code == "SignatureDoesNotMatch"
    assert refusal.value.message.startswith("Signature not yet current: 20260102T030405Z")


@pytest.mark.parametrize(
    ("offset_s", "is_refused"), [(-901, True), (-900, False), (60, False), (61, True)]
)
def test_presigned_requests_expire(offset_s: int, is_refused: bool) -> None:
    request = sign(method="GET", body=b"", expires_s=60)
    now = NOW + timedelta(seconds=offset_s)
    if not is_refused:
        check(request, now=now)
        return
    with pytest.raises(SignatureRefused) as refusal:
        check(request, now=now)
    assert refusal.value.code == "RequestExpired"


def test_reads_the_date_header_where_there_is_no_amz_date() -> None:
    request = sign(headers={"Date": "x"})
    assert b"x-amz-date" not in request.headers
    assert claim_of(request).signed_at_text == format_datetime(NOW, usegmt=False).replace(
        "+0000", "-0000"
    )
    unsigned = edit_authorization(request, b"SignedHeaders=date;host", b"SignedHeaders=host")
    with pytest.raises(SignatureRefused, match="'date' must be a 'SignedHeader'"):
        check(unsigned)


def test_finds_no_claim_where_there_is_none() -> None:
    for headers in ({}, {b"authorization": b"Basic YTpi"}, {b"authorization": b"AWS a:b"}):
        request = SignedRequest("POST", "/", b"", headers, b"")
        assert find_claim(request, {}) is None


GOOD = (
    "AWS4-HMAC-SHA256 Credential=AK/20260102/us-east-1/elasticache/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=00"
)


@pytest.mark.parametrize(
    ("header", "word"),
    [
        pytest.param("AWS4-HMAC-SHA256", "'Credential'", id="bare"),
        pytest.param(GOOD.replace("Credential=", "Cred="), "'Credential'", id="no-credential"),
        pytest.param(GOOD.replace("SignedHeaders=", "S="), "'SignedHeaders'", id="no-headers"),
        pytest.param(GOOD.replace("Signature=", "S="), "'Signature'", id="no-signature"),
        pytest.param(GOOD.replace("AK/", ""), "slash-delimited", id="four-parts"),
        pytest.param(GOOD.replace("AK/", "AK//"), "slash-delimited", id="six-parts"),
        pytest.param(GOOD.replace("AK/", "/"), "slash-delimited", id="no-key"),
        pytest.param(GOOD.replace("AK/", "A K/"), "slash-delimited", id="space-in-key"),
        pytest.param(GOOD.replace("AK/", "A" * 129 + "/"), "slash-delimited", id="huge-key"),
        pytest.param(GOOD.replace("host;", "Host;"), "lower case", id="upper-case-header"),
        pytest.param(GOOD.replace("host;", ";"), "lower case", id="empty-header"),
        pytest.param(GOOD.replace("host;", "host;" + "a;" * 64), "more than 64", id="many-headers"),
        pytest.param(GOOD + ", Signature=11", "two values", id="two-signatures"),
    ],
)
def test_refuses_a_header_that_is_incomplete(header: str, word: str) -> None:
    headers = {b"authorization": header.encode(), b"x-amz-date": b"20260102T030405Z"}
    with pytest.raises(SignatureRefused, match=word) as refusal:
        find_claim(SignedRequest("POST", "/", b"", headers, b""), {})
    assert refusal.value.code == "IncompleteSignature"


@pytest.mark.parametrize(
    "date", [None, b"", b"today", b"2026-01-02T03:04:05Z", b"20269902T030405Z"]
)
def test_refuses_a_header_without_a_date(date: bytes | None) -> None:
    headers = {b"authorization": GOOD.encode(), b"host": b"localhost"}
    if date is not None:
        headers[b"x-amz-date"] = date
    with pytest.raises(SignatureRefused) as refusal:
        check(SignedRequest("POST", "/", b"", headers, b""))
    assert refusal.value.code == "IncompleteSignature"


def presigned_fields() -> dict[str, str]:
    return parse_form(sign(method="GET", body=b"", expires_s=60).query)


@pytest.mark.parametrize(
    "change",
    [
        *({name: ""} for name in ("X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires")),
        *({name: ""} for name in ("X-Amz-SignedHeaders", "X-Amz-Signature")),
        *({"X-Amz-Expires": text} for text in ("0", "604801", "-1", "x", "9" * 99, "1.5")),
    ],
)
def test_refuses_a_presigned_request_that_is_incomplete(change: dict[str, str]) -> None:
    request = SignedRequest("GET", "/", b"", {b"host": b"localhost"}, b"")
    with pytest.raises(SignatureRefused) as refusal:
        find_claim(request, {**presigned_fields(), **change})
    assert refusal.value.code == "IncompleteSignature"


def test_refuses_two_signatures() -> None:
    request = SignedRequest("GET", "/", b"", {b"authorization": GOOD.encode()}, b"")
    with pytest.raises(SignatureRefused, match="Only one"):
        find_claim(request, presigned_fields())


def test_the_canonical_form_is_the_documented_one() -> None:
    claim = replace(claim_of(sign()), signed_headers=("host", "x-amz-date"))
    request = SignedRequest(
        "GET",
        "/",
        b"b=2&a=%7e+x&X-Amz-Signature=00&a=1",
        {b"host": b"localhost", b"x-amz-date": b"  20260102T030405Z "},
        b"",
    )
    assert canonical_request(request, claim).decode() == (
        "GET\n/\na=1&a=~%20x&b=2\nhost:localhost\nx-amz-date:20260102T030405Z\n\n"
        "host;x-amz-date\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
