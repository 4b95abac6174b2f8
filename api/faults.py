"""``Fault``: what a request is refused with, and the table from ``StateError`` to fault.

Names, wire codes and statuses of the service's own faults come from the model. The errors of the
front door (authentication, form, size, method) are in no service's model; they are the small table
below. A name that neither has cannot be raised.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from cachefleet.api.protocol.model import FaultShape, load_model
from cachefleet.provisioner.state.errors import (
    AddressesExhausted,
    AlreadyExists,
    IllegalTransition,
    InvalidCombination,
    InvalidValue,
    NotFound,
    QuotaExceeded,
    ResourceError,
    StateError,
    TagQuotaExceeded,
)

MESSAGE_CHARS_MAX = 2048

COMMON_FAULTS: Mapping[str, int] = MappingProxyType(
    {
        "AccessDenied": 403,
        "ExpiredToken": 403,
        "IdempotentParameterMismatch": 400,
        "IncompleteSignature": 400,
        "InternalFailure": 500,
        "InvalidAction": 400,
        "InvalidClientTokenId": 403,
        "MalformedQueryString": 404,
        "MalformedRequest": 400,
        "MethodNotAllowed": 405,
        "MissingAction": 400,
        "MissingAuthenticationToken": 403,
        "NotFound": 404,
        "NotImplemented": 501,
        "RequestEntityTooLarge": 413,
        "RequestExpired": 400,
        "RequestHeaderFieldsTooLarge": 431,
        "RequestTimeout": 408,
        "RequestURITooLong": 414,
        "ServiceUnavailable": 503,
        "SignatureDoesNotMatch": 403,
        "Throttling": 400,
        "UnsupportedMediaType": 415,
    }
)


class UnknownFault(LookupError):
    """Neither the model nor the table of front-door errors has this fault."""


class Fault(Exception):
    """A refusal by the model's shape name, its wire code, or a front-door code."""

    def __init__(self, name: str, message: str) -> None:
        shape = fault_shape(name)
        super().__init__(message)
        self.name = shape.name
        self.code = shape.code
        self.status = shape.status
        self.message = message[:MESSAGE_CHARS_MAX]

    def __repr__(self) -> str:
        return f"Fault({self.name!r}, {self.message!r})"


def fault_of_peer(name: str, message: str) -> Fault:
    """Return the fault that another cachefleet refused with, which may be a newer one."""
    try:
        return Fault(name, message)
    except UnknownFault:
        return Fault("InternalFailure", message)


def fault_shape(name: str) -> FaultShape:
    """Return the fault of this name.

    Raises:
        UnknownFault: there is none.
    """
    shape = _faults_by_name().get(name)
    if shape is None:
        raise UnknownFault(name)
    return shape


def fault_names() -> frozenset[str]:
    """Return every name that ``Fault`` takes: shape names, wire codes and front-door codes."""
    return frozenset(_faults_by_name())


@functools.cache
def _faults_by_name() -> Mapping[str, FaultShape]:
    named = {name: FaultShape(name, name, status) for name, status in COMMON_FAULTS.items()}
    modelled = load_model().faults
    named.update({shape.code: shape for shape in modelled.values()})
    named.update(modelled)  # a shape's own name goes before another's wire code
    return MappingProxyType(named)


# (shape name, message). {noun}, {name}, {status}, {act} and {quota} are filled in.
Answer = tuple[str, str]

_MISSING = "{noun} not found: {name}"
_TAKEN = "{noun} {name} already exists."
_BUSY = "{noun} {name} has status {status} which is not valid for {act}."
_USER_BUSY = "{noun} {name} has status {status}. Only active ones can be changed."

# What the service calls a resource in its messages.
NOUNS: Mapping[str, str] = MappingProxyType(
    {
        "cache_cluster": "CacheCluster",
        "cache_node": "CacheNode",
        "replication_group": "Replication group",
        "node_group": "Node group",
        "subnet_group": "Cache subnet group",
        "parameter_group": "CacheParameterGroup",
        "security_group": "CacheSecurityGroup",
        "security_group_ingress": "Authorization",
        "user": "User",
        "user_group": "User group",
        "snapshot": "Snapshot",
        "serverless_cache": "Serverless cache",
        "serverless_cache_snapshot": "Serverless cache snapshot",
        "global_replication_group": "Global replication group",
        "reserved_cache_node": "Reserved cache node",
        "reserved_cache_nodes_offering": "Reserved cache nodes offering",
        "service_update": "Service update",
        "migration": "Migration of replication group",
        "tag": "Tag",
    }
)

