"""Feed the gateway's reader of opening commands with garbage, at length.

    python -m bench.opening [--inputs 1000000] [--seed 1]

Each input is a mixture of commands, half commands and noise, read whole, in two pieces, and every
hundredth byte by byte: all readings have to agree, hold no more than their limit, and end. Prints
inputs a second and the slowest. A failure prints the seed's input.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import time

from cachefleet.engine.gateway.opening import COMMAND_BYTES_MAX, Opening, encode
from cachefleet.engine.gateway.optional_token import rewriting

TOKEN = b"the-first-token!"
REWRITE = rewriting([hashlib.sha256(TOKEN).hexdigest()])
PIECES = (
    encode([b"AUTH", TOKEN]),
    encode([b"AUTH", b"default", b"wrong"]),
    encode([b"HELLO", b"3", b"AUTH", b"default", TOKEN]),
    encode([b"CLIENT", b"SETINFO", b"LIB-NAME", b"x"]),
    encode([b"PING"]),
    encode([b"GET", b"k"]),
    b"AUTH x\r\n",
    b"\r\n",
    b"*",
    b"$",
    b"*3\r\n$4\r\nAUTH\r\n$",
    b"*2\r\n$4\r\nAUTH\r\n$99999\r\n",
    b"\x16\x03\x01\x02\x00",
    b"a" * 300,
)
SLOW_S = 1.0


def made(dice: random.Random) -> bytes:
    """Return one input."""
    wire = bytearray()
    for _ in range(dice.randrange(1, 6)):
        wire += dice.choice(PIECES) if dice.random() < 0.8 else dice.randbytes(dice.randrange(40))
    for _ in range(dice.randrange(4) if wire else 0):
        wire[dice.randrange(len(wire))] = dice.randrange(256)
    return bytes(wire)


def read(pieces: list[bytes]) -> bytes:
    """Return what the engine would get."""
    reader = Opening(REWRITE)
    sent, passed = 0, []
    for piece in pieces:
        sent += len(piece)
        passed.append(reader.client_sent(piece))
    assert sent - sum(map(len, passed)) <= COMMAND_BYTES_MAX, "it holds too much"
    return b"".join([*passed, reader.client_finished()])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    start, slowest = time.perf_counter(), 0.0
    for number in range(options.inputs):
        wire = made(dice)
        before = time.perf_counter()
        at = dice.randrange(len(wire) + 1)
        whole = read([wire])
        same = whole == read([wire[:at], wire[at:]])
        if number % 100 == 0:
            same = same and whole == read([wire[i : i + 1] for i in range(len(wire))])
        took = time.perf_counter() - before
        slowest = max(slowest, took)
        if not same or took > SLOW_S:
            raise SystemExit(f"input {number} of seed {options.seed}: {wire!r}")
    total = time.perf_counter() - start
    print(
        f"opening    {options.inputs:,} inputs agree: {options.inputs / total:,.0f}/s, "
        f"slowest {slowest * 1000:.1f} ms"
    )


if __name__ == "__main__":
    main()
