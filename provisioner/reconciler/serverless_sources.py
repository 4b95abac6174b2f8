"""Look at the cluster outside that a serverless cache is to take over; nothing is changed there."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cachefleet.engine.errors import CommandRefused, NodeUnreachable
from cachefleet.engine.outside import OutsideAccess
from cachefleet.engine.types import Endpoint
from cachefleet.engine.valkey.cluster import NotAClusterReply
from cachefleet.engine.valkey.source import SourceShard, read_shards
from cachefleet.provisioner.planning.migration import refuse_source
from cachefleet.provisioner.planning.serverless import SHARDS_MAX
from cachefleet.provisioner.planning.serverless_migration import refuse_shards, refuse_version
from cachefleet.provisioner.reconciler.binaries import format_of
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.memory import memory_bytes
from cachefleet.provisioner.reconciler.migration_sources import (
    SOURCE_TIMEOUT_S,
    SourceRefused,
    look,
    target_of,
)
from cachefleet.provisioner.reconciler.records import SubjectRecord
from cachefleet.provisioner.snapshots.aws import aws_client
from cachefleet.provisioner.state.serverless_tables import ServerlessCache

SECRET_CHARS_MAX = 65_536
LOGIN_CHARS_MAX = 4_096


async def read_login(arn: str, fleet: Fleet) -> tuple[str, str]:
    """Return the user and the password that a secret holds; the user may be empty.

    Raises:
        SourceRefused: it cannot be read, or holds something else.
    """
    region = arn.split(":")[3]
    endpoint = fleet.settings.secretsmanager_endpoint_url

    def read() -> dict[str, Any]:
        client = aws_client("secretsmanager", endpoint, region)
        answer: dict[str, Any] = client.get_secret_value(SecretId=arn)
        return answer

    try:
        text = (await asyncio.to_thread(read)).get("SecretString") or ""
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        raise SourceRefused(f"the secret {arn} cannot be read: {code}") from error
    except BotoCoreError as error:
        raise SourceRefused(f"the secret {arn} cannot be read") from error
    return parse_login(text)


def parse_login(text: str) -> tuple[str, str]:
    """Return user and password of a secret's text: JSON with both, or a password alone. Pure.

    Raises:
        SourceRefused: it is neither.
    """
    username, password = "", text
    if text.lstrip().startswith("{"):
        try:
            told = json.loads(text[:SECRET_CHARS_MAX])
        except ValueError:
            told = {}
        username, password = told.get("username", ""), told.get("password", "")
    for one in (username, password):
        if not isinstance(one, str) or len(one) > LOGIN_CHARS_MAX:
            raise SourceRefused("the secret has no username and password")
    if not password:
        raise SourceRefused("the secret has no password")
    return username, password


async def find_shards(
    cache: ServerlessCache, record: SubjectRecord, access: OutsideAccess, fleet: Fleet
) -> list[SourceShard]:
    """Return the shards of the source, each looked at.

    Raises:
        SourceRefused: it cannot be taken over.
    """
    given = await _resolved(cache.migration["source"])
    try:
        found = await read_shards(given, timeout_s=SOURCE_TIMEOUT_S, access=access)
    except CommandRefused as error:
        await _look(given, cache, record, access, fleet)  # it says more
        raise SourceRefused("cluster mode is disabled on the source") from error
    except (NodeUnreachable, NotAClusterReply) as error:
        await _look(given, cache, record, access, fleet)
        raise SourceRefused(f"the source at {given} does not tell of its cluster") from error
    refusal = refuse_shards(found, shards_max=SHARDS_MAX)
    if refusal is not None:
        raise SourceRefused(refusal)
    for shard in found:
        await _look(shard.endpoint, cache, record, access, fleet)
    return found


async def _look(
    at: Endpoint,
    cache: ServerlessCache,
    record: SubjectRecord,
    access: OutsideAccess,
    fleet: Fleet,
) -> None:
    report = await look(at, access)
    version = tuple(int(part) for part in cache.engine_version.split("."))
    refusal = refuse_version(report.engine, report.version, target=version) or refuse_source(
        report,
        writes_format=format_of(report.engine, report.version),
        at=at,
        target=target_of(record, fleet, maxmemory_bytes=memory_bytes(record, fleet)),
    )
    if refusal is not None:
        raise SourceRefused(refusal)


async def _resolved(source: dict[str, Any]) -> Endpoint:
    loop, host = asyncio.get_running_loop(), source["Address"]
    try:
        async with asyncio.timeout(SOURCE_TIMEOUT_S):
            found: Sequence[Any] = await loop.getaddrinfo(
                host, source["Port"], family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except (OSError, UnicodeError, TimeoutError) as error:
        raise SourceRefused(f"the address {host} of the source is not known") from error
    return Endpoint(found[0][4][0], source["Port"])
