"""The door by which cachefleets ask each other: who gets in, and what is understood there."""

from __future__ import annotations

from typing import Any

import pytest

from cachefleet.api.app import create_app
from cachefleet.api.auth.identity import StaticCredentials
from cachefleet.provisioner.peering.client import PeerAway, PeerRefused, Peers, PeerStrange
from tests.support.wired import DOOR, HERE, THERE, Side, Two, WiredPeers, sealed
from tests.unit.api.driver import quiet_settings, send

pytestmark = pytest.mark.anyio


async def answer_of(side: Side, body: bytes) -> tuple[int, str]:
    found = await send(
        side.api.app, path=DOOR, headers={"content-type": "application/json"}, body=body
    )
    return found.status, found.body.decode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b'{"sealed": "nothing"}', 403, id="not-sealed"),
        pytest.param(b"{}", 400, id="nothing"),
        pytest.param(b"[", 400, id="no-json"),
    ],
)
async def test_whoever_has_not_the_secret_is_refused(two: Two, body: bytes, status: int) -> None:
    assert (await answer_of(two[0], body))[0] == status


async def test_another_secret_is_refused_on_both_sides(two: Two) -> None:
    near, far = two
    other = WiredPeers(THERE, near.api.clock, secret=b"another one, long enough")
    body = {"account": "0" * 12, "name": "n"}
    assert (await answer_of(far, sealed(other, id="q", kind="look", body=body)))[0] == 403
    other.apps[THERE] = far.api.app
    with pytest.raises(PeerStrange, match="no cachefleet with the same peer secret"):
        await other.ask(THERE, "look", body)


async def test_a_question_that_is_said_again_is_refused(two: Two) -> None:
    near, far = two
    text = sealed(near.peers, id="q", kind="poke", body={})
    assert (await answer_of(far, text))[0] == 200
    assert (await answer_of(far, text))[0] == 403


async def test_an_answer_to_another_question_is_not_taken(two: Two) -> None:
    near, far = two
    _, kept = await answer_of(far, sealed(near.peers, id="q", kind="poke", body={}))
    near.peers.answers = [(200, kept.encode())]
    with pytest.raises(PeerStrange, match="to another question"):
        await near.peers.ask(THERE, "poke", {})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("look", {}),
        ("look", {"account": "x", "name": "n"}),
        ("join", {"account": "0" * 12, "name": "n"}),
        ("call", {"account": "0" * 12, "region": HERE}),
        ("shards", {"account": "0" * 12, "name": "n", "region": HERE, "group_name": "g"}),
        ("nonsense", {}),
    ],
)
async def test_questions_that_are_not_understood(two: Two, kind: str, body: dict[str, Any]) -> None:
    near, _ = two
    with pytest.raises(PeerRefused) as refusal:
        await near.peers.ask(THERE, kind, body)
    assert refusal.value.name in ("MalformedRequest", "InvalidAction")


async def test_without_peers_there_is_no_door(two: Two) -> None:
    near, _ = two
    app = create_app(
        store=near.api.store,
        settings=quiet_settings(),
        catalog=near.api.catalog,
        clock=near.api.clock,
    )
    found = await send(
        app, path=DOOR, headers={"content-type": "application/json"}, body=b'{"sealed": "x"}'
    )
    assert found.status == 404


async def test_the_seal_is_enough_where_signatures_are_verified(two: Two) -> None:
    near, _ = two
    app = create_app(
        store=near.api.store,
        settings=quiet_settings(auth="enforce"),
        catalog=near.api.catalog,
        clock=near.api.clock,
        credentials=StaticCredentials(),
        peers=near.peers,
    )
    headers = {"content-type": "application/json"}
    text = sealed(near.peers, id="q", kind="poke", body={})
    assert (await send(app, path=DOOR, headers=headers, body=text)).status == 200
    assert (await send(app, path=DOOR, headers=headers, body=b'{"sealed": "x"}')).status == 403
    assert (await send(app, path="/v1/replication-groups", method="GET")).status == 403


async def test_a_region_without_a_peer_is_strange() -> None:
    with pytest.raises(PeerStrange, match="no cachefleet is known to have the region"):
        await Peers().ask("eu-west-1", "look", {})


async def test_nobody_listens(two: Two) -> None:
    lonely = Peers(
        {THERE: "http://127.0.0.1:9"}, secret=b"of enough length", clock=two[0].api.clock
    )
    try:
        with pytest.raises(PeerAway, match="does not answer"):
            await lonely.ask(THERE, "poke", {})
    finally:
        lonely.close()
