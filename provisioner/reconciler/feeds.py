"""Keep the feed worker in agreement with the record: which shard's stream goes into which shard.

The worker is started when the first shard is fed, and again when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import JSON, select

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.feed.control import FeedControl, LinkStatus
from cachefleet.engine.feed.links import TCP, Link, Position, Side, render_links
from cachefleet.engine.outside import OutsideAccess
from cachefleet.engine.types import NodeRole
from cachefleet.provisioner.drivers.base import LaunchFailed
from cachefleet.provisioner.reconciler.fleet import ADMIN_USER, Fleet
from cachefleet.provisioner.reconciler.launch import REPLICATION_USER
from cachefleet.provisioner.reconciler.places import SCRATCH_FOLDER, memory_folder
from cachefleet.provisioner.reconciler.records import LIVE
from cachefleet.provisioner.reconciler.together import Together
from cachefleet.provisioner.reconciler.worker import CONTROL_TIMEOUT_S, Worker
from cachefleet.provisioner.state import peer_feeds
from cachefleet.provisioner.state.global_groups import SECONDARY
from cachefleet.provisioner.state.master_key import UnreadableSecret, UnusableMasterKey
from cachefleet.provisioner.state.peer_feeds import OUTSIDE, PEER, WAITS
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.serverless_migration import access_of
from cachefleet.provisioner.state.tables import CacheNode, NodeGroup, ReplicationGroup

log = structlog.get_logger(__name__)

FEED_UID = "feed"
LINKS_FILE, STATE_FILE = "links.json", "state.json"
STOP_TIMEOUT_S = 5.0


class Feeds:
    """Implements :class:`cachefleet.provisioner.reconciler.fleet.FeedPort`."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._worker = Worker(fleet, FEED_UID, module="cachefleet.engine.feed", name="feed")
        self._control = FeedControl(self._worker.control_path, CONTROL_TIMEOUT_S)
        self._carried: tuple[Link, ...] | None = None
        self._together = Together(self._sync)

    async def sync(self) -> None:
        """Make the worker carry out what the record says; a no-op where nothing changed.

        Raises:
            NodeUnreachable: it did not do it, or could not be started; ask again.
        """
        try:
            await self._together.ask()
        except (LaunchFailed, CommandRefused) as error:
            raise NodeUnreachable(str(error)) from error

    async def _sync(self, _: Set[str]) -> None:
        wanted = await self._wanted()
        if wanted == self._carried:
            return
        if not wanted and self._carried is None and not self._worker.directory.exists():
            self._carried = wanted
            return
        self._worker.write(LINKS_FILE, render_links(wanted))
        await self._apply()
        self._carried = wanted
        log.info("feeds_told", links=[link.name for link in wanted])

    async def status(self) -> dict[str, LinkStatus]:
        """Return what each link is at, by token; empty where nothing runs or answers."""
        if not await self._worker.is_running():
            return {}
        try:
            return await self._control.status()
        except (NodeUnreachable, CommandRefused):
            return {}

    async def ended(self) -> None:
        """Start the worker again after its process ended."""
        self._carried = None
        await self.sync()

    async def stop(self) -> None:
        """End the worker in order, so that it writes down where its targets are."""
        if not await self._worker.is_running():
            return
        self._fleet.ending.add(FEED_UID)
        try:
            await self._control.stop()
            if await self._fleet.driver.wait_gone(FEED_UID, timeout_s=STOP_TIMEOUT_S):
                return
        except (NodeUnreachable, CommandRefused) as error:
            log.warning("feed_not_stopped", reason=str(error))
        await self._fleet.driver.kill(FEED_UID)

    async def _apply(self) -> None:
        files = {"--links": LINKS_FILE, "--state": STATE_FILE}
        await self._worker.ensure(files, self._control.ping)
        await self._control.reload()

    async def _wanted(self) -> tuple[Link, ...]:
        async with self._fleet.store.read(Scope("", "")) as tx:
            fed = (
                await tx.session.scalars(
                    select(NodeGroup)
                    .where(NodeGroup.feed.is_not(None), NodeGroup.feed != JSON.NULL)
                    .order_by(NodeGroup.uid)
                )
            ).all()
            if not fed:
                return ()
            uids = {shard.replication_group_uid for shard in fed}
            uids |= {shard.feed["group"] for shard in fed if shard.feed and "group" in shard.feed}
            query = select(ReplicationGroup).where(ReplicationGroup.uid.in_(uids))
            groups = {group.uid: group for group in (await tx.session.scalars(query)).all()}
        links = (self._link(shard, groups) for shard in fed)
        return tuple(link for link in links if link is not None)

    def _link(self, shard: NodeGroup, groups: dict[str, ReplicationGroup]) -> Link | None:
        told = shard.feed
        group = groups.get(shard.replication_group_uid)
        if told is not None and group is not None and PEER in told:
            return self._link_from_peer(shard, group, told)
        if told is not None and group is not None and OUTSIDE in told:
            return self._link_from_outside(shard, group, told)
        source_group = None if told is None else groups.get(told["group"])
        if told is None or group is None or source_group is None:
            return None  # one side is on its way out
        if source_group.global_role == SECONDARY:
            return None  # roles are changing: two that feed each other would never come to an end
        sources = [s for s in source_group.node_groups if s.node_group_id == told["shard"]]
        source = _primary(node for s in sources for node in s.nodes)
        target = _primary(shard.nodes)
        if source is None or target is None:
            return None
        return Link(
            token=told["token"],
            name=f"{source_group.region}/{source_group.name} to {group.region}/{group.name}, "
            f"shard {shard.node_group_id}",
            source=self._side(source),
            target=self._side(target),
            scratch=str(self._scratch(group)),
            start=_position(told["start"]),
        )

    def _link_from_peer(
        self, shard: NodeGroup, group: ReplicationGroup, told: dict[str, Any]
    ) -> Link | None:
        """Return the link of a shard whose data is another cachefleet's; None where it waits."""
        target = _primary(shard.nodes)
        shown_at = None if target is None else peer_feeds.shown_at(target)
        if told[WAITS] or target is None or shown_at is None:
            return None
        host, port = told[OUTSIDE]["host"], told[OUTSIDE]["port"]
        return Link(
            token=told["token"],
            name=f"{told[PEER]['region']} to {group.region}/{group.name}, "
            f"shard {shard.node_group_id}",
            source=Side(
                socket=f"{TCP}{host}:{port}",
                username=REPLICATION_USER,
                password=group.replication_secret,
                ca=told[OUTSIDE].get("ca", ""),
            ),
            target=self._side(target),
            scratch=str(self._scratch(group)),
            start=_position(told["start"]),
            # By this the cachefleet of the source knows how far we are.
            shown_as=f"{shown_at[0]}:{shown_at[1]}",
        )

    def _link_from_outside(
        self, shard: NodeGroup, group: ReplicationGroup, told: dict[str, Any]
    ) -> Link | None:
        """Return the link of a shard whose data is taken over from a server of the customer's."""
        target = _primary(shard.nodes)
        if target is None:
            return None
        host, port = told["outside"]["host"], told["outside"]["port"]
        access = OutsideAccess(ca=told["outside"].get("ca") or "")
        try:
            if told["outside"].get("login"):
                uid = group.serverless_uid or ""
                access = access_of(told["outside"], self._fleet.master_key, uid)
        except (UnusableMasterKey, UnreadableSecret) as error:
            log.warning("source_login_unreadable", group=group.name, reason=str(error))
            return None
        return Link(
            token=told["token"],
            name=f"{host}:{port} to {group.region}/{group.name}, shard {shard.node_group_id}",
            source=Side(
                socket=f"{TCP}{host}:{port}",
                username=access.username,
                password=access.password,
                ca=access.ca,
            ),
            target=self._side(target),
            scratch=str(self._scratch(group)),
        )

    def _side(self, node: CacheNode) -> Side:
        return Side(
            socket=str(self._fleet.driver.socket_path(node.uid)),
            username=ADMIN_USER,
            password=node.admin_secret,
        )

    def _scratch(self, group: ReplicationGroup) -> Path:
        sealed = group.at_rest_encryption_enabled
        root = memory_folder(self._fleet) if sealed else self._fleet.settings.data_dir
        return root / SCRATCH_FOLDER / FEED_UID


def _position(told: dict[str, Any] | None) -> Position | None:
    if told is None:
        return None
    return Position(replication_id=told["replication_id"], offset=told["offset"])


def _primary(nodes: Iterable[CacheNode]) -> CacheNode | None:
    return next((n for n in nodes if n.status in LIVE and n.role == NodeRole.PRIMARY), None)
