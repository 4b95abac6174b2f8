"""What the loop of our processes says, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cachefleet.engine.loops import new_event_loop

# As uvloop 0.22 raises it, from SSLProtocol._do_read.
CLOSED = "unable to perform operation on <TCPTransport closed=True>; the handler is closed"


@pytest.mark.parametrize(
    ("error", "is_told"),
    [
        pytest.param(RuntimeError(CLOSED), False, id="the-peer-is-gone"),
        pytest.param(RuntimeError("dictionary changed size"), True, id="another-one"),
        pytest.param(ValueError(CLOSED), True, id="another-kind"),
        pytest.param(None, True, id="no-exception"),
    ],
)
def test_tells_of_mistakes_and_not_of_peers_that_left(
    error: Exception | None, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loop = new_event_loop()
    try:
        with caplog.at_level(logging.INFO):
            loop.call_exception_handler({"message": "Fatal error", "exception": error})
    finally:
        loop.close()
    assert ("Fatal error" in caplog.text) is is_told


def test_gives_a_loop_that_runs() -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        assert runner.run(asyncio.sleep(0, "done")) == "done"
