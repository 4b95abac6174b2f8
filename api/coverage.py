"""The coverage page: what is answered, what it does to engines, which faults can come back.

    python -m cachefleet.api.coverage [--check] [PATH]

Nothing here is a list that somebody keeps: operations and faults come from the service model,
handlers from the registry, what can be raised is read from the sources of the front-end, and which
test provokes it from the tests. Only the effects on engines are written down, because no source
line says them, and why some faults never occur here.
"""

from __future__ import annotations

import argparse
import ast
import functools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from cachefleet import api, provisioner
from cachefleet.api.app import load_registry
from cachefleet.api.faults import COMMON_FAULTS, STATE_FAULTS, WORDED_FAULTS, fault_shape
from cachefleet.api.protocol.model import load_model
from cachefleet.provisioner.state import errors, lifecycle
from cachefleet.provisioner.state.tables import Base

PAGE = Path("openapi/coverage.md")
QUESTIONS = ("Describe", "List")
READS = "None: it reads the record."
UNBUILT = "not built yet."  # how every sentence ends that explains a 501
REFUSED = "Refuse."  # the docstring of a handler that never accepts
CODE_RAISERS = frozenset({"Fault", "SignatureRefused"})
STATE_RAISERS = frozenset({"NotFound", "AlreadyExists", "QuotaExceeded"})

TESTS = Path("tests")
# Where tests make whole calls; the others name faults without provoking them.
PROVOKING = ("parity", "acceptance", "conformance", "faults", "unit/api/actions")

NO_SECURITY_GROUPS = (
    "There are no cache security groups where accounts have a VPC: calls that make or change one "
    "are refused with `InvalidParameterValue`, as on the service."
)
IMPOSSIBLE: Mapping[str, str] = MappingProxyType(
    {
        "AuthorizationAlreadyExistsFault": NO_SECURITY_GROUPS,
        "AuthorizationNotFoundFault": NO_SECURITY_GROUPS,
        "CacheSecurityGroupAlreadyExistsFault": NO_SECURITY_GROUPS,
        "CacheSecurityGroupQuotaExceededFault": NO_SECURITY_GROUPS,
        "InvalidCacheSecurityGroupStateFault": NO_SECURITY_GROUPS,
        "ClusterQuotaForCustomerExceededFault": "A cluster has a node at least, and the quota of "
        "nodes is the same: `NodeQuotaForCustomerExceeded` comes first.",
        "InvalidCredentialsException": "Who calls is known before the operation is looked at: the "
        "common errors of signatures and tokens say what is wrong.",
        "InvalidKMSKeyFault": "No call asks KMS: nodes that are added, and those that take over, "
        "use the key that the running ones have.",
        "InvalidSubnet": "Every subnet id of the right form is one here; another form is "
        "`InvalidParameterValue`.",
        "InvalidVPCNetworkStateFault": "A VPC is a name here, and is in no state.",
        "ServiceLinkedRoleNotFoundFault": "No role has to be there for cachefleet to act.",
        "SubnetNotAllowedFault": "There are no Local Zones and no Outposts whose subnets could be "
        "mixed with others.",
        "TestFailoverNotAvailableFault": "Every group that has a replica and automatic failover "
        "can be failed over.",
    }
)

