"""Who is asking: accounts, regions, and every reason to be turned away."""

from __future__ import annotations

from datetime import timedelta

import pytest

from cachefleet.api.auth.identity import (
    Authenticator,
    Credential,
    Identity,
    StaticCredentials,
    may_call,
)
from cachefleet.api.auth.sigv4 import SignatureRefused, SignedRequest
from cachefleet.api.protocol.query import parse_form
from cachefleet.provisioner.state.access_keys import KeyScope
from tests.unit.api.auth.test_sigv4 import BODY, NOW, SECRET, edit_authorization, sign

KEY = Credential("AKIDEXAMPLE", SECRET)
NOBODY = SignedRequest("POST", "/", b"", {b"host": b"localhost"}, BODY)


def authenticator(*credentials: Credential, enforce: bool = True) -> Authenticator:
    return Authenticator(
        enforce=enforce,
        credentials=StaticCredentials(*credentials),
        account_id="000000000000",
        default_region="us-east-1",
    )


async def identify(who: Authenticator, request: SignedRequest) -> Identity:
    return await who.identify(request, parse_form(request.query), now=NOW)


async def refusal_of(who: Authenticator, request: SignedRequest) -> str:
    with pytest.raises(SignatureRefused) as refusal:
        await identify(who, request)
    return refusal.value.code


async def test_enforced_the_signature_names_the_caller() -> None:
    identity = await identify(authenticator(KEY), sign())
    assert identity == Identity(
        account="000000000000",
        region="eu-west-1",
        principal_arn="arn:aws:iam::000000000000:user/AKIDEXAMPLE",
        access_key_id="AKIDEXAMPLE",
        is_verified=True,
    )


async def test_enforced_a_credential_says_whose_it_is() -> None:
    arn = "arn:aws:iam::123456789012:role/app"
    key = Credential("AKIDEXAMPLE", SECRET, account="123456789012", principal_arn=arn)
    identity = await identify(authenticator(key), sign(method="GET", body=b"", expires_s=60))
    assert (identity.account, identity.principal_arn) == ("123456789012", arn)


TEMPORARY = Credential(
    "AKIDEXAMPLE", SECRET, session_token="token", expires_at=NOW + timedelta(hours=1)
)


@pytest.mark.parametrize(
    ("credential", "request_", "code"),
    [
        pytest.param(KEY, NOBODY, "MissingAuthenticationToken", id="unsigned"),
        pytest.param(
            KEY,
            SignedRequest("POST", "/", b"", {b"authorization": b"Basic eA=="}, b""),
            "IncompleteSignature",
            id="basic",
        ),
        pytest.param(Credential("OTHER", SECRET), sign(), "InvalidClientTokenId", id="unknown-key"),
        pytest.param(
            Credential("AKIDEXAMPLE", "x"), sign(), "SignatureDoesNotMatch", id="wrong-secret"
        ),
        pytest.param(KEY, sign(token="token"), "InvalidClientTokenId", id="token-for-none"),
        pytest.param(TEMPORARY, sign(), "InvalidClientTokenId", id="no-token"),
        pytest.param(TEMPORARY, sign(token="other"), "InvalidClientTokenId", id="wrong-token"),
        pytest.param(
            Credential("AKIDEXAMPLE", SECRET, session_token="token", expires_at=NOW),
            sign(token="token"),
            "ExpiredToken",
            id="expired-token",
        ),
        pytest.param(KEY, sign(service="rds"), "SignatureDoesNotMatch", id="other-service"),
    ],
)
async def test_enforced_turns_away(
    credential: Credential, request_: SignedRequest, code: str
) -> None:
    assert await refusal_of(authenticator(credential), request_) == code


async def test_enforced_takes_a_session_token() -> None:
    assert (await identify(authenticator(TEMPORARY), sign(token="token"))).is_verified


async def test_off_believes_the_scope_and_checks_no_signature() -> None:
    who = authenticator(enforce=False)
    forged = edit_authorization(sign(), b"AKIDEXAMPLE", b"123456789012")
    identity = await identify(who, forged)
    assert (identity.account, identity.region) == ("123456789012", "eu-west-1")
    assert not identity.is_verified
    assert (await identify(who, sign())).account == "000000000000"


async def test_off_reads_the_scope_of_a_presigned_query() -> None:
    identity = await identify(
        authenticator(enforce=False),
        sign(method="GET", body=b"", expires_s=60, region="cn-north-1"),
    )
    assert identity.region == "cn-north-1"
    assert identity.principal_arn.startswith("arn:aws-cn:iam::")


async def test_off_takes_anybody() -> None:
    identity = await identify(authenticator(enforce=False), NOBODY)
    assert (identity.account, identity.region) == ("000000000000", "us-east-1")
    assert identity.access_key_id is None


async def test_off_refuses_another_service_and_a_broken_scope() -> None:
    who = authenticator(enforce=False)
    assert await refusal_of(who, sign(service="rds")) == "SignatureDoesNotMatch"
    broken = edit_authorization(sign(), b"/aws4_request", b"")
    assert await refusal_of(who, broken) == "IncompleteSignature"


def test_secrets_are_not_in_the_repr() -> None:
    assert SECRET not in repr(TEMPORARY)
    assert "'token'" not in repr(TEMPORARY)


async def bearer(key: Credential, token: str, region: str | None = None) -> Identity | None:
    return await authenticator(key).identity_of(token, region=region, now=NOW)


async def test_a_bearer_token_is_a_key_and_its_secret() -> None:
    key = Credential("AKIDEXAMPLE", SECRET, account="123456789012", key_scope=KeyScope.READ_ONLY)
    identity = await bearer(key, f"AKIDEXAMPLE.{SECRET}", "eu-west-2")
    assert identity is not None
    assert (identity.account, identity.region) == ("123456789012", "eu-west-2")
    assert identity.is_verified
    assert identity.key_scope is KeyScope.READ_ONLY


@pytest.mark.parametrize(
    "token",
    ["AKIDEXAMPLE.wrong", "AKIDEXAMPLE", f"NOBODY.{SECRET}", "", "x" * 10_000, f".{SECRET}"],
    ids=["wrong", "bare", "unknown", "empty", "endless", "nobody"],
)
async def test_bearer_tokens_that_are_refused(token: str) -> None:
    assert await bearer(KEY, token) is None


async def test_bearer_tokens_end_with_their_keys() -> None:
    assert await bearer(TEMPORARY, f"AKIDEXAMPLE.{SECRET}") is None
    ended = Credential("AKIDEXAMPLE", SECRET, expires_at=NOW)
    assert await bearer(ended, f"AKIDEXAMPLE.{SECRET}") is None


@pytest.mark.parametrize(
    ("scope", "allowed"),
    [
        (KeyScope.FULL, {"DescribeUsers", "ListTagsForResource", "CreateUser"}),
        (KeyScope.READ_ONLY, {"DescribeUsers", "ListTagsForResource"}),
        (KeyScope.CONNECT, set()),
    ],
)
async def test_what_a_key_may_be_used_for(scope: KeyScope, allowed: set[str]) -> None:
    key = Credential("AKIDEXAMPLE", SECRET, key_scope=scope)
    identity = await identify(authenticator(key), sign())
    asked = ("DescribeUsers", "ListTagsForResource", "CreateUser")
    assert {name for name in asked if may_call(identity, name)} == allowed