_NO_FAULT_OF_ITS_OWN = "InvalidParameterValueException"

STATE_FAULTS: Final[Mapping[tuple[str, type[ResourceError]], Answer]] = MappingProxyType(
    {
        ("cache_cluster", NotFound): ("CacheClusterNotFoundFault", _MISSING),
        ("cache_cluster", AlreadyExists): (
            "CacheClusterAlreadyExistsFault",
            "Cache cluster already exists",
        ),
        ("cache_cluster", IllegalTransition): ("InvalidCacheClusterStateFault", _BUSY),
        ("cache_node", NotFound): (_NO_FAULT_OF_ITS_OWN, _MISSING),
        ("cache_node", AlreadyExists): (_NO_FAULT_OF_ITS_OWN, _TAKEN),
        ("cache_node", IllegalTransition): ("InvalidCacheClusterStateFault", _BUSY),
        ("replication_group", NotFound): (
            "ReplicationGroupNotFoundFault",
            "ReplicationGroup {name} not found.",
        ),
        ("replication_group", AlreadyExists): ("ReplicationGroupAlreadyExistsFault", _TAKEN),
        ("replication_group", IllegalTransition): ("InvalidReplicationGroupStateFault", _BUSY),
        ("node_group", NotFound): ("NodeGroupNotFoundFault", _MISSING),
        ("node_group", AlreadyExists): (_NO_FAULT_OF_ITS_OWN, _TAKEN),
        ("node_group", IllegalTransition): ("InvalidReplicationGroupStateFault", _BUSY),
        ("subnet_group", NotFound): (
            "CacheSubnetGroupNotFoundFault",
            "Cache subnet group {name} not found.",
        ),
        ("subnet_group", AlreadyExists): ("CacheSubnetGroupAlreadyExistsFault", _TAKEN),
        ("subnet_group", IllegalTransition): ("CacheSubnetGroupInUse", _BUSY),
        ("parameter_group", NotFound): ("CacheParameterGroupNotFoundFault", _MISSING),
        ("parameter_group", AlreadyExists): (
            "CacheParameterGroupAlreadyExistsFault",
            "Parameter group {name} already exists",
        ),
        ("parameter_group", IllegalTransition): ("InvalidCacheParameterGroupStateFault", _BUSY),
        ("security_group", NotFound): ("CacheSecurityGroupNotFoundFault", _MISSING),
        ("security_group", AlreadyExists): ("CacheSecurityGroupAlreadyExistsFault", _TAKEN),
        ("security_group", IllegalTransition): ("InvalidCacheSecurityGroupStateFault", _BUSY),
        ("security_group_ingress", NotFound): ("AuthorizationNotFoundFault", _MISSING),
        ("security_group_ingress", AlreadyExists): ("AuthorizationAlreadyExistsFault", _TAKEN),
        ("security_group_ingress", IllegalTransition): (
            "InvalidCacheSecurityGroupStateFault",
            _BUSY,
        ),
        ("user", NotFound): ("UserNotFoundFault", "User {name} not found."),
        ("user", AlreadyExists): ("UserAlreadyExistsFault", _TAKEN),
        ("user", IllegalTransition): (
            "InvalidUserStateFault",
            "User {name} has status {status}. Only active users can be modified.",
        ),
        ("user_group", NotFound): ("UserGroupNotFoundFault", "User group {name} not found."),
        ("user_group", AlreadyExists): ("UserGroupAlreadyExistsFault", _TAKEN),
        ("user_group", IllegalTransition): ("InvalidUserGroupStateFault", _USER_BUSY),
        ("snapshot", NotFound): ("SnapshotNotFoundFault", _MISSING),
        ("snapshot", AlreadyExists): ("SnapshotAlreadyExistsFault", _TAKEN),
        ("snapshot", IllegalTransition): ("InvalidSnapshotStateFault", _BUSY),
        ("serverless_cache", NotFound): ("ServerlessCacheNotFoundFault", _MISSING),
        ("serverless_cache", AlreadyExists): ("ServerlessCacheAlreadyExistsFault", _TAKEN),
        ("serverless_cache", IllegalTransition): ("InvalidServerlessCacheStateFault", _BUSY),
        ("serverless_cache_snapshot", NotFound): ("ServerlessCacheSnapshotNotFoundFault", _MISSING),
        ("serverless_cache_snapshot", AlreadyExists): (
            "ServerlessCacheSnapshotAlreadyExistsFault",
            _TAKEN,
        ),
        ("serverless_cache_snapshot", IllegalTransition): (
            "InvalidServerlessCacheSnapshotStateFault",
            _BUSY,
        ),
        ("global_replication_group", NotFound): ("GlobalReplicationGroupNotFoundFault", _MISSING),
        ("global_replication_group", AlreadyExists): (
            "GlobalReplicationGroupAlreadyExistsFault",
            _TAKEN,
        ),
        ("global_replication_group", IllegalTransition): (
            "InvalidGlobalReplicationGroupStateFault",
            _BUSY,
        ),
        ("reserved_cache_node", NotFound): ("ReservedCacheNodeNotFoundFault", _MISSING),
        ("reserved_cache_node", AlreadyExists): ("ReservedCacheNodeAlreadyExistsFault", _TAKEN),
        ("reserved_cache_node", IllegalTransition): (_NO_FAULT_OF_ITS_OWN, _BUSY),
        ("reserved_cache_nodes_offering", NotFound): (
            "ReservedCacheNodesOfferingNotFoundFault",
            _MISSING,
        ),
        ("reserved_cache_nodes_offering", AlreadyExists): (_NO_FAULT_OF_ITS_OWN, _TAKEN),
        ("reserved_cache_nodes_offering", IllegalTransition): (_NO_FAULT_OF_ITS_OWN, _BUSY),
        ("service_update", NotFound): ("ServiceUpdateNotFoundFault", _MISSING),
        ("service_update", AlreadyExists): (_NO_FAULT_OF_ITS_OWN, _TAKEN),
        ("service_update", IllegalTransition): (_NO_FAULT_OF_ITS_OWN, _BUSY),
        ("migration", NotFound): (
            "ReplicationGroupNotUnderMigrationFault",
            "Replication group {name} is not under migration.",
        ),
        ("migration", AlreadyExists): (
            "ReplicationGroupAlreadyUnderMigrationFault",
            "Replication group {name} is already under migration.",
        ),
        ("migration", IllegalTransition): ("InvalidReplicationGroupStateFault", _BUSY),
        ("user", QuotaExceeded): ("UserQuotaExceededFault", "A region can have {quota} users."),
        ("user_group", QuotaExceeded): (
            "UserGroupQuotaExceededFault",
            "A region can have {quota} groups.",
        ),
        ("parameter_group", QuotaExceeded): (
            "CacheParameterGroupQuotaExceededFault",
            "A region can have {quota} cache parameter groups.",
        ),
        ("subnet_group", QuotaExceeded): (
            "CacheSubnetGroupQuotaExceededFault",
            "A region can have {quota} cache subnet groups.",
        ),
        ("tag", NotFound): ("TagNotFoundFault", _MISSING),
        ("tag", AlreadyExists): (_NO_FAULT_OF_ITS_OWN, _TAKEN),
        ("tag", IllegalTransition): (_NO_FAULT_OF_ITS_OWN, _BUSY),
    }
)

