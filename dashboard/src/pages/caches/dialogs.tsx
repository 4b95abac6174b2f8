/** Everything that is done to an existing cache. Each dialog is fields and one call. */

import {
  CreateSnapshotCommand,
  DecreaseReplicaCountCommand,
  DeleteCacheClusterCommand,
  DeleteReplicationGroupCommand,
  IncreaseReplicaCountCommand,
  ModifyReplicationGroupCommand,
  ModifyReplicationGroupShardConfigurationCommand,
  RebootCacheClusterCommand,
  TestFailoverCommand,
} from "@aws-sdk/client-elasticache";
import Box from "@cloudscape-design/components/box";

import type { Cache, NodeRow, ShardRow } from "../../api/caches";
import { useApi } from "../../app/Providers";
import { DeleteDialog, FormDialog } from "../../components/FormDialog";
import { flag, list, number, orNone, text, type Field } from "../../components/fields";
import { TagsDialog } from "../../components/TagsDialog";
import { plural } from "../../components/time";
import { useAction } from "../../hooks/useAction";
import { useCache } from "../../hooks/queries";
import { toShards } from "../../api/caches";
import { ModifyDialog } from "./Modify";

export type CacheDialog =
  | { type: "delete"; caches: readonly Cache[] }
  | { type: "modify" | "backup" | "reboot" | "tags" | "replicas" | "shards"; cache: Cache }
  | { type: "failover"; cache: Cache; shard: ShardRow }
  | { type: "promote"; cache: Cache; node: NodeRow };

interface Props {
  dialog: CacheDialog | undefined;
  onClose: () => void;
  onDeleted?: () => void;
}

const SNAPSHOT_NAME: Field = {
  key: "snapshot",
  kind: "text",
  label: "Backup name",
  apiNames: ["SnapshotName"],
  faults: [/SnapshotAlreadyExists/, /SnapshotQuota/],
  constraint: "Letters, digits and hyphens.",
};

export function CacheDialogs({ dialog, onClose, onDeleted }: Props) {
  switch (dialog?.type) {
    case undefined:
      return null;
    case "delete":
      return <Delete caches={dialog.caches} onClose={onClose} onDeleted={onDeleted} />;
    case "modify":
      return <ModifyDialog cache={dialog.cache} onClose={onClose} />;
    case "tags":
      return <TagsDialog arn={dialog.cache.arn} name={dialog.cache.id} onClose={onClose} />;
    case "backup":
      return <Backup cache={dialog.cache} onClose={onClose} />;
    case "reboot":
      return <Reboot cache={dialog.cache} onClose={onClose} />;
    case "replicas":
      return <Replicas cache={dialog.cache} onClose={onClose} />;
    case "shards":
      return <Shards cache={dialog.cache} onClose={onClose} />;
    case "failover":
      return <Failover cache={dialog.cache} shard={dialog.shard} onClose={onClose} />;
    case "promote":
      return <Promote cache={dialog.cache} node={dialog.node} onClose={onClose} />;
  }
}

interface One {
  cache: Cache;
  onClose: () => void;
}

function Delete({ caches, onClose, onDeleted }: { caches: readonly Cache[]; onClose: () => void; onDeleted?: (() => void) | undefined }) {
  const { client } = useApi();
  const run = useAction();
  const withSnapshot = caches.length === 1 && caches[0]?.engine !== "memcached";
  return (
    <DeleteDialog
      noun="cache"
      names={caches.map((cache) => cache.id)}
      warning="All of its nodes end, and what is in their memory is lost."
      initial={{ final: false, snapshot: "", retain: false }}
      fields={[
        ...(caches.length === 1 && caches[0]?.kind === "group" && caches[0].clusterMode === "disabled"
          ? [{ key: "retain", kind: "check", label: "Keep the primary as a cluster of its own" } as const]
          : []),
        ...(withSnapshot
          ? ([
              { key: "final", kind: "check", label: "Create a final backup" },
              { ...SNAPSHOT_NAME, visible: (values) => flag(values, "final"), apiNames: ["FinalSnapshotIdentifier", "SnapshotName"] },
            ] satisfies Field[])
          : []),
      ]}
      remove={async (name, values) => {
        const cache = caches.find((one) => one.id === name);
        const final = flag(values, "final") ? text(values, "snapshot") : undefined;
        await (cache?.kind === "cluster"
          ? client.send(new DeleteCacheClusterCommand({ CacheClusterId: name, FinalSnapshotIdentifier: final }))
          : client.send(
              new DeleteReplicationGroupCommand({
                ReplicationGroupId: name,
                FinalSnapshotIdentifier: final,
                RetainPrimaryCluster: flag(values, "retain") ? true : undefined,
              }),
            ));
      }}
      onDone={(names) => {
        void run({
          done: `${plural(names.length, "cache")} being deleted: ${names.join(", ")}`,
          act: async () => undefined,
          changes: ["caches", "events"],
        });
        onDeleted?.();
      }}
      onClose={onClose}
    />
  );
}

