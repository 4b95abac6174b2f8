"""The port through which records leave. Every destination may be away at any time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

CLOUDWATCH, FIREHOSE = "cloudwatch-logs", "kinesis-firehose"


class DeliveryFailed(Exception):
    """The destination did not take it; the message is for the customer."""


@dataclass(frozen=True, slots=True)
class Item:
    """One record, rendered. ``at`` is when what it tells of happened."""

    at: datetime
    text: str


class Destination(Protocol):
    """One log group, delivery stream or folder. Calls block: they are made from a thread."""

    def check(self) -> None:
        """Return where it can be delivered to.

        Raises:
            DeliveryFailed: it is not there, or does not answer.
        """
        ...

    def send(self, stream: str, items: Sequence[Item]) -> None:
        """Deliver *items*, oldest first, all or none as far as the destination can.

        Raises:
            DeliveryFailed: it did not take them.
        """
        ...


def place_of(entry: Mapping[str, Any]) -> str:
    """Return the log group or delivery stream that a ``LogDeliveryConfiguration`` names."""
    details = entry["DestinationDetails"]
    if entry["DestinationType"] == CLOUDWATCH:
        return str(details["CloudWatchLogsDetails"]["LogGroup"])
    return str(details["KinesisFirehoseDetails"]["DeliveryStream"])
