/** The tabs that show what is recorded of a cache. */

import Alert from "@cloudscape-design/components/alert";
import Button from "@cloudscape-design/components/button";
import Container from "@cloudscape-design/components/container";
import Header from "@cloudscape-design/components/header";
import KeyValuePairs from "@cloudscape-design/components/key-value-pairs";
import SpaceBetween from "@cloudscape-design/components/space-between";
import Table from "@cloudscape-design/components/table";
import type { LogDeliveryConfiguration } from "@aws-sdk/client-elasticache";

import type { Cache } from "../../api/caches";
import { useFlashes } from "../../app/flashes";
import { useApi } from "../../app/Providers";
import { NextOpening, ServerClock } from "../../components/Clock";
import { ErrorAlert } from "../../components/ErrorAlert";
import { sentence, Status } from "../../components/Status";
import { useTags } from "../../components/TagsDialog";
import { moment } from "../../components/time";
import { useAction } from "../../hooks/useAction";
import { useSnapshots, type CacheRecord } from "../../hooks/queries";
import type { CacheDialog } from "./dialogs";

interface WithDialog {
  onDialog: (dialog: CacheDialog) => void;
}

export function NetworkTab({ record }: { record: CacheRecord }) {
  const { cache, members } = record;
  const member = members[0];
  const zones = [...new Set(members.map((one) => one.PreferredAvailabilityZone ?? "").filter(Boolean))];
  return (
    <Container header={<Header variant="h2">Network and security</Header>}>
      <KeyValuePairs
        columns={3}
        items={[
          { label: "Subnet group", value: member?.CacheSubnetGroupName ?? "–" },
          { label: "Availability zones", value: zones.join(", ") || "–" },
          { label: "Network type", value: cache.group?.NetworkType ?? member?.NetworkType ?? "ipv4" },
          { label: "Security groups", value: (member?.SecurityGroups ?? []).map((one) => one.SecurityGroupId).join(", ") || "–" },
          { label: "Encryption in transit", value: <Status status={cache.transitEncryption ? "enabled" : "disabled"} /> },
          { label: "Transit encryption mode", value: cache.group?.TransitEncryptionMode ?? member?.TransitEncryptionMode ?? "–" },
          { label: "Encryption at rest", value: <Status status={cache.atRestEncryption ? "enabled" : "disabled"} /> },
          { label: "KMS key", value: cache.group?.KmsKeyId ?? "–" },
          { label: "AUTH token", value: <Status status={cache.group?.AuthTokenEnabled ? "enabled" : "disabled"} /> },
          { label: "User groups", value: (cache.group?.UserGroupIds ?? []).join(", ") || "–" },
        ]}
      />
    </Container>
  );
}

export function MaintenanceTab({ record, onDialog }: { record: CacheRecord } & WithDialog) {
  const { cache, members } = record;
  const member = members[0];
  const memcached = cache.engine === "memcached";
  const retention = cache.group?.SnapshotRetentionLimit ?? member?.SnapshotRetentionLimit ?? 0;
  const snapshotWindow = cache.group?.SnapshotWindow ?? member?.SnapshotWindow;
  return (
    <SpaceBetween size="l">
      <Container header={<Header variant="h2" actions={<div className="buttons"><RunNow cache={cache} /><Button onClick={() => onDialog({ type: "modify", cache })}>Modify</Button></div>}>Maintenance</Header>}>
        <KeyValuePairs
          columns={3}
          items={[
            { label: "Maintenance window (UTC)", value: member?.PreferredMaintenanceWindow ?? "–" },
            { label: "Next maintenance", value: <NextOpening window={member?.PreferredMaintenanceWindow} /> },
            { label: "Clock of the server", value: <ServerClock /> },
            { label: "Automatic minor version upgrades", value: <Status status={member?.AutoMinorVersionUpgrade ? "enabled" : "disabled"} /> },
            { label: "Notifications", value: member?.NotificationConfiguration?.TopicArn ?? "–" },
            ...(memcached
              ? []
              : [
                  { label: "Automatic backups", value: <Status status={retention > 0 ? "enabled" : "disabled"} /> },
                  { label: "Backup retention", value: retention > 0 ? `${retention} days` : "–" },
                  { label: "Backup window (UTC)", value: snapshotWindow ?? "–" },
                  { label: "Next automatic backup", value: retention > 0 ? <NextOpening window={snapshotWindow} /> : "none" },
                ]),
          ]}
        />
      </Container>
      {memcached ? null : <Backups cache={cache} onDialog={onDialog} />}
    </SpaceBetween>
  );
}

