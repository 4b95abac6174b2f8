"""A fleet with a few groups of each kind and caches that use them, and calls that are refused.

Each row is one call on it, and the answer: code, status, and the fragment of the message that
clients match. A refusal changes nothing.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders import groups
from tests.support.api import SCOPE, Api, Refused

ARN = "arn:aws:elasticache:us-east-1:000000000000"
CASES = ("operation", "params", "code", "status", "fragment")


async def populate(api: Api) -> None:
    """Make the groups, and caches in every state that counts."""
    async with api.store.begin(SCOPE) as tx:
        groups.subnet_group(tx, "free")
        groups.subnet_group(tx, "used")
        groups.parameter_group(tx, "free")
        groups.parameter_group(tx, "used", values={"timeout": "60"})
        groups.parameter_group(tx, "busy")
        groups.parameter_group(tx, "tagged-out")
        uses: dict[str, Any] = {"subnet_group_name": "used", "parameter_group_name": "used"}
        await groups.cache_cluster(tx, "demo", **uses)
        await groups.cache_cluster(
            tx, "late", parameter_group_name="busy", parameter_group_status="applying"
        )
        await groups.cache_cluster(tx, "modifying", status="modifying")
        await groups.replication_group(tx, "rg")
        await groups.replication_group(tx, "moving", status="modifying")
        half = await groups.replication_group(tx, "half")
        member = await groups.cache_cluster(
            tx, "half-003", group=half, status="creating", zone="us-east-1c"
        )
        assert member.status != half.status


def row(
    id_: str, operation: str, params: dict[str, Any], code: str, fragment: str, status: int = 400
) -> Any:
    return pytest.param(operation, params, code, status, fragment, id=id_)


async def check(api: Api, operation: str, params: dict[str, Any], *expected: str | int) -> None:
    """See that a call is refused as *expected* (code, status, fragment) and changes nothing."""
    code, status, fragment = expected
    before = await api.store.revision(SCOPE)
    with pytest.raises(Refused) as refusal:
        await api(operation, **params)
    assert (refusal.value.code, refusal.value.status) == (code, status), refusal.value.message
    assert str(fragment) in refusal.value.message
    assert await api.store.revision(SCOPE) == before, "a refused call changed the records"
