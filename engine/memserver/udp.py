"""memcached over UDP: datagrams with a frame of eight bytes, as many a reply as it takes."""

from __future__ import annotations

import socket
import struct

from cachefleet.engine.memserver.session import Session

TYPE_CHECKING = False  # importing typing for it would take longer than the rest
if TYPE_CHECKING:
    from cachefleet.engine.memserver.server import Server

FRAME = struct.Struct(">HHHH")  # request id, number of this datagram, how many, nothing
DATAGRAM_BYTES_MAX = 1400
REQUEST_BYTES_MAX = 65535
DATAGRAMS_PER_TURN = 64
REPLY_DATAGRAMS_MAX = 65535


def frame_reply(request_id: int, reply: bytes) -> list[bytes]:
    """*reply* cut into datagrams."""
    room = DATAGRAM_BYTES_MAX - FRAME.size
    pieces = [reply[at : at + room] for at in range(0, len(reply), room)]
    count = len(pieces)
    if count > REPLY_DATAGRAMS_MAX:
        return []
    return [FRAME.pack(request_id, n, count, 0) + piece for n, piece in enumerate(pieces)]


def answer_datagram(session: Session, datagram: bytes) -> list[bytes]:
    """The datagrams that answer one; none where it is no request."""
    if len(datagram) < FRAME.size:
        return []
    request_id, _, count, _ = FRAME.unpack_from(datagram)
    if count != 1:
        line = b"SERVER_ERROR multi-packet request not supported\r\n"
        return frame_reply(request_id, line)
    session.receive(datagram[FRAME.size :])
    while session.more:
        session.resume()
    return frame_reply(request_id, b"".join(session.out))


class UdpSocket:
    """A bound UDP socket; every datagram is a session of its own."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock

    def on_ready(self, events: int) -> None:
        """Answer what has arrived."""
        server = self.server
        for _ in range(DATAGRAMS_PER_TURN):
            try:
                datagram, peer = self.sock.recvfrom(REQUEST_BYTES_MAX)
            except (BlockingIOError, InterruptedError):
                return
            session = Session(server.store, server, server.commands)
            server.stats.bytes_read += len(datagram)
            for reply in answer_datagram(session, datagram):
                try:
                    server.stats.bytes_written += self.sock.sendto(reply, peer)
                except OSError:
                    break  # nobody is promised a datagram
