"""The texts of events, which clients match on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter

from cachefleet.engine.catalog.documents import Document, rows


@dataclass(frozen=True, kw_only=True, slots=True)
class EventTemplate:
    """One kind of event; *sns_event* is None where no notification goes out."""

    key: str
    sns_event: str | None
    source_type: str
    when: str
    message: str
    sends_sns: bool

    @property
    def fields(self) -> frozenset[str]:
        """The names that the message needs filled in."""
        return frozenset(name for _, name, _, _ in Formatter().parse(self.message) if name)

    def fill(self, **values: object) -> str:
        """The message with its names filled in; exactly the names it has."""
        assert frozenset(values) == self.fields, (self.key, sorted(self.fields), sorted(values))
        return self.message.format(**values)


def read_events(table: Document) -> dict[str, EventTemplate]:
    """Every kind of event by its key."""
    return {
        row["key"]: EventTemplate(
            key=row["key"],
            sns_event=row["sns_event"],
            source_type=row["source_type"],
            when=row["when"],
            message=row["wire_message"],
            sends_sns=row["sends_sns"],
        )
        for row in rows(table["events"])
    }
