"""Node types: what a ``cache.r7g.large`` is. Pure, once the table is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cachefleet.engine.catalog.documents import Document
from cachefleet.engine.types import Engine


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeType:
    """One node type. *maxmemory_bytes* is before ``reserved-memory-percent`` is taken off."""

    name: str
    family: str
    category: str
    generation: str
    new_clusters: str
    arch: str
    nitro: bool
    min_engine: Mapping[str, str]
    data_tiering: bool
    global_datastore: bool
    durability: bool
    ipv6: bool
    multi_az: bool
    snapshots: bool
    aof: bool
    vcpu: int
    memory_gib: float
    maxmemory_bytes: int
    replica_obl_bytes: int
    maxclients: int
    max_cache_memory_mb: int
    num_threads: int
    net_base_gbps: float | None
    net_burst_gbps: float | None
    ssd_gib: float | None
    io_level: int
    normalized_units: float
    usd_hour: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def size(self) -> str:
        """The last word of the name: ``large``, ``2xlarge``."""
        return self.name.rpartition(".")[2]

    def runs(self, engine: Engine, version: tuple[int, ...] | None = None) -> bool:
        """Whether the service offers the engine (at *version*) on this node type."""
        minimum = self.min_engine.get(engine.value)
        if minimum is None:
            return False
        # "6.2" names every patch of it: a shorter version is not a smaller one.
        return version is None or version >= version_numbers(minimum)[: len(version)]


def version_numbers(text: str) -> tuple[int, ...]:
    """``"7.0.4"`` as numbers; letters (``6.x``) end it."""
    numbers = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def read_node_types(table: Document) -> dict[str, NodeType]:
    """Every node type by name, with the guide's known slips put right."""
    columns = table["meta"]["columns"]
    corrections = table["meta"]["anomalies"]
    node_types = {}
    for name, values in table["node_types"].items():
        row = dict(zip(columns, values, strict=True))
        for column, value in corrections.get(name, {}).items():
            if column.endswith("_suggested"):
                row[column.removesuffix("_suggested")] = value
        family = table["families"][row["family"]]
        node_types[name] = NodeType(
            name=name,
            usd_hour={engine.value: row[f"usd_hour_{engine.value}"] for engine in Engine},
            **{key: family[key] for key in _FAMILY_COLUMNS},
            **{key: row[key] for key in _TYPE_COLUMNS},
        )
    return node_types


_FAMILY_COLUMNS = (
    "category",
    "generation",
    "new_clusters",
    "arch",
    "nitro",
    "min_engine",
    "data_tiering",
    "global_datastore",
    "durability",
    "ipv6",
    "multi_az",
    "snapshots",
    "aof",
)
_TYPE_COLUMNS = (
    "family",
    "vcpu",
    "memory_gib",
    "maxmemory_bytes",
    "replica_obl_bytes",
    "maxclients",
    "max_cache_memory_mb",
    "num_threads",
    "net_base_gbps",
    "net_burst_gbps",
    "ssd_gib",
    "io_level",
    "normalized_units",
)


def allowed_modifications(
    current: NodeType,
    node_types: Mapping[str, NodeType],
    engine: Engine,
    version: tuple[int, ...] | None,
) -> tuple[list[str], list[str]]:
    """Names to which *current* can scale up (as much memory or more) and down, sorted.

    Data tiering is for good: such types and the others never mix. Types that take no new
    clusters are no target either.
    """
    up: list[str] = []
    down: list[str] = []
    for name in sorted(node_types):
        other = node_types[name]
        reachable = other.data_tiering == current.data_tiering and other.new_clusters != "no"
        if name == current.name or not reachable or not other.runs(engine, version):
            continue
        (up if other.maxmemory_bytes >= current.maxmemory_bytes else down).append(name)
    return up, down