# Refusals whose own words are the answer.
WORDED_FAULTS: Mapping[type[StateError], str] = MappingProxyType(
    {
        InvalidValue: "InvalidParameterValueException",
        InvalidCombination: "InvalidParameterCombinationException",
        TagQuotaExceeded: "TagQuotaPerResourceExceeded",
    }
)

# How the service names what was tried; other events are named by their own word.
_ACTS: Mapping[str, str] = MappingProxyType(
    {"delete": "deletion", "modify": "modification", "snapshot": "a snapshot", "reboot": "reboot"}
)


def state_fault(error: StateError) -> Fault | None:
    """Return the fault that answers *error*; None where the request is not to blame."""
    if isinstance(error, AddressesExhausted):
        return Fault("InsufficientCacheClusterCapacityFault", "No address is left for a node.")
    worded = WORDED_FAULTS.get(type(error))
    if worded is not None:
        return Fault(worded, str(error))
    if not isinstance(error, ResourceError):
        return None  # a lost lease, a newer schema: nothing that the caller did
    for kind in type(error).__mro__:
        answer = STATE_FAULTS.get((error.resource, kind))
        if answer is not None:
            shape, template = answer
            event = getattr(error, "event", "")
            return Fault(
                shape,
                template.format(
                    noun=NOUNS[error.resource],
                    name=error.name,
                    status=getattr(error, "status", ""),
                    act=_ACTS.get(event, event),
                    quota=getattr(error, "quota", ""),
                ),
            )
    return None
