/** One serverless cache: what it is, how to connect, its backups, tags and events. */

import { DescribeServerlessCachesCommand, type ServerlessCache } from "@aws-sdk/client-elasticache";
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import ContentLayout from "@cloudscape-design/components/content-layout";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Spinner from "@cloudscape-design/components/spinner";
import Table from "@cloudscape-design/components/table";
import Tabs from "@cloudscape-design/components/tabs";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { useNavigate, useParams } from "react-router";

import { engineName, hostPort, isMoving, toHostPort } from "../api/caches";
import { toApiError } from "../api/errors";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { ErrorAlert } from "../components/ErrorAlert";
import { Copyable } from "../components/Copyable";
import { ItemDialog, type OpenItem } from "../components/ResourcePage";
import { Status } from "../components/Status";
import { useTags } from "../components/TagsDialog";
import { moment } from "../components/time";
import { Connect } from "./caches/Connect";
import { serverlessActions, serverlessRemoval, SERVERLESS_CHANGES } from "./Serverless";
import { ServerlessBackups } from "./ServerlessBackups";

const EventsTable = lazy(() => import("../components/EventsTable"));
const MOVING_MS = 1_000;
const SETTLED_MS = 15_000;

export default function ServerlessDetail() {
  const { name = "", tab = "connect" } = useParams();
  usePage({ text: "Serverless caches", path: "/serverless" }, { text: name });
  const { client } = useApi();
  const navigate = useNavigate();
  const { data, error, refetch } = useQuery({
    queryKey: ["serverless", "cache", name],
    queryFn: async ({ signal }) => {
      const reply = await client.send(new DescribeServerlessCachesCommand({ ServerlessCacheName: name }), { abortSignal: signal });
      return reply.ServerlessCaches?.[0] ?? {};
    },
    refetchInterval: ({ state }) =>
      state.error && toApiError(state.error).notFound ? false : isMoving(state.data?.Status ?? "") ? MOVING_MS : SETTLED_MS,
  });
  const retry = () => void refetch();
  if (data === undefined) {
    return error ? (
      <ErrorAlert error={error} onRetry={retry} title={`${name} cannot be shown`} />
    ) : (
      <Box padding="xxl" textAlign="center">
        <Spinner size="large" />
      </Box>
    );
  }
  const gone = error !== null && toApiError(error).notFound;
  return (
    <SpaceBetween size="m">
      {gone ? (
        <Alert type="warning" header={`${name} is gone`} action={<Button onClick={() => void navigate("/serverless")}>Back to Serverless caches</Button>}>
          It was deleted, here or elsewhere. What you see is what was last known of it.
        </Alert>
      ) : error ? (
        <ErrorAlert error={error} onRetry={retry} />
      ) : null}
      <Page cache={data} name={name} tab={tab} gone={gone} onRefresh={retry} />
    </SpaceBetween>
  );
}

interface PageProps {
  cache: ServerlessCache;
  name: string;
  tab: string;
  gone: boolean;
  onRefresh: () => void;
}

function Page({ cache, name, tab, gone, onRefresh }: PageProps) {
  const { client } = useApi();
  const navigate = useNavigate();
  const [open, setOpen] = useState<OpenItem<ServerlessCache>>();
  const [modify, backup] = serverlessActions(client);
  const busy = gone || cache.Status === "deleting";
  const tabs = [
    { id: "connect", label: "Connect", content: () => <ConnectTab cache={cache} name={name} /> },
    ...(cache.Engine === "memcached" ? [] : [{ id: "backups", label: "Backups", content: () => <ServerlessBackups cache={name} /> }]),
    { id: "tags", label: "Tags", content: () => <Tags arn={cache.ARN ?? ""} onManage={() => setOpen({ type: "tags", item: cache })} /> },
    { id: "events", label: "Events", content: () => <EventsTable source={name} name="events-of-serverless" /> },
  ];
  const shown = tabs.find((one) => one.id === tab) ?? tabs[0];
  return (
    <ContentLayout
      header={
        <Header
          variant="h1"
          description={(cache.Description ?? "").trim() || undefined}
          actions={
            <div className="buttons">
              <Button iconName="refresh" ariaLabel="Refresh" onClick={onRefresh} />
              <Button disabled={busy} onClick={() => setOpen({ type: "delete", item: cache })}>Delete</Button>
              <Button disabled={gone || backup?.disabled?.(cache)} onClick={() => backup?.form && setOpen({ type: "form", spec: backup.form(cache) })}>Backup</Button>
              <Button variant="primary" disabled={gone || modify?.disabled?.(cache)} onClick={() => modify?.form && setOpen({ type: "form", spec: modify.form(cache) })}>Modify</Button>
            </div>
          }
        >
          {name}
        </Header>
      }
    >
      <SpaceBetween size="l">
        <Details cache={cache} />
        <Tabs
          activeTabId={shown?.id ?? ""}
          onChange={({ detail }) => void navigate(`/serverless/${encodeURIComponent(name)}/${detail.activeTabId}`, { replace: true })}
          tabs={tabs.map(({ id, label, content }) => ({
            id,
            label,
            content: id === shown?.id ? <Suspense fallback={<Spinner />}>{content()}</Suspense> : null,
          }))}
        />
        <ItemDialog
          open={open}
          noun="serverless cache"
          nameOf={() => name}
          arnOf={(one) => one.ARN}
          remove={serverlessRemoval(client)}
          changes={SERVERLESS_CHANGES}
          onClose={() => setOpen(undefined)}
        />
      </SpaceBetween>
    </ContentLayout>
  );
}