EFFECTS: Mapping[str, str] = MappingProxyType(
    {
        "AddTagsToResource": "None. A group is `modifying` for a moment, as on the service.",
        "BatchApplyUpdateAction": "A newer engine: replicas are restarted one at a time, back in "
        "sync before the next; then the primary hands its role over without losing a write, and is "
        "restarted. memcached nodes are restarted one at a time, empty. A new authority: nodes "
        "show their new certificates one after the other, and connections stay.",
        "BatchStopUpdateAction": "The node that is being updated is gone through with, the others "
        "stay as they are.",
        "CompleteMigration": "The primary leads (`REPLICAOF NO ONE`), in cluster mode every shard, "
        "once it has every byte that the source had when it was asked. Of a serverless cache: its "
        "clients are held, the last of what they wrote arrives, and the endpoint leads to its own "
        "shards.",
        "CreateCacheCluster": "Starts a process for each node. With a group named: starts a "
        "replica, which copies its primary. With `SnapshotName` or `SnapshotArns`: the node loads "
        "the data before it serves.",
        "CreateCacheParameterGroup": "None, until a cache uses the group.",
        "CreateCacheSubnetGroup": "None. Its zones are those that nodes can be in.",
        "CreateGlobalReplicationGroup": "None: the group goes on as it is.",
        "DecreaseNodeGroupsInGlobalReplicationGroup": "As "
        "`ModifyReplicationGroupShardConfiguration` in each region, to the same slots.",
        "CreateReplicationGroup": "Starts a process for each node of each shard. Available means: "
        "replicas in sync, all slots served, endpoints answering. With `PrimaryClusterId`, the "
        "existing node becomes the primary and keeps its data. With `GlobalReplicationGroupId`, "
        "the primary follows another region's, or each shard is fed from there. With "
        "`SnapshotName` or `SnapshotArns`, the primaries load the data before they serve, sorted "
        "by slot where the shards are others.",
        "CopySnapshot": "None: files are copied, and read back. With `TargetBucket`: an RDB of "
        "each shard is uploaded to S3.",
        "CreateSnapshot": "A replica of each shard, or its primary where there is none, sends a "
        "copy of its data over the replication protocol. It serves meanwhile.",
        "CreateUser": "None, until a user group that it is in is attached to a cache.",
        "CreateUserGroup": "None, until it is attached to a cache.",
        "DeleteUser": "Removes the user from every node; its connections end.",
        "DeleteUserGroup": "None: it is attached to no cache.",
        "ModifyUser": "Sets the user's rights and passwords on every node that knows it, for open "
        "connections too.",
        "ModifyUserGroup": "Adds and removes users on every node of every cache that the group is "
        "attached to; the connections of those who left end.",
        "DecreaseReplicaCount": "Ends the replicas' processes and removes their directories.",
        "DeleteCacheCluster": "Ends the processes and removes their directories; with "
        "`FinalSnapshotIdentifier` after a snapshot.",
        "DeleteCacheParameterGroup": "None: no cache uses it.",
        "DeleteCacheSubnetGroup": "None: no cache is in it.",
        "DeleteReplicationGroup": "Ends all processes and removes their directories; with "
        "`FinalSnapshotIdentifier` after a snapshot of the primaries. With `RetainPrimaryCluster` "
        "the primary's process stays.",
        "DeleteSnapshot": "None: its files are removed.",
        "DeleteGlobalReplicationGroup": "None, or that of `DeleteReplicationGroup`.",
        "DisassociateGlobalReplicationGroup": "The secondary's primary leads (`REPLICAOF NO ONE`), "
        "or its feeds end and its users may write.",
        "FailoverGlobalReplicationGroup": "Writes are held back where the old primary is until the "
        "new one has them; it leads, and the old region follows it.",
        "IncreaseNodeGroupsInGlobalReplicationGroup": "As "
        "`ModifyReplicationGroupShardConfiguration` in each region, to the same slots.",
        "IncreaseReplicaCount": "Starts replicas and waits until they are in sync.",
        "ModifyCacheCluster": "memcached: starts or ends nodes and changes the list that auto "
        "discovery answers. Node type, version and parameter group as with a group; memcached is "
        "restarted for them, empty. Other settings are the record's alone.",
        "ModifyCacheParameterGroup": "Sets the values on every running node that uses the group "
        "and reads them back. What only a start can give waits for a reboot.",
        "ModifyCacheSubnetGroup": "None: zones that nodes are in cannot be taken away.",
        "ModifyGlobalReplicationGroup": "As `ModifyReplicationGroup` in each region, the "
        "secondaries first.",
        "ModifyReplicationGroup": "Node type and parameters: set on running nodes and read back. "
        "Version: nodes whose binary changes are restarted one at a time, keeping the data. "
        "`PrimaryClusterId`: the role is handed over without losing a write. Whether a lost "
        "primary is replaced (`AutomaticFailover`). Other settings are the record's alone.",
        "ModifyReplicationGroupShardConfiguration": "Starts new shards, moves slots with their "
        "keys while clients read and write, ends shards that were emptied.",
        "PurchaseReservedCacheNodesOffering": "None: it changes the bill, as on the service.",
        "RebalanceSlotsInGlobalReplicationGroup": "As "
        "`ModifyReplicationGroupShardConfiguration` in each region, to the same slots.",
        "RebootCacheCluster": "Restarts the processes of the named nodes. What was in their "
        "memory is lost.",
        "RemoveTagsFromResource": "None. A group is `modifying` for a moment, as on the service.",
        "ResetCacheParameterGroup": "As `ModifyCacheParameterGroup`.",
        "PrepareMigration": "The source is looked at; then the endpoint of the serverless cache "
        "leads its clients there.",
        "StopMigration": "The shards of the serverless cache are fed no more; its clients go on at "
        "the source.",
        "StartMigration": "The primary follows the source (`REPLICAOF`), which replaces its data; "
        "its replicas follow it. In cluster mode the stream of each of the source's primaries is "
        "applied to the shard with the same slots. The group takes no writes until the migration "
        "is completed. A serverless cache is given the source's shards, slot for slot, and fed in "
        "the same way.",
        "TestFailover": "Kills the primary's process. What follows is an ordinary failover.",
        "CopyServerlessCacheSnapshot": "None: files are copied, and read back.",
        "CreateServerlessCache": "Starts a primary and a replica for each shard that the minimum "
        "asks for, and an endpoint with TLS in the gateway. With `SnapshotArnsToRestore`, the "
        "primaries load the data before they serve. memcached: one process.",
        "CreateServerlessCacheSnapshot": "As `CreateSnapshot`, of every shard.",
        "DeleteServerlessCache": "Ends the endpoint and the processes; with `FinalSnapshotName` "
        "after a snapshot of the primaries.",
        "DeleteServerlessCacheSnapshot": "None: its files are removed.",
        "ExportServerlessCacheSnapshot": "None: an RDB of each shard is uploaded to S3.",
        "ModifyServerlessCache": "Limits: `maxmemory` of running nodes, the gateway's budget of "
        "units, shards that are added. Users and security groups as with a replication group. "
        "Engine: nodes are restarted one at a time, keeping the data.",
        "TestMigration": "None. The source is asked what it is.",
    }
)


