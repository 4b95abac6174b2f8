"""Every page for everybody: reachable, readable, honest about errors, and alive."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browser import Console, fill, new_context, violations
from tests.support.server import Server, command

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

PAGES = {
    "/": "Dashboard",
    "/valkey": "Valkey caches",
    "/valkey/create": "Cluster settings",
    "/memcached": "Memcached caches",
    "/redis": "Redis OSS caches",
    "/serverless": "Serverless caches",
    "/global-datastores": "Global datastores",
    "/backups": "Backups",
    "/subnet-groups": "Subnet groups",
    "/parameter-groups": "Parameter groups",
    "/parameter-groups/default.valkey8": "default.valkey8",
    "/users": "User management",
    "/user-groups": "User group management",
    "/events": "Events",
    "/service-updates": "Service updates",
    "/reserved-nodes": "Reserved nodes",
    "/calls": "Call log",
}
MARKUP = "<img src=x onerror=alert(1)>"
TABS = ("shards", "topology", "metrics", "network", "maintenance", "tags", "connect")
PHONE = {"width": 390, "height": 844}
SLIGHTLY_PX = 1


@pytest.fixture
def memcached(client: ElastiCacheClient) -> str:
    """Give the name of a cluster whose subnet group has a name with markup in its description."""
    with contextlib.suppress(client.exceptions.CacheClusterAlreadyExistsFault):
        client.create_cache_cluster(
            CacheClusterId="simple",
            Engine="memcached",
            CacheNodeType="cache.t4g.micro",
            NumCacheNodes=1,
            Tags=[{"Key": "look", "Value": MARKUP}],
        )
    return "simple"


def test_every_page_is_there_and_accessible(console: Console, memcached: str) -> None:
    found: dict[str, list[str]] = {}
    paths = {**PAGES, **{f"/memcached/cluster/{memcached}/{tab}": memcached for tab in TABS}}
    for path, heading in paths.items():
        page = console.open(path)
        expect(page.get_by_role("heading", name=heading).first).to_be_visible()
        expect(page.get_by_text("Loading", exact=True)).to_have_count(0)
        if serious := violations(page):
            found[path] = serious
    assert found == {}


@pytest.mark.parametrize("path", ["/", "/memcached", "/valkey/create"])
def test_dark_pages_are_readable_and_a_phone_is_wide_enough(
    browser: Browser, server: Server, path: str
) -> None:
    context = new_context(browser, color_scheme="dark", viewport=PHONE)
    console = Console(context, server.url)
    page = console.open(path)
    expect(page.get_by_role("heading", name=PAGES[path]).first).to_be_visible()
    expect(page.locator("body.awsui-dark-mode")).to_be_visible()
    assert violations(page) == []
    wide = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= SLIGHTLY_PX
    context.close()
    console.require_clean()


def test_markup_is_shown_as_text(console: Console, memcached: str) -> None:
    page = console.open(f"/memcached/cluster/{memcached}/tags")
    expect(page.get_by_role("cell", name=MARKUP)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_works_by_keyboard(console: Console) -> None:
    page = console.open("/subnet-groups")
    page.get_by_role("button", name="Create subnet group").first.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Name", exact=True).focus()
    page.keyboard.type("typed")
    page.keyboard.press("Enter")
    expect(dialog.get_by_text("Description is required.")).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_a_refusal_stands_at_its_field_and_nothing_is_lost(
    console: Console, client: ElastiCacheClient
) -> None:
    client.create_cache_subnet_group(
        CacheSubnetGroupName="taken",
        CacheSubnetGroupDescription="a",
        SubnetIds=["subnet-0a1b2c3d"],
    )
    page = console.open("/subnet-groups")
    page.get_by_role("button", name="Create subnet group").first.click()
    fill(page, "Name", "taken")
    fill(page, "Description", "typed with care")
    fill(page, "Subnets", "subnet-1a2b3c4d")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_text(re.compile("already exists"))).to_be_visible()
    name = dialog.get_by_label("Name", exact=True)
    expect(name).to_have_attribute("aria-invalid", "true")
    expect(dialog.get_by_label("Description", exact=True)).to_have_value("typed with care")
    name.fill("free")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_text("Subnet group free is created.")).to_be_visible()

    # The call log has both, to be copied.
    page.goto(f"{console.url}/console/#/calls")
    expect(page.get_by_role("row").filter(has_text="CreateCacheSubnetGroup")).to_have_count(2)
    expect(page.get_by_label("Call as aws-cli")).to_contain_text("--cache-subnet-group-name free")


def test_a_server_that_does_not_answer_costs_nothing(console: Console) -> None:
    page = console.open("/parameter-groups")
    page.get_by_role("button", name="Create parameter group").first.click()
    fill(page, "Name", "patient")
    page.get_by_label("Family").click()
    page.get_by_role("option", name="valkey8").click()
    fill(page, "Description", "still here")
    page.context.set_offline(True)
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Create").click()
    expect(dialog.get_by_text("The server does not answer.")).to_be_visible()
    expect(dialog.get_by_label("Description", exact=True)).to_have_value("still here")
    page.context.set_offline(False)
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_text("Parameter group patient is created.")).to_be_visible()


def test_changes_made_elsewhere_appear_by_themselves(
    console: Console, client: ElastiCacheClient
) -> None:
    page = console.open("/memcached")
    expect(page.get_by_role("heading", name="Memcached caches").first).to_be_visible()
    page.wait_for_load_state("domcontentloaded")
    calls: list[str] = []
    client.create_cache_cluster(
        CacheClusterId="elsewhere",
        Engine="memcached",
        CacheNodeType="cache.t4g.micro",
        NumCacheNodes=1,
    )
    page.on("request", lambda request: calls.append(request.post_data or ""))
    row = page.get_by_role("row").filter(has_text="elsewhere")
    expect(row.get_by_text("Available")).to_be_visible()
    # What had changed was asked for, not everything.
    assert any("CacheClusterId=elsewhere" in call for call in calls)

    page.goto(f"{console.url}/console/#/memcached/cluster/elsewhere")
    expect(page.get_by_role("heading", name="elsewhere", exact=True)).to_be_visible()
    client.delete_cache_cluster(CacheClusterId="elsewhere")
    expect(page.get_by_text("elsewhere is gone")).to_be_visible()


@pytest.mark.engine
def test_signs_in_where_signatures_are_checked(
    console: Console, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    del console  # skips where there is no browser
    folder = tmp_path_factory.mktemp("enforced") / "data"
    with Server(folder, "--auth", "enforce") as enforced:
        made = command("credentials", "create", "--data-dir", str(folder), "--json")
        assert made.returncode == 0, made.stderr
        keys = json.loads(made.stdout)
        context = new_context(browser)
        strict = Console(context, enforced.url)
        page = strict.open("/")
        fill(page, "Access key ID", keys["access_key_id"])
        fill(page, "Secret access key", "wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text(re.compile("signature", re.IGNORECASE)).last).to_be_visible()
        fill(page, "Secret access key", keys["secret_access_key"])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Dashboard").first).to_be_visible()
        # The stream of changes is signed too.
        expect(page.get_by_text("at once")).to_be_visible()
        stored = page.evaluate("() => JSON.stringify({...localStorage, ...sessionStorage})")
        assert keys["secret_access_key"] not in stored
        page.reload()
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        context.close()
        strict.require_clean()
