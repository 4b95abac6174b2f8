/** Modify: only what was changed is asked for. */

import {
  ListAllowedNodeTypeModificationsCommand,
  ModifyCacheClusterCommand,
  ModifyReplicationGroupCommand,
} from "@aws-sdk/client-elasticache";
import { useQuery } from "@tanstack/react-query";

import type { Cache } from "../../api/caches";
import { changedKeys, modifyClusterRequest, modifyGroupRequest } from "../../api/cacheRequests";
import { useApi } from "../../app/Providers";
import { FormDialog } from "../../components/FormDialog";
import { list, number, type Field, type Values } from "../../components/fields";
import { plural } from "../../components/time";
import { useAction } from "../../hooks/useAction";
import { useCache, useEngineVersions, useParameterGroups, useUserGroups } from "../../hooks/queries";
import { AUTH_TOKEN, RETENTION, WINDOW_BACKUP, WINDOW_MAINTENANCE } from "./settings";

export function ModifyDialog({ cache, onClose }: { cache: Cache; onClose: () => void }) {
  const { data } = useCache(cache.kind, cache.id);
  return data ? <Editor cache={data.cache} onClose={onClose} /> : null;
}

function initialOf(cache: Cache): Values {
  const member = cache.cluster;
  return {
    description: cache.description,
    nodeType: cache.nodeType,
    engineVersion: cache.engineVersion,
    parameterGroup: member?.CacheParameterGroup?.CacheParameterGroupName ?? "",
    autoFailover: cache.autoFailover === "enabled",
    multiAz: cache.multiAz === "enabled",
    autoMinor: member?.AutoMinorVersionUpgrade ?? true,
    maintenanceWindow: member?.PreferredMaintenanceWindow ?? "",
    retention: String(cache.group?.SnapshotRetentionLimit ?? member?.SnapshotRetentionLimit ?? 0),
    backupWindow: cache.group?.SnapshotWindow ?? member?.SnapshotWindow ?? "",
    securityGroups: (member?.SecurityGroups ?? []).map((one) => one.SecurityGroupId ?? "").join(", "),
    userGroups: cache.group?.UserGroupIds ?? [],
    authToken: "",
    authStrategy: "ROTATE",
    nodes: String(cache.nodeCount),
    removed: [],
    immediately: true,
  };
}

