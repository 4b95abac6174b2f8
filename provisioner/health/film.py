"""A film of one shard: what every node and a client saw, to the millisecond, while it was watched.

Nodes are asked for their role over their control sockets; the client asks for it at the endpoint
that applications use, over a connection like theirs, and counts as served while that endpoint
answers as a primary. Nobody writes anything, so a film may be taken of a shard in use.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.types import Endpoint, NodeRole
from cachefleet.engine.valkey.adapter import ValkeyAdapter
from cachefleet.engine.valkey.config import hidden_renames
from cachefleet.engine.valkey.replies import NEED_DATA, ErrorReply, NotAReply, ReplyReader, packed
from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet, command_prefix
from cachefleet.provisioner.state.tables import CacheNode

NODE_POLL_S = 0.02
CLIENT_POLL_S = 0.005
ANSWER_TIMEOUT_S = 0.5
CLIENT_TIMEOUT_S = 0.25  # then a client has been kept waiting, and that counts as an outage
FILMS_AT_ONCE_MAX = 8
FRAMES_WAITING_MAX = 1000
REPLY_BYTES_MAX = 64 * 1024

SERVED: Final = "served"
NOT_SERVED: Final = "not-served"
DOWN: Final = "down"
CLIENT: Final = "client"
NODE: Final = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Something changed: *state* is a role, ``loading``, ``syncing`` or ``down`` of a node, and
    ``served`` or ``not-served`` of the client."""

    at_ms: int
    kind: str
    name: str
    state: str
    offset: int | None = None
    detail: str = ""


class FilmMaker:
    """Takes films of the shards of one fleet."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._running = 0

    @property
    def is_busy(self) -> bool:
        """Tell whether another film would be one too many."""
        return self._running >= FILMS_AT_ONCE_MAX

    async def film(
        self,
        nodes: Sequence[CacheNode],
        endpoints: Sequence[Endpoint],
        *,
        tls: bool,
        duration_s: float,
    ) -> AsyncGenerator[Frame, None]:
        """Yield what changes, beginning with how it is, until the time is over.

        *endpoints* are where clients of the shard look for its primary: one address that moves, or
        the addresses of all nodes where cluster clients follow by themselves.
        """
        self._running += 1
        frames: asyncio.Queue[Frame] = asyncio.Queue(FRAMES_WAITING_MAX)
        began_s = self._clock.monotonic_s()

        def elapsed_ms() -> int:
            return round((self._clock.monotonic_s() - began_s) * 1000)

        def tell(kind: str, name: str, state: str, **more: Any) -> None:
            with contextlib.suppress(asyncio.QueueFull):  # a reader that slow sees a gap
                frames.put_nowait(
                    Frame(at_ms=elapsed_ms(), kind=kind, name=name, state=state, **more)
                )

        tasks = [
            *(asyncio.create_task(self._watch_node(node, tell)) for node in nodes),
            asyncio.create_task(_watch_as_client(endpoints, tls, tell)),
        ]
        try:
            while (left_s := duration_s - elapsed_ms() / 1000) > 0:
                try:
                    async with asyncio.timeout(left_s):
                        frame = await frames.get()
                except TimeoutError:
                    return
                yield frame
        finally:
            self._running -= 1
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_node(self, node: CacheNode, tell: Any) -> None:
        adapter = ValkeyAdapter(
            unix_socket=str(self._fleet.driver.socket_path(node.uid)),
            username=ADMIN_USER,
            password=node.admin_secret,
            timeout_s=ANSWER_TIMEOUT_S,
            renamed_commands=hidden_renames(command_prefix(node)),
        )
        last = ""
        try:
            while True:
                state, offset = await _state_of(adapter)
                if state != last:
                    tell(NODE, node.member_name, state, offset=offset)
                    last = state
                await asyncio.sleep(NODE_POLL_S)
        finally:
            await adapter.aclose()


async def _state_of(adapter: ValkeyAdapter) -> tuple[str, int | None]:
    try:
        view = await adapter.replication()
    except CommandRefused as error:
        return ("loading" if error.code == "LOADING" else DOWN), None
    except NodeUnreachable:
        return DOWN, None
    if view.loading:
        return "loading", view.offset
    if view.role is NodeRole.REPLICA and not view.link_up:
        return "syncing" if view.sync_in_progress else "replica-cut-off", view.offset
    return view.role.value, view.offset


async def _watch_as_client(endpoints: Sequence[Endpoint], tls: bool, tell: Any) -> None:
    clients = [_Client(endpoint, tls) for endpoint in endpoints]
    last = ""
    try:
        while True:
            answers = await asyncio.gather(*(client.ask() for client in clients))
            state = SERVED if SERVED in answers else NOT_SERVED
            if state != last:
                detail = "" if state == SERVED else "; ".join(sorted(set(answers)))
                tell(
                    CLIENT,
                    str(endpoints[0]) if len(endpoints) == 1 else "cluster",
                    state,
                    detail=detail,
                )
                last = state
            await asyncio.sleep(CLIENT_POLL_S)
    finally:
        for client in clients:
            client.close()


class _Client:
    """Asks one address for its role, as a client that keeps its connection does."""

    def __init__(self, endpoint: Endpoint, tls: bool) -> None:
        self._endpoint = endpoint
        self._tls: ssl.SSLContext | None = None
        if tls:
            # Only whether it answers is of interest here; whom it is, clients check for themselves.
            self._tls = ssl.create_default_context()
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> str:
        """Return ``served``, or in a few words why not."""
        try:
            async with asyncio.timeout(CLIENT_TIMEOUT_S):
                return _judge(await self._role())
        except TimeoutError:
            self.close()
            return "no answer"
        except (OSError, NotAReply) as error:
            self.close()
            return "refused" if isinstance(error, ConnectionRefusedError) else "cut off"

    async def _role(self) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_connection(
                self._endpoint.host, self._endpoint.port, ssl=self._tls
            )
        reader, writer = self._streams
        writer.write(packed(["ROLE"]))
        replies = ReplyReader(bytes_max=REPLY_BYTES_MAX)
        while True:
            data = await reader.read(REPLY_BYTES_MAX)
            if not data:
                raise ConnectionResetError
            replies.feed(data)
            reply = replies.next_reply()
            if reply is not NEED_DATA:
                return reply

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


def _judge(reply: Any) -> str:
    if isinstance(reply, ErrorReply):
        # Who is asked for a password, or may not ask, has reached a node that serves.
        return SERVED if reply.text.startswith(("NOAUTH", "NOPERM")) else reply.text.split(" ")[0]
    if isinstance(reply, list) and reply and reply[0] == b"master":
        return SERVED
    return "replica"
