"""The links file names nodes of the fleet by their sockets, and others by where they listen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cachefleet.engine.feed.links import (
    IllegalLinks,
    Link,
    Position,
    Side,
    parse_links,
    render_links,
)

OWN = Side(socket="/run/nodes/a", username="admin", password="secret")
LINK = Link(token="t", name="a to b", source=OWN, target=OWN, scratch="/tmp/s")


@pytest.mark.parametrize(
    "link",
    [
        LINK,
        Link(
            token="t",
            name="from outside",
            source=Side(socket="tcp:10.0.0.1:6379"),
            target=OWN,
            scratch="/tmp/s",
            start=Position(replication_id="f" * 40, offset=7),
        ),
        Link(
            token="t",
            name="by an address of the sixth version",
            source=Side(socket="tcp:::1:6379"),
            target=OWN,
            scratch="/tmp/s",
        ),
        Link(
            token="t",
            name="with a login, by TLS",
            source=Side(socket="tcp:10.0.0.1:6379", username="me", password="x", ca="PEM" * 3_000),
            target=OWN,
            scratch="/tmp/s",
        ),
        Link(
            token="t",
            name="of another cachefleet",
            source=Side(socket="tcp:10.0.0.1:6379", username="me", password="x"),
            target=OWN,
            scratch="/tmp/s",
            shown_as="10.0.0.2:6379",
        ),
    ],
    ids=["ours", "outside", "ipv6", "secured", "shown"],
)
def test_what_was_written_is_read(link: Link) -> None:
    assert parse_links(render_links([link])) == (link,)


def test_outside_is_where_it_says() -> None:
    assert OWN.outside is None
    assert Side(socket="tcp:cache.example:7000").outside == ("cache.example", 7000)
    assert Side(socket="tcp:::1:7000").outside == ("::1", 7000)
    assert "secret" not in repr(OWN)


@pytest.mark.parametrize(
    "source",
    [
        {"socket": "relative", "username": "a", "password": "b"},
        {"socket": "/run/a", "username": "", "password": ""},
        {"socket": "tcp:10.0.0.1", "username": "", "password": ""},
        {"socket": "tcp:10.0.0.1:0x1", "username": "", "password": ""},
        {"socket": "tcp:a b:1", "username": "", "password": ""},
        {"socket": "tcp:10.0.0.1:1", "username": "a", "password": ""},
        {"socket": "tcp:10.0.0.1:1", "username": "", "password": 5},
        {"socket": "tcp:10.0.0.1:1", "username": "", "password": "", "ca": "x" * 70_000},
        {"socket": "/run/a", "username": "a", "password": "b", "ca": "PEM"},
        {"socket": 5, "username": "a", "password": "b"},
    ],
    ids=lambda source: f"{source['socket']}-{len(source)}-{source['password']}",
)
def test_refuses(source: dict[str, Any]) -> None:
    document = json.loads(render_links([LINK]))
    document["links"][0]["source"] = source
    with pytest.raises(IllegalLinks, match="source"):
        parse_links(json.dumps(document))
