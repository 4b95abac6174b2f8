"""The one way in which tests wait: ask until the answer is right, up to a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = 0.05
# Who has waited long asks less often: what he waits for needs the processor that asking takes.
POLL_SHARE, POLL_S_MAX = 0.1, 0.25
TIMEOUT_S = 60.0


def wait_until(
    ask: Callable[[], T],
    right: Callable[[T], object] = bool,
    *,
    what: str,
    timeout_s: float = TIMEOUT_S,
    passing: tuple[type[Exception], ...] = (),
    poll_s_max: float = POLL_S_MAX,
) -> T:
    """Return the first answer that is *right*; an exception in *passing* is no answer yet.

    What is right for a moment only is asked for with a smaller *poll_s_max*.

    Raises:
        AssertionError: the deadline passed; the last answer is in the message.
    """
    began_s = time.monotonic()
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
        waited_s = time.monotonic() - began_s
        assert waited_s < timeout_s, f"{what}: not within {timeout_s:g} s; last {last!r}"
        time.sleep(min(max(POLL_S, POLL_SHARE * waited_s), poll_s_max))
