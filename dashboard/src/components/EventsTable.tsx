import type { Event, SourceType } from "@aws-sdk/client-elasticache";
import Box from "@cloudscape-design/components/box";
import SegmentedControl from "@cloudscape-design/components/segmented-control";
import { useMemo, useState } from "react";

import { useEvents } from "../hooks/queries";
import { ResourceTable, type Column } from "./ResourceTable";
import { moment } from "./time";

const COLUMNS: Column<Event>[] = [
  { id: "date", header: "Date", cell: (event) => moment(event.Date), value: (event) => event.Date?.toISOString() ?? "", width: 200 },
  { id: "source", header: "Source", cell: (event) => event.SourceIdentifier, value: (event) => event.SourceIdentifier ?? "", width: 180, rowHeader: true },
  { id: "type", header: "Type", cell: (event) => event.SourceType, value: (event) => event.SourceType ?? "", width: 170 },
  { id: "message", header: "Event", cell: (event) => <Box variant="span">{event.Message}</Box>, value: (event) => event.Message ?? "", width: 600 },
];

const keyOf = (event: Event) => `${event.Date?.toISOString()} ${event.SourceIdentifier} ${event.Message}`;
const DAYS = [1, 7, 14];

interface EventsTableProps {
  name: string;
  source?: string;
  sourceType?: SourceType;
  /** Sources that belong to *source*, whose events are shown with its own. */
  members?: readonly string[];
  title?: string;
  variant?: "full-page" | "container";
}

export default function EventsTable({ name, source, sourceType, members, title = "Events", variant = "container" }: EventsTableProps) {
  const [days, setDays] = useState(7);
  // The service filters by one source; a group's members are sources of their own.
  const query = useEvents({ days, ...(sourceType ? { sourceType } : {}) });
  const items = useMemo(() => {
    const wanted = source === undefined ? undefined : new Set([source, ...(members ?? [])]);
    return query.data
      ?.filter((event) => wanted === undefined || wanted.has(event.SourceIdentifier ?? ""))
      .toSorted((a, b) => (b.Date?.getTime() ?? 0) - (a.Date?.getTime() ?? 0));
  }, [query.data, source, members]);
  return (
    <ResourceTable
      name={name}
      title={title}
      noun="event"
      variant={variant}
      items={items}
      columns={COLUMNS}
      keyOf={keyOf}
      loading={query.isPending}
      error={query.error}
      onRefresh={() => void query.refetch()}
      selection="none"
      simpleFilter
      empty="Nothing has happened yet. Events are kept for 14 days."
      actions={() => (
        <SegmentedControl
          label="Time range"
          selectedId={String(days)}
          options={DAYS.map((count) => ({ id: String(count), text: count === 1 ? "1 day" : `${count} days` }))}
          onChange={({ detail }) => setDays(Number(detail.selectedId))}
        />
      )}
    />
  );
}
