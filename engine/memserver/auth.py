"""Who may use the cache: a file of ``user:password`` lines, and the text protocol's login.

memcached's own format: one pair a line; the password runs to the end of the line.
"""

from __future__ import annotations

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.session import CommandTable, Session

ENTRIES_MAX = 8  # memcached reads no more of an authentication file
FILE_BYTES_MAX = 65536


class BadAuthFile(Exception):
    """The file cannot be used; ``args[0]`` says why."""


class Credentials:
    """Names and passwords, compared in constant time."""

    def __init__(self, pairs: dict[bytes, bytes]) -> None:
        self._pairs = pairs

    def check(self, user: bytes, password: bytes) -> bool:
        """Whether *password* is that of *user*."""
        from hmac import compare_digest

        known = self._pairs.get(user)
        # Compare in any case: how long it takes must not tell which names exist.
        same = compare_digest(password, known if known is not None else b"\0" + password)
        return same and known is not None


def read_credentials(path: str) -> Credentials:
    """Read *path*; raises BadAuthFile."""
    try:
        with open(path, "rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise BadAuthFile(f"could not open authfile [{path}]: {error.strerror}") from None
    pairs: dict[bytes, bytes] = {}
    for line in text.split(b"\n"):
        if not line:
            continue
        user, colon, password = line.partition(b":")
        if not colon or not user:
            raise BadAuthFile(f"authfile [{path}] contains a line without user:password")
        pairs[user] = password
    if not pairs or len(pairs) > ENTRIES_MAX or len(text) > FILE_BYTES_MAX:
        raise BadAuthFile(f"authfile [{path}] must have 1 to {ENTRIES_MAX} entries")
    return Credentials(pairs)


def login_commands(credentials: Credentials, then: CommandTable) -> CommandTable:
    """The commands before login: ``set`` of ``user password`` under any key, nothing else."""

    def login(session: Session, words: list[bytes]) -> None:
        size = wire.parse_u32(words[4])
        if size is None or size > FILE_BYTES_MAX:
            session.out.append(wire.UNAUTHENTICATED)
            return

        def finish(chunk: bytes) -> None:
            if chunk[-2:] != b"\r\n":
                session.out.append(b"CLIENT_ERROR bad command line termination\r\n")
                return
            pair = wire.split_words(chunk[:-2])
            if len(pair) < 2:
                session.out.append(b"CLIENT_ERROR bad authentication token format\r\n")
                return
            session.store.stats.auth_cmds += 1
            if credentials.check(pair[0], pair[1]):
                session.commands, session.refusal = then, wire.ERROR
                session.take_short_ways(session.short_ways)
                session.out.append(b"STORED\r\n")
            else:
                session.store.stats.auth_errors += 1
                session.out.append(b"CLIENT_ERROR authentication failure\r\n")

        session.want(size + 2, finish)

    return {b"set": (login, 5, 1 << 30)}
