"""What the tables of refusals of cache clusters and replication groups have in common.

Each row is a request, the code and the HTTP status that answer it, and the words that clients are
known to look for. A refusal changes nothing: the records' revision is the same behind each row.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Refused
from tests.support.world import World

VALUE = "InvalidParameterValue"

COMBINATION = "InvalidParameterCombination"

CLUSTER_STATE = "InvalidCacheClusterState"

GROUP_STATE = "InvalidReplicationGroupState"

LONG_TOKEN = "t0ken-" * 4


def row(name: str, params: dict[str, Any], code: str, words: str = "", *, status: int = 400) -> Any:
    return pytest.param(params, code, status, words, id=name)


IDENTIFIER = "is not a valid identifier"

KEYLESS = "The AUTH token is only supported when encryption-in-transit is enabled"

REPLICAS = "The number of replicas per node group must be within 0 and 5."

PREFERRED = "Transit encryption preferred is not supported with redis access control."

BY_USERS = (
    "User group based access control requires encryption-in-transit to be enabled on the "
    "replication group."
)


def change(of: str, **options: Any) -> dict[str, Any]:
    return {"ReplicationGroupId": of, "ApplyImmediately": True, **options}


COMPATIBLE = "while its cluster mode is compatible"

CASES = "params", "code", "status", "words"


def check(
    world: World, operation: str, params: dict[str, Any], expected: tuple[str, int, str]
) -> str:
    """See that a request is refused as *expected*, and changes nothing; return the message."""
    code, status, words = expected
    before = world.revision()
    with pytest.raises(Refused) as refused:
        world.ask(operation, **params)
    assert (refused.value.code, refused.value.status) == (code, status), refused.value.message
    assert words in refused.value.message
    assert world.revision() == before
    return refused.value.message
