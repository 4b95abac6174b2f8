"""INFO replication, as both sides and both engines write it."""

from __future__ import annotations

import pytest

from cachefleet.engine.types import Endpoint, NodeRole
from cachefleet.engine.valkey.replication import (
    NotAReplicationReply,
    parse_info,
    parse_replication,
)

PRIMARY = """\
# Replication\r
role:master\r
connected_slaves:2\r
slave0:ip=127.0.0.2,port=6379,state=online,offset=98,lag=1,type=replica\r
slave1:ip=::1,port=6380,state=wait_bgsave,offset=0,lag=-1\r
slave_priority_is_no_link:7\r
master_failover_state:waiting-for-sync\r
master_replid:9c2d\r
master_repl_offset:112\r
"""
REPLICA = """\
# Persistence\r
loading:0\r
async_loading:1\r
# Replication\r
role:slave\r
master_host:127.0.0.1\r
master_port:6379\r
master_link_status:down\r
master_sync_in_progress:1\r
slave_read_repl_offset:90\r
slave_repl_offset:98\r
slave_priority:100\r
master_replid:9c2d\r
master_repl_offset:70\r
"""


def test_reads_a_primary_with_its_replicas() -> None:
    view = parse_replication(PRIMARY.encode())
    assert view.role is NodeRole.PRIMARY
    assert (view.offset, view.replid, view.primary) == (112, "9c2d", None)
    assert view.failover_state == "waiting-for-sync"
    first, second = view.replicas
    assert (first.endpoint, first.offset, first.state) == (
        Endpoint("127.0.0.2", 6379),
        98,
        "online",
    )
    assert first.lag_s == 1
    assert second.endpoint == Endpoint("::1", 6380)
    assert second.lag_s is None
    assert not view.loading


def test_reads_a_replica_by_what_it_has_applied() -> None:
    view = parse_replication(REPLICA)
    assert view.role is NodeRole.REPLICA
    assert view.offset == 98
    assert view.primary == Endpoint("127.0.0.1", 6379)
    assert (view.link_up, view.sync_in_progress, view.loading) == (False, True, True)
    assert view.failover_state == "no-failover"
    up = parse_replication(REPLICA.replace("status:down", "status:up").replace("ing:1", "ing:0"))
    assert (up.link_up, up.loading) == (True, False)


@pytest.mark.parametrize("text", ["", "role:sentinel", "# Replication\r\n"])
def test_refuses_text_without_a_role(text: str) -> None:
    with pytest.raises(NotAReplicationReply):
        parse_replication(text)


def test_info_values_keep_their_colons() -> None:
    assert parse_info("# S\r\na:b:c\r\nd:\r\nnonsense\r\n") == {"a": "b:c", "d": ""}
