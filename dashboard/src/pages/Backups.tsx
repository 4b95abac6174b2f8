import { CopySnapshotCommand, DeleteSnapshotCommand, type Snapshot } from "@aws-sdk/client-elasticache";
import { useNavigate } from "react-router";

import { useApi } from "../app/Providers";
import { usePage } from "../app/Shell";
import { orNone, text } from "../components/fields";
import { ResourcePage } from "../components/ResourcePage";
import type { Column } from "../components/ResourceTable";
import { sentence, Status } from "../components/Status";
import { moment } from "../components/time";
import { useSnapshots } from "../hooks/queries";

const source = (one: Snapshot) => one.ReplicationGroupId ?? one.CacheClusterId ?? "";
const created = (one: Snapshot) => one.NodeSnapshots?.[0]?.SnapshotCreateTime;
const size = (one: Snapshot) => (one.NodeSnapshots ?? []).map((node) => node.CacheSize ?? "").filter(Boolean).join(" + ");

const COLUMNS: Column<Snapshot>[] = [
  { id: "name", header: "Backup name", cell: (one) => one.SnapshotName, value: (one) => one.SnapshotName ?? "", width: 220, rowHeader: true },
  { id: "status", header: "Status", cell: (one) => <Status status={one.SnapshotStatus} />, value: (one) => one.SnapshotStatus ?? "", width: 140 },
  { id: "cache", header: "Cache", cell: source, value: source, width: 180 },
  { id: "type", header: "Type", cell: (one) => sentence(one.SnapshotSource ?? "–"), value: (one) => one.SnapshotSource ?? "", width: 120 },
  { id: "engine", header: "Engine", cell: (one) => `${one.Engine ?? ""} ${one.EngineVersion ?? ""}`, value: (one) => one.Engine ?? "", width: 140 },
  { id: "shards", header: "Shards", cell: (one) => one.NumNodeGroups ?? "–", value: (one) => one.NumNodeGroups ?? 0, width: 100 },
  { id: "size", header: "Size", cell: (one) => size(one) || "–", value: size, width: 120 },
  { id: "created", header: "Created", cell: (one) => moment(created(one)), value: (one) => created(one)?.toISOString() ?? "", width: 200 },
];

const TARGET = { key: "name", kind: "text", label: "Name of the copy", apiNames: ["TargetSnapshotName"], faults: [/SnapshotAlreadyExists/] } as const;

export default function Backups() {
  usePage({ text: "Backups" });
  const { client } = useApi();
  const navigate = useNavigate();
  return (
    <ResourcePage
      name="backups"
      title="Backups"
      noun="backup"
      query={useSnapshots()}
      columns={COLUMNS}
      nameOf={(one) => one.SnapshotName ?? ""}
      arnOf={(one) => one.ARN}
      changes={["snapshots"]}
      empty="No backups. Create one from a cache's page, with Actions, Backup."
      actions={[
        {
          id: "restore",
          text: "Restore",
          disabled: (one) => one.SnapshotStatus !== "available",
          go: (one) => void navigate(`/${one.Engine ?? "valkey"}/create?backup=${encodeURIComponent(one.SnapshotName ?? "")}`),
        },
        {
          id: "copy",
          text: "Copy",
          disabled: (one) => one.SnapshotStatus !== "available",
          form: (one) => ({
            title: `Copy ${one.SnapshotName}`,
            submitLabel: "Copy",
            initial: { name: "" },
            fields: [TARGET],
            submit: (values) => client.send(new CopySnapshotCommand({ SourceSnapshotName: one.SnapshotName, TargetSnapshotName: text(values, "name") })),
            done: (values) => `${one.SnapshotName} is being copied to ${text(values, "name")}.`,
          }),
        },
        {
          id: "export",
          text: "Export to S3",
          disabled: (one) => one.SnapshotStatus !== "available",
          form: (one) => ({
            title: `Export ${one.SnapshotName}`,
            submitLabel: "Export",
            initial: { name: one.SnapshotName ?? "", bucket: "" },
            fields: [TARGET, { key: "bucket", kind: "text", label: "Bucket", apiNames: ["TargetBucket", "bucket"] }],
            submit: (values) =>
              client.send(
                new CopySnapshotCommand({
                  SourceSnapshotName: one.SnapshotName,
                  TargetSnapshotName: text(values, "name"),
                  TargetBucket: orNone(text(values, "bucket")),
                }),
              ),
            done: (values) => `${one.SnapshotName} is being exported to ${text(values, "bucket")}.`,
          }),
        },
      ]}
      remove={{ act: (name) => client.send(new DeleteSnapshotCommand({ SnapshotName: name })) }}
    />
  );
}
