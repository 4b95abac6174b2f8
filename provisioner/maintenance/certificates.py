"""Files what renews certificates, in time, and removes those of what is gone.

Certificates are replaced by settling their subject (:mod:`..reconciler.secure`): here it is only
noticed that it is time, or that an operator has ordered it. Whoever holds a subject's lease looks
after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import structlog
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from cachefleet.engine.pki import UnusableKeys
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.transit import gateway_name
from cachefleet.provisioner.state import operations
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import CacheNode, Subject

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0  # an order is followed at once, to a person's eye; a look is one stat
SWEEP_EVERY_LOOKS = 1_800
ENDPOINT_KINDS = ("primary", "reader", "configuration", "serverless", "upstream")
EVERYTHING = Scope("", "")

Held = Callable[[], Mapping[str, Lease]]


class CertificateWatch:
    """Runs until cancelled. *held* tells which subjects are ours at the moment."""

    def __init__(self, fleet: Fleet, *, held: Held) -> None:
        self._fleet = fleet
        self._held = held

    async def run(self) -> None:
        """Look again and again. A database that is away is asked at the next look."""
        looks = 0
        while True:
            try:
                if looks % SWEEP_EVERY_LOOKS == 0:
                    await self.sweep()
                if self._fleet.certificates.anything_due() or self._distrusting():
                    await self.file_due()
            except DBAPIError as error:
                log.warning("certificates_postponed", reason=str(error.orig))
            looks += 1
            await asyncio.sleep(LOOK_EVERY_S)

    async def file_due(self) -> list[str]:
        """File a settling for each of our subjects with a certificate that is due; return them."""
        certificates, held = self._fleet.certificates, self._held()
        async with self._fleet.store.read(EVERYTHING) as tx:
            rows = (await tx.session.execute(select(CacheNode.uid, CacheNode.subject_uid))).all()
        due = {
            subject
            for node, subject in rows
            if any(certificates.is_due(name) for name in names_of(node, subject))
        } | {subject for node, subject in rows if node in self._distrusting()}
        filed = sorted(due & held.keys())
        for uid in filed:
            async with self._fleet.store.begin(held[uid].scope) as tx:
                await operations.ensure_settle(tx, held[uid])
        if filed:
            log.info("certificates_due", subjects=filed)
        return filed

    def _distrusting(self) -> set[str]:
        """Return the nodes whose engines trust other authorities than they should by now."""
        stamp = self._fleet.certificates.trust_stamp()
        return {uid for uid, seen in self._fleet.trusts.items() if seen != stamp}

    async def sweep(self) -> None:
        """Remove the certificates of nodes and subjects that are gone, and trust in what is."""
        async with self._fleet.store.read(EVERYTHING) as tx:
            nodes = (await tx.session.scalars(select(CacheNode.uid))).all()
            subjects = (await tx.session.scalars(select(Subject.uid))).all()
        living = {*nodes, *subjects}
        for name in self._fleet.certificates.names():
            if name.partition("-")[0] not in living:
                self._fleet.certificates.forget(name)
        if self._fleet.certificates.authority_path.exists():
            try:
                self._fleet.certificates.forget_former()
            except UnusableKeys as error:
                log.warning("authorities_kept", reason=str(error))


def names_of(node_uid: str, subject_uid: str) -> tuple[str, ...]:
    """Return the names under which certificates of a node and its subject are kept."""
    endpoints = (f"{subject_uid}-{kind}" for kind in ENDPOINT_KINDS)
    return (node_uid, gateway_name(node_uid), *endpoints)
