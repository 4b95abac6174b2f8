"""Who may use the cache: files of names and passwords, and the text protocol's login.

``user:password`` lines are memcached's own format; the password runs to the end of the line. The
control plane's file has a name and the SHA-256 of a password a line, as many as are good for a
name, and may change while the server runs; without a line everybody is let in.
"""

from __future__ import annotations

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.session import CommandTable, Session

ENTRIES_MAX = 8  # memcached reads no more of an authentication file
LOGINS_MAX = 64  # lines of the control plane's
DIGEST_BYTES = 32
FILE_BYTES_MAX = 65536


class BadAuthFile(Exception):
    """The file cannot be used; ``args[0]`` says why."""


class Credentials:
    """Names and the SHA-256 of their passwords, compared in constant time.

    Connections hold on to one of these, so what it knows is replaced, not the object.
    """

    def __init__(self, pairs: dict[bytes, bytes]) -> None:
        self._digests: dict[bytes, tuple[bytes, ...]] = {
            user: (sha256(password),) for user, password in pairs.items()
        }

    def replace(self, digests: dict[bytes, tuple[bytes, ...]]) -> None:
        """Know these names and digests from now on, and no others."""
        self._digests = digests

    def __contains__(self, user: object) -> bool:
        return user in self._digests

    def check(self, user: bytes, password: bytes) -> bool:
        """Whether *password* is one of *user*."""
        from hmac import compare_digest

        told = sha256(password)
        known = self._digests.get(user, ())
        # Compare in any case: how long it takes must not tell which names exist.
        same = [compare_digest(told, digest) for digest in known or (bytes(DIGEST_BYTES),)]
        return any(same) and bool(known)


def sha256(password: bytes) -> bytes:
    """Return what is kept of a password."""
    import hashlib  # takes longer to import than most servers need it for

    return hashlib.sha256(password).digest()


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


def read_logins(path: str) -> dict[bytes, tuple[bytes, ...]]:
    """Read the control plane's file; raises BadAuthFile. No file is as good as an empty one."""
    try:
        with open(path, "rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BadAuthFile(f"could not open logins [{path}]: {error.strerror}") from None
    lines = text.split(b"\n")
    if len(lines) > LOGINS_MAX or len(text) > FILE_BYTES_MAX:
        raise BadAuthFile(f"logins [{path}] can have {LOGINS_MAX} lines")
    known: dict[bytes, tuple[bytes, ...]] = {}
    for line in filter(None, lines):
        user, _, digits = line.partition(b" ")
        try:
            digest = bytes.fromhex(digits.decode("ascii"))
        except ValueError:
            digest = b""
        if not user or len(digest) != DIGEST_BYTES:
            raise BadAuthFile(f"logins [{path}] has a line that is no name and SHA-256")
        known[user] = (*known.get(user, ()), digest)
    return known


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
                session.user = pair[0]
                session.take_short_ways(session.short_ways)
                session.out.append(b"STORED\r\n")
            else:
                session.store.stats.auth_errors += 1
                session.out.append(b"CLIENT_ERROR authentication failure\r\n")

        session.want(size + 2, finish)

    return {b"set": (login, 5, 1 << 30)}
