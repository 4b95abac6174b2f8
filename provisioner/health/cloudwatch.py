"""Publishes what was measured to a CloudWatch endpoint, once a minute, through boto3.

Each metric of each node is one statistic set of the minute's samples, under the service's names and
dimensions. An endpoint that does not answer misses the minute: metrics are not kept for later, as
``GET /v1/metrics`` has them anyway. (AWS's own CloudWatch takes no namespace that begins with
``AWS/`` from customers; give it another one.)
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cachefleet.engine.metrics.definitions import metrics_of
from cachefleet.engine.types import Engine
from cachefleet.provisioner.health.sampler import Measured
from cachefleet.provisioner.state.scope import Scope

log = structlog.get_logger(__name__)

NAMESPACE: Final = "AWS/ElastiCache"
PERIOD_S: Final = 60
DATA_PER_CALL_MAX: Final = 500  # the service takes 1000 and a megabyte
PERIODS_WAITING_MAX: Final = 3  # then an endpoint is too slow for us, and the oldest are dropped
CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 5.0
# CloudWatch's words for units, where the service's documentation has others.
_UNITS: Final[Mapping[str, str]] = {"Number": "None", "Boolean": "None"}

Datum = dict[str, Any]
_Key = tuple[Scope, Engine, str, str, str]


@dataclass(slots=True)
class _Set:
    count: int = 0
    total: float = 0.0
    least: float = math.inf
    most: float = -math.inf

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)


@dataclass(slots=True)
class Minute:
    """The samples of one minute, put together. ``begins_at_s`` is in seconds since 1970."""

    begins_at_s: int
    _sets: dict[_Key, _Set] = field(default_factory=dict)

    def add(self, measured: Sequence[Measured]) -> None:
        """Take one round's samples in."""
        for one in measured:
            scope = Scope(one.account, one.region)
            if scope.is_shadow:
                continue  # what stands behind serverless caches is nobody's node
            node, engine = one.node, one.sample.engine
            for name, value in one.metrics.items():
                if math.isfinite(value):
                    key = (scope, engine, node.member_name, node.cache_node_id, name)
                    self._sets.setdefault(key, _Set()).add(value)

    def data(self) -> dict[Scope, list[Datum]]:
        """Return the minute as CloudWatch takes it, by account and region."""
        found: dict[Scope, list[Datum]] = {}
        when = datetime.fromtimestamp(self.begins_at_s, UTC)
        for (scope, engine, cluster, node_id, name), numbers in self._sets.items():
            unit = metrics_of(engine)[name].unit
            found.setdefault(scope, []).append(
                {
                    "MetricName": name,
                    "Dimensions": [
                        {"Name": "CacheClusterId", "Value": cluster},
                        {"Name": "CacheNodeId", "Value": node_id},
                    ],
                    "Timestamp": when,
                    "StatisticValues": {
                        "SampleCount": float(numbers.count),
                        "Sum": numbers.total,
                        "Minimum": numbers.least,
                        "Maximum": numbers.most,
                    },
                    "Unit": _UNITS.get(unit, unit),
                }
            )
        return found


class CloudWatch:
    """Collects rounds and publishes each minute when the next one begins."""

    def __init__(self, endpoint_url: str | None, *, namespace: str = NAMESPACE) -> None:
        self._endpoint_url = endpoint_url
        self._namespace = namespace
        self._minute: Minute | None = None
        self._waiting: asyncio.Queue[Minute] = asyncio.Queue(PERIODS_WAITING_MAX)
        self._clients: dict[Scope, Any] = {}

    def take(self, measured: Sequence[Measured], at_s: int) -> None:
        """Take the samples of the round at *at_s*; never waits."""
        if self._endpoint_url is None:
            return
        begins_at_s = at_s - at_s % PERIOD_S
        if self._minute is None or self._minute.begins_at_s != begins_at_s:
            if self._minute is not None:
                if self._waiting.full():
                    dropped = self._waiting.get_nowait()
                    log.warning("metrics_dropped", minute=dropped.begins_at_s)
                self._waiting.put_nowait(self._minute)
            self._minute = Minute(begins_at_s)
        self._minute.add(measured)

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self.publish(await self._waiting.get())

    async def publish(self, minute: Minute) -> None:
        """Publish one minute; what the endpoint does not take is logged and left."""
        for scope, data in minute.data().items():
            for first in range(0, len(data), DATA_PER_CALL_MAX):
                portion = data[first : first + DATA_PER_CALL_MAX]
                try:
                    await asyncio.to_thread(self._put, scope, portion)
                except (ClientError, BotoCoreError) as error:
                    log.warning("metrics_not_published", account=scope.account, reason=str(error))

    def _put(self, scope: Scope, data: list[Datum]) -> None:
        self._client(scope).put_metric_data(Namespace=self._namespace, MetricData=data)

    def _client(self, scope: Scope) -> Any:
        if scope not in self._clients:
            import boto3  # a tenth of a second, which only those pay who publish

            session = boto3.Session(region_name=scope.region)
            own = {}
            if session.get_credentials() is None:
                own = {"aws_access_key_id": scope.account, "aws_secret_access_key": "cachefleet"}
            self._clients[scope] = session.client(
                "cloudwatch",
                endpoint_url=self._endpoint_url,
                config=Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    retries={"total_max_attempts": 1},
                ),
                **own,
            )
        return self._clients[scope]
