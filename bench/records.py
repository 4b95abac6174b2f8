"""The API under load, with eight connections of wrk, at both front doors, beside moto_server.

Descriptions of 100 resources; users created and deleted, which are records without an engine
(moto_server has no parameter groups, so those rows are of cachefleet alone);
how long calls take while 50 nodes are created; the control plane's memory over 100,000 requests.
"""

from __future__ import annotations

import argparse
import itertools
import re
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.api import CONNECTIONS, SCRIPT, moto
from bench.fleet import client, median, running, seconds_until, written_to

RESOURCES = 100
ACCOUNT = "111111111111"
DEFAULT_USER = "the-default"
BEHIND = 64  # so many records stand between a creation and its deletion
NODES = 50
REQUESTS = 100_000
WARM_UP_REQUESTS = 10_000
MIB = 1 << 20
QUERY = "Action={action}&Version=2015-02-02{more}"
DESCRIBED = {"users": "DescribeUsers", "subnet-groups": "DescribeCacheSubnetGroups"}

# Creates one record and deletes an older one, in turn; N is the number of the one that is meant.
CHURN = """local count = 0
request = function()
  count = count + 1
  local number = math.floor((count + 1) / 2)
  if count % 2 == 1 then
    return {create}
  end
  number = number - {behind}
  return {delete}
end
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of record: how a request creates and deletes one, in the words of both doors."""

    name: str
    create: str
    delete: str
    path: str
    document: str


USER = Kind(
    "users",
    "&UserId=NAME&UserName=NAME&Engine=redis&AccessString=on%20~*%20%2Bget&NoPasswordRequired=true",
    "&UserId=NAME",
    "/v1/users",
    '{"UserId":"NAME","UserName":"NAME","Engine":"redis","AccessString":"on ~* +get",'
    '"NoPasswordRequired":true}',
)
PARAMETER_GROUP = Kind(
    "parameter groups",
    "&CacheParameterGroupName=NAME&CacheParameterGroupFamily=valkey8&Description=bench",
    "&CacheParameterGroupName=NAME",
    "/v1/parameter-groups",
    '{"CacheParameterGroupName":"NAME","CacheParameterGroupFamily":"valkey8","Description":"b"}',
)
SUBNET_GROUP = Kind(
    "subnet groups",
    "&CacheSubnetGroupName=NAME&CacheSubnetGroupDescription=bench"
    "&SubnetIds.SubnetIdentifier.1=subnet-0123456789abcdef0",
    "&CacheSubnetGroupName=NAME",
    "/v1/subnet-groups",
    '{"CacheSubnetGroupName":"NAME","CacheSubnetGroupDescription":"bench",'
    '"SubnetIds":["subnet-0123456789abcdef0"]}',
)
# Of a user that is there; moto_server has no user groups.
USER_GROUP = Kind(
    "user groups",
    "&UserGroupId=NAME&Engine=redis&UserIds.member.1=the-default",
    "&UserGroupId=NAME",
    "/v1/user-groups",
    '{"UserGroupId":"NAME","Engine":"redis","UserIds":["the-default"]}',
)
ACTIONS = {
    "users": ("CreateUser", "DeleteUser"),
    "subnet groups": ("CreateCacheSubnetGroup", "DeleteCacheSubnetGroup"),
    "user groups": ("CreateUserGroup", "DeleteUserGroup"),
    "parameter groups": ("CreateCacheParameterGroup", "DeleteCacheParameterGroup"),
}


