"""Faults: by any of their names, complete for every resource, and never one that does not exist."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import cachefleet.api
from cachefleet.api.faults import (
    COMMON_FAULTS,
    NOUNS,
    STATE_FAULTS,
    Fault,
    UnknownFault,
    fault_names,
    fault_shape,
    state_fault,
)
from cachefleet.api.protocol.model import load_model
from cachefleet.provisioner.state.errors import (
    AddressesExhausted,
    AlreadyExists,
    IllegalTransition,
    NotFound,
    ResourceError,
    Stale,
    StateError,
)
from cachefleet.provisioner.state.lifecycle import TABLES
from cachefleet.provisioner.state.tables import Named

API_FOLDER = Path(cachefleet.api.__file__).parent


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [
        ("CacheClusterNotFoundFault", "CacheClusterNotFound", 404),
        ("CacheClusterNotFound", "CacheClusterNotFound", 404),
        ("CacheSubnetGroupNotFoundFault", "CacheSubnetGroupNotFoundFault", 400),
        ("CacheSecurityGroupQuotaExceededFault", "QuotaExceeded.CacheSecurityGroup", 400),
        ("ReservedCacheNodeAlreadyExistsFault", "ReservedCacheNodeAlreadyExists", 404),
        ("InvalidParameterValue", "InvalidParameterValue", 400),
        ("InvalidCredentialsException", "InvalidCredentialsException", 408),
        ("MalformedQueryString", "MalformedQueryString", 404),
        ("NotImplemented", "NotImplemented", 501),
    ],
)
def test_is_known_by_shape_name_and_by_wire_code(name: str, code: str, status: int) -> None:
    fault = Fault(name, "why")
    assert (fault.code, fault.status, fault.message) == (code, status, "why")


def test_refuses_names_that_nobody_has() -> None:
    with pytest.raises(UnknownFault):
        Fault("CacheClusterNotFoundFualt", "typo")


def test_the_front_door_does_not_redefine_the_model() -> None:
    modelled = {shape.code for shape in load_model().faults.values()} | set(load_model().faults)
    assert not set(COMMON_FAULTS) & modelled


def named_faults() -> list[tuple[str, int, str]]:
    """Every fault that the front-end's source names, with where."""
    found = []
    for path in sorted(API_FOLDER.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            is_fault = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Fault"
            )
            if is_fault and isinstance(node, ast.Call) and node.args:
                name = node.args[0]
                if isinstance(name, ast.Constant) and isinstance(name.value, str):
                    found.append((path.name, node.lineno, name.value))
    return found


def test_every_fault_that_the_source_names_exists() -> None:
    named = named_faults()
    assert len(named) > 10
    assert [place for place in named if place[2] not in fault_names()] == []


@pytest.mark.parametrize("resource", sorted(NOUNS))
@pytest.mark.parametrize(
    "error_of",
    [
        pytest.param(lambda resource: NotFound(resource, "demo"), id="not-found"),
        pytest.param(lambda resource: AlreadyExists(resource, "demo"), id="already-exists"),
        pytest.param(
            lambda resource: IllegalTransition(resource, "demo", "modifying", "delete"),
            id="illegal-transition",
        ),
    ],
)
def test_every_resource_has_an_answer_for_every_refusal(resource: str, error_of: object) -> None:
    assert callable(error_of)
    error = error_of(resource)
    fault = state_fault(error)
    assert fault is not None
    expected, _ = STATE_FAULTS[(resource, type(error))]
    assert fault.name == fault_shape(expected).name
    assert "{" not in fault.message


def test_every_resource_on_record_has_its_faults() -> None:
    recorded = {table.resource for table in Named.__subclasses__()}
    assert recorded | set(TABLES) <= set(NOUNS)


def test_every_not_found_and_already_exists_shape_of_the_model_is_used() -> None:
    used = {shape for shape, _ in STATE_FAULTS.values()}
    wanted = {
        name
        for name in load_model().faults
        if name.endswith(("NotFoundFault", "AlreadyExistsFault"))
    }
    # The role is no resource: what needs it says so itself.
    assert wanted - used == {"ServiceLinkedRoleNotFoundFault"}


@pytest.mark.parametrize(
    ("error", "name", "message"),
    [
        (
            NotFound("cache_cluster", "demo"),
            "CacheClusterNotFoundFault",
            "CacheCluster not found: demo",
        ),
        (
            IllegalTransition("replication_group", "demo", "deleting", "delete"),
            "InvalidReplicationGroupStateFault",
            "Replication group demo has status deleting which is not valid for deletion.",
        ),
        (
            IllegalTransition("user", "demo", "modifying", "modify"),
            "InvalidUserStateFault",
            "User demo has status modifying. Only active users can be modified.",
        ),
        (
            AddressesExhausted(),
            "InsufficientCacheClusterCapacityFault",
            "No address is left for a node.",
        ),
    ],
)
def test_says_what_the_service_says(error: StateError, name: str, message: str) -> None:
    fault = state_fault(error)
    assert fault is not None
    assert (fault.name, fault.message) == (name, message)


@pytest.mark.parametrize(
    "error",
    [Stale("lease lost"), StateError("?"), NotFound("teapot", "x"), ResourceError("user", "x")],
)
def test_blames_nobody_for_what_is_not_the_callers_doing(error: StateError) -> None:
    assert state_fault(error) is None
