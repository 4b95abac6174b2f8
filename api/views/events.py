"""Events as the service shows them."""

from __future__ import annotations

from typing import Any

from cachefleet.provisioner.state.tables import Event


def event_view(event: Event) -> dict[str, Any]:
    """Return an ``Event``."""
    return {
        "SourceIdentifier": event.source_identifier,
        "SourceType": event.source_type,
        "Message": event.message,
        "Date": event.occurred_at,
    }
