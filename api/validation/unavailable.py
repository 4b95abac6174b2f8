"""What the service has and this machine has not: outposts, and a log that writes survive in.

Each check refuses what the service itself would refuse of such a request, with its own codes. What
is left would have no effect on an engine here, and is refused as in a region that does not have it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.catalog import Catalog, EngineVersion

WITHOUT_DURABILITY = (None, "default", "disabled")
_OUTPOST_ARN = re.compile(
    r"arn:aws[a-z-]*:outposts:[a-z0-9-]+:[0-9]{12}:outpost/op-[0-9a-f]{1,32}", re.ASCII
)


def refuse_outposts(params: Mapping[str, Any]) -> None:
    """Refuse nodes on outposts: no account here has any.

    Raises:
        Fault: ``InvalidParameterValue``, or ``InvalidParameterCombination`` where none is named.
    """
    entries = params.get("NodeGroupConfiguration") or ()
    named = [
        params.get("PreferredOutpostArn"),
        *(params.get("PreferredOutpostArns") or ()),
        *(entry.get("PrimaryOutpostArn") for entry in entries),
        *(arn for entry in entries for arn in entry.get("ReplicaOutpostArns") or ()),
    ]
    for arn in named:
        if not arn:
            continue
        if not _OUTPOST_ARN.fullmatch(arn):
            raise wrong_value(f"The outpost ARN {arn} is not valid.")
        raise wrong_value(f"Outpost not found: {arn}")
    if params.get("OutpostMode"):
        raise wrong_combination("OutpostMode requires the ARN of an outpost.")


def refuse_durability(
    catalog: Catalog,
    wanted: str | None,
    *,
    version: EngineVersion,
    node_type: str,
    cluster_mode: bool,
    in_transit: bool,
    multi_az: bool,
    replicas_min: int,
    is_global: bool,
) -> None:
    """Refuse durable writes; of a group that could not have them, as the service does.

    *replicas_min* is what the shard with the fewest replicas has.
    """
    if wanted in WITHOUT_DURABILITY:
        return
    known = catalog.node_type(node_type)
    for holds, what in (
        (catalog.supports("durability", version.engine, version.version), "Valkey 9.0 or above"),
        (cluster_mode, "cluster mode to be enabled"),
        (in_transit, "encryption in-transit to be enabled"),
        (multi_az and replicas_min > 0, "Multi-AZ with at least one replica in each shard"),
        (known is None or known.durability, "another node type"),
        (not is_global, "a replication group that is in no global datastore"),
    ):
        if not holds:
            raise wrong_combination(f"Durability {wanted} requires {what}.")
    raise wrong_combination(f"Durability {wanted} is not supported in this region.")
