"""Sessions without sockets, fed in three ways; and a store whose clock the test turns."""

from __future__ import annotations

from collections.abc import Iterable

from cachefleet.engine.memserver.binary import BinarySession
from cachefleet.engine.memserver.host import Host
from cachefleet.engine.memserver.session import Session
from cachefleet.engine.memserver.settings import Settings
from cachefleet.engine.memserver.store import Store
from cachefleet.engine.memserver.text import text_commands

STARTED_AT = 1_700_000_000


def settings(**changes: object) -> Settings:
    """memcached's defaults and *changes*."""
    some = Settings()
    for name, value in changes.items():
        assert hasattr(some, name), name
        setattr(some, name, value)
    return some


def store(**changes: object) -> Store:
    """A store that was started at STARTED_AT."""
    return Store(settings(**changes), started_at=STARTED_AT)


def later(some: Store, seconds: int) -> None:
    """Let *seconds* pass."""
    some.tick(some.now + some.process_started + seconds)


def text(some: Store | None = None, *, privileged: bool = False) -> Session:
    """A text session."""
    target = some if some is not None else store()
    return Session(target, Host(), text_commands(target.settings), privileged=privileged)


def binary(some: Store | None = None, *, privileged: bool = False) -> BinarySession:
    """A binary session."""
    return BinarySession(some if some is not None else store(), Host(), privileged=privileged)


def feed(session: Session | BinarySession, pieces: Iterable[bytes]) -> bytes:
    """What *session* answers to *pieces*, fed as a connection feeds them."""
    replies = bytearray()
    for piece in pieces:
        if session.closing:
            break
        reply = session.answer(piece) if session.idle else None
        if reply is None:
            session.receive(piece)
        else:
            replies += reply
        while session.more and not session.closing:
            session.resume()
        replies += b"".join(session.out)
        session.out.clear()
    return bytes(replies)


def ask(some: Store, request: bytes) -> bytes:
    """The reply of a fresh session on *some* to *request*, whole."""
    return feed(text(some), [request])


def dripped(wire: bytes) -> list[bytes]:
    """*wire*, a byte at a time."""
    return [wire[at : at + 1] for at in range(len(wire))]
