/** From what was chosen in a form to what the API is asked for. Pure. */

import type {
  CreateCacheClusterCommandInput,
  CreateReplicationGroupCommandInput,
  ModifyCacheClusterCommandInput,
  ModifyReplicationGroupCommandInput,
} from "@aws-sdk/client-elasticache";

import { flag, list, number, orNone, tagsOf, text, type Values } from "../components/fields";

function words(values: Values, key: string): string[] | undefined {
  return orNone(text(values, key).split(/[\s,]+/).filter(Boolean));
}

function optional(values: Values, key: string): string | undefined {
  return orNone(text(values, key));
}

function logs(values: Values): CreateReplicationGroupCommandInput["LogDeliveryConfigurations"] {
  const wanted = [
    { key: "slowLog", type: "slow-log" as const },
    { key: "engineLog", type: "engine-log" as const },
  ].filter(({ key }) => text(values, key) !== "");
  return orNone(
    wanted.map(({ key, type }) => {
      const group = text(values, key);
      const firehose = group.startsWith("firehose:");
      return {
        LogType: type,
        Enabled: true,
        LogFormat: "json" as const,
        DestinationType: firehose ? ("kinesis-firehose" as const) : ("cloudwatch-logs" as const),
        DestinationDetails: firehose
          ? { KinesisFirehoseDetails: { DeliveryStream: group.slice("firehose:".length) } }
          : { CloudWatchLogsDetails: { LogGroup: group } },
      };
    }),
  );
}

export function groupRequest(engine: string, values: Values): CreateReplicationGroupCommandInput {
  const clustered = text(values, "clusterMode") === "enabled";
  const replicas = number(values, "replicas") ?? 0;
  const zones = words(values, "zones");
  const transit = flag(values, "transit");
  const access = transit ? text(values, "access") : "none";
  return {
    ReplicationGroupId: text(values, "name"),
    ReplicationGroupDescription: text(values, "description") || " ",
    Engine: engine,
    EngineVersion: optional(values, "engineVersion"),
    CacheNodeType: text(values, "nodeType"),
    CacheParameterGroupName: optional(values, "parameterGroup"),
    CacheSubnetGroupName: optional(values, "subnetGroup"),
    Port: number(values, "port"),
    MultiAZEnabled: flag(values, "multiAz"),
    AutomaticFailoverEnabled: flag(values, "autoFailover"),
    AtRestEncryptionEnabled: flag(values, "atRest"),
    KmsKeyId: flag(values, "atRest") ? optional(values, "kmsKey") : undefined,
    TransitEncryptionEnabled: transit,
    TransitEncryptionMode: transit ? (text(values, "transitMode") as "preferred" | "required") : undefined,
    AuthToken: access === "token" ? text(values, "authToken") : undefined,
    UserGroupIds: access === "users" ? orNone(list(values, "userGroups")) : undefined,
    ...(clustered
      ? {
          ClusterMode: "enabled" as const,
          NumNodeGroups: number(values, "shards"),
          ReplicasPerNodeGroup: replicas,
        }
      : { NumCacheClusters: replicas + 1, PreferredCacheClusterAZs: zones }),
    SnapshotName: text(values, "source") === "backup" ? optional(values, "backup") : undefined,
    SnapshotRetentionLimit: flag(values, "backups") ? number(values, "retention") : 0,
    SnapshotWindow: flag(values, "backups") ? optional(values, "backupWindow") : undefined,
    PreferredMaintenanceWindow: optional(values, "maintenanceWindow"),
    AutoMinorVersionUpgrade: flag(values, "autoMinor"),
    SecurityGroupIds: words(values, "securityGroups"),
    LogDeliveryConfigurations: logs(values),
    Tags: orNone(tagsOf(values).filter((tag) => tag.Key !== "")),
  };
}

