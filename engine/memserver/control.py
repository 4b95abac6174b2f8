"""What the control plane may say on its own socket, besides the ordinary text protocol.

``cachefleet listen <host:port>`` and ``unlisten <host:port> [drop]`` move an endpoint's
address here and away; ``cachefleet listeners`` says which are held; ``cachefleet save``
writes the memory file; ``cachefleet dump`` answers with the bytes of one and hangs up;
``cachefleet build`` says which build of the server runs; ``cachefleet
logins`` reads the file of logins again.
"""

from __future__ import annotations

from cachefleet.engine.memserver import wire
from cachefleet.engine.memserver.build import fingerprint
from cachefleet.engine.memserver.commands import MANY
from cachefleet.engine.memserver.session import CommandTable, Session

_STARTED_AS = fingerprint()  # at the start: the files may be others later


def cachefleet(session: Session, words: list[bytes]) -> None:
    """Carry out a control command; ``OK``, or ``SERVER_ERROR`` and the reason."""
    host = session.host
    match words[1:]:
        case [b"listen", address]:
            failure = host.listen(address.decode("ascii", "replace"))
        case [b"unlisten", address]:
            failure = host.unlisten(address.decode("ascii", "replace"), drop=False)
        case [b"unlisten", address, b"drop"]:
            failure = host.unlisten(address.decode("ascii", "replace"), drop=True)
        case [b"listeners"]:
            session.out.append(b"LISTENERS %b\r\n" % " ".join(host.addresses()).encode())
            return
        case [b"logins"]:
            failure = host.reload_logins()
        case [b"build"]:
            session.out.append(b"BUILD %b\r\n" % _STARTED_AS.encode())
            return
        case [b"dump"]:
            failure = host.dump(session)
            if failure is None:
                return  # the connection is the copy's
        case [b"save"]:
            failure = host.save()
        case _:
            session.out.append(wire.ERROR)
            return
    session.out.append(wire.OK if failure is None else b"SERVER_ERROR %b\r\n" % failure.encode())


def control_commands(commands: CommandTable) -> CommandTable:
    """*commands* and the control plane's own."""
    return {**commands, b"cachefleet": (cachefleet, 2, MANY)}
