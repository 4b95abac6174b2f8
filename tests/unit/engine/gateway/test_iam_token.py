"""verify_token: the service's own vectors, botocore as signer, and every way to be wrong."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.engine.gateway.iam_token import (
    TOKEN_CHARS_MAX,
    IllegalToken,
    TokenSubject,
    VerifiedToken,
    signing_key,
    verify_token,
)

SIGNED_AT = datetime(2025, 1, 1, tzinfo=UTC)
SUBJECT = TokenSubject(
    cache_name="my-replication-group-id",
    user_id="my-user-id",
    region="eu-west-1",
    serverless=False,
)
HEAD = "my-replication-group-id/?Action=connect&User=my-user-id"
SIGNING = (
    "&X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=fakeAccessKeyId%2F20250101%2Feu-west-1%2Felasticache%2Faws4_request"
    "&X-Amz-Date=20250101T000000Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host"
)
PLAIN = (
    f"{HEAD}{SIGNING}&X-Amz-Signature="
    "9e361603d85874bce06114c6644725ed113e3b11ae6fa92efdf10c6bcf5de8d7"
)
WITH_SESSION = (
    f"{HEAD}{SIGNING}&X-Amz-Security-Token=fakeSessionToken&X-Amz-Signature="
    "bbce2bd61bd78461297ecb92e7001ddbeab2d85906c3cbedad6c9b81fb3466dc"
)
SERVERLESS = (
    f"{HEAD}&ResourceType=ServerlessCache{SIGNING}&X-Amz-Signature="
    "57292e578d0dc6376b23017594423bae7320b8eb25054e744652670af833ffaa"
)


def signing_key_of(access_key_id: str, session_token: str | None, day: str) -> bytes | None:
    known = access_key_id == "fakeAccessKeyId" and session_token in (None, "fakeSessionToken")
    return signing_key("fakeSecretKey", day=day, region="eu-west-1") if known else None


def verify(
    token: str, *, subject: TokenSubject = SUBJECT, now: datetime = SIGNED_AT
) -> VerifiedToken:
    return verify_token(token, subject=subject, signing_key_of=signing_key_of, now=now)


@pytest.mark.parametrize(
    ("token", "subject"),
    [
        pytest.param(PLAIN, SUBJECT, id="plain"),
        pytest.param(WITH_SESSION, SUBJECT, id="session"),
        pytest.param(SERVERLESS, replace(SUBJECT, serverless=True), id="serverless"),
        pytest.param(
            PLAIN, replace(SUBJECT, cache_name="My-Replication-Group-Id"), id="name-in-capitals"
        ),
    ],
)
def test_known_signatures(token: str, subject: TokenSubject) -> None:
    verified = verify(token, subject=subject)
    assert verified.access_key_id == "fakeAccessKeyId"
    assert verified.expires_at == SIGNED_AT + timedelta(seconds=900)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_and_the_encoding_of_parameters_are_free(seed: int) -> None:
    dice = random.Random(seed)
    host, _, query = WITH_SESSION.partition("/?")
    pairs = query.split("&")
    dice.shuffle(pairs)
    plain = [unquote(pair) if dice.random() < 0.5 else pair for pair in pairs]
    odd = [pair.replace("-", "%2d") if dice.random() < 0.5 else pair for pair in plain]
    assert verify(f"{host}/?{'&'.join(odd)}")


def test_what_botocore_signs_now_is_valid_now() -> None:
    request = AWSRequest(
        method="GET",
        url="https://my-replication-group-id/",
        params={"Action": "connect", "User": "my-user-id"},
    )
    credentials = Credentials("fakeAccessKeyId", "fakeSecretKey", "fakeSessionToken")
    SigV4QueryAuth(credentials, "elasticache", "eu-west-1", expires=900).add_auth(request)
    now = datetime.now(UTC)
    assert verify(request.url.removeprefix("https://"), now=now).expires_at > now


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"cache_name": "other"}, "another cache", id="cache"),
        pytest.param({"user_id": "other"}, "another user", id="user"),
        pytest.param({"user_id": "My-User-Id"}, "another user", id="user-in-capitals"),
        pytest.param({"region": "us-east-1"}, "another scope", id="region"),
        pytest.param({"serverless": True}, "another type", id="serverless"),
    ],
)
def test_refuses_another_subject(change: dict[str, object], reason: str) -> None:
    with pytest.raises(IllegalToken, match=reason):
        verify(PLAIN, subject=replace(SUBJECT, **change))  # type: ignore[arg-type]


def test_a_serverless_token_opens_no_replication_group() -> None:
    with pytest.raises(IllegalToken, match="another type"):
        verify(SERVERLESS)


@pytest.mark.parametrize(
    ("at_s", "reason"),
    [(899, None), (900, "expired"), (-300, None), (-301, "not valid yet"), (86_400, "expired")],
)
def test_lives_for_its_time(at_s: int, reason: str | None) -> None:
    now = SIGNED_AT + timedelta(seconds=at_s)
    if reason is None:
        assert verify(PLAIN, now=now)
    else:
        with pytest.raises(IllegalToken, match=reason):
            verify(PLAIN, now=now)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        pytest.param("Action=connect", "Action=delete", "another action", id="action"),
        pytest.param("HMAC-SHA256", "HMAC-SHA1", "another way", id="algorithm"),
        pytest.param("Headers=host", "Headers=host;date", "another way", id="headers"),
        pytest.param("%2Faws4_request", "%2Faws3_request", "another scope", id="scope"),
        pytest.param("%2F20250101", "%2F20250102", "another scope", id="other-day"),
        pytest.param("%2Felasticache", "%2Frds", "another scope", id="service"),
        pytest.param("fakeAccessKeyId", "other", "unknown key", id="key"),
        pytest.param("Expires=900", "Expires=901", "too long", id="lives-too-long"),
        pytest.param("Expires=900", "Expires=0", "too long", id="never"),
        pytest.param("Expires=900", "Expires=-1", "unreadable", id="negative"),
        pytest.param("Expires=900", "Expires=1e2", "unreadable", id="float"),
        pytest.param("Expires=900", "Expires=٩٠٠", "unreadable", id="other-digits"),
        pytest.param("Expires=900", "Expires=300", "signature", id="shorter-than-signed"),
        pytest.param("20250101T000000Z", "20250101T250000Z", "unreadable", id="no-such-hour"),
        pytest.param("20250101T000000Z", "20250101", "unreadable", id="date-only"),
        pytest.param("&User=", "&User=x&User=", "twice", id="parameter-twice"),
        pytest.param("&User=", "&user=", "User missing", id="parameter-missing"),
        pytest.param("&User=", "&Extra=1&User=", "signature", id="unsigned-parameter"),
        pytest.param("Signature=9e", "Signature=9f", "signature", id="signature"),
        pytest.param("Signature=9e", "Signature=9E", "signature", id="signature-in-capitals"),
        pytest.param("Signature=9e", "Signature=é", "signature", id="signature-not-ascii"),
        pytest.param("my-replication", "My-replication", "another cache", id="host-in-capitals"),
        pytest.param("/?", "?", "not a presigned", id="no-path"),
        pytest.param("/?", "/?" + "a&" * 40, "not a presigned", id="endless-parameters"),
        pytest.param("/?", "/?" + "a" * TOKEN_CHARS_MAX, "too long", id="endless"),
    ],
)
def test_refuses_a_changed_token(old: str, new: str, reason: str) -> None:
    assert old in PLAIN
    with pytest.raises(IllegalToken, match=reason) as caught:
        verify(PLAIN.replace(old, new, 1))
    assert "9e361603" not in str(caught.value)


def test_a_session_token_cannot_be_taken_away() -> None:
    with pytest.raises(IllegalToken):
        verify(WITH_SESSION.replace("&X-Amz-Security-Token=fakeSessionToken", ""))


@given(st.text(max_size=300) | st.text(max_size=80).map(lambda noise: PLAIN + noise))
def test_noise_is_refused_and_nothing_else_happens(token: str) -> None:
    if token != PLAIN:
        with pytest.raises(IllegalToken):
            verify(token)


@given(st.integers(0, len(PLAIN) - 1), st.characters(codec="ascii"))
def test_no_letter_can_be_changed(place: int, letter: str) -> None:
    changed = PLAIN[:place] + letter + PLAIN[place + 1 :]
    if unquote(changed) != unquote(PLAIN):
        with pytest.raises(IllegalToken):
            verify(changed)
