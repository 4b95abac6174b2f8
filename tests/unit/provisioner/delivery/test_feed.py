"""What waits to be delivered is bounded, in order, and read once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from cachefleet.engine.valkey.logs import SlowCommand
from cachefleet.provisioner.delivery.feed import (
    BATCH_MAX,
    BYTES_WAITING_MAX,
    RECORDS_WAITING_MAX,
    Position,
    Queue,
    Tail,
    load_position,
    new_slow_commands,
    save_position,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
COMMAND = SlowCommand(
    id=0,
    at_s=0,
    duration_us=0,
    name="GET",
    hidden_arguments=1,
    client_address="10.0.0.1:1",
    client_name="",
)


def filled(count: int, *, size_bytes: int = 1) -> Queue:
    queue = Queue()
    for number in range(count):
        queue.put(replace(COMMAND, id=number), Position("p", number), size_bytes=size_bytes)
    return queue


def first(queue: Queue) -> int:
    return queue.head()[0].position.at


def test_too_many_records_cost_the_oldest() -> None:
    queue = filled(RECORDS_WAITING_MAX + 3)
    assert (len(queue), queue.dropped, first(queue)) == (RECORDS_WAITING_MAX, 3, 3)


def test_too_many_bytes_cost_the_oldest() -> None:
    queue = filled(5, size_bytes=BYTES_WAITING_MAX // 4)
    assert (len(queue), queue.dropped, first(queue)) == (4, 1, 1)


def test_one_record_larger_than_all_room_is_let_through() -> None:
    queue = filled(2, size_bytes=BYTES_WAITING_MAX + 1)
    assert (len(queue), first(queue)) == (1, 1)


def test_a_batch_stays_until_it_is_taken() -> None:
    queue = filled(BATCH_MAX + 2)
    batch = queue.head()
    assert len(batch) == BATCH_MAX
    assert queue.head()[0] is batch[0]
    queue.taken(batch)
    assert (len(queue), first(queue)) == (2, BATCH_MAX)


def test_what_was_dropped_while_it_was_sent_is_not_taken_twice() -> None:
    queue = filled(RECORDS_WAITING_MAX)
    batch = queue.head()
    for number in range(10):
        queue.put(COMMAND, Position("p", RECORDS_WAITING_MAX + number), size_bytes=1)
    queue.taken(batch)
    assert first(queue) == BATCH_MAX
    assert len(queue) == RECORDS_WAITING_MAX - BATCH_MAX + 10


def test_slow_commands_are_told_once_and_ours_never() -> None:
    rows = [replace(COMMAND, id=number) for number in (5, 4, 3)]
    ours = replace(COMMAND, id=6, client_address="/run/socket:0")
    ids = [row.id for row in new_slow_commands([ours, *rows], origin="p", since=Position("p", 3))]
    assert ids == [4, 5]


def test_a_new_process_counts_anew() -> None:
    found = new_slow_commands([COMMAND], origin="later", since=Position("earlier", 100))
    assert [row.id for row in found] == [0]


def write(path: Path, *numbers: int, end: str = "\n") -> None:
    with path.open("a") as file:
        for number in numbers:
            file.write(f"1:M 29 Oct 2020 20:12:20.499 * line {number}{end}")


def read(tail: Tail, since: Position) -> tuple[list[str], Position]:
    found, position = tail.read(since, now=NOW)
    return [line.message for line, _ in found], position


def test_a_file_is_read_on_from_where_it_was_left_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = Tail(path)
    assert read(tail, Position()) == ([], Position())
    write(path, 1, 2)
    messages, position = read(tail, Position())
    assert messages == ["line 1", "line 2"]
    write(path, 3, end="")
    assert read(tail, position)[0] == []
    with path.open("a") as file:
        file.write("!\n")
    messages, position = read(tail, position)
    assert messages == ["line 3!"]
    assert read(Tail(path), position)[0] == []


def test_another_file_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, 1)
    _, position = read(Tail(path), Position())
    (tmp_path / "new").write_text("")
    write(tmp_path / "new", 2)
    (tmp_path / "new").replace(path)
    assert read(Tail(path), position)[0] == ["line 2"]


def test_far_behind_it_skips_to_what_can_wait(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(("x" * 99 + "\n") * (BYTES_WAITING_MAX // 50))
    found, position = Tail(path).read(Position(), now=NOW)
    assert found
    assert position.at > BYTES_WAITING_MAX // 2


def test_positions_are_kept_and_nonsense_is_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "note"
    assert load_position(path) == Position()
    save_position(path, Position("p", 7))
    assert load_position(path) == Position("p", 7)
    assert path.stat().st_mode & 0o777 == 0o600
    for nonsense in ("", "[]", '{"origin": 1}', '{"origin": "p", "at": "x"}'):
        path.write_text(nonsense)
        assert load_position(path) == Position()
    save_position(tmp_path / "gone" / "note", Position("p", 7))
