"""Thousands of random requests to a server with real engines, at both doors: what has to hold.

First requests made from the shapes (``tests.support.fuzz``), on four connections at once; then
requests made from the OpenAPI document by schemathesis, with names of what is there in many of
them. No answer is a failure of ours or late; after each round every listing and every resource is
shown, records, processes and directories agree, and all of it can be deleted. The seed is printed:
the same seed sends the same requests.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case
from schemathesis.core.result import Ok
from tests.support.audit import Audit, audit, require_agreement
from tests.support.fuzz import Answer, FuzzRequest, request, violations, wrong
from tests.support.fuzz_calls import REGIONS
from tests.support.fuzz_sweep import RESTING, at_rest, sweep
from tests.support.server import Server

from bench.fleet import NETWORK, percentile

REQUESTS, EXAMPLES, ROUND = 20_000, 20, 1000
FILLING = 200  # requests before those of the document: something has to be there
CONNECTIONS = 4
ANSWER_TIMEOUT_S = 20.0
IDLE_S_MAX = 2.0  # the server closes a connection that is idle for five
SETTLED_TIMEOUT_S = 120.0
SEEDS_A_RUN = 10_000_000  # runs with other seeds have no request in common
ENDLESS = (
    "/v1/events:stream",
    "/v1/replication-groups/{ReplicationGroupId}/film:stream",
)
KNOWN = {
    "CacheClusterId": ("n0-001", "n1-001", "n2-0001-001", "cn0", "cn1", "cn2"),
    "ReplicationGroupId": ("n0", "n1", "n2", "n3"),
    "ServerlessCacheName": ("s0", "s1"),
    "SnapshotName": ("n0", "n1"),
    "CacheNodeId": ("0001",),
    "UserId": ("n0", "default"),
    "UserGroupId": ("n0", "n1"),
    "CacheParameterGroupName": ("n0", "default.redis7"),
}
KNOWN_SHARE = 0.6
BROKEN = ("exception", "traceback")  # keys of a log line that tells of something unforeseen


class Run:
    """One server, what was sent to it, and what was wrong."""

    def __init__(self, server: Server, number: int) -> None:
        self.server = server
        self.number = number
        self.problems: list[str] = []
        self.statuses: collections.Counter[int] = collections.Counter()
        self.durations_s: list[float] = []
        self.nodes: set[str] = set()
        self.told = 0  # so many problems were printed
        self._logged = 0
        self._place = urlsplit(server.url).netloc
        self._open = threading.local()

    def send(self, one: FuzzRequest) -> Answer:
        """Send a request on this thread's connection; one that is late is a problem, too."""
        connection = getattr(self._open, "connection", None)
        if connection is None or time.monotonic() - self._open.used_s > IDLE_S_MAX:
            connection = http.client.HTTPConnection(self._place, timeout=ANSWER_TIMEOUT_S)
            self._open.connection = connection
        target = one.path + (f"?{one.query}" if one.query else "")
        began = time.perf_counter()
        try:
            connection.request(one.method, target, body=one.body or None, headers=one.headers)
            response = connection.getresponse()
            answer = response.status, response.read()
        except (OSError, http.client.HTTPException):
            self._open.connection = None
            connection.close()
            raise
        self._open.used_s = time.monotonic()
        self.durations_s.append(time.perf_counter() - began)
        return answer

    async def ask(self, one: FuzzRequest) -> Answer:
        """Send a request, for those who await."""
        return await asyncio.to_thread(self.send, one)

    def try_request(self, request_seed: int) -> None:
        """Send the request of a seed and judge the answer."""
        one = request(request_seed)
        try:
            status, body = self.send(one)
        except (OSError, http.client.HTTPException) as error:
            self.problems.append(f"request({request_seed}): no answer: {error!r}")
            return
        self.statuses[status] += 1
        problem = wrong(one, status, body)
        if problem is not None:
            self.problems.append(f"request({request_seed}) {one.method} {one.path}: {problem}")

    def check(self, what: str) -> None:
        """Wait until nothing is on its way; then everything agrees, is shown, and is deleted."""
        self.nodes |= set(audit(self.server).nodes)
        try:
            at_rest(self.send, timeout_s=SETTLED_TIMEOUT_S)
            for region in REGIONS:
                self.problems += asyncio.run(violations(self.ask, region))
            self._agrees(RESTING)
            self.nodes |= set(audit(self.server).nodes)
            left = sweep(self.send, timeout_s=SETTLED_TIMEOUT_S)
            seen = self._agrees(RESTING)
            left += [f"node {uid}" for uid in seen.nodes]
            self.problems += [f"{what}: {one} could not be deleted" for one in left]
        except AssertionError as error:
            self.problems.append(f"{what}: {error}")
        self._read_log(what)

    def _agrees(self, resting: Collection[str]) -> Audit:
        try:
            return require_agreement(self.server, timeout_s=SETTLED_TIMEOUT_S, resting=resting)
        except AssertionError as error:
            seen = audit(self.server, resting=resting)
            said = [*seen.disagreements, *seen.unsettled, *map(str, seen.open_operations)]
            if not said:
                raise
            raise AssertionError("; ".join(said)) from error

    def _read_log(self, what: str) -> None:
        lines = self.server.log.splitlines()
        for line in lines[self._logged :]:
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if any(key in entry for key in BROKEN):
                    text = str(entry.get("exception", ""))[-1500:]
                    self.problems.append(f"{what}: logged {entry.get('event')}: {text}")
        self._logged = len(lines)


