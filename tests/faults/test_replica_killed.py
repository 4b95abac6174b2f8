"""A replica's process ends: nobody who writes notices, and it comes back in sync."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.caches import (
    connected,
    create_group,
    kill_at_once,
    kill_node,
    missing_numbers,
    pid_of,
    primary_address,
    primary_of,
    roles,
    write_again,
    write_numbers,
)
from tests.support.audit import events, require_agreement
from tests.support.server import Server, group_of

pytestmark = pytest.mark.engine

WRITES = 200


def test_writes_go_on_and_the_replica_catches_up(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        create_group(client, "g")
        address, before = primary_address(client, "g"), roles(client, "g")
        primary = primary_of(client, "g")
        [replica] = set(before) - {primary}
        write_numbers(address, 0, WRITES, replicas=1)
        pid = pid_of(server, primary)
        with connected(address) as connection:
            killed = kill_node(server, replica)
            for number in range(WRITES, 2 * WRITES):
                connection.set(f"{{n}}:{number}", number)  # on one connection, without a failure
        require_agreement(server)
        assert roles(client, "g") == before
        assert pid_of(server, primary) == pid
        assert pid_of(server, replica) != killed
        write_numbers(address, 2 * WRITES, 1, replicas=1)
        [own] = [
            member["ReadEndpoint"]
            for member in group_of(client, "g")["NodeGroups"][0]["NodeGroupMembers"]
            if member["CacheClusterId"] == replica
        ]
        assert missing_numbers((own["Address"], own["Port"]), 2 * WRITES + 1) == []
        assert not any("Failover" in message for message in events(server, "g"))
        assert events(server, replica)[-1] == "Finished recovery for cache nodes 0001"


def test_a_group_that_lost_every_process_serves_again_at_its_endpoint(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        client = server.client()
        create_group(client, "g")
        address = primary_address(client, "g")
        kill_at_once(server, roles(client, "g"))
        write_again(address)
        require_agreement(server)
        assert sorted(roles(client, "g").values()) == ["primary", "replica"]
        assert primary_address(client, "g") == address
        write_numbers(address, 0, WRITES, replicas=1)