function Backup({ cache, onClose }: One) {
  const { client } = useApi();
  const run = useAction();
  return (
    <FormDialog
      title={`Back up ${cache.id}`}
      submitLabel="Create backup"
      initial={{ snapshot: "" }}
      fields={[SNAPSHOT_NAME]}
      submit={async (values) => {
        await run({
          throws: true,
          done: `Backup ${text(values, "snapshot")} of ${cache.id} is being created.`,
          changes: ["snapshots", "caches", "events"],
          act: () =>
            client.send(
              new CreateSnapshotCommand({
                SnapshotName: text(values, "snapshot"),
                ...(cache.kind === "group" ? { ReplicationGroupId: cache.id } : { CacheClusterId: cache.id }),
              }),
            ),
        });
      }}
      onClose={onClose}
    />
  );
}

function Reboot({ cache, onClose }: One) {
  const { client } = useApi();
  const run = useAction();
  const { data } = useCache(cache.kind, cache.id);
  const nodes = toShards(data?.cache ?? cache, data?.members ?? []).flatMap((shard) => shard.nodes);
  return (
    <FormDialog
      title={`Reboot nodes of ${cache.id}`}
      submitLabel="Reboot"
      initial={{ nodes: [] }}
      intro="The chosen nodes restart. What is in the memory of a node without replicas is lost."
      fields={[
        {
          key: "nodes",
          kind: "multiselect",
          label: "Nodes",
          apiNames: ["CacheNodeIdsToReboot", "CacheClusterId"],
          options: nodes.map((node) => ({
            value: node.key,
            label: cache.kind === "group" ? node.clusterId : node.nodeId,
            description: [node.role, node.zone, node.status].filter(Boolean).join(", "),
          })),
          check: (_, values) => (list(values, "nodes").length === 0 ? "Choose a node." : undefined),
        },
      ]}
      submit={async (values) => {
        const byCluster = new Map<string, string[]>();
        for (const key of list(values, "nodes")) {
          const [cluster = "", node = ""] = key.split("/");
          byCluster.set(cluster, [...(byCluster.get(cluster) ?? []), node]);
        }
        await run({
          throws: true,
          done: `${plural(list(values, "nodes").length, "node")} of ${cache.id} rebooting.`,
          changes: ["caches", "events", "topology"],
          act: async () => {
            for (const [CacheClusterId, CacheNodeIdsToReboot] of byCluster) {
              await client.send(new RebootCacheClusterCommand({ CacheClusterId, CacheNodeIdsToReboot }));
            }
          },
        });
      }}
      onClose={onClose}
    />
  );
}

const REPLICAS_MAX = 5;

function Replicas({ cache, onClose }: One) {
  const { client } = useApi();
  const run = useAction();
  const shards = cache.group?.NodeGroups ?? [];
  const now = Math.max(0, Math.round(cache.nodeCount / Math.max(1, cache.shardCount)) - 1);
  return (
    <FormDialog
      title={`Replicas of ${cache.id}`}
      submitLabel="Apply"
      initial={{ count: String(now) }}
      intro={`Every shard has ${plural(now, "replica")} now.`}
      fields={[
        {
          key: "count",
          kind: "number",
          label: "Replicas in every shard",
          apiNames: ["NewReplicaCount"],
          faults: [/ReplicaCount/, /NodeQuota/, /NoOperation/],
          constraint: `0 to ${REPLICAS_MAX}`,
          check: (typed) =>
            Number(typed) < 0 || Number(typed) > REPLICAS_MAX
              ? `Enter 0 to ${REPLICAS_MAX}.`
              : Number(typed) === now && shards.length > 0
                ? "That is how many there are."
                : undefined,
        },
      ]}
      submit={async (values) => {
        const count = number(values, "count") ?? 0;
        const input = { ReplicationGroupId: cache.id, NewReplicaCount: count, ApplyImmediately: true };
        await run({
          throws: true,
          done: `${cache.id} is going to have ${plural(count, "replica")} in every shard.`,
          changes: ["caches", "events", "topology"],
          act: () =>
            count > now
              ? client.send(new IncreaseReplicaCountCommand(input))
              : client.send(new DecreaseReplicaCountCommand(input)),
        });
      }}
      onClose={onClose}
    />
  );
}

