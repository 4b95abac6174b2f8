import { DeleteServerlessCacheSnapshotCommand, DescribeServerlessCacheSnapshotsCommand, type ServerlessCacheSnapshot } from "@aws-sdk/client-elasticache";

import { isMoving } from "../api/caches";
import { useApi } from "../app/Providers";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { sentence, Status } from "../components/Status";
import { bytes, moment } from "../components/time";
import { useListing } from "../hooks/queries";
import { copyForm, createForm, exportForm } from "./serverlessForms";

const RECORDS = 50;
const nameOf = (one: ServerlessCacheSnapshot) => one.ServerlessCacheSnapshotName ?? "";
const cacheOf = (one: ServerlessCacheSnapshot) => one.ServerlessCacheConfiguration?.ServerlessCacheName ?? "";
const isUnavailable = (one: ServerlessCacheSnapshot) => one.Status !== "available";

const COLUMNS: Column<ServerlessCacheSnapshot>[] = [
  { id: "name", header: "Backup name", cell: nameOf, value: nameOf, width: 220, rowHeader: true },
  { id: "status", header: "Status", cell: (one) => <Status status={one.Status} />, value: (one) => one.Status ?? "", width: 140 },
  { id: "cache", header: "Serverless cache", cell: cacheOf, value: cacheOf, width: 180 },
  { id: "type", header: "Type", cell: (one) => sentence(one.SnapshotType ?? "–"), value: (one) => one.SnapshotType ?? "", width: 120 },
  { id: "size", header: "Size", cell: (one) => (one.BytesUsedForCache === undefined ? "–" : bytes(Number(one.BytesUsedForCache))), width: 120 },
  { id: "created", header: "Created", cell: (one) => moment(one.CreateTime), value: (one) => one.CreateTime?.toISOString() ?? "", width: 200 },
  { id: "expires", header: "Kept until", cell: (one) => moment(one.ExpiryTime), value: (one) => one.ExpiryTime?.toISOString() ?? "", width: 200 },
];

/** Backups of serverless caches; of one cache where one is named. */
export function ServerlessBackups({ cache }: { cache?: string }) {
  const { client } = useApi();
  const query = useListing(
    ["serverless", "snapshots", cache],
    async (NextToken, abortSignal) => {
      const reply = await client.send(
        new DescribeServerlessCacheSnapshotsCommand({ MaxResults: RECORDS, NextToken, ServerlessCacheName: cache }),
        { abortSignal },
      );
      return { items: reply.ServerlessCacheSnapshots ?? [], marker: reply.NextToken };
    },
    { moving: (all) => all.some((one) => isMoving(one.Status ?? "")), unstreamed: true },
  );
  return (
    <ResourcePage
      name="serverless-backups"
      title="Backups of serverless caches"
      noun="backup"
      variant="container"
      query={query}
      columns={COLUMNS}
      nameOf={nameOf}
      arnOf={(one) => one.ARN}
      changes={["serverless", "snapshots", "events"]}
      empty="No backups of serverless caches."
      actions={[
        { id: "restore", text: "Restore", disabled: isUnavailable, form: (one) => createForm(client, one) },
        { id: "copy", text: "Copy", disabled: isUnavailable, form: (one) => copyForm(client, one) },
        { id: "export", text: "Export to S3", disabled: isUnavailable, form: (one) => exportForm(client, one) },
      ]}
      remove={{ act: (name) => client.send(new DeleteServerlessCacheSnapshotCommand({ ServerlessCacheSnapshotName: name })) }}
    />
  );
}
