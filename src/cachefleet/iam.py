"""Tokens for IAM authentication, for clients written in Python.

    import redis
    from cachefleet.iam import IamCredentials

    login = IamCredentials("my-cache", "my-user", "us-east-1")
    redis.Redis(host=..., port=..., ssl=True, credential_provider=login)

A token is a presigned request: it is made here, without asking anybody, and is good for a quarter
of an hour. Needs botocore, which finds the access key where it always does.
"""

from __future__ import annotations

from typing import Any, Final

TOKEN_S_MAX: Final = 900
_SCHEME: Final = "https://"


def connect_token(
    cache_name: str,
    user_id: str,
    region: str,
    *,
    credentials: Any = None,
    serverless: bool = False,
    expires_s: int = TOKEN_S_MAX,
) -> str:
    """Return what *user_id* gives as its password to a cache; good for *expires_s* seconds.

    *cache_name* is the id of a replication group or the name of a serverless cache; *credentials*
    are botocore's, by default those of its session.

    Raises:
        ValueError: there are no credentials, or *expires_s* is out of bounds.
    """
    from botocore.auth import SigV4QueryAuth
    from botocore.awsrequest import AWSRequest
    from botocore.session import Session

    if not 1 <= expires_s <= TOKEN_S_MAX:
        raise ValueError(f"a token is good for 1 to {TOKEN_S_MAX} seconds")
    found = credentials if credentials is not None else Session().get_credentials()
    if found is None:
        raise ValueError("there are no credentials to sign a token with")
    parameters = {"Action": "connect", "User": user_id}
    if serverless:
        parameters["ResourceType"] = "ServerlessCache"
    request = AWSRequest(method="GET", url=f"{_SCHEME}{cache_name.lower()}/", params=parameters)
    signer = SigV4QueryAuth(
        found.get_frozen_credentials() if hasattr(found, "get_frozen_credentials") else found,
        "elasticache",
        region,
        expires=expires_s,
    )
    signer.add_auth(request)
    return str(request.url).removeprefix(_SCHEME)


class IamCredentials:
    """A credential provider for redis-py and valkey-py: a new token for every connection."""

    def __init__(self, cache_name: str, user_id: str, region: str, **options: Any) -> None:
        self._cache_name = cache_name
        self._user_id = user_id
        self._region = region
        self._options = options

    def get_credentials(self) -> tuple[str, str]:
        """Return the user name and a token."""
        token = connect_token(self._cache_name, self._user_id, self._region, **self._options)
        return self._user_id, token

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return the user name and a token; nothing is waited for."""
        return self.get_credentials()
