"""What a node answered, as a person is shown it: how much, and bytes that are no text."""

from __future__ import annotations

from typing import Final

REPLY_BYTES_MAX: Final = 1 << 20
TOO_LARGE: Final = f"The reply is larger than {REPLY_BYTES_MAX >> 20} MiB: ask for less."


def readable_bytes(data: bytes) -> str:
    """Return bytes as text; what is no text is shown as a shell would."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return "".join(chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in data)
