"""What the records can refuse. The front-end turns these into the service's own faults.

``resource`` is the snake-cased noun of the resource (``cache_cluster``), ``name`` its identifier.
"""

from __future__ import annotations


class StateError(Exception):
    """Root of what the records refuse."""


class ResourceError(StateError):
    """A refusal that concerns one named resource."""

    def __init__(self, resource: str, name: str, detail: str = "") -> None:
        super().__init__(detail or f"{resource} {name}: {type(self).__name__}")
        self.resource = resource
        self.name = name


class NotFound(ResourceError):
    """No such resource in this scope."""


class AlreadyExists(ResourceError):
    """The identifier is taken in this scope."""


class QuotaExceeded(ResourceError):
    """The scope has as many resources of this kind as it may."""

    def __init__(self, resource: str, name: str, quota: int) -> None:
        super().__init__(resource, name, f"a region can have {quota} of {resource}")
        self.quota = quota


class IllegalTransition(ResourceError):
    """The resource's status does not allow what was asked."""

    def __init__(self, resource: str, name: str, status: str, event: str) -> None:
        super().__init__(resource, name, f"{resource} {name} is {status}, which forbids {event}")
        self.status = status
        self.event = event


class Stale(StateError):
    """The lease under which this was written is no longer ours; nothing was changed."""


class AddressesExhausted(StateError):
    """No address or port is left in the pool."""


class NewerSchema(StateError):
    """The database was written by a newer cachefleet."""


class InvalidValue(StateError):
    """A value breaks a rule of the service; the message is for the customer."""


class InvalidCombination(StateError):
    """Values that are legal alone clash; the message is for the customer."""


class TagQuotaExceeded(StateError):
    """A resource would have more tags than it may; the message is for the customer."""
