/** The create wizard's fields and defaults, as data. The defaults are those of the AWS console. */

import type { CacheEngineVersion, CacheParameterGroup, CacheSubnetGroup, Snapshot, UserGroup } from "@aws-sdk/client-elasticache";

import { nodeTypeOptions } from "../../api/nodeTypes";
import { flag, list, number, text, type Field, type Values } from "../../components/fields";
import { AUTH_TOKEN, RETENTION, WINDOW_BACKUP, WINDOW_MAINTENANCE } from "./settings";

export interface Choices {
  versions: readonly CacheEngineVersion[] | undefined;
  parameterGroups: readonly CacheParameterGroup[] | undefined;
  subnetGroups: readonly CacheSubnetGroup[] | undefined;
  userGroups: readonly UserGroup[] | undefined;
  snapshots: readonly Snapshot[] | undefined;
}

const GROUP_NAME_CHARS_MAX = 40;
const CLUSTER_NAME_CHARS_MAX = 50;
const SHARDS_MAX = 500;
const REPLICAS_MAX = 5;
const MEMCACHED_NODES_MAX = 60;
const PORT_MIN = 1150;
const PORT_MAX = 65_535;

export function initialValues(engine: string, backup?: string): Values {
  return {
    source: backup ? "backup" : "new",
    backup: backup ?? "",
    clusterMode: "enabled",
    name: "",
    description: "",
    multiAz: engine !== "memcached",
    autoFailover: true,
    engineVersion: "",
    port: engine === "memcached" ? "11211" : "6379",
    parameterGroup: "",
    nodeType: "cache.r7g.large",
    shards: "3",
    replicas: "2",
    nodes: "3",
    azMode: "cross-az",
    subnetGroup: "",
    zones: "",
    atRest: engine !== "memcached",
    kmsKey: "",
    transit: engine !== "memcached",
    transitMode: "required",
    access: "none",
    userGroups: [],
    authToken: "",
    securityGroups: "",
    backups: false,
    retention: "1",
    backupWindow: "",
    maintenanceWindow: "",
    autoMinor: true,
    slowLog: "",
    engineLog: "",
    tags: [],
  };
}

function nameRefusal(name: string, charsMax: number): string | undefined {
  if (name.length > charsMax) {
    return `A name has at most ${charsMax} characters.`;
  }
  if (!/^[a-zA-Z][a-zA-Z0-9-]*$/.test(name)) {
    return "A name begins with a letter and has letters, digits and hyphens.";
  }
  return name.endsWith("-") || name.includes("--")
    ? "A name does not end with a hyphen and has no two hyphens in a row."
    : undefined;
}

function within(label: string, min: number, max: number): (typed: string) => string | undefined {
  return (typed) =>
    Number(typed) < min || Number(typed) > max ? `${label} is a number from ${min} to ${max}.` : undefined;
}

/** The parameter families that go with a version; all of the engine's where none is chosen. */
function familiesOf(engine: string, values: Values, choices: Choices): Set<string> {
  const chosen = text(values, "engineVersion");
  return new Set(
    (choices.versions ?? [])
      .filter((version) => version.Engine === engine && (chosen === "" || version.EngineVersion === chosen))
      .map((version) => version.CacheParameterGroupFamily ?? ""),
  );
}

