/** One cache: what it is, and everything about it in tabs. */

import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import ButtonDropdown from "@cloudscape-design/components/button-dropdown";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import Link from "@cloudscape-design/components/link";
import ProgressBar from "@cloudscape-design/components/progress-bar";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import Tabs from "@cloudscape-design/components/tabs";
import { lazy, Suspense, useState, type ReactNode } from "react";
import { useNavigate, useParams } from "react-router";

import { cachePath, engineName, ENGINES, hostPort, isMoving, toShards, type Cache, type CacheKind } from "../../api/caches";
import { toApiError } from "../../api/errors";
import { usePage } from "../../app/Shell";
import { Copyable } from "../../components/Copyable";
import { ErrorAlert } from "../../components/ErrorAlert";
import { sentence, Status } from "../../components/Status";
import { moment } from "../../components/time";
import { useCache, type CacheRecord } from "../../hooks/queries";
import { UpdateActions } from "../ServiceUpdates";
import { CacheDialogs, type CacheDialog } from "./dialogs";
import { LogsTab, MaintenanceTab, NetworkTab, TagsTab } from "./tabs";
import { ShardsTab } from "./Shards";

const ConnectTab = lazy(() => import("./Connect"));
const TopologyTab = lazy(() => import("./Topology"));
const MetricsTab = lazy(() => import("./Metrics"));
const KeysTab = lazy(() => import("./Keys"));
const EventsTable = lazy(() => import("../../components/EventsTable"));

export default function CacheDetail() {
  const { kind = "group", id = "", tab } = useParams();
  const engine = window.location.hash.split("/")[1] ?? "valkey";
  const about = ENGINES.find((one) => one.id === engine) ?? ENGINES[0];
  usePage({ text: about.title, path: `/${about.path}` }, { text: id });
  const query = useCache(kind as CacheKind, id);
  const navigate = useNavigate();
  if (query.data === undefined) {
    return query.error ? (
      <ErrorAlert error={query.error} onRetry={() => void query.refetch()} title={`${id} cannot be shown`} />
    ) : (
      <Box padding="xxl" textAlign="center">
        <Spinner size="large" />
      </Box>
    );
  }
  const gone = query.error !== null && toApiError(query.error).notFound;
  return (
    <SpaceBetween size="m">
      {gone ? (
        <Alert
          type="warning"
          header={`${id} is gone`}
          action={<Button onClick={() => void navigate(`/${about.path}`)}>{`Back to ${about.title}`}</Button>}
        >
          It was deleted, here or elsewhere. What you see is what was last known of it.
        </Alert>
      ) : query.error ? (
        <ErrorAlert error={query.error} onRetry={() => void query.refetch()} />
      ) : null}
      <Page record={query.data} tab={tab ?? "shards"} gone={gone} onRefresh={() => void query.refetch()} />
    </SpaceBetween>
  );
}

interface PageProps {
  record: CacheRecord;
  tab: string;
  gone: boolean;
  onRefresh: () => void;
}

function Page({ record, tab, gone, onRefresh }: PageProps) {
  const { cache, members } = record;
  const navigate = useNavigate();
  const [dialog, setDialog] = useState<CacheDialog>();
  const grouped = cache.kind === "group";
  const memcached = cache.engine === "memcached";
  const busy = gone || cache.status === "deleting";
  const tabs = [
    { id: "shards", label: memcached ? "Nodes" : "Shards and nodes", content: () => <ShardsTab record={record} onDialog={setDialog} disabled={busy} /> },
    { id: "topology", label: "Topology", content: () => <TopologyTab cache={cache} /> },
    { id: "metrics", label: "Metrics", content: () => <MetricsTab cache={cache} /> },
    { id: "logs", label: "Logs", content: () => <LogsTab cache={cache} />, hidden: memcached },
    { id: "network", label: "Network and security", content: () => <NetworkTab record={record} /> },
    { id: "maintenance", label: "Maintenance and backups", content: () => <MaintenanceTab record={record} onDialog={setDialog} /> },
    { id: "updates", label: "Service updates", content: () => <UpdateActions cache={cache} /> },
    { id: "events", label: "Events", content: () => <EventsTable source={cache.id} name={`events-of-cache`} members={members.map((one) => one.CacheClusterId ?? "")} /> },
    { id: "tags", label: "Tags", content: () => <TagsTab cache={cache} onDialog={setDialog} /> },
    { id: "keys", label: "Keys", content: () => <KeysTab record={record} /> },
    { id: "connect", label: "Connect", content: () => <ConnectTab record={record} /> },
  ].filter((one) => !one.hidden);
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={cache.description.trim() || undefined}
          actions={
            <SpaceBetween direction="horizontal" size="xs">
              <Button iconName="refresh" ariaLabel="Refresh" onClick={onRefresh} />
              <Button disabled={busy} onClick={() => setDialog({ type: "delete", caches: [cache] })}>Delete</Button>
              <ButtonDropdown
                disabled={busy}
                items={[
                  { id: "backup", text: "Backup", disabled: memcached },
                  { id: "reboot", text: "Reboot" },
                  { id: "replicas", text: "Add or delete replicas", disabled: !grouped },
                  { id: "shards", text: "Add or delete shards", disabled: cache.clusterMode !== "enabled" },
                  { id: "tags", text: "Manage tags" },
                ]}
                onItemClick={({ detail }) => setDialog({ type: detail.id as "backup", cache })}
              >
                Actions
              </ButtonDropdown>
              <Button variant="primary" disabled={busy} onClick={() => setDialog({ type: "modify", cache })}>Modify</Button>
            </SpaceBetween>
          }
        >
          {cache.id}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Details cache={cache} record={record} />
        <Tabs
          activeTabId={tabs.some((one) => one.id === tab) ? tab : "shards"}
          onChange={({ detail }) => void navigate(`${cachePath(cache)}/${detail.activeTabId}`, { replace: true })}
          tabs={tabs.map(({ id, label, content }) => ({
            id,
            label,
            content: id === tab || (id === "shards" && !tabs.some((one) => one.id === tab)) ? <Suspense fallback={<Spinner />}>{content()}</Suspense> : null,
          }))}
        />
        <CacheDialogs dialog={dialog} onClose={() => setDialog(undefined)} />
      </SpaceBetween>
    </ContentLayout>
  );
}

