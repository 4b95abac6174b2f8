"""Generated pages are what the sources say, and what they are made from is complete."""

from __future__ import annotations

import pytest

from cachefleet.api import coverage
from cachefleet.api.app import load_registry
from cachefleet.api.protocol.model import load_model
from cachefleet.api.settings import ApiSettings
from cachefleet.provisioner.state import lifecycle
from cachefleet.settings import Settings
from tests.docs import reference
from tests.docs.runner import ROOT

# Calls whose fault comes from a table or from another exception; the scan reads those instead.
READ_ELSEWHERE = {"authentication.py", "faults.py", "stages.py"}


@pytest.mark.parametrize("path", reference.PAGES)
def test_parts_of_page_are_fresh(path: str) -> None:
    assert reference.rendered(path) == (ROOT / path).read_text(), "make docs"


def test_coverage_page_is_fresh() -> None:
    assert coverage.page() == (ROOT / coverage.PAGE).read_text(), "make openapi"


def test_coverage_page_names_every_operation_once() -> None:
    registry = load_registry(load_model())
    names = {*registry.implemented(), *registry.not_implemented()}
    answered, _, rest = coverage.page().partition("## Operations that answer NotImplemented")
    listed = rest.partition("## ")[0].replace(",", " ").split()
    assert names == set(load_model().operations) | load_model().unsupported
    for name in names:
        assert answered.count(f"\n| {name} |") + listed.count(name) == 1, name


def test_effects_are_of_handlers() -> None:
    assert set(coverage.EFFECTS) <= set(load_registry(load_model()).implemented())


def test_scan_reads_every_fault() -> None:
    raisable = coverage.scan_sources()
    assert {place.partition(":")[0] for place in raisable.unread} <= READ_ELSEWHERE
    # One of each way: a literal, a constant's worded table, a record's refusal, a front-door code.
    assert {
        "SubnetInUse",
        "TagQuotaPerResourceExceeded",
        "ReplicationGroupAlreadyExistsFault",
        "SignatureDoesNotMatch",
    } <= raisable.faults
    assert "ServiceLinkedRoleNotFoundFault" not in raisable.faults
    assert all(sentence.isprintable() for sentence in raisable.unbuilt)


def test_every_fault_is_provoked_or_cannot_occur() -> None:
    modelled = {shape.name for shape in load_model().faults.values()}
    found, raisable = coverage.provoked(ROOT / coverage.TESTS), coverage.scan_sources().faults
    for name in sorted(modelled):
        reason = coverage.why_impossible(name)
        assert (name in found) or reason, f"{name}: no test provokes it, and nothing says why not"
        if name in found and reason is None:
            assert name in raisable, f"{name} is named in {found[name]}, and nothing raises it"
    assert set(coverage.IMPOSSIBLE) <= modelled


def test_operations_page_names_every_command_and_setting() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    for name in (*Settings.model_fields, *ApiSettings.model_fields):
        assert f"`CACHEFLEET_{name.upper()}`" in text, name
    for name, command in reference.commands().items():
        assert f"`cachefleet {name}`" in text, name
        for parameter in command.params:
            for option in parameter.opts:
                assert f"`{option}`" in text, option


@pytest.mark.parametrize("resource", lifecycle.TABLES)
def test_diagram_has_an_arrow_for_every_transition(resource: str) -> None:
    arrows = [line for line in reference.diagram(resource).splitlines() if "-->" in line]
    ends = 2  # the way in and the way out
    assert len(arrows) == len(set(arrows)) == len(lifecycle.TABLES[resource]) + ends