def main() -> None:
    """Print a table of ratios, and two of the server alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    print("| load | door | cachefleet | moto_server | ratio | target |\n|---|---|---|---|---|---|")
    with running() as (ours, pid), moto() as theirs:
        for url in (ours, theirs):
            fill(url)
        for resource, action in DESCRIBED.items():
            _compare_described(ours, theirs, resource, action, options)
        for door in ("/", "/v1"):
            _compare_churn(USER, door, ours, theirs, options)
            for kind in (PARAMETER_GROUP, SUBNET_GROUP, USER_GROUP):
                rates = [churn(ours, kind, door, options.seconds, turn=n) for n in (1, 2)]
                print(f"| create and delete {kind.name} | {door} | {median(rates):.0f}/s | | | |")
        print_latencies(ours)
        print_memory(ours, pid)


def fill(url: str) -> None:
    """Create what is described."""
    api = client(url)
    for number in range(RESOURCES):
        api.create_user(
            UserId=f"u{number}",
            UserName=f"u{number}",
            Engine="redis",
            AccessString="on ~app::* +@read",
            NoPasswordRequired=True,
        )
        written_to(
            api.create_cache_subnet_group,
            CacheSubnetGroupName=f"s{number}",
            CacheSubnetGroupDescription="bench",
            SubnetIds=["subnet-0123456789abcdef0"],
        )


def _compare_described(ours: str, theirs: str, resource: str, action: str, options: Any) -> None:
    query = _headers(QUERY.format(action=action, more=""))
    get = _headers("", of_query=False)
    their_rates = [_rate(wrk(theirs + "/", query, options.seconds)) for _ in range(options.pairs)]
    for door, script in (("/", query), (f"/v1/{resource}", get)):
        rates = [_rate(wrk(ours + door, script, options.seconds)) for _ in range(options.pairs)]
        _row(f"describe {RESOURCES} {resource}", door, rates, their_rates, "4x")


def _compare_churn(kind: Kind, door: str, ours: str, theirs: str, options: Any) -> None:
    rates, their_rates = [], []
    for turn in range(options.pairs):
        rates.append(churn(ours, kind, door, options.seconds, turn=turn))
        their_rates.append(churn(theirs, kind, "/", options.seconds, turn=turn * 2 + (door != "/")))
    _row(f"create and delete {kind.name}", door, rates, their_rates, "3x")


def _row(load: str, door: str, ours: list[float], theirs: list[float], target: str) -> None:
    ratio = median([a / b for a, b in zip(ours, theirs, strict=True)])
    print(
        f"| {load} | {door} | {median(ours):.0f}/s | {median(theirs):.0f}/s | {ratio:.1f}x "
        f"| {target} |",
        flush=True,
    )


def churn(url: str, kind: Kind, door: str, seconds: float, *, turn: int) -> float:
    """Return how many records a second are created and deleted again, in requests."""
    base = f"{kind.name[0]}{'v' if door != '/' else 'q'}{turn}-"
    create, _ = ACTIONS[kind.name]
    account = f"{turn:012d}"  # of its own: what stays behind counts towards a quota
    script = _churn_script(kind, door, base).replace(ACCOUNT, account)
    # The first deletions shall find something; wrk throws the first request of a script away.
    api = client(url, account=account)
    if kind is USER_GROUP:
        user = {"UserId": DEFAULT_USER, "UserName": "default", "Engine": "redis"}
        _create(api, "CreateUser", {**user, "AccessString": ""})
    for number in range(1 - BEHIND, 2):
        name = f"{base}{number + BEHIND}o" if number < 1 else f"{base}1"
        fields = {
            part.split("=")[0]: part.split("=")[1].replace("NAME", name)
            for part in kind.create.lstrip("&").split("&")
        }
        _create(api, create, fields)
    return _rate(wrk(url + ("/" if door == "/" else kind.path), script, seconds))


def _create(api: Any, action: str, fields: dict[str, Any]) -> None:
    if "AccessString" in fields:
        fields = {**fields, "AccessString": "on ~* +get", "NoPasswordRequired": True}
    listed = {name: [text] for name, text in fields.items() if "." in name}
    fields = {name: text for name, text in fields.items() if "." not in name}
    fields.update({name.partition(".")[0]: texts for name, texts in listed.items()})
    operation = re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower()
    written_to(getattr(api, operation), **fields)


def _churn_script(kind: Kind, door: str, base: str) -> str:
    name = f'"{base}" .. number'
    old = f'(number > 0 and "{base}" .. number or "{base}" .. (number + {BEHIND}) .. "o")'
    create, delete = ACTIONS[kind.name]

    def filled(text: str, number: str) -> str:
        return " .. ".join(
            [f"[[{piece}]]" if piece else '""' for piece in text.split("NAME")][:1]
            + [f"{number} .. [[{piece}]]" for piece in text.split("NAME")[1:]]
        )

    if door == "/":
        made = filled(QUERY.format(action=create, more=kind.create), name)
        gone = filled(QUERY.format(action=delete, more=kind.delete), old)
        lines = (
            f'wrk.format("POST", "/", nil, {made})',
            f'wrk.format("POST", "/", nil, {gone})',
        )
        head = _headers("")
    else:
        lines = (
            f'wrk.format("POST", "{kind.path}", nil, {filled(kind.document, name)})',
            f'wrk.format("DELETE", "{kind.path}/" .. {old})',
        )
        head = _headers("", of_query=False) + 'wrk.headers["Content-Type"] = "application/json"\n'
    return head + CHURN.replace("{create}", lines[0]).replace("{delete}", lines[1]).replace(
        "{behind}", str(BEHIND)
    )


def _headers(body: str, *, of_query: bool = True) -> str:
    text = SCRIPT.format(body=body, signature="0" * 64)
    if of_query:
        return text
    posted = ("wrk.method", "wrk.body", 'wrk.headers["Content-Type"]')
    return "\n".join(line for line in text.splitlines() if not line.startswith(posted)) + "\n"


def wrk(place: str, script: str, seconds: float) -> str:
    """Return what wrk prints of a run with eight connections in which nothing was refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "load.lua"
        path.write_text(script)
        words = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds:g}s", "--latency", "-s", str(path)]
        printed = subprocess.run([*words, place], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in printed:
        raise SystemExit(f"{place} refused: {printed}")
    return printed


def _rate(printed: str) -> float:
    return float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1])  # type: ignore[index]


