"""What clients are told of the cluster: one primary with all slots, and one place for reads. Pure.

Whatever is behind the endpoint, this never changes, so no client ever has to learn it again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cachefleet.engine.gateway.serverless.commands import SLOT_COUNT

LAST_SLOT: Final = SLOT_COUNT - 1
BUS_OFFSET: Final = 10_000
# Lines of INFO that tell of one node among several, or of how it was started.
_HIDDEN: Final = frozenset(
    (
        b"executable", b"config_file", b"tcp_port", b"process_id", b"run_id", b"listener0",
        b"listener1", b"listener2", b"process_supervised", b"connected_slaves", b"slave0",
        b"slave1", b"slave2", b"slave3", b"slave4", b"master_host", b"master_port", b"os",
        b"availability_zone", b"server_name",
    )
)  # fmt: skip
_SUMMED: Final = frozenset(
    (
        b"used_memory", b"used_memory_dataset", b"total_connections_received",
        b"total_commands_processed", b"instantaneous_ops_per_sec", b"total_net_input_bytes",
        b"total_net_output_bytes", b"keyspace_hits", b"keyspace_misses", b"expired_keys",
        b"evicted_keys", b"maxmemory", b"pubsub_channels", b"pubsubshard_channels",
    )
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """The endpoint as clients see it. *host* is a name or an address; ids are 40 hex digits."""

    host: str
    port: int
    reads_port: int
    node_ids: tuple[str, str]

    def slots(self) -> list[Any]:
        """``CLUSTER SLOTS``."""
        primary, reader = self.node_ids
        return [
            [0, LAST_SLOT, [self.host, self.port, primary], [self.host, self.reads_port, reader]]
        ]

    def shards(self) -> list[Any]:
        """``CLUSTER SHARDS``."""
        nodes = [
            {
                "id": node_id,
                "tls-port": port,
                "ip": self.host,
                "endpoint": self.host,
                "hostname": self.host,
                "role": role,
                "replication-offset": 1,
                "health": "online",
            }
            for node_id, port, role in (
                (self.node_ids[0], self.port, "master"),
                (self.node_ids[1], self.reads_port, "replica"),
            )
        ]
        return [{"slots": [0, LAST_SLOT], "nodes": nodes}]

    def nodes(self, *, myself: int) -> str:
        """``CLUSTER NODES``; *myself* is which of the two is asked."""
        lines = [self._line(0, myself=myself), self._line(1, myself=myself)]
        return "".join(f"{line}\n" for line in lines)

    def replicas(self, node_id: str, *, myself: int) -> list[str] | None:
        """``CLUSTER REPLICAS``; None where there is no such node."""
        if node_id not in self.node_ids:
            return None
        return [self._line(1, myself=myself)] if node_id == self.node_ids[0] else []

    def _line(self, number: int, *, myself: int) -> str:
        port = self.reads_port if number else self.port
        flags = "slave" if number else "master"
        if number == myself:
            flags = f"myself,{flags}"
        follows = self.node_ids[0] if number else "-"
        slots = "" if number else f" 0-{LAST_SLOT}"
        at = f"{self.host}:{port}@{port + BUS_OFFSET},{self.host}"
        return f"{self.node_ids[number]} {at} {flags} {follows} 0 0 1 connected{slots}"


def cluster_info(text: bytes) -> bytes:
    """Return a shard's ``CLUSTER INFO`` as that of the whole endpoint."""
    told = {b"cluster_known_nodes": b"2", b"cluster_size": b"1"}
    lines = []
    for line in text.splitlines():
        name, colon, _ = line.partition(b":")
        lines.append(name + colon + told[name] if name in told else line)
    return b"".join(line + b"\r\n" for line in lines)


def merged_info(texts: list[bytes]) -> bytes:
    """Return the ``INFO`` of several shards as that of one server."""
    sums: dict[bytes, int] = {}
    keyspace = [0, 0]
    for text in texts:
        for line in text.splitlines():
            name, _, value = line.partition(b":")
            if name in _SUMMED and value.isdigit():
                sums[name] = sums.get(name, 0) + int(value)
            elif name == b"db0":
                told = dict(pair.split(b"=", 1) for pair in value.split(b",") if b"=" in pair)
                keyspace[0] += int(told.get(b"keys", b"0"))
                keyspace[1] += int(told.get(b"expires", b"0"))
    lines = []
    for line in texts[0].splitlines():
        name = line.partition(b":")[0]
        if name in _HIDDEN or name.startswith(b"master_") or name == b"db0":
            continue
        if name == b"role":
            line = b"role:master"
        lines.append(b"%b:%d" % (name, sums[name]) if name in sums else line)
        if line.startswith(b"# Keyspace") and keyspace[0]:
            lines.append(b"db0:keys=%d,expires=%d,avg_ttl=0" % (keyspace[0], keyspace[1]))
    return b"".join(line + b"\r\n" for line in lines)
