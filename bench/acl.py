"""How long a change of a user takes to reach every node that knows it.

From the call to the moment when the user is called active: every engine has taken its rights by
then. Beside it, what one connection sees: how long until the last node lets it do the new thing.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import redis

from bench.fleet import client, percentile, running, seconds_until

NODES_PER_GROUP = 5
PASSWORD = "a-password-of-the-bench"
QUESTION_S = 0.01


def main() -> None:
    """Print one row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=50)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--network", default="127.122.0.0/16")
    options = parser.parse_args()
    with running(network=options.network) as (url, _):
        api = client(url)
        wanted = {"Engine": "valkey", "Passwords": [PASSWORD]}
        api.create_user(UserId="app", UserName="app", AccessString="on ~* +ping", **wanted)
        api.create_user_group(UserGroupId="team", Engine="valkey", UserIds=["app"])
        seconds_until(lambda: group_status(api) == "active")
        names = create(api, options.nodes // NODES_PER_GROUP)
        seconds_until(lambda: settled(api, names), timeout_s=300)
        links = [connect(*where) for where in nodes(api)]
        took = [change(api, links, allow=run % 2 == 0) for run in range(options.runs)]
    recorded = [one for one, _ in took]
    seen = [one for _, one in took]
    print("| nodes | runs | active p50 | worst | seen by clients p50 | worst | target |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {len(links)} | {len(took)} | {percentile(recorded, 0.5):.0f} ms "
        f"| {max(recorded):.0f} ms | {percentile(seen, 0.5):.0f} ms | {max(seen):.0f} ms | 500 ms |"
    )


def create(api: Any, groups: int) -> list[str]:
    """Create groups that use the user group; return their names."""
    names = [f"bench-{number}" for number in range(groups)]
    for name in names:
        api.create_replication_group(
            ReplicationGroupId=name,
            ReplicationGroupDescription="measured",
            Engine="valkey",
            CacheNodeType="cache.t3.micro",
            NumCacheClusters=NODES_PER_GROUP,
            TransitEncryptionEnabled=True,
            UserGroupIds=["team"],
        )
    return names


def group_status(api: Any) -> str:
    """Return the user group's status."""
    return str(api.describe_user_groups(UserGroupId="team")["UserGroups"][0]["Status"])


def settled(api: Any, names: list[str]) -> bool:
    """Tell whether all groups are available."""
    groups = api.describe_replication_groups()["ReplicationGroups"]
    return len([group for group in groups if group["Status"] == "available"]) == len(names)


def nodes(api: Any) -> list[tuple[str, int]]:
    """Return where each node is reached."""
    return [
        (member["ReadEndpoint"]["Address"], member["ReadEndpoint"]["Port"])
        for group in api.describe_replication_groups()["ReplicationGroups"]
        for shard in group["NodeGroups"]
        for member in shard["NodeGroupMembers"]
    ]


def connect(host: str, port: int) -> Any:
    """Return a connection that stays open through all changes."""
    link = redis.Redis(
        host=host,
        port=port,
        username="app",
        password=PASSWORD,
        ssl=True,
        ssl_cert_reqs="none",
        ssl_check_hostname=False,
        single_connection_client=True,
    )
    link.ping()
    return link


def change(api: Any, links: list[Any], *, allow: bool) -> tuple[float, float]:
    """Give or take a right; return ms until it is recorded as done, and until all have it."""
    began = time.perf_counter()
    api.modify_user(UserId="app", AccessString=f"on ~* +ping {'+get' if allow else '-get'}")
    # Each question costs the server about a millisecond of what is measured.
    while api.describe_users(UserId="app")["Users"][0]["Status"] != "active":
        time.sleep(QUESTION_S)
    recorded = (time.perf_counter() - began) * 1000
    for link in links:
        assert may_read(link) is allow, "active was said too early"
    return recorded, (time.perf_counter() - began) * 1000


def may_read(link: Any) -> bool:
    """Tell whether a connection may read."""
    try:
        link.get("key")
    except redis.exceptions.NoPermissionError:
        return False
    return True


if __name__ == "__main__":
    main()
