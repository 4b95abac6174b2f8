"""Cache subnet groups as the service shows them."""

from __future__ import annotations

from typing import Any

from cachefleet.provisioner.state.tables import SubnetGroup

NETWORK_TYPES = ("ipv4",)  # no subnet here has IPv6 addresses


def subnet_group_view(group: SubnetGroup) -> dict[str, Any]:
    """Return a ``CacheSubnetGroup``."""
    return {
        "CacheSubnetGroupName": group.name,
        "CacheSubnetGroupDescription": group.description,
        "VpcId": group.vpc_id,
        "Subnets": [
            {
                "SubnetIdentifier": subnet["id"],
                "SubnetAvailabilityZone": {"Name": subnet["az"]},
                "SubnetOutpost": {},  # shown empty for subnets that are in the region itself
                "SupportedNetworkTypes": list(NETWORK_TYPES),
            }
            for subnet in group.subnets
        ],
        "ARN": group.arn,
        "SupportedNetworkTypes": list(NETWORK_TYPES),
    }
