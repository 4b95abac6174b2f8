"""Reading ahead: what makes the parts of a stream, and what takes them, at the same time.

Reading, hashing, opening what is sealed, writing and sending all let go of the interpreter's lock:
two threads take the time of the longer of the two, instead of the time of both.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass

PARTS_AHEAD_MAX = 4  # of a megabyte each
LOOK_S = 0.1  # how soon a reader that waits for room sees that nobody takes anything any more


@dataclass(frozen=True, slots=True)
class _Ended:
    error: BaseException | None


def read_ahead(parts: Iterator[bytes]) -> Generator[bytes]:
    """Give *parts*, which are made in another thread meanwhile; what that raises is raised here.

    Closed before the end, it waits for the other thread to be done with the part it is making.
    """
    ready: queue.Queue[bytes | _Ended] = queue.Queue(PARTS_AHEAD_MAX)
    given_up = threading.Event()

    def put(what: bytes | _Ended) -> bool:
        while not given_up.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(what, timeout=LOOK_S)
                return True
        return False

    def make() -> None:
        error: BaseException | None = None
        try:
            for part in parts:
                if not put(part):
                    break
        except BaseException as raised:
            error = raised  # it belongs to whoever takes the parts
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()  # here: a generator is closed by whoever runs it
        put(_Ended(error))

    thread = threading.Thread(target=make, name="reading-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(part := ready.get(), _Ended):
            yield part
        if part.error is not None:
            raise part.error
    finally:
        given_up.set()
        thread.join()
