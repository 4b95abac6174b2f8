"""From credentials to an identity: which account asks, in which region, under which name.

With authentication off the credential scope is believed, not verified: it says which account and
region are meant, and a request without one gets the defaults. With authentication enforced the
signature is verified with the secret that a :class:`CredentialStore` has, and what the key may be
used for is checked for each operation (:func:`may_call`). Under ``/v1`` a bearer token, which is a
key and its secret, does as well as a signature.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, Protocol

from cachefleet.api.auth.sigv4 import (
    Claim,
    SignatureRefused,
    SignedRequest,
    check_scope,
    find_claim,
    verify,
)
from cachefleet.provisioner.state.access_keys import KeyScope

QUESTIONS: Final = ("Describe", "List")

_ACCOUNT = re.compile(r"[0-9]{12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks. ``is_verified`` says whether a signature was checked."""

    account: str
    region: str
    principal_arn: str
    access_key_id: str | None
    is_verified: bool
    key_scope: KeyScope = KeyScope.FULL


@dataclass(frozen=True, slots=True)
class Credential:
    """A key pair on record. A session token makes it temporary; secrets stay out of its repr."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    account: str | None = None
    principal_arn: str | None = None
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    key_scope: KeyScope = KeyScope.FULL


class CredentialStore(Protocol):
    """Where secret keys are kept."""

    async def secret_for(self, access_key_id: str) -> Credential | None:
        """Return the credential of an access key id; None where there is none."""
        ...


class BearerTokens(Protocol):
    """Where bearer tokens are kept; `/v1` takes them beside signatures."""

    async def identity_of(
        self, token: str, *, region: str | None, now: datetime
    ) -> Identity | None:
        """Return whom a token belongs to, in the region that was asked for or its own default.

        None where the token is unknown, revoked or expired at *now*.
        """
        ...


class StaticCredentials:
    """A credential store that is filled once; empty, it knows nobody."""

    def __init__(self, *credentials: Credential) -> None:
        self._known: Mapping[str, Credential] = {key.access_key_id: key for key in credentials}

    async def secret_for(self, access_key_id: str) -> Credential | None:
        return self._known.get(access_key_id)


class Authenticator:
    """Finds out who sent a request."""

    def __init__(
        self, *, enforce: bool, credentials: CredentialStore, account_id: str, default_region: str
    ) -> None:
        self._enforce = enforce
        self._credentials = credentials
        self._account_id = account_id
        self._anonymous = Identity(
            account=account_id,
            region=default_region,
            principal_arn=_user_arn(account_id, "anonymous", default_region),
            access_key_id=None,
            is_verified=False,
        )

    @property
    def enforces(self) -> bool:
        """Tell whether credentials are verified."""
        return self._enforce

    def anonymous(self, *, account: str | None, region: str | None) -> Identity:
        """Return who asks without credentials, where nobody is verified."""
        assert not self._enforce
        if account is None and region is None:
            return self._anonymous
        account, region = account or self._account_id, region or self._anonymous.region
        return replace(
            self._anonymous,
            account=account,
            region=region,
            principal_arn=_user_arn(account, "anonymous", region),
        )

    def peer(self) -> Identity:
        """Return who asks where a question says so itself; nothing is done in this one's name."""
        return self._anonymous

    async def identify(
        self, request: SignedRequest, query_fields: Mapping[str, str], *, now: datetime
    ) -> Identity:
        """Return who sent *request*.

        Raises:
            SignatureRefused: with the code that the service uses for the reason.
        """
        claim = find_claim(request, query_fields)
        if not self._enforce:
            return self._believe(claim)
        if claim is None:
            raise _unclaimed(request)
        credential = await self._credentials.secret_for(claim.access_key_id)
        if credential is None or not _token_matches(credential, claim):
            raise SignatureRefused(
                "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        verify(request, claim, credential.secret_access_key, now=now)
        return self._verified(credential, claim.region, now)

    async def identity_of(
        self, token: str, *, region: str | None, now: datetime
    ) -> Identity | None:
        """Return whom a bearer token belongs to: it is a key's id and its secret, by a point."""
        access_key_id, _, secret = token.partition(".")
        credential = await self._credentials.secret_for(access_key_id)
        if (
            credential is None
            or credential.session_token is not None
            or not hmac.compare_digest(credential.secret_access_key.encode(), secret.encode())
        ):
            return None
        try:
            return self._verified(credential, region or self._anonymous.region, now)
        except SignatureRefused:
            return None

    def _verified(self, credential: Credential, region: str, now: datetime) -> Identity:
        if credential.expires_at is not None and now >= credential.expires_at:
            raise SignatureRefused(
                "ExpiredToken", "The security token included in the request is expired."
            )
        account = credential.account or self._account_of(credential.access_key_id)
        return Identity(
            account=account,
            region=region,
            principal_arn=credential.principal_arn
            or _user_arn(account, credential.access_key_id, region),
            access_key_id=credential.access_key_id,
            is_verified=True,
            key_scope=credential.key_scope,
        )

    def _believe(self, claim: Claim | None) -> Identity:
        if claim is None:
            return self._anonymous
        check_scope(claim)
        account = self._account_of(claim.access_key_id)
        return Identity(
            account=account,
            region=claim.region,
            principal_arn=_user_arn(account, claim.access_key_id, claim.region),
            access_key_id=claim.access_key_id,
            is_verified=False,
        )

    def _account_of(self, access_key_id: str) -> str:
        return access_key_id if _ACCOUNT.fullmatch(access_key_id) else self._account_id


def may_call(identity: Identity, operation: str) -> bool:
    """Say whether the key that signed a request may be used for *operation*."""
    match identity.key_scope:
        case KeyScope.FULL:
            return True
        case KeyScope.READ_ONLY:
            return operation.startswith(QUESTIONS)
        case KeyScope.CONNECT:
            return False


def _unclaimed(request: SignedRequest) -> SignatureRefused:
    if b"authorization" in request.headers:
        return SignatureRefused(
            "IncompleteSignature", "The Authorization header is not of Signature Version 4."
        )
    return SignatureRefused(
        "MissingAuthenticationToken", "The request is missing an authentication token."
    )


def _token_matches(credential: Credential, claim: Claim) -> bool:
    if credential.session_token is None or claim.session_token is None:
        return credential.session_token is claim.session_token
    return hmac.compare_digest(credential.session_token.encode(), claim.session_token.encode())


def _user_arn(account: str, name: str, region: str) -> str:
    partition = "aws-cn" if region.startswith("cn-") else "aws"
    if region.startswith("us-gov-"):
        partition = "aws-us-gov"
    return f"arn:{partition}:iam::{account}:user/{name}"
