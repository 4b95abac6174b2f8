"""ARNs that callers name resources by: taken apart and checked in the service's order. Pure.

Whether the resource exists is not asked here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cachefleet.api.faults import Fault
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.provisioner.state.scope import Scope

COMPONENT_COUNT: Final = 7
KINDS: Final = frozenset(
    {
        "cluster",
        "parametergroup",
        "replicationgroup",
        "reserved-instance",
        "securitygroup",
        "serverlesscache",
        "serverlesscachesnapshot",
        "snapshot",
        "subnetgroup",
        "user",
        "usergroup",
    }
)


@dataclass(frozen=True, slots=True)
class Arn:
    """What an ARN of this scope names: a kind (``replicationgroup``) and a name in lower case."""

    kind: str
    name: str


def parse_arn(text: str, scope: Scope) -> Arn:
    """Return what *text* names in *scope*.

    Raises:
        Fault: ``InvalidARN`` or ``InvalidParameterValue``, for the first check that fails: form,
            partition, service, region, account, kind.
    """
    parts = text.split(":")
    if len(parts) != COMPONENT_COUNT or parts[0] != "arn":
        raise _invalid(f"Input ARN string does not have {COMPONENT_COUNT} components.")
    _, partition, service, region, account, kind, name = parts
    _, expected_partition, expected_service, *_ = scope.arn(kind, name).split(":")
    if partition != expected_partition:
        raise _invalid(
            f"Input ARN's partition field is wrong. Expected value is {expected_partition}"
        )
    if service != expected_service:
        raise _invalid(f"Input ARN's service field is wrong. Expected value is {expected_service}")
    if region != scope.region:
        raise wrong_value("Unauthorized call. Please check the region or customer id")
    if account != scope.account:
        raise wrong_value("The resource ARN does not belong to the caller's account.")
    if kind not in KINDS or not name:
        raise _invalid(f"Input ARN does not name a resource that can be tagged: {kind}:{name}")
    return Arn(kind, name.lower())


def _invalid(message: str) -> Fault:
    return Fault("InvalidARNFault", message)