function Editor({ cache, onClose }: { cache: Cache; onClose: () => void }) {
  const { client } = useApi();
  const run = useAction();
  const versions = useEngineVersions();
  const groups = useParameterGroups();
  const userGroups = useUserGroups();
  const types = useQuery({
    queryKey: ["allowed-node-types", cache.key],
    queryFn: async () => {
      const reply = await client.send(
        new ListAllowedNodeTypeModificationsCommand(
          cache.kind === "group" ? { ReplicationGroupId: cache.id } : { CacheClusterId: cache.id },
        ),
      );
      return [...(reply.ScaleUpModifications ?? []), ...(reply.ScaleDownModifications ?? [])];
    },
  });
  const initial = initialOf(cache);
  const isGroup = cache.kind === "group";
  const memcached = cache.engine === "memcached";
  const family = versions.data?.find(
    (version) => version.Engine === cache.engine && version.EngineVersion === cache.engineVersion,
  )?.CacheParameterGroupFamily;
  const nodeTypes = [...new Set([cache.nodeType, ...(types.data ?? [])])];
  const fields = (values: Values): Field[] => [
    ...(isGroup ? [{ key: "description", kind: "text", label: "Description", optional: true, apiNames: ["ReplicationGroupDescription"] } as const] : []),
    {
      key: "nodeType",
      kind: "select",
      label: "Node type",
      apiNames: ["CacheNodeType", "node type"],
      loading: types.isPending,
      options: nodeTypes.map((value) => ({ value, label: value })),
    },
    {
      key: "engineVersion",
      kind: "select",
      label: "Engine version",
      apiNames: ["EngineVersion", "engine version"],
      loading: versions.isPending,
      options: (versions.data ?? [])
        .filter((version) => version.Engine === cache.engine)
        .map(({ EngineVersion = "" }) => ({ value: EngineVersion, label: EngineVersion })),
    },
    {
      key: "parameterGroup",
      kind: "select",
      label: "Parameter group",
      apiNames: ["CacheParameterGroupName", "parameter group"],
      faults: [/ParameterGroup/],
      loading: groups.isPending,
      options: (groups.data ?? [])
        .filter((group) => family === undefined || group.CacheParameterGroupFamily === family)
        .map(({ CacheParameterGroupName = "", Description = "" }) => ({
          value: CacheParameterGroupName,
          label: CacheParameterGroupName,
          description: Description,
        })),
    },
    ...(memcached
      ? ([
          {
            key: "nodes",
            kind: "number",
            label: "Number of nodes",
            apiNames: ["NumCacheNodes"],
            check: (typed) => (Number(typed) < 1 || Number(typed) > 60 ? "Enter 1 to 60." : undefined),
          },
          {
            key: "removed",
            kind: "multiselect",
            label: "Nodes to remove",
            apiNames: ["CacheNodeIdsToRemove"],
            options: (cache.cluster?.CacheNodes ?? []).map(({ CacheNodeId = "", CustomerAvailabilityZone = "" }) => ({
              value: CacheNodeId,
              label: CacheNodeId,
              description: CustomerAvailabilityZone,
            })),
            visible: () => (number(values, "nodes") ?? 0) < cache.nodeCount,
            check: () => {
              const wanted = cache.nodeCount - (number(values, "nodes") ?? 0);
              return list(values, "removed").length === wanted ? undefined : `Choose ${plural(wanted, "node")}.`;
            },
          },
        ] satisfies Field[])
      : []),
    ...(isGroup
      ? ([
          { key: "autoFailover", kind: "check", label: "Auto-failover", apiNames: ["AutomaticFailoverEnabled"] },
          { key: "multiAz", kind: "check", label: "Multi-AZ", apiNames: ["MultiAZEnabled"] },
          {
            key: "userGroups",
            kind: "multiselect",
            label: "User groups",
            apiNames: ["UserGroupIds", "user group"],
            faults: [/UserGroup/],
            loading: userGroups.isPending,
            options: (userGroups.data ?? []).map(({ UserGroupId = "" }) => ({ value: UserGroupId, label: UserGroupId })),
            visible: () => cache.transitEncryption,
          },
          { ...AUTH_TOKEN, label: "New AUTH token", optional: true, visible: () => cache.transitEncryption },
          {
            key: "authStrategy",
            kind: "radio",
            label: "How the token takes effect",
            apiNames: ["AuthTokenUpdateStrategy"],
            options: [
              { value: "ROTATE", label: "Rotate", description: "The old and the new token work" },
              { value: "SET", label: "Set", description: "Only the new token works" },
            ],
            visible: (now) => cache.transitEncryption && now["authToken"] !== "",
          },
        ] satisfies Field[])
      : []),
    ...(memcached ? [] : [{ ...RETENTION }, { ...WINDOW_BACKUP }]),
    { ...WINDOW_MAINTENANCE },
    { key: "securityGroups", kind: "text", label: "Security groups", optional: true, apiNames: ["SecurityGroupIds", "security group"], constraint: "IDs, separated by commas" },
    { key: "autoMinor", kind: "check", label: "Upgrade minor versions automatically", apiNames: ["AutoMinorVersionUpgrade"] },
    {
      key: "immediately",
      kind: "check",
      label: "Apply immediately",
      description: "Otherwise in the next maintenance window",
      apiNames: ["ApplyImmediately"],
    },
  ];
  return (
    <FormDialog
      title={`Modify ${cache.id}`}
      submitLabel="Modify"
      size="large"
      initial={initial}
      fields={fields}
      footer={(values) => {
        const changed = [...changedKeys(initial, values)].filter((key) => key !== "immediately");
        return changed.length === 0
          ? "Nothing is changed yet."
          : `To be changed: ${fields(values).filter((field) => changed.includes(field.key)).map((field) => field.label.toLowerCase()).join(", ")}.`;
      }}
      submit={async (values) => {
        await run({
          throws: true,
          done: `${cache.id} is being modified.`,
          changes: ["caches", "events", "topology", "allowed-node-types"],
          act: () =>
            isGroup
              ? client.send(new ModifyReplicationGroupCommand(modifyGroupRequest(cache.id, initial, values)))
              : client.send(new ModifyCacheClusterCommand(modifyClusterRequest(cache.id, initial, values))),
        });
      }}
      onClose={onClose}
    />
  );
}
