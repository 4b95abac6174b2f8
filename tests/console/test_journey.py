"""What a person does with a cache from its creation to its end, on real nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import valkey
from playwright.sync_api import expect

from tests.console.browser import Console, choose, fill
from tests.support.server import Server, available_group, group_gone, group_of

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

pytestmark = pytest.mark.engine

NODE_TYPE = "cache.t4g.micro"
AVAILABLE = re.compile("Available")


@pytest.fixture(scope="module")
def pair(server: Server) -> str:
    """Give the name of a primary with a replica."""
    client = server.client()
    client.create_replication_group(
        ReplicationGroupId="pair",
        ReplicationGroupDescription="a pair",
        Engine="valkey",
        CacheNodeType=NODE_TYPE,
        NumCacheClusters=2,
        AutomaticFailoverEnabled=True,
        TransitEncryptionEnabled=False,
    )
    available_group(client, "pair")
    return "pair"


def test_creates_connects_and_deletes(
    console: Console, client: ElastiCacheClient, server: Server
) -> None:
    page = console.open("/valkey/create")
    page.get_by_role("radio", name="Disabled").check()
    fill(page, "Name", "made-here")
    fill(page, "Description - optional", "made by hand")
    choose(page, "Node type", NODE_TYPE)
    fill(page, "Number of replicas", "1")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Encryption at rest").uncheck()
    page.get_by_label("Encryption in transit").uncheck()
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("--replication-group-id made-here")).to_be_visible()
    page.get_by_role("button", name="Create", exact=True).click()

    # It becomes available before our eyes.
    expect(page.get_by_role("heading", name="made-here", exact=True)).to_be_visible()
    expect(page.get_by_text(AVAILABLE).first).to_be_visible()
    available_group(client, "made-here")

    page.get_by_role("tab", name="Connect").click()
    snippet = page.get_by_label("valkey-cli snippet").inner_text()
    host, port = re.search(r"-h (\S+) -p (\d+)", snippet).groups()  # type: ignore[union-attr]
    with valkey.Valkey(host, int(port)) as cache:
        cache.set("<b>key</b>", "value")
        assert cache.get("<b>key</b>") == b"value"

    page.get_by_role("tab", name="Keys").click()
    page.get_by_role("radio", name="Select <b>key</b>").check()
    expect(page.get_by_label("Value of <b>key</b>")).to_have_text('"value"')
    command = page.get_by_label("Command for made-here-001")
    for typed, told in [
        ("GET <b>key</b>", '"value"'),
        ("SET a b", "read-only"),
        ("FLUSHALL", "not run from here"),
    ]:
        command.fill(typed)
        command.press("Enter")
        expect(page.get_by_label("Replies")).to_contain_text(told)

    page.get_by_role("button", name="Delete", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog.get_by_text("Type made-here to confirm.")).to_be_visible()
    assert group_of(client, "made-here")["Status"] == "available"
    dialog.get_by_label("To confirm, type made-here").fill("made-here")
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("made-here is gone")).to_be_visible()
    group_gone(client, "made-here")


def test_films_a_failover(console: Console, client: ElastiCacheClient, pair: str) -> None:
    before = _primary(client, pair)
    page = console.open(f"/valkey/group/{pair}/topology")
    expect(page.get_by_label(f"{before} primary")).to_be_visible()
    page.get_by_role("button", name="Kill primary and film").click()
    told = page.get_by_text(re.compile(r"Clients were not served for \d+ ms"))
    expect(told).to_be_visible()
    expect(
        page.get_by_label(re.compile(r"Client at .*: served, then not-served, then served"))
    ).to_be_visible()
    expect(page.get_by_label(f"{before} replica")).to_be_visible()
    available_group(client, pair)
    assert _primary(client, pair) != before


def test_breaks_a_node_and_takes_it_back(console: Console, pair: str) -> None:
    page = console.open(f"/valkey/group/{pair}/topology")
    page.get_by_label("What is hit").click()
    page.get_by_role("option", name=re.compile("replica")).first.click()
    page.get_by_role("button", name="Break").click()
    page.get_by_role("menuitem", name="Freeze for 30 s").click()
    row = page.get_by_role("row").filter(has_text="stop")
    expect(row.get_by_text("Active")).to_be_visible()
    row.get_by_role("button", name=re.compile("Undo")).click()
    expect(row.get_by_text("Stopped")).to_be_visible()


def test_reshards_and_shows_the_slots(console: Console, client: ElastiCacheClient) -> None:
    client.create_replication_group(
        ReplicationGroupId="sharded",
        ReplicationGroupDescription="shards",
        Engine="valkey",
        CacheNodeType=NODE_TYPE,
        NumNodeGroups=1,
        ReplicasPerNodeGroup=0,
        AutomaticFailoverEnabled=True,
        TransitEncryptionEnabled=False,
    )
    available_group(client, "sharded")
    page = console.open("/valkey/group/sharded/topology")
    expect(page.get_by_text("Shard 0001: 16384 slots").first).to_be_visible()
    page.get_by_label("Which slot is this key in?").fill("{foo}.bar")
    expect(page.get_by_test_id("key-slot")).to_have_text("Slot 12182, on shard 0001")

    page.get_by_role("button", name="Actions", exact=True).click()
    page.get_by_role("menuitem", name="Add or delete shards").click()
    fill(page, "Number of shards", "2")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Shard 0002: 8192 slots").first).to_be_visible()
    expect(page.get_by_test_id("key-slot")).to_have_text("Slot 12182, on shard 0002")
    available_group(client, "sharded")
    client.delete_replication_group(ReplicationGroupId="sharded")


def test_edits_a_parameter(console: Console, client: ElastiCacheClient) -> None:
    client.create_cache_parameter_group(
        CacheParameterGroupName="mine", CacheParameterGroupFamily="valkey8", Description="mine"
    )
    page = console.open("/parameter-groups/mine")
    page.get_by_label("Find parameters").fill("maxmemory-samples")
    value = page.get_by_label("Value of maxmemory-samples")
    value.fill("0")
    expect(page.get_by_role("button", name="Review 1 changes")).to_be_disabled()
    value.fill("7")
    page.get_by_role("button", name="Review 1 changes").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("deletion")).to_have_text("3")
    expect(dialog.get_by_role("insertion")).to_have_text("7")
    dialog.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("1 parameters of mine are saved.")).to_be_visible()
    answer = client.describe_cache_parameters(CacheParameterGroupName="mine", Source="user")
    values = {one["ParameterName"]: one["ParameterValue"] for one in answer["Parameters"]}
    assert values == {"maxmemory-samples": "7"}


def test_backs_up_and_restores(console: Console, client: ElastiCacheClient, pair: str) -> None:
    page = console.open(f"/valkey/group/{pair}")
    _write(client, pair, "kept", "for ever")
    page.get_by_role("button", name="Actions", exact=True).first.click()
    page.get_by_role("menuitem", name="Backup").click()
    fill(page, "Backup name", "the-backup")
    page.get_by_role("button", name="Create backup").click()
    page.goto(f"{console.url}/console/#/backups")
    row = page.get_by_role("row").filter(has_text="the-backup")
    expect(row.get_by_text(AVAILABLE)).to_be_visible()

    row.get_by_role("radio").check()
    page.get_by_role("button", name="Actions", exact=True).click()
    page.get_by_role("menuitem", name="Restore").click()
    page.get_by_role("radio", name="Disabled").check()
    fill(page, "Name", "restored")
    choose(page, "Node type", NODE_TYPE)
    fill(page, "Number of replicas", "1")
    page.get_by_role("button", name="Next").click()
    page.get_by_label("Encryption at rest").uncheck()
    page.get_by_label("Encryption in transit").uncheck()
    page.get_by_role("button", name="Next").click()
    page.get_by_role("button", name="Create", exact=True).click()
    expect(page.get_by_role("heading", name="restored", exact=True)).to_be_visible()
    group = available_group(client, "restored")
    assert group["Status"] == "available"
    assert _read(client, "restored", "kept") == b"for ever"
    client.delete_replication_group(ReplicationGroupId="restored")


def _primary(client: ElastiCacheClient, name: str) -> str:
    members = group_of(client, name)["NodeGroups"][0]["NodeGroupMembers"]
    (primary,) = (one for one in members if one["CurrentRole"] == "primary")
    return str(primary["CacheClusterId"])


def _cache(client: ElastiCacheClient, name: str) -> valkey.Valkey:
    endpoint = group_of(client, name)["NodeGroups"][0]["PrimaryEndpoint"]
    return valkey.Valkey(endpoint["Address"], endpoint["Port"])


def _write(client: ElastiCacheClient, name: str, key: str, value: str) -> None:
    with _cache(client, name) as cache:
        cache.set(key, value)


def _read(client: ElastiCacheClient, name: str, key: str) -> object:
    with _cache(client, name) as cache:
        return cache.get(key)
