"""What prose calls not built is not built: each claim names what would have to change it.

A claim is the words of a page, and the sentences and operations that make it true. When one of
these is built, its claim fails here until the page tells the truth again.
"""

from __future__ import annotations

import pytest

from cachefleet.api.app import load_registry
from cachefleet.api.coverage import scan_sources
from cachefleet.api.protocol.model import load_model
from tests.docs.runner import ROOT

CLAIMS = [
    (
        "docs/observability.md",
        "something cachefleet does not have: CPU credits, data tiering",
        ["Data tiering is not built yet.", "Durability is not built yet."],
    ),
]


@pytest.mark.parametrize(("page", "words", "reasons"), CLAIMS, ids=lambda value: str(value)[:40])
def test_claim_is_true(page: str, words: str, reasons: list[str]) -> None:
    assert words in (ROOT / page).read_text(), "the claim has gone: take it out of this table"
    unbuilt = {*scan_sources().unbuilt, *load_registry(load_model()).not_implemented()}
    assert set(reasons) <= unbuilt, f"{page} still says so: {set(reasons) - unbuilt}"