function Shards({ cache, onClose }: One) {
  const { client } = useApi();
  const run = useAction();
  const shards = cache.group?.NodeGroups ?? [];
  return (
    <FormDialog
      title={`Shards of ${cache.id}`}
      submitLabel="Apply"
      initial={{ count: String(shards.length), remove: [] }}
      intro="Slots move while clients read and write. Equal counts rebalance the slots."
      fields={(values) => [
        {
          key: "count",
          kind: "number",
          label: "Number of shards",
          apiNames: ["NodeGroupCount"],
          faults: [/NodeGroupsPerReplicationGroup/, /NodeQuota/],
          check: (typed) => (Number(typed) < 1 ? "Enter 1 or more." : undefined),
        },
        {
          key: "remove",
          kind: "multiselect",
          label: "Shards to remove",
          apiNames: ["NodeGroupsToRemove"],
          faults: [/NodeGroupNotFound/],
          options: shards.map((shard) => ({
            value: shard.NodeGroupId ?? "",
            label: shard.NodeGroupId ?? "",
            description: `slots ${shard.Slots ?? "none"}`,
          })),
          visible: () => (number(values, "count") ?? 0) < shards.length,
          check: () => {
            const wanted = shards.length - (number(values, "count") ?? 0);
            return list(values, "remove").length === wanted ? undefined : `Choose ${plural(wanted, "shard")}.`;
          },
        },
      ]}
      submit={async (values) => {
        const count = number(values, "count") ?? 1;
        await run({
          throws: true,
          done: `${cache.id} is going to have ${plural(count, "shard")}.`,
          changes: ["caches", "events", "topology"],
          act: () =>
            client.send(
              new ModifyReplicationGroupShardConfigurationCommand({
                ReplicationGroupId: cache.id,
                NodeGroupCount: count,
                ApplyImmediately: true,
                NodeGroupsToRemove: count < shards.length ? orNone(list(values, "remove")) : undefined,
              }),
            ),
        });
      }}
      onClose={onClose}
    />
  );
}

function Failover({ cache, shard, onClose }: One & { shard: ShardRow }) {
  const { client } = useApi();
  const run = useAction();
  return (
    <FormDialog
      title={`Failover primary of shard ${shard.id}?`}
      submitLabel="Continue"
      initial={{}}
      fields={[]}
      intro={
        <Box>
          The primary of shard {shard.id} of {cache.id} is killed, and a replica takes its place. Clients see a
          short interruption. The tab Topology shows what happens.
        </Box>
      }
      submit={async () => {
        await run({
          throws: true,
          done: `Failover of shard ${shard.id} of ${cache.id} has begun.`,
          changes: ["caches", "events", "topology"],
          act: () => client.send(new TestFailoverCommand({ ReplicationGroupId: cache.id, NodeGroupId: shard.id })),
        });
      }}
      onClose={onClose}
    />
  );
}

function Promote({ cache, node, onClose }: One & { node: NodeRow }) {
  const { client } = useApi();
  const run = useAction();
  return (
    <FormDialog
      title={`Promote ${node.clusterId} to primary?`}
      submitLabel="Promote"
      initial={{}}
      fields={[]}
      intro="The roles are handed over without losing a write."
      submit={async () => {
        await run({
          throws: true,
          done: `${node.clusterId} is becoming the primary of ${cache.id}.`,
          changes: ["caches", "events", "topology"],
          act: () =>
            client.send(
              new ModifyReplicationGroupCommand({
                ReplicationGroupId: cache.id,
                PrimaryClusterId: node.clusterId,
                ApplyImmediately: true,
              }),
            ),
        });
      }}
      onClose={onClose}
    />
  );
}
