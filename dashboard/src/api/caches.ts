/** A cache as people think of it: a replication group, or a cluster that is in none. Pure. */

import type { CacheCluster, CacheNode, Endpoint, ReplicationGroup } from "@aws-sdk/client-elasticache";

export type CacheKind = "group" | "cluster";

export interface Cache {
  /** Unique among all caches. */
  key: string;
  kind: CacheKind;
  id: string;
  description: string;
  engine: string;
  engineVersion: string;
  status: string;
  clusterMode: "enabled" | "disabled" | "compatible" | undefined;
  nodeType: string;
  shardCount: number;
  nodeCount: number;
  multiAz: string;
  autoFailover: string;
  transitEncryption: boolean;
  atRestEncryption: boolean;
  endpoint: HostPort | undefined;
  reader: HostPort | undefined;
  port: number;
  createdAt: Date | undefined;
  arn: string;
  group?: ReplicationGroup;
  cluster?: CacheCluster;
}

export interface HostPort {
  address: string;
  port: number;
}

export interface ShardRow {
  id: string;
  status: string;
  slots: string;
  nodes: NodeRow[];
}

export interface NodeRow {
  key: string;
  clusterId: string;
  nodeId: string;
  shardId: string;
  role: string;
  status: string;
  zone: string;
  endpoint: HostPort | undefined;
  parameterStatus: string;
}

export function toHostPort(endpoint: Endpoint | undefined): HostPort | undefined {
  return endpoint?.Address && endpoint.Port !== undefined
    ? { address: endpoint.Address, port: endpoint.Port }
    : undefined;
}

export function hostPort(endpoint: HostPort | undefined): string {
  return endpoint ? `${endpoint.address}:${endpoint.port}` : "–";
}

/** Every cache of an account: all groups, and the clusters that are in none. */
export function toCaches(
  groups: readonly ReplicationGroup[],
  clusters: readonly CacheCluster[],
): Cache[] {
  const members = new Map<string, CacheCluster>();
  const alone: CacheCluster[] = [];
  for (const cluster of clusters) {
    if (cluster.ReplicationGroupId) {
      if (!members.has(cluster.ReplicationGroupId)) {
        members.set(cluster.ReplicationGroupId, cluster);
      }
    } else {
      alone.push(cluster);
    }
  }
  return [
    ...groups.map((group) => groupCache(group, members.get(group.ReplicationGroupId ?? ""))),
    ...alone.map(clusterCache),
  ].sort((a, b) => a.id.localeCompare(b.id));
}

export function groupCache(group: ReplicationGroup, member?: CacheCluster): Cache {
  const id = group.ReplicationGroupId ?? "";
  const shards = group.NodeGroups ?? [];
  const primary = toHostPort(shards[0]?.PrimaryEndpoint);
  const endpoint = toHostPort(group.ConfigurationEndpoint) ?? primary;
  const mode = group.ClusterMode ?? (group.ClusterEnabled ? "enabled" : "disabled");
  return {
    key: `group/${id}`,
    kind: "group",
    id,
    description: group.Description ?? "",
    engine: group.Engine ?? member?.Engine ?? "redis",
    engineVersion: member?.EngineVersion ?? "",
    status: group.Status ?? "",
    clusterMode: mode,
    nodeType: group.CacheNodeType ?? "",
    shardCount: shards.length,
    nodeCount: group.MemberClusters?.length ?? 0,
    multiAz: group.MultiAZ ?? "disabled",
    autoFailover: group.AutomaticFailover ?? "disabled",
    transitEncryption: group.TransitEncryptionEnabled ?? false,
    atRestEncryption: group.AtRestEncryptionEnabled ?? false,
    endpoint,
    reader: toHostPort(shards[0]?.ReaderEndpoint),
    port: endpoint?.port ?? toHostPort(member?.CacheNodes?.[0]?.Endpoint)?.port ?? 6379,
    createdAt: group.ReplicationGroupCreateTime,
    arn: group.ARN ?? "",
    group,
    ...(member ? { cluster: member } : {}),
  };
}

