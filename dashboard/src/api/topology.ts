/** The shape of a cache as its nodes tell it, in the words of `/v1`. */

export interface NodeReport {
  ServerName: string;
  ServerVersion: string;
  ProcessId?: number | null;
  UptimeSeconds?: number | null;
  MemoryUsedBytes?: number | null;
  MemoryMaxBytes?: number | null;
  Clients?: number | null;
  Role?: string | null;
  ReplicationOffset?: number | null;
  Loading?: boolean | null;
  LinkUp?: boolean | null;
  SyncInProgress?: boolean | null;
}

export interface TopologyNode {
  CacheClusterId: string;
  CacheNodeId: string;
  Status: string;
  Role: string | null;
  AvailabilityZone: string;
  Address: string | null;
  Port: number | null;
  Recovering: boolean;
  Reported: NodeReport | null;
}

export interface TopologyShard {
  NodeGroupId: string | null;
  Status: string;
  Slots: string;
  Nodes: TopologyNode[];
}

export interface Topology {
  Name: string;
  Kind: string;
  Status: string;
  Engine: string;
  EngineVersion: string;
  ClusterMode: string;
  Endpoints: { Kind: string; Address: string; Port: number }[];
  NodeGroups: TopologyShard[];
}

/** What a node is right now: what it says itself, and where it says nothing, that. */
export function roleNow(node: TopologyNode): "primary" | "replica" | "down" | "node" {
  if (!node.Reported) {
    return "down";
  }
  const role = node.Reported.Role ?? node.Role;
  return role === "primary" || role === "replica" ? role : "node";
}

/** How many bytes of the replication stream a replica is behind its primary. */
export function lagOf(node: TopologyNode, shard: TopologyShard): number | undefined {
  const primary = shard.Nodes.find((one) => roleNow(one) === "primary");
  const ahead = primary?.Reported?.ReplicationOffset;
  const own = node.Reported?.ReplicationOffset;
  return ahead === undefined || ahead === null || own === undefined || own === null
    ? undefined
    : Math.max(0, ahead - own);
}
