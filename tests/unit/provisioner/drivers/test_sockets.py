"""The filter program does to a packet what the rule says: run by a small machine of our own."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

import pytest

from cachefleet.provisioner.drivers.sockets import (
    INSTRUCTIONS_MAX,
    CannotCut,
    Instruction,
    render_filter,
)

A, B, C = "127.124.0.1", "127.124.0.2", "127.124.0.3"


def passes(program: Iterable[Instruction], source: str) -> bool:
    """Run a program of the four instructions that we use."""
    steps = list(program)
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, operand = steps[at]
        at += 1
        if code == 0x20:
            assert operand == 0xFFF0000C, "the source address of the network header"
            loaded = struct.unpack("!I", socket.inet_aton(source))[0]
        elif code == 0x15:
            at += if_true if loaded == operand else if_false
        else:
            assert code == 0x06
            return operand != 0


@pytest.mark.parametrize(
    ("dropped", "allowed", "passing"),
    [
        pytest.param((), None, {A, B, C}, id="nothing-is-dropped"),
        pytest.param((A,), None, {B, C}, id="one"),
        pytest.param((A, B), None, {C}, id="two"),
        pytest.param((), (A,), {A}, id="only-one"),
        pytest.param((), (), set(), id="nobody"),
        pytest.param((A,), (A, B), {B}, id="dropped-goes-before-allowed"),
    ],
)
def test_drops(
    dropped: tuple[str, ...], allowed: tuple[str, ...] | None, passing: set[str]
) -> None:
    program = render_filter(frozenset(dropped), None if allowed is None else frozenset(allowed))
    assert {source for source in (A, B, C) if passes(program, source)} == passing


def test_refuses_more_than_the_kernel_takes() -> None:
    hosts = frozenset(f"127.124.{n // 250}.{n % 250}" for n in range(INSTRUCTIONS_MAX // 2))
    with pytest.raises(CannotCut, match="more than one filter holds"):
        render_filter(hosts, None)