def main() -> None:
    """Run both kinds, print what came of it, and end with 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="made from the shapes")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="an operation")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    began = time.monotonic()
    with running() as server:
        run = Run(server, options.seed)
        _from_shapes(run, options.requests)
        asked = _from_document(run, options.examples) if options.examples else 0
    _report(run, options.requests, asked, time.monotonic() - began)
    sys.exit(bool(run.problems))


@contextlib.contextmanager
def running() -> Iterator[Server]:
    """Run a server in whose fleet anything may be broken."""
    words = ("--allow-faults", "--allow-reset", "--log-format", "json")
    with (
        tempfile.TemporaryDirectory(prefix="cachefleet-fuzz-") as folder,
        Server(Path(folder) / "data", *words, endpoint_network=NETWORK) as server,
    ):
        yield server


def _from_shapes(run: Run, count: int) -> None:
    first = run.number * SEEDS_A_RUN
    for at in range(first, first + count, ROUND):
        batch = range(at, min(at + ROUND, first + count))
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(run.try_request, batch))
        _checked(run, f"requests {batch[0]} to {batch[-1]}")


def _from_document(run: Run, examples: int) -> int:
    """Send *examples* requests an operation of the OpenAPI document; return how many there were."""
    schema = schemathesis.openapi.from_url(f"{run.server.url}/openapi.json")
    for path in ENDLESS:
        schema = schema.exclude(path=path)
    dice, asked = random.Random(run.number), 0
    first = run.number * SEEDS_A_RUN + SEEDS_A_RUN // 2
    for made in range(FILLING):
        run.try_request(first + made)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result

        @seed(run.number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=result.ok().as_strategy())
        def ask(case: Case[Any]) -> None:
            nonlocal asked
            asked += 1
            _try_case(run, case, dice)

        ask()
    _checked(run, "requests made from the document")
    return asked


def _try_case(run: Run, case: Case[Any], dice: random.Random) -> None:
    for name in case.path_parameters or ():
        if name in KNOWN and dice.random() < KNOWN_SHARE:
            case.path_parameters[name] = dice.choice(KNOWN[name])
    began = time.perf_counter()
    try:
        answer = case.call(base_url=run.server.url, timeout=ANSWER_TIMEOUT_S)
    except OSError as error:  # requests' own are, too
        run.problems.append(f"{case.as_curl_command()}: no answer: {error!r}")
        return
    run.durations_s.append(time.perf_counter() - began)
    run.statuses[answer.status_code] += 1
    path = str(case.formatted_path)
    if path.startswith("/v1") or path == "/":
        sent = FuzzRequest(case.method, path, "", {}, b"")
        problem = wrong(sent, answer.status_code, answer.content)
    else:
        problem = None if answer.status_code < 500 else f"status {answer.status_code}"
    if problem is not None:
        run.problems.append(f"{case.as_curl_command()}: {problem}")


def _checked(run: Run, what: str) -> None:
    known, began = run.told, time.monotonic()
    run.check(what)
    run.told = len(run.problems)
    print(f"{what}; all gone again after {time.monotonic() - began:.0f} s", flush=True)
    for problem in run.problems[known:]:
        print(f"  {problem}", flush=True)


def _report(run: Run, count: int, asked: int, took_s: float) -> None:
    statuses = ", ".join(f"{status}: {times:,}" for status, times in sorted(run.statuses.items()))
    print(
        "\n| what | measured |\n|---|---|\n"
        f"| requests made from the shapes, from the document | {count:,}, {asked:,} |\n"
        f"| answers by status | {statuses} |\n"
        f"| answers, median, p99, slowest | {percentile(run.durations_s, 0.5) * 1000:.1f}, "
        f"{percentile(run.durations_s, 0.99) * 1000:.0f}, {max(run.durations_s) * 1000:.0f} ms |\n"
        f"| nodes that ran at the end of a round | {len(run.nodes):,} |\n"
        f"| took | {took_s / 60:.0f} min |\n"
        f"| problems | {len(run.problems)} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