export function clusterCache(cluster: CacheCluster): Cache {
  const id = cluster.CacheClusterId ?? "";
  const endpoint =
    toHostPort(cluster.ConfigurationEndpoint) ?? toHostPort(cluster.CacheNodes?.[0]?.Endpoint);
  return {
    key: `cluster/${id}`,
    kind: "cluster",
    id,
    description: "",
    engine: cluster.Engine ?? "",
    engineVersion: cluster.EngineVersion ?? "",
    status: cluster.CacheClusterStatus ?? "",
    clusterMode: undefined,
    nodeType: cluster.CacheNodeType ?? "",
    shardCount: cluster.Engine === "memcached" ? 0 : 1,
    nodeCount: cluster.NumCacheNodes ?? cluster.CacheNodes?.length ?? 0,
    multiAz: cluster.PreferredAvailabilityZone === "Multiple" ? "enabled" : "disabled",
    autoFailover: "disabled",
    transitEncryption: cluster.TransitEncryptionEnabled ?? false,
    atRestEncryption: cluster.AtRestEncryptionEnabled ?? false,
    endpoint,
    reader: undefined,
    port: endpoint?.port ?? (cluster.Engine === "memcached" ? 11211 : 6379),
    createdAt: cluster.CacheClusterCreateTime,
    arn: cluster.ARN ?? "",
    cluster,
  };
}

/** The shards of a cache with their nodes; *members* say what the group itself does not. */
export function toShards(cache: Cache, members: readonly CacheCluster[]): ShardRow[] {
  const byId = new Map(members.map((member) => [member.CacheClusterId ?? "", member]));
  if (!cache.group) {
    const cluster = cache.cluster ?? {};
    return [
      {
        id: cache.engine === "memcached" ? "nodes" : "0001",
        status: cache.status,
        slots: "",
        nodes: (cluster.CacheNodes ?? []).map((node) => clusterNode(cluster, node)),
      },
    ];
  }
  return (cache.group.NodeGroups ?? []).map((shard) => {
    const shardId = shard.NodeGroupId ?? "";
    return {
      id: shardId,
      status: shard.Status ?? "",
      slots: shard.Slots ?? "",
      nodes: (shard.NodeGroupMembers ?? []).map((node) => {
        const clusterId = node.CacheClusterId ?? "";
        const member = byId.get(clusterId);
        const nodeId = node.CacheNodeId ?? "0001";
        return {
          key: `${clusterId}/${nodeId}`,
          clusterId,
          nodeId,
          shardId,
          role: node.CurrentRole ?? "",
          status: member?.CacheClusterStatus ?? "",
          zone: node.PreferredAvailabilityZone ?? "",
          endpoint: toHostPort(node.ReadEndpoint) ?? toHostPort(member?.CacheNodes?.[0]?.Endpoint),
          parameterStatus: member?.CacheParameterGroup?.ParameterApplyStatus ?? "",
        };
      }),
    };
  });
}

function clusterNode(cluster: CacheCluster, node: CacheNode): NodeRow {
  const clusterId = cluster.CacheClusterId ?? "";
  const nodeId = node.CacheNodeId ?? "0001";
  return {
    key: `${clusterId}/${nodeId}`,
    clusterId,
    nodeId,
    shardId: "",
    role: cluster.Engine === "memcached" ? "" : "primary",
    status: node.CacheNodeStatus ?? "",
    zone: node.CustomerAvailabilityZone ?? "",
    endpoint: toHostPort(node.Endpoint),
    parameterStatus: node.ParameterGroupStatus ?? "",
  };
}

const SETTLED = new Set([
  "available", "active", "create-failed", "deleted", "failed", "incompatible-network",
  "incompatible-parameters", "restore-failed", "snapshot-failed", "complete", "",
]);

/** Whether a status is one that will change by itself. */
export function isMoving(status: string): boolean {
  return !SETTLED.has(status.toLowerCase());
}

export type Tone = "success" | "error" | "warning" | "in-progress" | "pending" | "stopped" | "info";

export function toneOf(status: string): Tone {
  const word = status.toLowerCase();
  if (["available", "active", "in-sync", "enabled", "complete", "associated", "primary-healthy"].includes(word)) {
    return "success";
  }
  if (/fail|incompatible|error|unreachable|down/.test(word)) {
    return "error";
  }
  if (/^(disabled|stopped|none|deleted)$/.test(word)) {
    return "stopped";
  }
  return /pending|waiting|scheduled/.test(word) ? "pending" : "in-progress";
}

export const ENGINES = [
  { id: "valkey", path: "valkey", title: "Valkey caches", name: "Valkey" },
  { id: "memcached", path: "memcached", title: "Memcached caches", name: "Memcached" },
  { id: "redis", path: "redis", title: "Redis OSS caches", name: "Redis OSS" },
] as const;

export function engineName(engine: string): string {
  return ENGINES.find(({ id }) => id === engine)?.name ?? engine;
}

export function cachePath(cache: Pick<Cache, "engine" | "kind" | "id">): string {
  return `/${cache.engine}/${cache.kind}/${encodeURIComponent(cache.id)}`;
}