export function settingsFields(engine: string, values: Values, choices: Choices): Field[] {
  const memcached = engine === "memcached";
  const clustered = text(values, "clusterMode") === "enabled";
  const families = familiesOf(engine, values, choices);
  const versions = (choices.versions ?? []).filter((version) => version.Engine === engine).toReversed();
  return [
    {
      key: "source",
      kind: "tiles",
      label: "Creation method",
      options: [
        { value: "new", label: "New cache", description: "Starts empty" },
        { value: "backup", label: "Restore from backup", description: "Starts with a backup's data" },
      ],
      visible: () => !memcached,
    },
    {
      key: "backup",
      kind: "select",
      label: "Backup",
      apiNames: ["SnapshotName"],
      faults: [/Snapshot/],
      loading: choices.snapshots === undefined,
      options: (choices.snapshots ?? []).map(({ SnapshotName = "", SnapshotStatus = "" }) => ({
        value: SnapshotName,
        label: SnapshotName,
        description: SnapshotStatus,
      })),
      visible: (now) => text(now, "source") === "backup",
    },
    {
      key: "clusterMode",
      kind: "tiles",
      label: "Cluster mode",
      apiNames: ["ClusterMode"],
      options: [
        { value: "enabled", label: "Enabled", description: "Data is spread over shards" },
        { value: "disabled", label: "Disabled", description: "One shard with one primary" },
      ],
      visible: () => !memcached,
    },
    {
      key: "name",
      kind: "text",
      label: "Name",
      apiNames: ["ReplicationGroupId", "CacheClusterId"],
      faults: [/AlreadyExists/],
      constraint: `Up to ${memcached ? CLUSTER_NAME_CHARS_MAX : GROUP_NAME_CHARS_MAX} letters, digits and hyphens, beginning with a letter.`,
      check: (typed) => nameRefusal(typed, memcached ? CLUSTER_NAME_CHARS_MAX : GROUP_NAME_CHARS_MAX),
    },
    {
      key: "description",
      kind: "text",
      label: "Description",
      optional: true,
      apiNames: ["ReplicationGroupDescription"],
      visible: () => !memcached,
    },
    {
      key: "multiAz",
      kind: "check",
      label: "Multi-AZ",
      description: "Nodes of a shard are in different availability zones",
      apiNames: ["MultiAZEnabled", "Multi-AZ"],
      visible: () => !memcached,
    },
    {
      key: "autoFailover",
      kind: "check",
      label: "Auto-failover",
      description: "A replica takes over when the primary is lost",
      apiNames: ["AutomaticFailoverEnabled", "automatic failover"],
      disabled: clustered,
      visible: () => !memcached,
    },
    {
      key: "engineVersion",
      kind: "select",
      label: "Engine version",
      optional: true,
      apiNames: ["EngineVersion", "engine version"],
      loading: choices.versions === undefined,
      placeholder: "Newest",
      options: versions.map(({ EngineVersion = "", CacheEngineVersionDescription = "" }) => ({
        value: EngineVersion,
        label: EngineVersion,
        description: CacheEngineVersionDescription,
      })),
    },
    {
      key: "port",
      kind: "number",
      label: "Port",
      apiNames: ["Port"],
      check: within("A port", PORT_MIN, PORT_MAX),
    },
    {
      key: "parameterGroup",
      kind: "select",
      label: "Parameter group",
      optional: true,
      apiNames: ["CacheParameterGroupName", "parameter group"],
      faults: [/ParameterGroup/],
      loading: choices.parameterGroups === undefined,
      placeholder: "The version's default",
      options: (choices.parameterGroups ?? [])
        .filter((group) => families.has(group.CacheParameterGroupFamily ?? ""))
        .map(({ CacheParameterGroupName = "", Description = "" }) => ({
          value: CacheParameterGroupName,
          label: CacheParameterGroupName,
          description: Description,
        })),
    },
    {
      key: "nodeType",
      kind: "select",
      label: "Node type",
      apiNames: ["CacheNodeType", "node type"],
      options: nodeTypeOptions(engine),
    },
    {
      key: "shards",
      kind: "number",
      label: "Number of shards",
      apiNames: ["NumNodeGroups"],
      faults: [/NodeGroupsPerReplicationGroup/],
      check: within("The number of shards", 1, SHARDS_MAX),
      visible: () => !memcached && clustered,
    },
    {
      key: "replicas",
      kind: "number",
      label: clustered ? "Replicas per shard" : "Number of replicas",
      apiNames: ["ReplicasPerNodeGroup", "NumCacheClusters"],
      faults: [/NodeQuota/],
      constraint: `0 to ${REPLICAS_MAX}`,
      check: (typed, now) =>
        within("The number of replicas", 0, REPLICAS_MAX)(typed) ??
        (Number(typed) === 0 && flag(now, "multiAz") ? "Multi-AZ needs a replica." : undefined),
      visible: () => !memcached,
    },
    {
      key: "nodes",
      kind: "number",
      label: "Number of nodes",
      apiNames: ["NumCacheNodes"],
      faults: [/NodeQuota/],
      check: within("The number of nodes", 1, MEMCACHED_NODES_MAX),
      visible: () => memcached,
    },
    {
      key: "azMode",
      kind: "radio",
      label: "Zones",
      apiNames: ["AZMode"],
      options: [
        { value: "cross-az", label: "Nodes in several availability zones" },
        { value: "single-az", label: "All nodes in one availability zone" },
      ],
      visible: (now) => memcached && (number(now, "nodes") ?? 0) > 1,
    },
    {
      key: "subnetGroup",
      kind: "select",
      label: "Subnet group",
      optional: true,
      apiNames: ["CacheSubnetGroupName", "subnet group"],
      faults: [/SubnetGroup/],
      loading: choices.subnetGroups === undefined,
      placeholder: "default",
      options: (choices.subnetGroups ?? []).map(({ CacheSubnetGroupName = "", CacheSubnetGroupDescription = "" }) => ({
        value: CacheSubnetGroupName,
        label: CacheSubnetGroupName,
        description: CacheSubnetGroupDescription,
      })),
    },
    {
      key: "zones",
      kind: "text",
      label: "Availability zone placement",
      optional: true,
      apiNames: ["PreferredCacheClusterAZs", "PreferredAvailabilityZones", "PreferredAvailabilityZone", "availability zone"],
      placeholder: "No preference",
      constraint: "One zone for each node, separated by commas.",
      visible: () => memcached || !clustered,
    },
  ];
}

