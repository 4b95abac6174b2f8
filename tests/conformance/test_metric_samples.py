"""Samples of nodes, on both databases."""

from __future__ import annotations

from sqlalchemy import select

from cachefleet.provisioner.state import metrics
from cachefleet.provisioner.state.metric_tables import MetricSample
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from cachefleet.provisioner.state.tables import CacheNode
from tests.builders.groups import replication_group

HERE = Scope("000000000000", "us-east-1")


async def test_a_second_sample_of_an_instant_takes_the_place_of_the_first(store: Store) -> None:
    async with store.begin(HERE) as tx:
        await replication_group(tx, "g")
        uids = list(await tx.session.scalars(select(CacheNode.uid)))
        layout = await metrics.ensure_layout(tx, ["CPUUtilization"])
    for value in (1.0, 2.0):
        async with store.begin(HERE) as tx:
            for at_s in (15, 30):
                packed = metrics.pack({"CPUUtilization": value}, ["CPUUtilization"])
                await metrics.keep(tx, uids[0], at_s, layout, packed)
    async with store.read(HERE) as tx:
        found = (await tx.session.scalars(select(MetricSample))).all()
        kept = {row.sampled_at_s: list(metrics.unpack(row.numbers)) for row in found}
    assert kept == {15: [2.0], 30: [2.0]}
