"""Auto discovery: what ``config get cluster`` answers.

The payload is the control plane's: a version, the list of nodes, nothing is checked or
changed here. Clients may read it; only a control connection may write it.
"""

from __future__ import annotations

CLUSTER = b"cluster"
LEGACY_KEY = b"AmazonElastiCache:cluster"
CONFIG_BYTES_MAX = 65536  # config_size_max of every parameter family
CONFIGS_MAX = 16  # config_max of every parameter family
SHADOW_S_MAX = 15  # a client's own value under the legacy key lives no longer than this


class ClusterConfig:
    """The named configurations of this node; in practice one, ``cluster``."""

    def __init__(self) -> None:
        self._values: dict[bytes, tuple[int, bytes]] = {}
        self.cas = 0

    def get(self, name: bytes) -> tuple[int, bytes] | None:
        """Flags and payload of *name*."""
        return self._values.get(name)

    def set(self, name: bytes, flags: int, payload: bytes) -> bool:
        """Store *payload*; False when it is too large or there are too many."""
        if len(payload) > CONFIG_BYTES_MAX:
            return False
        if name not in self._values and len(self._values) >= CONFIGS_MAX:
            return False
        self._values[name] = (flags, payload)
        self.cas += 1
        return True

    def delete(self, name: bytes) -> bool:
        """Forget *name*; False when there is none."""
        return self._values.pop(name, None) is not None

    def render(self, names: list[bytes]) -> bytes:
        """The reply to ``config get``."""
        out = []
        for name in names:
            value = self._values.get(name)
            if value is not None:
                out.append(b"CONFIG %b %d %d\r\n%b\r\n" % (name, value[0], len(value[1]), value[1]))
        return b"".join(out) + b"END\r\n"
