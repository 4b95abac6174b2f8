"""The one way in which tests wait: ask until the answer is right, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.05
TIMEOUT_S = 30.0


def wait_until(
    ask: Callable[[], T],
    right: Callable[[T], object] = bool,
    *,
    what: str,
    timeout_s: float = TIMEOUT_S,
    passing: tuple[type[Exception], ...] = (),
) -> T:
    """Return the first answer that is *right*; an exception in *passing* is no answer yet.

    Raises:
        AssertionError: the deadline passed; the last answer is in the message.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        last: object
        try:
            answer = ask()
        except passing as error:
            last = error
        else:
            if right(answer):
                return answer
            last = answer
        assert time.monotonic() < deadline_s, f"{what}: not within {timeout_s:g} s; last {last!r}"
        time.sleep(POLL_S)
