import { DeleteServerlessCacheCommand, DescribeServerlessCachesCommand, type ElastiCacheClient, type ServerlessCache } from "@aws-sdk/client-elasticache";
import Link from "@cloudscape-design/components/link";
import SpaceBetween from "@cloudscape-design/components/space-between";

import { engineName, hostPort, isMoving, toHostPort } from "../api/caches";
import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { Copyable } from "../components/Copyable";
import { orNone, text, type Values } from "../components/fields";
import { ResourcePage, type ItemAction, type ResourcePageProps } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { Status } from "../components/Status";
import { moment } from "../components/time";
import { useListing } from "../hooks/queries";
import { ServerlessBackups } from "./ServerlessBackups";
import { backupForm, createForm, modifyForm } from "./serverlessForms";

const RECORDS = 50;
const nameOf = (cache: ServerlessCache) => cache.ServerlessCacheName ?? "";

const COLUMNS: Column<ServerlessCache>[] = [
  { id: "name", header: "Cache name", cell: (cache) => <Link href={`#/serverless/${encodeURIComponent(nameOf(cache))}`}>{nameOf(cache)}</Link>, value: nameOf, width: 200, rowHeader: true },
  { id: "status", header: "Status", cell: (cache) => <Status status={cache.Status} />, value: (cache) => cache.Status ?? "", width: 130 },
  { id: "engine", header: "Engine", cell: (cache) => engineName(cache.Engine ?? ""), value: (cache) => cache.Engine ?? "", width: 120 },
  { id: "version", header: "Version", cell: (cache) => cache.FullEngineVersion ?? cache.MajorEngineVersion, value: (cache) => cache.FullEngineVersion ?? "", width: 110 },
  { id: "storage", header: "Storage, GB at most", cell: (cache) => cache.CacheUsageLimits?.DataStorage?.Maximum ?? "–", width: 160 },
  { id: "ecpu", header: "ECPU/s at most", cell: (cache) => cache.CacheUsageLimits?.ECPUPerSecond?.Maximum ?? "–", width: 140 },
  { id: "endpoint", header: "Endpoint", cell: (cache) => <Copyable text={hostPort(toHostPort(cache.Endpoint))} label="endpoint" />, value: (cache) => hostPort(toHostPort(cache.Endpoint)), width: 240 },
  { id: "created", header: "Created", cell: (cache) => moment(cache.CreateTime), value: (cache) => cache.CreateTime?.toISOString() ?? "", width: 200 },
];

const isBusy = (cache: ServerlessCache) => cache.Status !== "available";

/** What both the list and a cache's page can do to it. */
export function serverlessActions(client: ElastiCacheClient): ItemAction<ServerlessCache>[] {
  return [
    { id: "modify", text: "Modify", disabled: isBusy, form: (cache) => modifyForm(client, cache) },
    { id: "backup", text: "Backup", disabled: (cache) => isBusy(cache) || cache.Engine === "memcached", form: (cache) => backupForm(client, cache) },
  ];
}

export function serverlessRemoval(client: ElastiCacheClient): NonNullable<ResourcePageProps<ServerlessCache>["remove"]> {
  return {
    act: (name: string, values: Values) =>
      client.send(new DeleteServerlessCacheCommand({ ServerlessCacheName: name, FinalSnapshotName: orNone(text(values, "final")) })),
    initial: { final: "" },
    fields: [{ key: "final", kind: "text", label: "Name of a final backup", optional: true, apiNames: ["FinalSnapshotName"], faults: [/SnapshotAlreadyExists/] }],
  };
}

export const SERVERLESS_CHANGES = ["serverless", "snapshots", "events", "tags"] as const;

export default function Serverless() {
  usePage({ text: "Serverless caches" });
  const { client } = useApi();
  const query = useListing(
    ["serverless", "caches"],
    async (NextToken, abortSignal) => {
      const reply = await client.send(new DescribeServerlessCachesCommand({ MaxResults: RECORDS, NextToken }), { abortSignal });
      return { items: reply.ServerlessCaches ?? [], marker: reply.NextToken };
    },
    { moving: (caches) => caches.some((cache) => isMoving(cache.Status ?? "")), unstreamed: true },
  );
  return (
    <SpaceBetween size="l">
      <ResourcePage
        name="serverless"
        title="Serverless caches"
        noun="serverless cache"
        variant="container"
        query={query}
        columns={COLUMNS}
        nameOf={nameOf}
        arnOf={(cache) => cache.ARN}
        changes={SERVERLESS_CHANGES}
        empty="No serverless caches. They have no node type: they grow within limits that you set."
        create={{ label: "Create serverless cache", form: () => createForm(client) }}
        actions={serverlessActions(client)}
        remove={serverlessRemoval(client)}
      />
      <ServerlessBackups />
    </SpaceBetween>
  );
}
