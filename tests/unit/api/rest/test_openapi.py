"""The description is whole, valid, committed, and good enough to make a client from."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from openapi_spec_validator import validate

from cachefleet.api.openapi_file import DOCUMENT, document
from cachefleet.api.protocol.model import load_model
from cachefleet.api.rest.openapi import render
from tests.docs.runner import ROOT
from tests.support.rest import routes

TIMEOUT_S = 60


def test_committed_document_is_fresh() -> None:
    assert render(document()) == (ROOT / DOCUMENT).read_text(), "make openapi"


def test_document_is_valid() -> None:
    validate(document())


def test_everything_is_described() -> None:
    paths = document()["paths"]
    for route in routes().routes:
        described = paths[route.path][route.method.lower()]
        assert route.operation.name in described["description"]
    assert {"/", "/healthz", "/readyz", "/metrics", "/v1/reset", "/v1/events:stream"} <= set(paths)
    actions = paths["/"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"]
    assert actions["schema"]["properties"]["Action"]["enum"] == sorted(load_model().operations)


def test_operation_ids_are_names() -> None:
    names = [
        operation["operationId"]
        for methods in document()["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", name) for name in names)


@pytest.mark.slow
def test_client_that_is_generated_works_on_types(tmp_path: Path) -> None:
    client = generate_client(tmp_path)
    models = sys.modules[f"{client.__name__}.models"]
    body = models.CreateReplicationGroupMessage(
        replication_group_id="demo", replication_group_description="d"
    )
    assert body.to_dict() == {
        "ReplicationGroupId": "demo",
        "ReplicationGroupDescription": "d",
    }


def generate_client(folder: Path) -> ModuleType:
    """Make a client package from the committed document and import it."""
    target = folder / "generated_client"
    subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate"),
            *("--path", str(ROOT / DOCUMENT), "--output-path", str(target), "--meta", "none"),
        ],
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    spec = importlib.util.spec_from_file_location(
        "generated_client", target / "__init__.py", submodule_search_locations=[str(target)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["generated_client"] = module
    spec.loader.exec_module(module)
    importlib.import_module("generated_client.models")
    return module


def test_docs_page_loads_nothing_from_elsewhere() -> None:
    page = (ROOT / "api/rest/docs.html").read_text()
    assert not re.search(r"(src|href)=.?https?:|//[a-z]+\.[a-z]", page)
    assert json.loads((ROOT / DOCUMENT).read_text())["info"]["title"] == "cachefleet"
