"""Where a target is, by its own stream: certain, or not known."""

from __future__ import annotations

import pytest

from cachefleet.engine.feed.links import (
    IllegalLinks,
    Link,
    Position,
    Side,
    parse_links,
    render_links,
)
from cachefleet.engine.feed.marks import (
    MARKS_MAX,
    Mark,
    Marks,
    TargetView,
    parse_state,
    render_state,
)


def mark(source: int, at: int, history: str = "t") -> Mark:
    return Mark(
        source=Position(replication_id="s", offset=source),
        at=Position(replication_id=history, offset=at),
    )


def view(offset: int, *, history: str = "t", former: str = "", former_end: int = -1) -> TargetView:
    return TargetView(
        replication_id=history, former_id=former, former_end=former_end, offset=offset
    )


@pytest.mark.parametrize(
    ("target", "found"),
    [
        pytest.param(view(20), 10, id="there"),
        pytest.param(view(40), 30, id="the-newest"),
        pytest.param(view(21), None, id="between"),
        pytest.param(view(20, history="other"), None, id="another-history"),
        pytest.param(view(20, history="new", former="t", former_end=21), 10, id="promoted-there"),
        pytest.param(
            view(20, history="new", former="t", former_end=19), None, id="promoted-before"
        ),
    ],
)
def test_a_place_is_certain_or_not_known(target: TargetView, found: int | None) -> None:
    position = Marks([mark(10, 20), mark(30, 40)]).find(target)
    assert (None if position is None else position.offset) == found


def test_marks_are_bounded_and_forgotten() -> None:
    marks = Marks()
    for number in range(MARKS_MAX + 5):
        marks.add(mark(number, number))
    assert marks.find(view(4)) is None
    assert marks.find(view(5)) is not None
    marks.forget()
    assert marks.newest is None


def test_state_is_read_back_and_what_cannot_be_read_is_not_known() -> None:
    kept = {"a": mark(1, 2), "b": mark(3, 4)}
    assert parse_state(render_state(kept)) == kept
    for broken in ("", "{", "[]", "null", '{"a": {}}', '{"a": {"source": 1, "at": 2}}'):
        assert parse_state(broken) == {}


LINK = Link(
    token="t",
    name="a to b",
    source=Side(socket="/a", username="u", password="p"),
    target=Side(socket="/b", username="u", password="p"),
    scratch="/tmp/x",
    start=Position(replication_id="s", offset=5),
)


def test_links_are_read_back() -> None:
    assert parse_links(render_links([LINK])) == (LINK,)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ('"schema": 1', '"schema": 2'),
        ('"socket": "/a"', '"socket": "a"'),
        ('"offset": 5', '"offset": -1'),
        ('"offset": 5', '"offset": true'),
        ('"token": "t"', '"token": ""'),
        ('"name": "a to b"', '"nobody": "a to b"'),
        ("{", "["),
    ],
)
def test_links_that_cannot_be_carried_out_are_refused(was: str, becomes: str) -> None:
    text = render_links([LINK])
    assert was in text
    with pytest.raises(IllegalLinks):
        parse_links(text.replace(was, becomes, 1))


def test_a_token_is_one_links() -> None:
    with pytest.raises(IllegalLinks, match="twice"):
        render_links([LINK, LINK])
