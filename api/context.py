"""``RequestContext``: all that a handler may know of its request. Handlers need nothing global."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cachefleet.api.auth.identity import Identity
from cachefleet.api.pagination import Family, family_of
from cachefleet.api.protocol.model import Operation
from cachefleet.api.settings import ApiSettings
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.peering.client import Peers
from cachefleet.provisioner.state.scope import Scope

if TYPE_CHECKING:
    from cachefleet.provisioner.state.store import Store, Transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestContext:
    """One request. ``now`` is the instant it arrived, aware, in UTC."""

    request_id: str
    scope: Scope
    identity: Identity
    operation: Operation
    store: Store
    clock: Clock
    catalog: Any
    settings: ApiSettings
    now: datetime
    peers: Peers = field(default_factory=Peers)
    is_forwarded: bool = False  # another cachefleet got it, and had us asked

    @property
    def account(self) -> str:
        return self.scope.account

    @property
    def region(self) -> str:
        return self.scope.region

    @property
    def paging(self) -> Family:
        """How this operation is paged; a LookupError for one that is not."""
        return family_of(self.operation)

    def within(self, store: Any) -> RequestContext:
        """Return the same request on another store: one whose transaction is open already."""
        return replace(self, store=store)

    def begin(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in this request's scope that may write."""
        return self.store.begin(self.scope)

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction in this request's scope that must not write."""
        return self.store.read(self.scope)