/** Applies what waits for the maintenance window without waiting for it. */
function RunNow({ cache }: { cache: Cache }) {
  const { v1 } = useApi();
  const run = useAction();
  const { show } = useFlashes();
  const path = cache.kind === "group" ? "replication-groups" : "cache-clusters";
  return (
    <Button
      onClick={() =>
        void run({
          done: `The maintenance of ${cache.id} has run.`,
          changes: ["caches", "events"],
          act: async () => {
            const { Applying } = await v1.call<{ Applying: string[] }>(`/v1/${path}/${encodeURIComponent(cache.id)}/maintenance:run`, { method: "POST" });
            show({ type: "info", content: Applying.length > 0 ? `Applied now: ${Applying.join(", ")}` : "Nothing was waiting." });
          },
        })
      }
    >
      Run maintenance now
    </Button>
  );
}

function Backups({ cache, onDialog }: { cache: Cache } & WithDialog) {
  const { data, error, isPending, refetch } = useSnapshots(cache);
  if (error) {
    return <ErrorAlert error={error} onRetry={() => void refetch()} title="Backups cannot be listed" />;
  }
  return (
    <Table
      header={
        <Header counter={`(${data?.length ?? 0})`} actions={<Button onClick={() => onDialog({ type: "backup", cache })}>Create backup</Button>}>
          Backups
        </Header>
      }
      loading={isPending}
      loadingText="Loading backups"
      items={data ?? []}
      trackBy={(snapshot) => snapshot.SnapshotName ?? ""}
      ariaLabels={{ tableLabel: "Backups" }}
      empty="No backups of this cache."
      columnDefinitions={[
        { id: "name", header: "Name", cell: (one) => one.SnapshotName, isRowHeader: true },
        { id: "status", header: "Status", cell: (one) => <Status status={one.SnapshotStatus} /> },
        { id: "source", header: "Type", cell: (one) => sentence(one.SnapshotSource ?? "–") },
        { id: "created", header: "Created", cell: (one) => moment(one.NodeSnapshots?.[0]?.SnapshotCreateTime) },
      ]}
    />
  );
}

export function LogsTab({ cache }: { cache: Cache }) {
  const all: LogDeliveryConfiguration[] = cache.group?.LogDeliveryConfigurations ?? cache.cluster?.LogDeliveryConfigurations ?? [];
  return (
    <Table
      header={<Header>Log delivery</Header>}
      items={all}
      ariaLabels={{ tableLabel: "Log delivery" }}
      empty="No log of this cache is delivered anywhere. A slow log or engine log goes to a log group or stream that you name when you create or modify the cache."
      columnDefinitions={[
        { id: "type", header: "Log", cell: (one) => one.LogType, isRowHeader: true },
        { id: "status", header: "Status", cell: (one) => <Status status={one.Status} /> },
        { id: "format", header: "Format", cell: (one) => one.LogFormat },
        { id: "destination", header: "Destination", cell: (one) => one.DestinationDetails?.CloudWatchLogsDetails?.LogGroup ?? one.DestinationDetails?.KinesisFirehoseDetails?.DeliveryStream ?? "–" },
        { id: "message", header: "Message", cell: (one) => one.Message ?? "–" },
      ]}
    />
  );
}

export function TagsTab({ cache, onDialog }: { cache: Cache } & WithDialog) {
  const { data, error, isPending, refetch } = useTags(cache.arn);
  if (error) {
    return <ErrorAlert error={error} onRetry={() => void refetch()} title="Tags cannot be listed" />;
  }
  if (cache.arn === "") {
    return <Alert type="info">The cache has no ARN yet.</Alert>;
  }
  return (
    <Table
      header={<Header counter={`(${data?.length ?? 0})`} actions={<Button onClick={() => onDialog({ type: "tags", cache })}>Manage tags</Button>}>Tags</Header>}
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
