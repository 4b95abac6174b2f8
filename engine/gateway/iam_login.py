"""One login with IAM, decided: which user, which token, what the engine is told. Pure.

The client is never told why it was refused; the log is, without the token.
"""

from __future__ import annotations

import logging
from datetime import datetime

from cachefleet.engine.gateway.iam_keys import KeyRing
from cachefleet.engine.gateway.iam_token import IllegalToken, TokenSubject, verify_token
from cachefleet.engine.gateway.routes import IamOptions

log = logging.getLogger(__name__)


def check_login(
    user: bytes, token: bytes, *, iam: IamOptions, keys: KeyRing, now: datetime, route: str
) -> bytes | None:
    """Return the internal password of *user* where *token* is good for it now, else None.

    Raises:
        LookupError: *user* does not authenticate with IAM here.
    """
    name = user.decode("utf-8", "replace")
    password = next((one.password for one in iam.users if one.user_name == name), None)
    if password is None:
        raise LookupError
    subject = TokenSubject(
        cache_name=iam.cache_name, user_id=name, region=iam.region, serverless=iam.serverless
    )

    def signing_key_of(access_key_id: str, session_token: str | None, day: str) -> bytes | None:
        return keys.find(access_key_id, session_token, day, account=iam.account, region=iam.region)

    try:
        verify_token(
            token.decode("latin-1"), subject=subject, signing_key_of=signing_key_of, now=now
        )
    except IllegalToken as refusal:
        log.info("iam_login_refused route=%s reason=%s", route, refusal)
        return None
    return password.encode()
