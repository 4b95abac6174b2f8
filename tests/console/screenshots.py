"""Takes the pictures that the documentation shows: ``make screenshots``."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect, sync_playwright

from tests.console.browser import Console, launch, new_context, why_not
from tests.support.server import Server, available_group

if TYPE_CHECKING:
    from mypy_boto3_elasticache import ElastiCacheClient

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
SIZE = {"width": 1280, "height": 820}
BYTES_MAX = 200_000
NODE_TYPE = "cache.t4g.micro"
PICTURES = {
    "dashboard": ("/", "Engines found"),
    "caches": ("/valkey", "orders"),
    "create": ("/valkey/create", "Cluster settings"),
    "topology": ("/valkey/group/orders/topology", "Slot map"),
    "connect": ("/valkey/group/sessions/connect", "redis-py"),
}


def seed(client: ElastiCacheClient) -> None:
    """Create what the pictures show."""
    common = {
        "Engine": "valkey",
        "CacheNodeType": NODE_TYPE,
        "AutomaticFailoverEnabled": True,
        "MultiAZEnabled": True,
        "TransitEncryptionEnabled": False,
    }
    client.create_replication_group(
        ReplicationGroupId="orders",
        ReplicationGroupDescription="Orders of the shop",
        NumNodeGroups=2,
        ReplicasPerNodeGroup=1,
        **common,  # type: ignore[arg-type]
    )
    client.create_replication_group(
        ReplicationGroupId="sessions",
        ReplicationGroupDescription="Sessions of visitors",
        NumCacheClusters=3,
        **common,  # type: ignore[arg-type]
    )
    client.create_cache_cluster(
        CacheClusterId="pages", Engine="memcached", CacheNodeType=NODE_TYPE, NumCacheNodes=2
    )
    for name in ("orders", "sessions"):
        available_group(client, name)


def take(server: Server) -> None:
    """Take every picture in both colors, and one of a failover."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        for theme in ("light", "dark"):
            context = new_context(browser, color_scheme=theme, viewport=SIZE)
            console = Console(context, server.url)
            for name, (path, shown) in PICTURES.items():
                page = console.open(path)
                expect(page.get_by_text(shown).first).to_be_visible()
                page.wait_for_timeout(1000)  # charts and fonts settle; nothing tells when
                page.screenshot(path=FOLDER / f"{name}-{theme}.png")
            context.close()
        context = new_context(browser, viewport={"width": 1180, "height": 1380})
        page = Console(context, server.url).open("/valkey/group/sessions/topology")
        page.get_by_role("button", name="Kill primary and film").click()
        expect(page.get_by_text(re.compile("Clients were not served"))).to_be_visible()
        page.wait_for_timeout(2000)
        page.locator("h2", has_text="Failover film").scroll_into_view_if_needed()
        page.screenshot(path=FOLDER / "film-light.png")
        browser.close()


def main() -> int:
    """Take the pictures; return an exit status."""
    if reason := why_not():
        print(f"no pictures: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data") as server:
        seed(server.client())
        take(server)
    large = [path.name for path in FOLDER.glob("*.png") if path.stat().st_size > BYTES_MAX]
    print(f"{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}; too large: {large or 'none'}")
    return 1 if large else 0


if __name__ == "__main__":
    sys.exit(main())
