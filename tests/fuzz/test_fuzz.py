"""Whatever is sent: no failure of ours, no hang, no records that cannot be shown.

A short run; ``CACHEFLEET_FUZZ_REQUESTS`` and ``CACHEFLEET_FUZZ_EXAMPLES`` make it longer.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import structlog
import uvicorn
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case
from schemathesis.core.result import Ok

from tests.support.api import open_api
from tests.support.fuzz import FuzzRequest, request, violations, wrong
from tests.support.waiting import wait_until
from tests.unit.api.driver import send

REQUESTS = int(os.environ.get("CACHEFLEET_FUZZ_REQUESTS", "400"))
EXAMPLES = int(os.environ.get("CACHEFLEET_FUZZ_EXAMPLES", "1"))
ANSWER_TIMEOUT_S = 20.0
ENDLESS = "/v1/events:stream"


@pytest.mark.anyio
async def test_requests_made_from_the_shapes(tmp_path: Path) -> None:
    async with open_api(tmp_path) as api:

        async def ask(one: FuzzRequest) -> tuple[int, bytes]:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await send(
                    api.app,
                    method=one.method,
                    path=one.path,
                    query=one.query,
                    headers=one.headers,
                    body=one.body,
                )
            return answer.status, answer.body

        problems = []
        statuses: dict[int, int] = {}
        with structlog.testing.capture_logs():
            for seed in range(REQUESTS):
                one = request(seed)
                status, body = await ask(one)
                statuses[status] = statuses.get(status, 0) + 1
                problem = wrong(one, status, body)
                if problem is not None:
                    problems.append(f"request({seed}): {problem}")
            problems += await violations(ask)
    assert problems == []
    assert statuses.get(200, 0) + statuses.get(201, 0) > REQUESTS / 10, statuses


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the URL of a front-end without nodes, on a thread of its own."""
    loop = asyncio.new_event_loop()
    server: list[uvicorn.Server] = []

    async def run() -> None:
        async with open_api(tmp_path_factory.mktemp("fuzz")) as api:
            config = uvicorn.Config(
                api.app, port=0, log_config=None, lifespan="off", ws="none", access_log=False
            )
            server.append(uvicorn.Server(config))
            await server[0].serve()

    def main() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(run())
        loop.close()

    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    wait_until(lambda: bool(server) and server[0].started, what="the front-end listens")
    port = server[0].servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server[0].should_exit = True
    thread.join(ANSWER_TIMEOUT_S)


def test_requests_made_from_the_document(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path=ENDLESS)
    asked = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Case[Any]) -> None:
            nonlocal asked
            asked += 1
            answer = case.call(base_url=url, timeout=ANSWER_TIMEOUT_S)
            sent = FuzzRequest(case.method, str(case.formatted_path), "", {}, b"")
            if sent.path.startswith("/v1") or sent.path == "/":
                assert wrong(sent, answer.status_code, answer.content) is None
            assert answer.status_code < 500 or answer.status_code == 501

        ask()
    assert asked > 100
