"""What a session may ask of the process around it. This one has no process around it.

The server overrides all of it; tests of the protocols use it as it is.
"""

from __future__ import annotations


class Host:
    """The neutral host: nobody is connected, nothing can be bound, saved or stopped."""

    def __init__(self) -> None:
        self.verbosity = 0
        self.curr_connections = 0
        self.connection_structures = 0
        self.accepting = True
        self.resident_bytes = 0

    def connections(self) -> list[tuple[int, list[tuple[str, object]]]]:
        """For ``stats conns``: descriptor and its lines."""
        return []

    def listen(self, address: str) -> str | None:
        """Bind *address* (``host:port``) as well; None, or why it failed."""
        return f"cannot bind {address}"

    def unlisten(self, address: str, *, drop: bool) -> str | None:
        """Let go of *address*; with *drop* close what was accepted there. None, or why not."""
        return f"not listening on {address}"

    def addresses(self) -> list[str]:
        """The ``host:port`` addresses that are bound now, control and unix sockets left out."""
        return []

    def save(self) -> str | None:
        """Write the memory file; None, or why it failed."""
        return "no memory file"

    def dump(self, session: object) -> str | None:
        """Hand the connection of *session* to a copy of all items; None, or why there is none."""
        return "no copies here"

    def stop(self, *, save: bool) -> None:
        """Stop serving once this request is answered, writing the memory file if asked."""

    def watch(self, session: object, kinds: list[bytes]) -> None:
        """Tell the client of *session* of what *kinds* name from now on."""

    def reload_logins(self) -> str | None:
        """Read the control plane's file of logins again; None, or why that failed."""
        return "no file of logins"

    def refresh_certs(self) -> str | None:
        """Load the certificates again; None, or why that failed."""
        return "Error TLS not enabled"