function Details({ cache, record }: { cache: Cache; record: CacheRecord }) {
  const parameterGroup = cache.cluster?.CacheParameterGroup;
  const family: { label: string; value: ReactNode }[] = [
    { label: "Status", value: <Status status={cache.status} /> },
    { label: "Engine", value: engineName(cache.engine) },
    { label: "Engine version", value: cache.engineVersion || "–" },
    { label: "Node type", value: cache.nodeType },
    ...(cache.clusterMode ? [{ label: "Cluster mode", value: sentence(cache.clusterMode) }] : []),
    ...(cache.shardCount > 0 ? [{ label: "Shards", value: cache.shardCount }] : []),
    { label: "Number of nodes", value: cache.nodeCount },
    ...(cache.kind === "group"
      ? [
          { label: "Multi-AZ", value: <Status status={cache.multiAz} /> },
          { label: "Auto-failover", value: <Status status={cache.autoFailover} /> },
        ]
      : []),
    { label: "Encryption in transit", value: <Status status={cache.transitEncryption ? "enabled" : "disabled"} /> },
    ...(cache.engine === "memcached" ? [] : [{ label: "Encryption at rest", value: <Status status={cache.atRestEncryption ? "enabled" : "disabled"} /> }]),
    {
      label: "Parameter group",
      value: parameterGroup?.CacheParameterGroupName ? (
        <Link href={`#/parameter-groups/${encodeURIComponent(parameterGroup.CacheParameterGroupName)}`}>
          {`${parameterGroup.CacheParameterGroupName} (${parameterGroup.ParameterApplyStatus ?? ""})`}
        </Link>
      ) : (
        "–"
      ),
    },
    {
      label: cache.clusterMode === "enabled" || cache.engine === "memcached" ? "Configuration endpoint" : "Primary endpoint",
      value: <Copyable text={hostPort(cache.endpoint)} label="endpoint" />,
    },
    ...(cache.reader ? [{ label: "Reader endpoint", value: <Copyable text={hostPort(cache.reader)} label="reader endpoint" /> }] : []),
    { label: "Created", value: moment(cache.createdAt) },
    { label: "ARN", value: <Copyable text={cache.arn} label="ARN" /> },
  ];
  return (
    <Container header={<Header variant="h2">Cluster details</Header>}>
      <SpaceBetween size="m">
        <Progress record={record} />
        <Pending cache={cache} />
        <KeyValuePairs columns={4} items={family} />
      </SpaceBetween>
    </Container>
  );
}

/** How far what is going on has come: nodes that serve, or the percentage that the API gives. */
function Progress({ record }: { record: CacheRecord }) {
  const { cache, members } = record;
  const resharding = cache.group?.PendingModifiedValues?.Resharding?.SlotMigration?.ProgressPercentage;
  if (resharding !== undefined) {
    return <ProgressBar value={resharding} label="Moving slots" description="Clients read and write meanwhile" />;
  }
  if (!isMoving(cache.status)) {
    return null;
  }
  const nodes = toShards(cache, members).flatMap((shard) => shard.nodes);
  const statuses = nodes.length > 0 ? nodes.map((node) => node.status) : members.map((one) => one.CacheClusterStatus ?? "");
  const serving = statuses.filter((status) => status === "available").length;
  return (
    <ProgressBar
      value={statuses.length === 0 ? 0 : (serving / statuses.length) * 100}
      label={sentence(cache.status)}
      description={`${serving} of ${statuses.length} nodes available`}
    />
  );
}

function Pending({ cache }: { cache: Cache }) {
  const pending = { ...cache.cluster?.PendingModifiedValues, ...cache.group?.PendingModifiedValues };
  const told = Object.entries(pending).filter(
    ([name, value]) => name !== "Resharding" && value !== undefined && !(Array.isArray(value) && value.length === 0),
  );
  if (told.length === 0) {
    return null;
  }
  return (
    <Alert type="info" header="Pending changes">
      {told.map(([name, value]) => `${name}: ${typeof value === "object" ? JSON.stringify(value) : String(value)}`).join("; ")}
    </Alert>
  );
}