export function memcachedRequest(values: Values): CreateCacheClusterCommandInput {
  const zones = words(values, "zones");
  return {
    CacheClusterId: text(values, "name"),
    Engine: "memcached",
    EngineVersion: optional(values, "engineVersion"),
    CacheNodeType: text(values, "nodeType"),
    NumCacheNodes: number(values, "nodes"),
    AZMode: (number(values, "nodes") ?? 1) > 1 ? (text(values, "azMode") as "single-az" | "cross-az") : undefined,
    CacheParameterGroupName: optional(values, "parameterGroup"),
    CacheSubnetGroupName: optional(values, "subnetGroup"),
    Port: number(values, "port"),
    PreferredAvailabilityZones: zones,
    TransitEncryptionEnabled: flag(values, "transit") ? true : undefined,
    PreferredMaintenanceWindow: optional(values, "maintenanceWindow"),
    AutoMinorVersionUpgrade: flag(values, "autoMinor"),
    SecurityGroupIds: words(values, "securityGroups"),
    Tags: orNone(tagsOf(values).filter((tag) => tag.Key !== "")),
  };
}

/** The fields whose values are not what they were. */
export function changedKeys(before: Values, after: Values): Set<string> {
  return new Set(
    Object.keys(after).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key])),
  );
}

export function modifyGroupRequest(id: string, before: Values, after: Values): ModifyReplicationGroupCommandInput {
  const changed = changedKeys(before, after);
  const string = (key: string) => (changed.has(key) ? text(after, key) : undefined);
  const boolean = (key: string) => (changed.has(key) ? flag(after, key) : undefined);
  const token = changed.has("authToken") && text(after, "authToken") !== "";
  const groups = changed.has("userGroups");
  return {
    ReplicationGroupId: id,
    ApplyImmediately: flag(after, "immediately"),
    ReplicationGroupDescription: string("description"),
    CacheNodeType: string("nodeType"),
    EngineVersion: string("engineVersion"),
    Engine: string("engine"),
    CacheParameterGroupName: string("parameterGroup"),
    AutomaticFailoverEnabled: boolean("autoFailover"),
    MultiAZEnabled: boolean("multiAz"),
    AutoMinorVersionUpgrade: boolean("autoMinor"),
    PreferredMaintenanceWindow: string("maintenanceWindow"),
    SnapshotRetentionLimit: changed.has("retention") ? (number(after, "retention") ?? 0) : undefined,
    SnapshotWindow: string("backupWindow"),
    SecurityGroupIds: changed.has("securityGroups") ? (words(after, "securityGroups") ?? []) : undefined,
    AuthToken: token ? text(after, "authToken") : undefined,
    AuthTokenUpdateStrategy: token ? (text(after, "authStrategy") as "ROTATE" | "SET") : undefined,
    UserGroupIdsToAdd: groups
      ? orNone(list(after, "userGroups").filter((name) => !list(before, "userGroups").includes(name)))
      : undefined,
    UserGroupIdsToRemove: groups
      ? orNone(list(before, "userGroups").filter((name) => !list(after, "userGroups").includes(name)))
      : undefined,
  };
}

export function modifyClusterRequest(id: string, before: Values, after: Values): ModifyCacheClusterCommandInput {
  const changed = changedKeys(before, after);
  const string = (key: string) => (changed.has(key) ? text(after, key) : undefined);
  return {
    CacheClusterId: id,
    ApplyImmediately: flag(after, "immediately"),
    NumCacheNodes: changed.has("nodes") ? number(after, "nodes") : undefined,
    CacheNodeIdsToRemove: changed.has("removed") ? orNone(list(after, "removed")) : undefined,
    CacheNodeType: string("nodeType"),
    EngineVersion: string("engineVersion"),
    CacheParameterGroupName: string("parameterGroup"),
    AutoMinorVersionUpgrade: changed.has("autoMinor") ? flag(after, "autoMinor") : undefined,
    PreferredMaintenanceWindow: string("maintenanceWindow"),
    SnapshotRetentionLimit: changed.has("retention") ? (number(after, "retention") ?? 0) : undefined,
    SnapshotWindow: string("backupWindow"),
    SecurityGroupIds: changed.has("securityGroups") ? (words(after, "securityGroups") ?? []) : undefined,
  };
}
