"""After random requests: wait until nothing is on its way, and delete all there is as people would.

Everything goes through ``/v1``, resource by resource; what refuses to go is returned with the last
refusal. Nothing is reset.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.support.fuzz import Answer, FuzzRequest, in_region
from tests.support.fuzz_calls import REGIONS
from tests.support.waiting import wait_until

Send = Callable[[FuzzRequest], Answer]
Item = dict[str, Any]

POLL_S = 0.2
# Statuses in which something stays until somebody asks for something new.
RESTING = frozenset(
    {
        *("available", "active", "primary-only", "create-failed", "failed"),
        *("incompatible-network", "restore-failed"),
    }
)


@dataclass(frozen=True)
class Kind:
    """A kind of resource: where it is listed, and which of the listed have to be deleted."""

    path: str
    listing: str
    name: str
    ours: Callable[[Item], bool] = lambda item: True
    query: str = ""
    status: str = "Status"


KINDS = (
    Kind(
        "/v1/global-replication-groups",
        "GlobalReplicationGroups",
        "GlobalReplicationGroupId",
        query="ShowMemberInfo=true",
    ),
    Kind("/v1/serverless-caches", "ServerlessCaches", "ServerlessCacheName"),
    Kind("/v1/replication-groups", "ReplicationGroups", "ReplicationGroupId"),
    Kind(
        "/v1/cache-clusters",
        "CacheClusters",
        "CacheClusterId",
        ours=lambda item: not item.get("ReplicationGroupId"),
        status="CacheClusterStatus",
    ),
    Kind(
        "/v1/serverless-cache-snapshots", "ServerlessCacheSnapshots", "ServerlessCacheSnapshotName"
    ),
    Kind("/v1/snapshots", "Snapshots", "SnapshotName", status="SnapshotStatus"),
    Kind("/v1/user-groups", "UserGroups", "UserGroupId"),
    Kind("/v1/users", "Users", "UserId", ours=lambda item: item["UserId"] != "default"),
    Kind(
        "/v1/parameter-groups",
        "CacheParameterGroups",
        "CacheParameterGroupName",
        ours=lambda item: not item["CacheParameterGroupName"].startswith("default."),
    ),
    Kind(
        "/v1/subnet-groups",
        "CacheSubnetGroups",
        "CacheSubnetGroupName",
        ours=lambda item: item["CacheSubnetGroupName"] != "default",
    ),
    Kind("/v1/vpc-security-groups", "SecurityGroups", "SecurityGroupId"),
)


def at_rest(send: Send, *, timeout_s: float) -> None:
    """Undo all faults and wait until no resource is on its way.

    Raises:
        AssertionError: one still was at the deadline.
    """
    for fault in _document(send, REGIONS[0], "GET", "/v1/faults").get("Faults", ()):
        if fault["State"] in ("requested", "active"):
            _document(send, REGIONS[0], "DELETE", f"/v1/faults/{fault['FaultId']}")
    wait_until(
        lambda: [
            f"{item[kind.name]} is {item[kind.status]}"
            for _, kind, item in _all(send)
            if item.get(kind.status, "available") not in RESTING
        ],
        lambda moving: not moving,
        what="nothing is on its way",
        timeout_s=timeout_s,
    )


def sweep(send: Send, *, timeout_s: float) -> list[str]:
    """Delete everything; return what is still there at the deadline, and why."""
    deadline_s = time.monotonic() + timeout_s
    refusals: dict[tuple[str, str], str] = {}
    while True:
        left = list(_all(send))
        if not left:
            return []
        if time.monotonic() > deadline_s:
            return [
                f"{kind.path}/{item[kind.name]} in {region}, "
                f"{item.get(kind.status)}: {refusals.get((region, item[kind.name]))}"
                for region, kind, item in left
            ]
        for region, kind, item in left:
            if item.get(kind.status, "available") in RESTING:
                refusal = _delete(send, region, kind, item)
                if refusal:
                    refusals[region, item[kind.name]] = refusal
        time.sleep(POLL_S)


def _all(send: Send) -> Iterator[tuple[str, Kind, Item]]:
    for region in REGIONS:
        for kind in KINDS:
            if region != REGIONS[0] and kind.path == "/v1/global-replication-groups":
                continue  # they are shown in every region
            path = f"{kind.path}?{kind.query}" if kind.query else kind.path
            for item in _document(send, region, "GET", path).get(kind.listing, ()):
                if kind.ours(item):
                    yield region, kind, item


def _delete(send: Send, region: str, kind: Kind, item: Item) -> str | None:
    path = f"{kind.path}/{quote(item[kind.name], safe='')}"
    if kind.listing == "GlobalReplicationGroups":
        secondaries = [one for one in item["Members"] if one["Role"] == "SECONDARY"]
        for one in secondaries:
            body = {
                "ReplicationGroupId": one["ReplicationGroupId"],
                "ReplicationGroupRegion": one["ReplicationGroupRegion"],
            }
            refused = _document(send, region, "POST", f"{path}:disassociate", body).get("message")
            if refused:
                return str(refused)
        if secondaries:
            return None
        path += "?RetainPrimaryReplicationGroup=true"
    return _document(send, region, "DELETE", path).get("message")


def _document(send: Send, region: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    place, _, query = path.partition("?")
    raw = b"" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} if raw else {}
    _, answered = send(in_region(region, FuzzRequest(method, place, query, headers, raw)))
    document: dict[str, Any] = json.loads(answered) if answered else {}
    return document
