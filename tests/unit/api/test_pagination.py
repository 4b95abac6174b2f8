"""Pages: bounds by family, markers that hold their place and go nowhere else."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.api.faults import Fault
from cachefleet.api.pagination import (
    BOUNDS,
    MARKER_CHARS_MAX,
    Family,
    Key,
    decode_marker,
    encode_marker,
    family_of,
    page,
    window,
)
from cachefleet.api.protocol.model import load_model

NAMES = [f"name-{number:04}" for number in range(250)]


def family(operation: str) -> Family:
    return family_of(load_model().operations[operation])


CLUSTERS = family("DescribeCacheClusters")


def name_of(name: str) -> Key:
    return name


def all_pages(params: dict[str, Any], of: Family) -> list[list[str]]:
    pages: list[list[str]] = []
    marker: str | None = None
    while not pages or marker is not None:
        asked = {**params, of.token: marker} if marker is not None else params
        items, marker = page(NAMES, name_of, asked, of)
        pages.append(items)
    return pages


@pytest.mark.parametrize(
    ("operation", "bounds"),
    [
        ("DescribeCacheClusters", (20, 100, 100)),
        ("DescribeEvents", (20, 100, 100)),
        ("DescribeSnapshots", (20, 50, 50)),
        ("DescribeUsers", (1, 100, 100)),
        ("DescribeServerlessCaches", (1, 50, 50)),
    ],
)
def test_bounds_of_a_family(operation: str, bounds: tuple[int, int, int]) -> None:
    of = family(operation)
    fewest, most, default = bounds
    for size in (fewest, most):
        assert window({of.size_param: size}, of).limit == size
    assert window({}, of).limit == default
    for size in (fewest - 1, most + 1, -(2**31)):
        with pytest.raises(Fault, match=f"Must be between {fewest} and {most}") as refusal:
            window({of.size_param: size}, of)
        assert refusal.value.code == "InvalidParameterValue"


def test_every_paged_operation_has_a_family_and_no_other() -> None:
    paged = {name for name, op in load_model().operations.items() if op.paging is not None}
    assert set(BOUNDS) <= paged
    assert len(paged) >= 19
    assert family("DescribeServerlessCaches").token == "NextToken"
    with pytest.raises(LookupError):
        family("ListTagsForResource")


def test_pages_cover_everything_once() -> None:
    pages = all_pages({"MaxRecords": 100}, CLUSTERS)
    assert [len(part) for part in pages] == [100, 100, 50]
    assert [name for part in pages for name in part] == NAMES


def test_a_full_last_page_has_no_marker() -> None:
    items, marker = page(NAMES[:20], name_of, {"MaxRecords": 20}, CLUSTERS)
    assert (len(items), marker) == (20, None)


def test_an_empty_listing_has_one_empty_page() -> None:
    assert page([], name_of, {}, CLUSTERS) == ([], None)
    _, marker = page(NAMES, name_of, {}, CLUSTERS)
    assert page([], name_of, {"Marker": marker}, CLUSTERS) == ([], None)


def test_an_empty_marker_is_the_first_page() -> None:
    items, _ = page(NAMES, name_of, {"Marker": ""}, CLUSTERS)
    assert items == NAMES[:100]


def test_goes_on_behind_the_last_item_though_it_is_gone() -> None:
    first, marker = page(NAMES, name_of, {"MaxRecords": 20}, CLUSTERS)
    changed = ["a-new-one", *NAMES[:19], *NAMES[20:]]
    second, _ = page(changed, name_of, {"MaxRecords": 20, "Marker": marker}, CLUSTERS)
    assert first[-1] == NAMES[19]
    assert second == NAMES[20:40]


def test_rows_of_a_database_are_closed_the_same_way() -> None:
    asked = window({"MaxRecords": 20}, CLUSTERS)
    assert asked.after is None
    rows = NAMES[: asked.fetch]
    items, marker = asked.close(rows, name_of)
    assert items == NAMES[:20]
    assert window({"Marker": marker}, CLUSTERS).after == NAMES[19]


def test_the_page_size_may_change_between_pages() -> None:
    _, marker = page(NAMES, name_of, {"MaxRecords": 20}, CLUSTERS)
    items, _ = page(NAMES, name_of, {"MaxRecords": 50, "Marker": marker}, CLUSTERS)
    assert items == NAMES[20:70]


def test_a_marker_of_another_listing_is_refused() -> None:
    _, marker = page(NAMES, name_of, {"CacheClusterId": "a"}, CLUSTERS)
    assert page(NAMES, name_of, {"CacheClusterId": "a", "Marker": marker}, CLUSTERS)[0]
    for params, of in [
        ({"CacheClusterId": "b"}, CLUSTERS),
        ({}, CLUSTERS),
        ({"CacheClusterId": "a"}, family("DescribeEvents")),
    ]:
        with pytest.raises(Fault) as refusal:
            page(NAMES, name_of, {**params, "Marker": marker}, of)
        assert refusal.value.code == "InvalidParameterValue"


def forged(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "marker",
    [
        pytest.param("garbage", id="word"),
        pytest.param("%%%", id="not-base64"),
        pytest.param("ü", id="not-ascii"),
        pytest.param(forged([1, "b", "x" * MARKER_CHARS_MAX]), id="long"),
        pytest.param(forged([1, "b", "x"])[:-3], id="cut-off"),
        pytest.param(forged({"a": 1}), id="object"),
        pytest.param(forged([1, "b"]), id="no-key"),
        pytest.param(forged([1, "b", "x", "y"]), id="too-much"),
        pytest.param(forged([2, "b", "x"]), id="other-version"),
        pytest.param(forged([1, "c", "x"]), id="other-binding"),
        pytest.param(forged([1, "b", 7]), id="number-for-name"),
        pytest.param(forged([1, "b", ["x"]]), id="list-for-name"),
        pytest.param(forged([1, "b", None]), id="null"),
        pytest.param(forged([1, "b", "x\x00"]), id="zero-character"),
        pytest.param(forged([1, "b", "\ud800"]), id="lone-surrogate"),
        pytest.param(base64.urlsafe_b64encode(b"[" * 1500).decode(), id="deep"),
        pytest.param(base64.urlsafe_b64encode(b"\xff\xfe").decode(), id="not-utf-8"),
    ],
)
def test_refuses_markers_that_are_not_ours(marker: str) -> None:
    with pytest.raises(Fault, match="Marker") as refusal:
        decode_marker(marker, "b", like="")
    assert refusal.value.code == "InvalidParameterValue"


@pytest.mark.parametrize("wrong", [True, "1", 1.5, 2**63, [1]])
def test_refuses_numbers_that_are_none(wrong: object) -> None:
    with pytest.raises(Fault):
        decode_marker(forged([1, "b", wrong]), "b", like=0)


@pytest.mark.parametrize("wrong", [["a"], ["a", "b"], [1, "a"], ["a", 1, 1], "a"])
def test_refuses_compound_keys_of_another_shape(wrong: object) -> None:
    with pytest.raises(Fault):
        decode_marker(forged([1, "b", wrong]), "b", like=("a", 1))


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff")),
        st.integers(-(2**63) + 1, 2**63 - 1),
        st.tuples(st.text("abc"), st.integers(0, 9)),
    )
)
def test_markers_give_back_their_key(key: Key) -> None:
    assert decode_marker(encode_marker(key, "b"), "b", like=key) == key


@given(st.text(max_size=80))
def test_any_text_is_a_marker_or_refused(marker: str) -> None:
    with pytest.raises(Fault):
        decode_marker(marker, "b", like="")
