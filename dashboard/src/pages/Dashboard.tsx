import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ColumnLayout from "@cloudscape-design/components/column-layout";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import Link from "@cloudscape-design/components/link";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import Table from "@cloudscape-design/components/table";

import { cachePath, ENGINES, isMoving, toneOf, type Cache } from "../api/caches";
import { nextOpening } from "../api/windows";
import { useLive } from "../app/live";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { NextOpening, ServerClock, useServerNow } from "../components/Clock";
import { ErrorAlert } from "../components/ErrorAlert";
import { moment, plural } from "../components/time";
import { useCaches, useEvents } from "../hooks/queries";
import { EnginesFound } from "./EnginesFound";

const RECENT = 8;

export default function Dashboard() {
  usePage({ text: "Dashboard" });
  const { caches, query } = useCaches();
  const events = useEvents({ days: 1 });
  const { connected } = useLive();
  const { session, config } = useApi();
  const all = caches ?? [];
  const recent = (events.data ?? []).toSorted((a, b) => (b.Date?.getTime() ?? 0) - (a.Date?.getTime() ?? 0)).slice(0, RECENT);
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description="Managed caches on this machine. Every node is a real engine process."
          actions={<Button variant="primary" href="#/valkey/create">Create cache</Button>}
        >
          Dashboard
        </Header>
      }
    >
      <SpaceBetween size="l">
        {query.error ? <ErrorAlert error={query.error} onRetry={() => void query.refetch()} /> : null}
        {caches !== undefined && all.length === 0 && !query.error ? (
          <Alert type="info" header="Create your first cache" action={<Button href="#/valkey/create">Create Valkey cache</Button>}>
            It takes a few fields and about a second. Then connect any client to its endpoint.
          </Alert>
        ) : null}
        <ColumnLayout columns={3}>
          {ENGINES.map(({ id, title, path }) => (
            <Container key={id} header={<Header variant="h2">{<Link fontSize="heading-m" href={`#/${path}`}>{title}</Link>}</Header>}>
              <Counts caches={all.filter((cache) => cache.engine === id)} />
            </Container>
          ))}
        </ColumnLayout>
        <Unhealthy caches={all} />
        <ColumnLayout columns={2}>
          <Container header={<Header variant="h2">Server</Header>}>
            <KeyValuePairs
              columns={2}
              items={[
                { label: "Version", value: config.version },
                { label: "Endpoint URL", value: session.endpoint },
                { label: "Region", value: session.region },
                { label: "Authentication", value: config.auth === "enforce" ? "Enforced" : "Off" },
                { label: "Clock", value: <ServerClock /> },
                { label: "Next maintenance window", value: <SoonestWindow caches={all} /> },
                { label: "Changes appear", value: connected ? <StatusIndicator>at once</StatusIndicator> : <StatusIndicator type="pending">in intervals</StatusIndicator> },
              ]}
            />
          </Container>
          <EnginesFound />
        </ColumnLayout>
        <Table
          header={<Header actions={<Button href="#/events">All events</Button>}>Recent events</Header>}
          items={recent}
          loading={events.isPending}
          loadingText="Loading events"
          ariaLabels={{ tableLabel: "Recent events" }}
          empty="Nothing has happened today."
          columnDefinitions={[
            { id: "date", header: "Date", cell: (event) => moment(event.Date) },
            { id: "source", header: "Source", cell: (event) => event.SourceIdentifier, isRowHeader: true },
            { id: "message", header: "Event", cell: (event) => event.Message },
          ]}
        />
      </SpaceBetween>
    </ContentLayout>
  );
}

/** The cache whose maintenance window opens first. */
function SoonestWindow({ caches }: { caches: readonly Cache[] }) {
  const now = useServerNow();
  const [first] = caches
    .flatMap((cache) => {
      const window = cache.cluster?.PreferredMaintenanceWindow;
      const opening = nextOpening(window, now);
      return opening ? [{ cache, window, at: opening.beginsAt.getTime() }] : [];
    })
    .sort((a, b) => a.at - b.at || a.cache.id.localeCompare(b.cache.id));
  return first ? (
    <>
      <Link href={`#${cachePath(first.cache)}/maintenance`}>{first.cache.id}</Link>: <NextOpening window={first.window} />
    </>
  ) : (
    <>–</>
  );
}

function Counts({ caches }: { caches: readonly Cache[] }) {
  const nodes = caches.reduce((sum, cache) => sum + cache.nodeCount, 0);
  const moving = caches.filter((cache) => isMoving(cache.status)).length;
  const broken = caches.filter((cache) => toneOf(cache.status) === "error").length;
  return (
    <SpaceBetween size="xs">
      <Box variant="awsui-value-large">{caches.length}</Box>
      <Box color="text-body-secondary">{plural(nodes, "node")}</Box>
      {broken > 0 ? <StatusIndicator type="error">{`${broken} failed`}</StatusIndicator> : null}
      {moving > 0 ? <StatusIndicator type="in-progress">{`${moving} changing`}</StatusIndicator> : null}
      {broken === 0 && moving === 0 ? <StatusIndicator type={caches.length > 0 ? "success" : "stopped"}>{caches.length > 0 ? "All available" : "None"}</StatusIndicator> : null}
    </SpaceBetween>
  );
}

function Unhealthy({ caches }: { caches: readonly Cache[] }) {
  const broken = caches.filter((cache) => toneOf(cache.status) === "error");
  if (broken.length === 0) {
    return null;
  }
  return (
    <Alert type="warning" header="Needs a look">
      {broken.map((cache) => (
        <div key={cache.key}>
          <Link href={`#${cachePath(cache)}`}>{cache.id}</Link> is {cache.status}
        </div>
      ))}
    </Alert>
  );
}