export function advancedFields(engine: string, choices: Choices): Field[] {
  const memcached = engine === "memcached";
  return [
    {
      key: "atRest",
      kind: "check",
      label: "Encryption at rest",
      apiNames: ["AtRestEncryptionEnabled", "Encryption at rest"],
      visible: () => !memcached,
    },
    {
      key: "kmsKey",
      kind: "text",
      label: "KMS key",
      optional: true,
      apiNames: ["KmsKeyId"],
      constraint: "Empty: the server's own key.",
      visible: (now) => !memcached && flag(now, "atRest"),
    },
    {
      key: "transit",
      kind: "check",
      label: "Encryption in transit",
      apiNames: ["TransitEncryptionEnabled", "Encryption in transit"],
    },
    {
      key: "transitMode",
      kind: "radio",
      label: "Transit encryption mode",
      apiNames: ["TransitEncryptionMode"],
      options: [
        { value: "required", label: "Required", description: "Only TLS" },
        { value: "preferred", label: "Preferred", description: "TLS and plain, to migrate clients" },
      ],
      visible: (now) => !memcached && flag(now, "transit"),
    },
    {
      key: "access",
      kind: "radio",
      label: "Access control",
      options: [
        { value: "none", label: "No access control" },
        { value: "users", label: "User group access control list" },
        { value: "token", label: "AUTH default user access" },
      ],
      visible: (now) => !memcached && flag(now, "transit"),
    },
    {
      key: "userGroups",
      kind: "multiselect",
      label: "User group",
      apiNames: ["UserGroupIds", "user group"],
      faults: [/UserGroup/],
      loading: choices.userGroups === undefined,
      options: (choices.userGroups ?? [])
        .filter((group) => group.Engine === undefined || group.Engine === engine || engine === "valkey")
        .map(({ UserGroupId = "" }) => ({ value: UserGroupId, label: UserGroupId })),
      visible: (now) => !memcached && flag(now, "transit") && text(now, "access") === "users",
      check: (_, now) => (list(now, "userGroups").length === 0 ? "Choose a user group." : undefined),
    },
    {
      ...AUTH_TOKEN,
      visible: (now) => !memcached && flag(now, "transit") && text(now, "access") === "token",
    },
    {
      key: "securityGroups",
      kind: "text",
      label: "Security groups",
      optional: true,
      apiNames: ["SecurityGroupIds", "security group"],
      placeholder: "sg-0123456789abcdef0",
      constraint: "IDs, separated by commas.",
    },
    {
      key: "backups",
      kind: "check",
      label: "Automatic backups",
      apiNames: ["Automatic snapshots"],
      visible: () => !memcached,
    },
    { ...RETENTION, visible: (now) => !memcached && flag(now, "backups") },
    { ...WINDOW_BACKUP, visible: (now) => !memcached && flag(now, "backups") },
    WINDOW_MAINTENANCE,
    {
      key: "autoMinor",
      kind: "check",
      label: "Upgrade minor versions automatically",
      apiNames: ["AutoMinorVersionUpgrade"],
    },
    ...(["slowLog", "engineLog"] as const).map(
      (key): Field => ({
        key,
        kind: "text",
        label: key === "slowLog" ? "Slow log" : "Engine log",
        optional: true,
        apiNames: ["LogDeliveryConfigurations", "Log delivery", key === "slowLog" ? "slow-log" : "engine-log"],
        placeholder: "Not delivered",
        constraint: "A CloudWatch Logs group, or firehose:STREAM.",
        visible: () => !memcached,
      }),
    ),
    { key: "tags", kind: "tags", label: "Tags", optional: true, apiNames: ["Tags", "tag"], faults: [/Tag/] },
  ];
}

export function readable(field: Field, values: Values): string {
  const value = values[field.key];
  if (field.kind === "password") {
    return value ? "••••••••" : "–";
  }
  if (typeof value === "boolean") {
    return value ? "Enabled" : "Disabled";
  }
  if (Array.isArray(value)) {
    const shown = value.map((item) => (typeof item === "string" ? item : `${item.Key}=${item.Value}`));
    return shown.join(", ") || "–";
  }
  const option = field.options?.find((one) => one.value === value);
  return option?.label ?? (value || field.placeholder || "–");
}
