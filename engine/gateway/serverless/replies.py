"""Replies of an engine: where each ends, what is in it, and how one is written. Sans-IO.

RESP2 and RESP3. Most replies are only passed on; for those it is enough to know where they end.
"""

from __future__ import annotations

from typing import Any, Final

LINE_BYTES_MAX: Final = 64 * 1024  # errors quote what clients said
INCOMPLETE: Final = -1
ALL_BUT_BYTES: Final = -1

_LINES: Final = frozenset(b"+-:_#,(")
_BULKS: Final = frozenset(b"$=!")
_LISTS: Final = frozenset(b"*~>")


class NotAReply(Exception):
    """The engine sent something that no engine sends."""


class Error(bytes):
    """An error in a parsed reply, without its dash."""


class ReplyScanner:
    """Finds the ends of replies in what arrives; what is not whole is kept by the caller."""

    __slots__ = ("at", "left")

    def __init__(self) -> None:
        self.at = 0  # looked at up to here; may be beyond what has arrived, within a bulk
        # Values still to come of the reply that is looked at; 0 between two, ALL_BUT_BYTES when
        # only the rest of its last bulk is.
        self.left = 0

    def end_of_next(self, data: bytes) -> int:
        """Return where the reply ends that was begun, or that begins at ``at``; or INCOMPLETE.

        Raises:
            NotAReply: it is none.
        """
        at, size = self.at, len(data)
        left = 0 if self.left == ALL_BUT_BYTES else self.left or 1
        while left:
            if at >= size:
                break
            kind = data[at]
            end = data.find(b"\r\n", at + 1)
            if end < 0:
                if size - at > LINE_BYTES_MAX:
                    raise NotAReply("an endless line")
                break
            left -= 1
            if kind in _LINES:
                at = end + 2
            elif kind in _BULKS:
                length = _length(data[at + 1 : end])
                at = end + 2 + (length + 2 if length >= 0 else 0)
            elif kind in _LISTS:
                left += max(_length(data[at + 1 : end]), 0)
                at = end + 2
            elif kind == 0x25:  # %
                left += 2 * _length(data[at + 1 : end])
                at = end + 2
            elif kind == 0x7C:  # |, and then what it is about
                left += 2 * _length(data[at + 1 : end]) + 1
                at = end + 2
            else:
                raise NotAReply(f"a reply of kind {kind}")
        if left or at > size:
            self.at, self.left = at, left or ALL_BUT_BYTES
            return INCOMPLETE
        self.at, self.left = at, 0
        return at

    def forget(self, count: int) -> None:
        """The caller dropped *count* bytes in front."""
        self.at -= count


def _length(digits: bytes) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise NotAReply("a length that is no number") from error


def parse(reply: bytes) -> Any:
    """Return a whole reply as Python values: bytes, int, list, dict, None, bool, :class:`Error`."""
    value, _ = _parse(reply, 0)
    return value


def _parse(data: bytes, at: int) -> tuple[Any, int]:
    end = data.index(b"\r\n", at)
    kind, line, after = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"+":
        return line, after
    if kind == b"-":
        return Error(line), after
    if kind == b":":
        return int(line), after
    if kind == b"_":
        return None, after
    if kind == b"#":
        return line == b"t", after
    if kind in (b",", b"("):
        return line, after
    if kind in (b"$", b"=", b"!"):
        length = int(line)
        if length < 0:
            return None, after
        text = data[after : after + length]
        after += length + 2
        if kind == b"=":
            text = text[4:]  # "txt:"
        return (Error(text) if kind == b"!" else text), after
    if kind in (b"*", b"~", b">"):
        if int(line) < 0:
            return None, after
        items = []
        for _ in range(int(line)):
            item, after = _parse(data, after)
            items.append(item)
        return items, after
    if kind == b"%":
        pairs = {}
        for _ in range(int(line)):
            name, after = _parse(data, after)
            pairs[name], after = _parse(data, after)
        return pairs, after
    if kind == b"|":
        for _ in range(2 * int(line)):
            _, after = _parse(data, after)
        return _parse(data, after)
    raise NotAReply(f"a reply of kind {kind!r}")


def render(value: Any, *, resp3: bool = False) -> bytes:
    """Return a value as a reply: dicts are maps in RESP3 and flat lists before."""
    if isinstance(value, Error):
        return b"-%b\r\n" % value
    if isinstance(value, bool):
        return (b"#t\r\n" if value else b"#f\r\n") if resp3 else b":%d\r\n" % value
    if isinstance(value, int):
        return b":%d\r\n" % value
    if value is None:
        return b"_\r\n" if resp3 else b"$-1\r\n"
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        return b"$%d\r\n%b\r\n" % (len(value), value)
    if isinstance(value, dict):
        flat = [item for pair in value.items() for item in pair]
        head = b"%%%d\r\n" % len(value) if resp3 else b"*%d\r\n" % len(flat)
        return head + b"".join(render(item, resp3=resp3) for item in flat)
    return b"*%d\r\n" % len(value) + b"".join(render(item, resp3=resp3) for item in value)


def push(*items: bytes | int | None, resp3: bool) -> bytes:
    """Return what is told of a subscription."""
    body = b"".join(render(item, resp3=resp3) for item in items)
    return b"%b%d\r\n%b" % (b">" if resp3 else b"*", len(items), body)
