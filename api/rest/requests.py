"""What an extra may ask about its request: who sent it, under which id."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from cachefleet.api.auth.identity import Identity
from cachefleet.provisioner.state.scope import Scope

STATE: Final = "cachefleet.rest"


def identity_of(request: Request) -> Identity:
    """Return who sent the request; the door has made sure."""
    identity: Identity = request.scope[STATE]["identity"]
    return identity


def scope_of(request: Request) -> Scope:
    """Return the account and region that the request means."""
    identity = identity_of(request)
    return Scope(account=identity.account, region=identity.region)


def request_id_of(request: Request) -> str:
    """Return the request's id."""
    request_id: str = request.scope[STATE]["request_id"]
    return request_id
