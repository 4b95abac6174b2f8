"""The model: complete, small, and robust against shapes it does not know."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.api.protocol.model import build_model, load_model
from cachefleet.api.protocol.query import InvalidValue, RequestParser, parse_form
from cachefleet.api.protocol.xml import SECOND_PRECISION, ResponseSerializer

PLAIN = {"shape": "Plain"}


def description(**shapes: Any) -> dict[str, Any]:
    """A service of one operation, whose input is ``In``."""
    return {
        "version": "2.0",
        "metadata": {
            "apiVersion": "2015-02-02",
            "endpointPrefix": "x",
            "protocol": "query",
            "xmlNamespace": "http://x/",
            "serviceId": "x",
        },
        "operations": {
            "Good": {"name": "Good", "http": {"method": "POST", "requestUri": "/"}},
            "Op": {
                "name": "Op",
                "http": {"method": "POST", "requestUri": "/"},
                "input": {"shape": "In"},
                "output": {"shape": "In", "resultWrapper": "OpResult"},
            },
        },
        "shapes": {"Plain": {"type": "string"}, **shapes},
    }


def structure(**members: str) -> dict[str, Any]:
    return {
        "type": "structure",
        "members": {name: {"shape": shape} for name, shape in members.items()},
    }


def test_loads_the_service() -> None:
    model = load_model()
    assert model.api_version == "2015-02-02"
    assert model.xml_namespace == "http://elasticache.amazonaws.com/doc/2015-02-02/"
    assert model.operations["DeleteCacheSubnetGroup"].result_element is None
    assert model.operations["CreateUser"].result_element == "CreateUserResult"
    assert "UserAlreadyExistsFault" in model.operations["CreateUser"].faults
    assert model.faults["CacheSecurityGroupQuotaExceededFault"].code == (
        "QuotaExceeded.CacheSecurityGroup"
    )
    assert model.faults["InvalidCredentialsException"].status == 408
    paging = model.operations["DescribeEngineDefaultParameters"].paging
    assert paging is not None
    assert paging.token_out == "EngineDefaults.Marker"


def test_the_members_with_second_precision_exist() -> None:
    snapshot = load_model().operations["DescribeSnapshots"].output
    assert snapshot is not None
    item = snapshot.members["Snapshots"].shape.item
    assert item is not None
    nodes = item.shape.members["NodeSnapshots"].shape.item
    assert nodes is not None
    for shape_name, member in SECOND_PRECISION:
        assert nodes.shape.name == shape_name
        assert nodes.shape.members[member].shape.kind == "timestamp"


def test_sets_aside_operations_with_shapes_it_does_not_know() -> None:
    strange = {
        "map": {"type": "map", "key": PLAIN, "value": PLAIN},
        "flattened": {"type": "list", "member": PLAIN, "flattened": True},
        "recursive": structure(Again="Odd"),
    }
    for odd in strange.values():
        model = build_model(description(In=structure(A="Odd"), Odd=odd), {})
        assert set(model.operations) == {"Good"}
        assert model.unsupported == {"Op"}
        assert model.operations["Good"].output is None


def test_wide_numbers_have_their_range() -> None:
    model = build_model(
        description(
            In=structure(Wide="Wide", Ranged="Ranged", Real="Real"),
            Wide={"type": "long"},
            Ranged={"type": "integer", "min": 2, "max": 4},
            Real={"type": "float", "max": 2},
        ),
        {},
    )
    parser = RequestParser(model)
    fields = parse_form(b"Wide=9223372036854775807&Ranged=3&Real=-1.5e1")
    params = parser.parse("Op", fields)
    assert params == {"Wide": 2**63 - 1, "Ranged": 3, "Real": -15.0}
    document = ResponseSerializer(model).response(model.operations["Op"], params, "id")
    assert b"<Wide>9223372036854775807</Wide>" in document
    refused = [b"Wide=9223372036854775808", b"Ranged=1", b"Ranged=5", b"Real=2.5", b"Real=1e999"]
    for form in [*refused, b"Real=nan", b"Real=0_1"]:
        with pytest.raises(InvalidValue):
            parser.parse("Op", parse_form(form))
