"""What a target is sent for a stream, and how far the stream is with it."""

from __future__ import annotations

from cachefleet.engine.feed.apply import Applier, Sending
from cachefleet.engine.feed.wire import CommandStream, encode


def stream(*commands: str) -> bytes:
    return b"".join(encode([word.encode() for word in command.split()]) for command in commands)


def send(wire: bytes, applier: Applier | None = None) -> list[Sending]:
    return (applier or Applier()).take(CommandStream(0).feed(wire))


def test_commands_go_as_they_came() -> None:
    wire = stream("set k v", "DEL k", "FLUSHALL")
    assert b"".join(one.raw for one in send(wire)) == wire
    assert [one.replies for one in send(wire)] == [1, 1, 1]
    assert send(wire)[-1].end == len(wire)


def test_what_concerns_the_link_stays_and_counts() -> None:
    wire = stream("PING", "SELECT 0", "REPLCONF GETACK *")
    applier = Applier()
    sent = send(wire, applier)
    assert [(one.raw, one.replies) for one in sent] == [(b"", 0)] * 3
    assert sent[-1].end == len(wire)
    assert applier.ack_asked


def test_another_database_is_selected_once() -> None:
    sent = send(stream("SELECT 2", "SET a 1", "SELECT 2", "SELECT 0"))
    assert [one.raw for one in sent] == [
        stream("SELECT 2"),
        stream("SET a 1"),
        b"",
        stream("SELECT 0"),
    ]


def test_a_transaction_is_held_until_it_is_whole() -> None:
    wire, applier = stream("MULTI", "SET {a}1 1", "INCR {a}1"), Applier()
    source = CommandStream(0)
    assert applier.take(source.feed(wire)) == []
    end = stream("EXEC")
    assert applier.take(source.feed(end)) == [Sending(wire + end, 4, len(wire + end))]


def test_a_transaction_of_several_slots_loses_its_frame() -> None:
    inner = stream("SET a 1", "FLUSHDB", "SET b 1", "XGROUP CREATE c g $")
    wire = stream("MULTI") + inner + stream("EXEC")
    assert send(wire) == [Sending(inner, 4, len(wire))]


def test_a_transaction_of_one_slot_keeps_it_also_with_commands_without_keys() -> None:
    wire = stream("MULTI", "SET {a}1 1", "FUNCTION DELETE l", "XGROUP CREATE {a}x g $", "EXEC")
    assert send(wire) == [Sending(wire, 5, len(wire))]