def _p99_ms(printed: str) -> float:
    found = re.search(r"99%\s+([\d.]+)(us|ms|s)", printed)
    assert found is not None, printed
    return float(found[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[found[2]]


def print_latencies(url: str) -> None:
    """Print the p99 of calls, second by second, while nodes are created."""
    done = threading.Event()

    def create() -> None:
        api = client(url)
        names = [f"busy{number}" for number in range(NODES // 2)]
        for name in names:
            api.create_replication_group(
                ReplicationGroupId=name,
                ReplicationGroupDescription="bench",
                Engine="valkey",
                CacheNodeType="cache.t3.micro",
                NumCacheClusters=2,
                AutomaticFailoverEnabled=True,
            )
        seconds_until(lambda: _available(api) >= len(names), timeout_s=120)
        done.set()

    print(
        f"\n| while {NODES} nodes are created | calls | p99 by second | target |\n|---|---|---|---|"
    )
    creator = threading.Thread(target=create)
    creator.start()
    p99s_ms: list[float] = []
    calls = 0.0
    script = _headers(QUERY.format(action="DescribeUsers", more="&MaxRecords=20"))
    while not done.is_set():
        printed = wrk(url + "/", script, 1)
        p99s_ms.append(_p99_ms(printed))
        calls += _rate(printed)
    creator.join()
    seconds = ", ".join(f"{p99:.0f}" for p99 in p99s_ms)
    print(f"| {CONNECTIONS} connections | {calls:.0f} | {seconds} ms | 30 ms |", flush=True)


def _available(api: Any) -> int:
    pages = api.get_paginator("describe_replication_groups").paginate()
    return sum(row["Status"] == "available" for page in pages for row in page["ReplicationGroups"])


def print_memory(url: str, pid: int) -> None:
    """Print what the control plane holds before and after many requests."""
    process = psutil.Process(pid)
    reads = (
        (url + "/", _headers(QUERY.format(action="DescribeUsers", more=""))),
        (url + "/v1/users", _headers("", of_query=False)),
    )
    turns = itertools.count(10)
    print("\n| requests so far | memory | target |\n|---|---|---|")
    sent, goals = 0, [WARM_UP_REQUESTS, REQUESTS // 2, REQUESTS]
    while goals:
        for place, script in reads:
            printed = wrk(place, script, 1)
            sent += int(re.search(r"(\d+) requests in", printed)[1])  # type: ignore[index]
        sent += int(churn(url, USER, "/", 1, turn=next(turns)))
        if sent >= goals[0]:
            goals = [goal for goal in goals if sent < goal]
            rss = process.memory_info().rss / MIB
            print(f"| {sent:,} | {rss:.0f} MiB | flat |", flush=True)


if __name__ == "__main__":
    main()
