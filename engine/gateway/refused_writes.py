"""Has a cache that only its feed may write to answer writes as a read-only replica does.

The engine refuses them: its users lack the right to write. What it says then is that they lack a
right, and clients look for ``READONLY``. So that much of its replies is replaced here, and nothing
else: every reply is followed line by line, so that the bytes of a value are never taken for an
error. Sans-IO.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from cachefleet.engine.gateway.interception import WireViolation

READONLY = b"-READONLY You can't write against a read only replica."
LINE_BYTES_MAX = 64 * 1024
_REFUSED = re.compile(
    rb"-(?:NOPERM|ERR ACL failure in script:)[^\r\n]* has no permissions to run the "
    rb"'([^'\r\n]+)' command(?P<script> script: [^\r\n]*)?"
)
# What older engines say of a command in a script, whichever it was: here nearly always a write.
_REFUSED_SCRIPT = re.compile(
    rb"-ERR The user executing the script can't run this command or subcommand"
    rb"(?P<script> script: [^\r\n]*)?"
)
_BULKS = b"$=!"
_LENGTH = re.compile(rb"-1|[0-9]{1,20}")


class RefusedWrites:
    """The state of one connection; *write_commands* are those of the engine, lower case."""

    def __init__(self, write_commands: Collection[str]) -> None:
        self._writes = frozenset(name.lower().encode() for name in write_commands)
        self._skip = 0  # bytes of a value that are still to come
        self._line = b""  # the beginning of a line that has not ended

    def client_sent(self, data: bytes) -> bytes:
        """Pass on what the client says."""
        return data

    def backend_sent(self, data: bytes) -> bytes:
        """Pass on what the engine says, its refusals of writes in other words."""
        if self._skip >= len(data):
            self._skip -= len(data)
            return data
        passed: list[bytes] = []
        if self._skip:
            passed.append(data[: self._skip])
        at, begin = self._skip, self._skip
        self._skip = 0
        if self._line:
            data, at, begin = self._line + data[at:], 0, 0
            self._line = b""
        while at < len(data):
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > LINE_BYTES_MAX:
                    raise WireViolation("a line of a reply does not end")
                passed.append(data[begin:at])
                self._line = data[at:]
                return b"".join(passed)
            kind = data[at]
            if kind == 0x2D:
                line = data[at:end]
                told = self._in_other_words(line)
                if told is not line:
                    passed += (data[begin:at], told)
                    begin = end
                at = end + 2
            elif kind in _BULKS:
                at = end + 2 + self._length(data[at + 1 : end])
            else:
                at = end + 2
        self._skip = at - len(data)
        passed.append(data[begin:])
        return b"".join(passed)

    def client_finished(self) -> bytes:
        """Hold nothing back."""
        return b""

    def backend_finished(self) -> bytes:
        """Return what is left of a line that did not end."""
        rest, self._line = self._line, b""
        return rest

    def _length(self, digits: bytes) -> int:
        """Return how many bytes follow a bulk's first line."""
        if not _LENGTH.fullmatch(digits):
            raise WireViolation(f"{digits[:40]!r} is no length")
        length = int(digits)
        return length + 2 if length >= 0 else 0

    def _in_other_words(self, line: bytes) -> bytes:
        found = _REFUSED.match(line)
        if found is not None and found[1].lower() in self._writes:
            return READONLY + (found["script"] or b"")
        script = _REFUSED_SCRIPT.match(line)
        return line if script is None else READONLY + (script["script"] or b"")