@dataclass(frozen=True, slots=True)
class Raisable:
    """What the sources can answer: names that ``Fault`` takes, and reasons for a 501.

    ``unread`` are the calls whose name is no text in their module, as ``path:line``.
    """

    faults: frozenset[str]
    unbuilt: tuple[str, ...]
    unread: tuple[str, ...]


def page() -> str:
    """Return the whole page."""
    lines = [
        "# Coverage",
        "",
        "Made by `make openapi` from the service model and the sources. Do not edit.",
        "",
        *_operations(),
        *_refusals(scan_sources()),
    ]
    return "\n".join(lines)


def _operations() -> list[str]:
    model = load_model()
    registry = load_registry(model)
    done, missing = registry.implemented(), registry.not_implemented()
    return [
        (
            f"The model of API version {model.api_version} has {len(done) + len(missing)} "
            f"operations. {len(done)} have a handler; {len(missing)} answer `NotImplemented` "
            "(501). Nothing answers with a made-up success."
        ),
        "",
        "## Operations that are answered",
        "",
        "| Operation | The call | Effect on engines |",
        "|---|---|---|",
        *(
            f"| {name} | {_summary(name, registry.handlers[name].__doc__)} | {_effect(name)} |"
            for name in done
        ),
        "",
        "## Operations that answer NotImplemented",
        "",
        *_by_family(missing),
        "",
    ]


def _refusals(raisable: Raisable) -> list[str]:
    common = sorted(raisable.faults & COMMON_FAULTS.keys())
    return [
        *_unbuilt(raisable),
        *_faults(raisable),
        "## Errors of the front door",
        "",
        "Authentication, form, size and method. They are in no service's model.",
        "",
        "| Code | Status |",
        "|---|---|",
        *(f"| {name} | {COMMON_FAULTS[name]} |" for name in common),
        "",
    ]


def _unbuilt(raisable: Raisable) -> list[str]:
    if not raisable.unbuilt:
        return []
    return [
        "## Requests that answer NotImplemented",
        "",
        (
            "These are valid requests to operations that are answered. They ask for something "
            "that has no effect on an engine yet, so they are refused whole, with one of these "
            "sentences:"
        ),
        "",
        *(f"* {sentence}" for sentence in raisable.unbuilt),
        "",
    ]


def _faults(raisable: Raisable) -> list[str]:
    modelled = sorted({shape.name for shape in load_model().faults.values()})
    found = provoked(TESTS)
    rows = []
    for name in modelled:
        shape = fault_shape(name)
        where = found.get(name)
        told = f"`{where}`" if where else why_impossible(name) or "**not provoked by any test**"
        rows.append(f"| {shape.name} | {shape.code} | {shape.status} | {told} |")
    count = sum(name in found for name in modelled)
    return [
        "## Faults of the model",
        "",
        (
            f"{len(modelled)}, of which tests provoke {count}. Names, wire codes and statuses are "
            "the model's."
        ),
        "",
        "| Fault | Code on the wire | Status | A test that provokes it, or why it cannot occur |",
        "|---|---|---|---|",
        *rows,
        "",
    ]


def why_impossible(name: str) -> str | None:
    """Return why a fault of the model never comes back; None where it should."""
    return IMPOSSIBLE.get(name)


