"""A silence counts from when we were there to hear an answer."""

from __future__ import annotations

from cachefleet.engine.types import Engine
from cachefleet.provisioner.health.pulse import QUESTIONS, Pulse


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        """Nothing is open."""


def asked_at(second: float) -> Pulse:
    pulse = Pulse(QUESTIONS[Engine.VALKEY])
    pulse.connection_made(Wire())  # type: ignore[arg-type]
    pulse.ask(second)
    return pulse


def test_an_owed_answer_is_forgiven_once() -> None:
    pulse = asked_at(1.0)
    pulse.forgive(50.0)
    assert pulse.owed_since_s == 50.0
    pulse.data_received(b"+PONG\r\n")
    pulse.forgive(60.0)
    assert pulse.owed_since_s is None, "nothing is owed: there is nothing to forgive"