function range(limit: { Minimum?: number | undefined; Maximum?: number | undefined } | undefined, unit: string): string {
  if (limit?.Minimum === undefined && limit?.Maximum === undefined) {
    return "no limit of your own";
  }
  return [limit.Minimum === undefined ? "" : `at least ${limit.Minimum}`, limit.Maximum === undefined ? "" : `at most ${limit.Maximum}`, unit]
    .filter(Boolean)
    .join(" ");
}

function Details({ cache }: { cache: ServerlessCache }) {
  return (
    <Container header={<Header variant="h2">Cache details</Header>}>
        <KeyValuePairs
          columns={4}
          items={[
            { label: "Status", value: <Status status={cache.Status} /> },
            { label: "Engine", value: engineName(cache.Engine ?? "") },
            { label: "Engine version", value: cache.FullEngineVersion ?? cache.MajorEngineVersion ?? "–" },
            { label: "Storage", value: range(cache.CacheUsageLimits?.DataStorage, "GB") },
            { label: "ECPU per second", value: range(cache.CacheUsageLimits?.ECPUPerSecond, "") },
            { label: "Endpoint", value: <Copyable text={hostPort(toHostPort(cache.Endpoint))} label="endpoint" /> },
            { label: "Reader endpoint", value: <Copyable text={hostPort(toHostPort(cache.ReaderEndpoint))} label="reader endpoint" /> },
            { label: "User group", value: cache.UserGroupId ?? "–" },
            { label: "Security groups", value: (cache.SecurityGroupIds ?? []).join(", ") || "–" },
            { label: "Subnets", value: (cache.SubnetIds ?? []).join(", ") || "–" },
            { label: "Automatic backups", value: cache.SnapshotRetentionLimit ? `kept for ${cache.SnapshotRetentionLimit} days, taken at ${cache.DailySnapshotTime ?? "–"} UTC` : "off" },
            { label: "KMS key", value: cache.KmsKeyId ?? "–" },
            { label: "Created", value: moment(cache.CreateTime) },
            { label: "ARN", value: <Copyable text={cache.ARN} label="ARN" /> },
          ]}
        />
    </Container>
  );
}

function ConnectTab({ cache, name }: { cache: ServerlessCache; name: string }) {
  const main = toHostPort(cache.Endpoint);
  const reader = toHostPort(cache.ReaderEndpoint);
  return (
    <Connect
      engine={cache.Engine ?? ""}
      name={name}
      places={[
        ...(main ? [{ value: "main", label: "Endpoint", endpoint: main, entry: true }] : []),
        ...(reader ? [{ value: "reader", label: "Reader endpoint", endpoint: reader, entry: true }] : []),
      ]}
      tls
      clustered
      serverless
      defaultAuth={cache.UserGroupId ? "users" : "none"}
    />
  );
}

function Tags({ arn, onManage }: { arn: string; onManage: () => void }) {
  const { data, error, isPending, refetch } = useTags(arn);
  return error ? (
    <ErrorAlert error={error} onRetry={() => void refetch()} title="Tags cannot be listed" />
  ) : (
    <Table
      header={<Header counter={`(${data?.length ?? 0})`} actions={<Button onClick={onManage}>Manage tags</Button>}>Tags</Header>}
      loading={isPending}
      loadingText="Loading tags"
      items={data ?? []}
      trackBy="Key"
      ariaLabels={{ tableLabel: "Tags" }}
      empty="No tags."
      columnDefinitions={[
        { id: "key", header: "Key", cell: (tag) => tag.Key, isRowHeader: true },
        { id: "value", header: "Value", cell: (tag) => tag.Value },
      ]}
    />
  );
}