@functools.cache
def provoked(tests: Path) -> Mapping[str, str]:
    """Return the faults that tests expect of calls, each with the first file that does."""
    names = {shape.code: shape.name for shape in load_model().faults.values()}
    names |= {shape.name: shape.name for shape in load_model().faults.values()}
    found: dict[str, str] = {}
    for folder in PROVOKING:
        for path in sorted((tests / folder).rglob("test_*.py")):
            if path.name.startswith("test_protocol"):
                continue  # its handlers are made up
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and node.value in names:
                    name = names[str(node.value)]
                    if name not in IMPOSSIBLE:
                        found.setdefault(name, path.as_posix())
    return MappingProxyType(found)


@functools.cache
def scan_sources() -> Raisable:
    """Read from the sources what can be raised; nothing is executed but the tables."""
    folders = Path(api.__path__[0]), Path(provisioner.__path__[0]) / "state"
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    names: set[str] = set(WORDED_FAULTS.values())
    refused = {(kind, "IllegalTransition") for kind in lifecycle.TABLES}
    unbuilt: set[str] = set()
    unread: list[str] = []
    for path in paths:
        if path == Path(__file__):
            continue
        module = ast.parse(path.read_text())
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args:
                texts = _texts(node.args[0], module)
                if node.func.id in CODE_RAISERS:
                    names.update(texts)
                    if not texts:
                        unread.append(f"{path.name}:{node.lineno}")
                elif node.func.id in STATE_RAISERS:
                    refused.update((kind, node.func.id) for kind in texts or kept_resources())
                elif node.func.id == "IllegalTransition":
                    refused.update((kind, node.func.id) for kind in texts)
            elif isinstance(node, ast.Constant) and _is_reason(node.value):
                unbuilt.add(str(node.value))
    for kind, error in refused:
        answer = STATE_FAULTS.get((kind, getattr(errors, error)))
        if answer is not None:
            names.add(answer[0])
    return Raisable(
        frozenset(fault_shape(name).name for name in names),
        tuple(sorted(unbuilt)),
        tuple(unread),
    )


def kept_resources() -> frozenset[str]:
    """Return the kinds of resources that have a table."""
    rows = (mapper.class_ for mapper in Base.registry.mappers)
    return frozenset(row.resource for row in rows if hasattr(row, "resource"))


def _is_reason(value: object) -> bool:
    return isinstance(value, str) and UNBUILT in value and "\n" not in value  # no docstring


def _texts(node: ast.expr, module: ast.Module) -> frozenset[str]:
    """Return the texts that an argument can be: a literal, a constant, an entry of a table."""
    match node:
        case ast.Constant(value=str(text)):
            return frozenset({text})
        case ast.Name(id=name):
            value = _assigned(name, module)
            return frozenset() if value is None else _texts(value, module)
        case ast.Subscript(value=ast.Name(id=name)):
            value = _assigned(name, module)
            found = [n for n in ast.walk(value) if isinstance(n, ast.Dict)] if value else []
            entries = [entry for table in found for entry in table.values]
            return frozenset().union(*(_texts(entry, module) for entry in entries))
    return frozenset()


def _assigned(name: str, module: ast.Module) -> ast.expr | None:
    for node in module.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            return node.value
    return None


def _summary(name: str, docstring: str | None) -> str:
    first = (docstring or "").partition("\n")[0].replace("``", "`")
    if first == REFUSED:
        return "Refused: there are no such groups where accounts have a VPC."
    assert first, f"the handler of {name} has no docstring"
    return first


def _effect(name: str) -> str:
    if name in EFFECTS:
        return EFFECTS[name]
    return READS if name.startswith(QUESTIONS) else "None."


def _by_family(names: Sequence[str]) -> list[str]:
    families: dict[str, list[str]] = {}
    for name in names:
        families.setdefault(_family(name), []).append(name)
    return [f"* {family}: {', '.join(families[family])}" for family in sorted(families)]


FAMILIES: Sequence[tuple[str, str]] = (
    ("Serverless", "Serverless caches"),
    ("GlobalReplicationGroup", "Global datastores"),
    ("Migration", "Migration"),
    ("Snapshot", "Snapshots"),
    ("User", "Users and user groups"),
    ("Reserved", "Reserved nodes"),
    ("Update", "Service updates"),
)


def _family(name: str) -> str:
    return next((family for word, family in FAMILIES if word in name), "Others")


def main() -> None:
    """Write the page, or say whether the one that is there is this one."""
    parser = argparse.ArgumentParser(description="Write the coverage page.")
    parser.add_argument("path", nargs="?", type=Path, default=PAGE)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args()
    text = page()
    if not options.check:
        options.path.write_text(text)
    elif not options.path.exists() or options.path.read_text() != text:
        sys.exit(f"{options.path} is not what the sources say: make openapi")


if __name__ == "__main__":
    main()
