"""The engine adapter for one Valkey or Redis OSS node.

Speaks in the port's terms (follow, promote, replication) and turns every way a node can fail
into one of two answers: it refused, or we do not know. It holds one connection, over the
node's unix socket where there is one, so that neither bound addresses nor TLS nor a full
client table stand between the control plane and its node. Calls on one adapter queue up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from valkey.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from valkey.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    ValkeyError,
)
from valkey.exceptions import (
    ConnectionError as ClientConnectionError,
)

from cachefleet.engine.errors import CommandRefused, EngineError, NodeUnreachable
from cachefleet.engine.types import (
    ClusterInfoView,
    ClusterNodeView,
    Endpoint,
    NodeRole,
    ReplicationView,
    SlotMigrationView,
    SlotRange,
)
from cachefleet.engine.valkey.acl import split_line
from cachefleet.engine.valkey.cluster import (
    parse_cluster_info,
    parse_cluster_nodes,
    parse_slots,
    parse_tls_ports,
    parse_told_nodes,
)
from cachefleet.engine.valkey.config import CLUSTER_NODE_TIMEOUT_MS
from cachefleet.engine.valkey.guard import OWN_SPELLING
from cachefleet.engine.valkey.nodes_conf import ClusterSeat, placeholder_id
from cachefleet.engine.valkey.replication import parse_info, parse_replication

Reply: TypeAlias = Any  # whatever the wire carried: str, int, None, or lists of these
Word: TypeAlias = str | bytes | int

SAVE_TIMEOUT_S = 120.0  # a node writes its data at tens of MB a second
TIMEOUT_S_DEFAULT = 2.0
BEGIN_POLL_S = 0.003  # the cluster is whole at the engine's first round, at once or 0.1 s on
STIR_MS = 1  # nobody is waited for: the question goes out at once
REPLICAS_MORE_THAN_ANY = 1000
CONNECTED_MEANWHILE = (BusyLoadingError, AuthenticationError, AuthorizationError, ResponseError)
# The client library strips these words off the reply when it picks the exception.
_CODES: tuple[tuple[type[ValkeyError], str], ...] = (
    (BusyLoadingError, "LOADING"),
    (ReadOnlyError, "READONLY"),
    (NoPermissionError, "NOPERM"),
    (AuthenticationError, "NOAUTH"),
    (AuthorizationError, "NOAUTH"),
    (NoScriptError, "NOSCRIPT"),
    (OutOfMemoryError, "OOM"),
)


class ValkeyAdapter:
    """Implements :class:`cachefleet.engine.ports.EngineAdapter`, and the cluster's commands.

    *renamed_commands* maps upper-case command names to the names this node knows them by; *ca* is
    who vouches for a node that is reached by TLS.
    """

    def __init__(
        self,
        *,
        unix_socket: str | None = None,
        endpoint: Endpoint | None = None,
        username: str | None = None,
        password: str | None = None,
        ca: str = "",
        timeout_s: float = TIMEOUT_S_DEFAULT,
        renamed_commands: Mapping[str, str] | None = None,
    ) -> None:
        assert timeout_s > 0
        assert unix_socket is not None or endpoint is not None
        self.endpoint = endpoint
        self._unix_socket = unix_socket
        self._username = username
        self._password = password
        self._ca = ca
        self._timeout_s = timeout_s
        given = {old.upper(): new for old, new in (renamed_commands or {}).items()}
        self._renamed = {**OWN_SPELLING, **given}
        self._connection: AbstractConnection | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"ValkeyAdapter({self._where})"

    # -- the port ---------------------------------------------------------------------------

    async def ping(self) -> None:
        """Return once the node has answered; a node still loading refuses with ``LOADING``."""
        await self._call("PING")

    async def replication(self) -> ReplicationView:
        """Read this node's role, offset and links, and whether it is still loading."""
        persistence, replication = await self._pipeline(
            [("INFO", "persistence"), ("INFO", "replication")]
        )
        return parse_replication(f"{persistence}\n{replication}")

    async def follow(self, primary: Endpoint) -> None:
        """Make this node replicate from *primary*; a no-op where it already does."""
        await self._call("REPLICAOF", primary.host, primary.port)

    async def promote(self) -> None:
        """Make this node a primary. Fence the old one first: this checks nothing."""
        await self._call("REPLICAOF", "NO", "ONE")

    async def configure(self, directives: Mapping[str, str]) -> None:
        """Set directives on the running node, all or none."""
        pairs = list(directives.items())
        if not pairs:
            return
        try:
            await self._call("CONFIG", "SET", *(word for pair in pairs for word in pair))
        except CommandRefused as error:
            # Before 7.0 the engine took one directive at a time.
            if len(pairs) == 1 or "number of arguments" not in str(error):
                raise
            await self._pipeline([("CONFIG", "SET", *pair) for pair in pairs])

    async def save(self) -> None:
        """Write the data set to the node's directory; other clients wait meanwhile."""
        await self._call("SAVE", timeout_s=SAVE_TIMEOUT_S)

    async def shutdown(self, *, save: bool) -> None:
        """Ask the process to end; returns when it has let go of us."""
        try:
            await self._call("SHUTDOWN", "SAVE" if save else "NOSAVE", timeout_s=SAVE_TIMEOUT_S)
        except NodeUnreachable:
            # A node that does as it is told hangs up without a word; one that was not there to
            # be told has no connection to lose. Either way the process is the caller's to watch.
            return

    async def aclose(self) -> None:
        """Close the connection; the next call would open another."""
        await self._drop()

    # -- one node ---------------------------------------------------------------------------

    async def command(self, *words: Word, timeout_s: float | None = None) -> Reply:
        """Send any command, renamed where this node renames it, and return its reply."""
        return await self._call(*words, timeout_s=timeout_s)

    async def commands(self, commands: Sequence[Sequence[Word]]) -> list[Reply]:
        """Send several commands at once; a refusal is raised after the last reply was read."""
        return await self._pipeline(commands)

    async def info(self, section: str = "default") -> dict[str, str]:
        """Read ``INFO`` as a mapping."""
        return parse_info(await self._text("INFO", section))

    async def config_get(self, *patterns: str) -> dict[str, str]:
        """Read directives by name or glob pattern."""
        replies = await self._pipeline([("CONFIG", "GET", pattern) for pattern in patterns])
        found: dict[str, str] = {}
        for reply in replies:
            found.update(zip(reply[::2], reply[1::2], strict=True))
        return found

    async def set_binds(self, addresses: Sequence[str]) -> None:
        """Listen on exactly these addresses; connections made through others stay open."""
        await self.configure({"bind": " ".join(addresses)})

    async def binds(self) -> tuple[str, ...]:
        """The addresses this node listens on."""
        return tuple((await self.config_get("bind")).get("bind", "").split())

    async def kill_clients(self, laddr: Endpoint) -> int:
        """Cut the connections that came in through *laddr*; returns how many there were."""
        return int(await self._call("CLIENT", "KILL", "LADDR", str(laddr)))

    async def kill_user(self, username: str) -> int:
        """Cut the connections of one user; returns how many there were."""
        try:
            return int(await self._call("CLIENT", "KILL", "USER", username))
        except CommandRefused as error:
            if "No such user" in str(error):
                return 0
            raise

    async def failover_to(self, target: Endpoint, *, timeout_ms: int, force: bool = False) -> None:
        """Start handing the primary's role to *target*, without losing a write.

        Returns once it has begun: watch :meth:`replication` for the end. With *force* the
        primary gives up its role at the deadline even if the replica has not caught up.
        """
        words = ["FAILOVER", "TO", target.host, str(target.port)]
        words += ["FORCE"] if force else []
        await self._call(*words, "TIMEOUT", timeout_ms)

    async def abort_failover(self) -> None:
        """Call off a failover that :meth:`failover_to` began."""
        await self._call("FAILOVER", "ABORT")

    # -- access -----------------------------------------------------------------------------

    async def acl_setuser(self, lines: Iterable[str]) -> tuple[str, ...]:
        """Make each user exactly what its ``user`` line says; each changes in one step.

        Returns the names of all users that there are then, asked in the same go.
        """
        commands = []
        for line in lines:
            name, rules = split_line(line)
            # Without "reset" the rules would add to what the user had.
            commands.append(("ACL", "SETUSER", name, "reset", *rules))
        replies = await self._pipeline([*commands, ("ACL", "USERS")])
        return tuple(replies[-1])

    async def acl_deluser(self, names: Iterable[str]) -> int:
        """Remove users and cut their connections; returns how many there were."""
        wanted = list(names)
        return int(await self._call("ACL", "DELUSER", *wanted)) if wanted else 0

    async def acl_list(self) -> tuple[str, ...]:
        """Every user's line, password hashes included."""
        return tuple(await self._call("ACL", "LIST"))

    # -- the cluster ------------------------------------------------------------------------

    async def cluster_nodes(self) -> tuple[ClusterNodeView, ...]:
        """All nodes as this one sees them."""
        return parse_cluster_nodes(await self._text("CLUSTER", "NODES"))

    async def cluster_told_nodes(self) -> frozenset[str]:
        """The ids of the nodes of which this one tells clients: no replica that has had nothing."""
        return parse_told_nodes(await self._call("CLUSTER", "SLOTS"))

    async def cluster_tls_ports(self) -> dict[str, int]:
        """Return, by node id, the port to which this one leads clients that use TLS.

        ``CLUSTER NODES`` shows who asks in plain text the other one. Empty before Redis 7.0.
        """
        try:
            return parse_tls_ports(await self._call("CLUSTER", "SHARDS"))
        except CommandRefused:
            return {}

    async def stir(self) -> None:
        """Send something down this primary's replication stream, whether anybody writes or not.

        ``WAIT`` asks the replicas how far they are, and that goes down the stream. Its own answer
        comes with the engine's next round, up to 0.1 s later, so nobody stays for it.
        """
        connection = self._new_connection()
        try:
            async with asyncio.timeout(self._timeout_s):
                await connection.connect()  # type: ignore[no-untyped-call]
                question = ("WAIT", REPLICAS_MORE_THAN_ANY, STIR_MS)
                await connection.send_packed_command(connection.pack_commands([question]))
        except (ValkeyError, OSError, TimeoutError) as error:
            raise NodeUnreachable(f"WAIT on {self._where}: {error}") from error
        finally:
            await connection.disconnect(nowait=True)

    async def resume(self) -> None:
        """Have this replica connect once more and go on where it is.

        After a full copy a primary sends nothing until the replica's next word to it, up to a
        second; after a partial one it begins at once.
        """
        await self._call("CLIENT", "KILL", "TYPE", "master")

    async def cluster_info(self) -> ClusterInfoView:
        """This node's view of the cluster as a whole."""
        return parse_cluster_info(await self._text("CLUSTER", "INFO"))

    async def cluster_takeover(self) -> None:
        """Make this replica its shard's primary at once, without a vote."""
        await self._call("CLUSTER", "FAILOVER", "TAKEOVER")

    async def cluster_begin(self, seat: ClusterSeat) -> None:
        """Make a primary that started on a placeholder what its seat says; may be repeated.

        A process whose placeholder is gone is ended: it can be started on another one.
        """
        async with asyncio.timeout(self._timeout_s):
            # The engine's delay spares only a node that has once seen the cluster whole.
            while (await self.cluster_info()).state != "ok" and await self._awaits_takeover(seat):
                await asyncio.sleep(BEGIN_POLL_S)
        if await self._awaits_takeover(seat):
            await self._pipeline(
                [
                    ("CONFIG", "SET", "cluster-node-timeout", CLUSTER_NODE_TIMEOUT_MS),
                    ("CLUSTER", "FAILOVER", "TAKEOVER"),
                ]
            )
            await self.cluster_forget(placeholder_id(seat.id))
            return
        me = next(node for node in await self.cluster_nodes() if node.myself)
        if me.role is not NodeRole.PRIMARY or not me.slots:
            await self.shutdown(save=False)

    async def _awaits_takeover(self, seat: ClusterSeat) -> bool:
        nodes = {node.id: node for node in await self.cluster_nodes()}
        me, stand_in = nodes.get(seat.id), placeholder_id(seat.id)
        return me is not None and me.primary_id == stand_in and stand_in in nodes

    async def cluster_hears(self, node_id: str) -> bool:
        """Tell whether another node is connected to this one's bus, or was and has not been read
        to the end (Redis 7.0, Valkey).
        """
        links = [
            dict(zip(link[::2], link[1::2], strict=True))
            for link in await self._call("CLUSTER", "LINKS")
        ]
        return any(link["direction"] == "from" and link["node"] == node_id for link in links)

    async def cluster_failover(self) -> None:
        """Start a planned switch to this replica, agreed with its primary; loses nothing."""
        await self._call("CLUSTER", "FAILOVER")

    async def cluster_meet(self, peer: Endpoint, bus_port: int | None = None) -> None:
        """Introduce this node to *peer*."""
        extra = () if bus_port is None else (bus_port,)
        await self._call("CLUSTER", "MEET", peer.host, peer.port, *extra)

    async def cluster_forget(self, node_id: str) -> None:
        """Make this node forget another; a node that is not known is forgotten already."""
        try:
            await self._call("CLUSTER", "FORGET", node_id)
        except CommandRefused as error:
            if "Unknown node" not in str(error):
                raise

    async def cluster_replicate(self, primary_id: str) -> None:
        """Make this node a replica of *primary_id*."""
        await self._call("CLUSTER", "REPLICATE", primary_id)

    async def cluster_addslots(self, ranges: Iterable[SlotRange]) -> None:
        """Take slots that nobody owns."""
        await self._slots("ADDSLOTSRANGE", "ADDSLOTS", ranges)

    async def cluster_delslots(self, ranges: Iterable[SlotRange]) -> None:
        """Make this node forget who owns the slots."""
        await self._slots("DELSLOTSRANGE", "DELSLOTS", ranges)

    async def cluster_setslot(self, slot: int, state: str, node_id: str | None = None) -> None:
        """``CLUSTER SETSLOT``; *state* is ``MIGRATING``, ``IMPORTING``, ``NODE`` or ``STABLE``."""
        extra = () if node_id is None else (node_id,)
        await self._call("CLUSTER", "SETSLOT", slot, state, *extra)

    async def cluster_set_epoch(self, epoch: int) -> None:
        """Give a fresh node its first configuration epoch."""
        await self._call("CLUSTER", "SET-CONFIG-EPOCH", epoch)

    async def cluster_bump_epoch(self) -> None:
        """Give this node the highest configuration epoch, where it does not have it."""
        await self._call("CLUSTER", "BUMPEPOCH")

    async def cluster_reset(self, *, hard: bool) -> None:
        """Leave the cluster; *hard* takes a new id as well."""
        await self._call("CLUSTER", "RESET", "HARD" if hard else "SOFT")

    async def cluster_saveconfig(self) -> None:
        """Write ``nodes.conf`` now."""
        await self._call("CLUSTER", "SAVECONFIG")

    async def count_keys_in_slot(self, slot: int) -> int:
        """How many keys of a slot are on this node."""
        return int(await self._call("CLUSTER", "COUNTKEYSINSLOT", slot))

    async def keys_in_slot(self, slot: int, count_max: int) -> list[bytes]:
        """Some keys of a slot, as they are: a key need not be text."""
        keys = await self._call("CLUSTER", "GETKEYSINSLOT", slot, count_max)
        return [key.encode("utf-8", "surrogateescape") for key in keys]

    async def migrate_keys(self, target: Endpoint, keys: Sequence[bytes], **options: Any) -> bool:
        """Move keys with ``MIGRATE``; False where none of them is here any more.

        *options*: ``timeout_ms`` (1000), ``username``, ``password`` of the target.
        """
        timeout_ms = int(options.get("timeout_ms", 1000))
        words: list[Word] = [
            *("MIGRATE", target.host, target.port, "", 0, timeout_ms, "REPLACE"),
        ]
        if options.get("password"):
            words += ["AUTH2", options.get("username", "default"), options["password"]]
        reply = await self._call(
            *words, "KEYS", *keys, timeout_s=self._timeout_s + timeout_ms / 1000
        )
        return bool(reply != "NOKEY")

    async def migrate_slots(self, ranges: Iterable[SlotRange], target_id: str) -> None:
        """Start moving whole slots to *target_id* (Valkey 9); see :meth:`slot_migrations`."""
        bounds = [bound for piece in ranges for bound in (piece.first, piece.last)]
        await self._call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", *bounds, "NODE", target_id)

    async def cancel_slot_migrations(self) -> None:
        """Stop what :meth:`migrate_slots` began on this node."""
        await self._call("CLUSTER", "CANCELSLOTMIGRATIONS")

    async def slot_migrations(self) -> tuple[SlotMigrationView, ...]:
        """Slot migrations that run or ran here, newest first (Valkey 9)."""
        rows = await self._call("CLUSTER", "GETSLOTMIGRATIONS")
        return tuple(_migration(dict(zip(row[::2], row[1::2], strict=True))) for row in rows)

    # -- the wire ---------------------------------------------------------------------------

    async def _slots(self, by_range: str, one_by_one: str, ranges: Iterable[SlotRange]) -> None:
        pieces = list(ranges)
        if not pieces:
            return
        bounds = [bound for piece in pieces for bound in (piece.first, piece.last)]
        try:
            await self._call("CLUSTER", by_range, *bounds)
        except CommandRefused as error:
            if "unknown subcommand" not in str(error).lower():
                raise
            slots = [slot for piece in pieces for slot in range(piece.first, piece.last + 1)]
            await self._call("CLUSTER", one_by_one, *slots)

    async def _text(self, *words: Word) -> str:
        return str(await self._call(*words))

    async def _call(self, *words: Word, timeout_s: float | None = None) -> Reply:
        (reply,) = await self._pipeline([words], timeout_s=timeout_s)
        return reply

    async def _pipeline(
        self, commands: Sequence[Sequence[Word]], *, timeout_s: float | None = None
    ) -> list[Reply]:
        """Send all, read all; the first refusal is raised after the last reply was read."""
        if not commands:
            return []
        name = str(commands[0][0])
        try:
            async with asyncio.timeout(timeout_s or self._timeout_s), self._turn:
                replies = await self._exchange([self._named(words) for words in commands])
        except CONNECTED_MEANWHILE as error:
            raise self._refusal(name, error) from error
        except (ValkeyError, OSError, TimeoutError) as error:
            # A refusal while the library connects comes wrapped as a failed connection.
            if isinstance(error.__cause__, CONNECTED_MEANWHILE):
                raise self._refusal(name, error.__cause__) from error
            what = "no answer in time" if isinstance(error, TimeoutError) else str(error)
            raise NodeUnreachable(f"{name} on {self._where}: {what}") from error
        for words, reply in zip(commands, replies, strict=True):
            if isinstance(reply, ValkeyError):
                raise self._refusal(str(words[0]), reply) from reply
        return replies

    async def _exchange(self, commands: list[Sequence[Word]]) -> list[Reply]:
        """Send and read, over the connection that is there or over a new one.

        A customer's ``timeout`` parameter makes the engine hang up on idle connections, ours too.
        What such a connection swallowed was never run, and every command here may run twice.
        """
        if self._connection is None or not self._connection.is_connected:
            return await self._exchange_once(commands)
        try:
            return await self._exchange_once(commands)
        except (ClientConnectionError, OSError):
            return await self._exchange_once(commands)

    async def _exchange_once(self, commands: list[Sequence[Word]]) -> list[Reply]:
        connection = self._connection or self._new_connection()
        self._connection = connection
        replies: list[Reply] = []
        whole = False
        try:
            if not connection.is_connected:
                await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_packed_command(connection.pack_commands(commands))
            for _ in commands:
                try:
                    replies.append(await connection.read_response())
                except ResponseError as error:
                    replies.append(error)
            whole = True
        finally:
            # Cancelled or timed out half way, replies are still under way: the next caller
            # would read ours. Only a new connection is sure to be in step.
            if not whole:
                await self._drop()
        return replies

    def _new_connection(self) -> AbstractConnection:
        common: dict[str, Any] = {
            "username": self._username,
            "password": self._password,
            "socket_timeout": None,  # one deadline covers a whole call, connecting included
            "decode_responses": True,
            "encoding_errors": "surrogateescape",  # keys and values need not be text
            "lib_name": None,  # two round trips less at connecting
            "lib_version": None,
        }
        if self._unix_socket is not None:
            return UnixDomainSocketConnection(path=self._unix_socket, **common)
        assert self.endpoint is not None
        if self._ca:
            return SSLConnection(
                host=self.endpoint.host,
                port=self.endpoint.port,
                ssl_ca_data=self._ca,
                ssl_check_hostname=False,
                **common,
            )
        return Connection(host=self.endpoint.host, port=self.endpoint.port, **common)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # Without waiting there is nothing to be cancelled in: this also runs while a call is.
            await connection.disconnect(nowait=True)

    def _named(self, words: Sequence[Word]) -> Sequence[Word]:
        new = self._renamed.get(str(words[0]).upper())
        return words if new is None else (new, *words[1:])

    @property
    def _where(self) -> str:
        return str(self.endpoint or self._unix_socket)

    def _refusal(self, name: str, error: Exception) -> EngineError:
        text = str(error)
        code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
        if code is None:
            first = text.split(" ", 1)[0]
            code = first if first.isupper() and first.isalpha() else "ERR"
        # The reply only: words of a command may be secrets.
        return CommandRefused(f"{name} on {self._where}: {text}", code=code)


def _migration(row: Mapping[str, Any]) -> SlotMigrationView:
    return SlotMigrationView(
        name=str(row.get("name", "")),
        operation=str(row.get("operation", "")),
        slots=parse_slots(str(row.get("slot_ranges", "")).replace(" ", ",")),
        source_id=str(row.get("source_node", "")),
        target_id=str(row.get("target_node", "")),
        state=str(row.get("state", "")),
        message=str(row.get("message", "")),
    )
